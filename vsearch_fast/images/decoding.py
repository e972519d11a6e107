"""From bytes or a path to the RGB pixels that the network is fed.

::

    path | bytes ─► type by content ─► pixel limit ─► decode ─► upright ─► RGB ─► box ─► S × S
    PIL image, uint8 array ───────────────┘

Pictures are decoded whole by Pillow, and a whole picture without a rotation tag or
transparency comes out equal, bit for bit, to Keras' ``load_img(target_size=(S, S))`` and
``img_to_array``, with one exception: *16-bit grey*. Keras clips such a picture at 255, which
leaves white; here the high byte counts, as it does in Pillow, and so in Keras, for 16-bit
colour. Where Keras shows a camera's picture lying on its side or the hidden colour under a
transparent pixel, this module turns it upright by its EXIF tag and lays it over white.

Files come from anywhere, so: the format is found by content, never by name; only the readers
of `FORMATS` are tried; the pixel limit is checked on the header, before any pixel is decoded,
without Pillow's process-wide settings (everything here is safe to call from many threads);
and whatever is wrong with a picture is an `ImageError` that names it.
"""

from __future__ import annotations

import io
import os
import threading
from functools import partial

import numpy as np
from PIL import Image, ImageFile

from ..errors import ArgumentError
from .boxes import Box, pixel_box
from .files import read_picture
from .jpeg import Decoder, Pixels, jpeg_bytes, sample_nearest
from .readers import Jpeg
from .refusals import MAX_PIXELS, check_pixels, guarded, refusal
from .rgb import SWAPPING, TRANSPOSE, orientation, to_rgb
from .scaled import load_reduced

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | np.ndarray
"""One picture: a path, an encoded file's bytes, a PIL image or a uint8 array."""

RESIZE_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Resize rules by name; all but "nearest" widen with the reduction, so that they antialias."""

# A PIL image that its owner opened lazily is decoded by the first load(), which is not safe
# from two threads at once, and one image may be given twice.
_lazy_image_lock = threading.Lock()


def load(
    source: Source,
    size: int,
    box: Box | None = None,
    resize: str = "nearest",
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    decoder: Decoder | None = None,
) -> np.ndarray:
    """The pixels that the network is fed: uint8 (size, size, 3), RGB, C-contiguous.

    The picture, or its box, is stretched to the square as Keras' ``load_img`` does; `resize`
    is a name in `RESIZE_FILTERS`. `decoder` turns the bytes of a usual JPEG into pixels; what
    it does not take, and all where there is none, is Pillow's; its `srgb` and `reduced` hold for
    all. Other arguments and errors as in `decode`; ArgumentError for a size below 1 or an unknown
    filter.
    """
    if size < 1:
        raise ArgumentError(
            f"The picture size {size} is not positive", "Nothing was read", "Give 1 or more"
        )
    if resize not in RESIZE_FILTERS:
        raise ArgumentError(
            f"There is no resize rule {resize!r}",
            "Nothing was read",
            f"Choose one of {', '.join(RESIZE_FILTERS)}",
        )
    srgb = decoder is not None and decoder.srgb
    if decoder is not None and decoder.reduced:
        pixels = _load_reduced(source, size, box, resize, name, max_pixels, srgb)
        if pixels is not None:
            return pixels
    if decoder is not None and decoder.pixels is not None:
        pixels = _load_jpeg(source, size, box, resize, max_pixels, decoder.pixels, srgb)
        if pixels is not None:
            return pixels
    image = decode(source, box, name=name, max_pixels=max_pixels, srgb=srgb)
    return _stretched(image, size, resize)


def decode(
    source: Source,
    box: Box | None = None,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    srgb: bool = False,
) -> Image.Image:
    """Read one picture: a new RGB image, upright, over white, cut to its box.

    `source` is a path (str or Path), the bytes of an encoded file, a PIL image (its current
    frame) or a uint8 array of shape (h, w), (h, w, 1), (h, w, 3) RGB or (h, w, 4) RGBA.

    - The EXIF orientation, where there is one, is applied first, also to a PIL image.
    - Transparency (an alpha channel, or a palette entry, grey or colour marked transparent)
      is laid over white, rounded to the nearest level. Pillow does not show the colour that
      a 16-bit colour PNG marks; it stays.
    - CMYK becomes RGB by Pillow's plain rule, without colour profiles, as in Keras; with `srgb`
      the profile in the file turns colours of 8 bits, grey and CMYK to sRGB (`colours.py`).
    - Of a file with several pictures (an animation, pages) the first one counts.
    - 16-bit grey and colour keep their high byte, 12-bit grey its high 8 bits, also in a
      16-bit file (all values below 4096, some above 255). 16-bit colour that would have 16
      levels at most, and be nearly black, is refused: Pillow has dropped the rest. 32-bit
      grey is taken where its values are levels from 0 to 255, and refused elsewhere: nothing
      in the file says what black and white are.

    `box` is x1, y1, x2, y2 in pixels of the upright picture, rounded to whole pixels (halves
    to even) and clipped to the picture. `name` stands for the picture in errors; it defaults
    to the path or to what kind of source it is.

    Raises ImageError for a file that is missing, not a regular file, empty, of another
    format, corrupt, or cut off before its last pixel; for more than `max_pixels` pixels
    (width times height, read from the header); for an array of another type or shape; and
    for a box that is inverted, not finite, or has no pixel of the picture in it.
    ArgumentError for a box that is not four numbers and for a source that is none of the
    above.
    """
    rgb = partial(to_rgb, srgb=srgb)
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source) if name is None else name
        image = read_picture(os.fspath(source), name, max_pixels, rgb)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        name = "The picture given as bytes" if name is None else name
        image = read_picture(bytes(source), name, max_pixels, rgb)
    elif isinstance(source, Image.Image):
        name = "The PIL image given" if name is None else name
        check_pixels(source.size, name, max_pixels)
        with _lazy_image_lock:
            image = guarded(rgb, source, name)
    elif isinstance(source, np.ndarray):
        name = "The array given" if name is None else name
        image = _from_array(source, name, max_pixels)
    else:
        raise ArgumentError(
            f"{type(source).__name__} is not a picture",
            "Nothing was read",
            "Give a path, bytes, a PIL image or a uint8 array",
        )
    if box is not None:
        return image.crop(pixel_box(box, image.size, name))
    return image.copy() if image is source else image


def reduced(
    source: str | os.PathLike[str] | bytes,
    size: int,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """A small copy to look at: RGB, upright, its long side `size` pixels at most.

    A JPEG is decoded at an eighth, a quarter or half of its size where that is enough: several
    times as fast. Arguments and errors as for `decode`.
    """
    if not isinstance(source, bytes):
        source = os.fspath(source)
    if name is None:
        name = "The picture given as bytes" if isinstance(source, bytes) else source

    def small(opened: ImageFile.ImageFile) -> Image.Image:
        opened.draft(None, (size, size))  # None keeps the mode
        return to_rgb(opened)

    image = read_picture(source, name, max_pixels, small)
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    return image


def upright_size(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height of the picture as `decode` would return it, from the file's header.

    Raises ImageError as `decode`, but for what only its pixels would tell.
    """
    name = os.fspath(path)

    def upright(image: ImageFile.ImageFile) -> tuple[int, int]:
        width, height = image.size
        return (height, width) if orientation(image) >= 5 else (width, height)

    return read_picture(name, name, max_pixels, upright)


def _stretched(image: Image.Image, size: int, resize: str) -> np.ndarray:
    if image.size != (size, size):
        image = image.resize((size, size), RESIZE_FILTERS[resize])
    return np.array(image)


def _load_reduced(
    source: Source,
    size: int,
    box: Box | None,
    resize: str,
    name: str | None,
    max_pixels: int,
    srgb: bool,
) -> np.ndarray | None:
    """What `load` gives for a JPEG that is read smaller; None for all else."""
    data = jpeg_bytes(source)
    if data is None:
        return None
    if name is None:
        is_path = isinstance(source, (str, os.PathLike))
        name = os.fspath(source) if is_path else "The picture given as bytes"  # type: ignore[arg-type]
    return load_reduced(data, size, box, RESIZE_FILTERS[resize], str(name), max_pixels, srgb=srgb)


def _load_jpeg(
    source: Source,
    size: int,
    box: Box | None,
    resize: str,
    max_pixels: int,
    pixels_of: Pixels,
    srgb: bool,
) -> np.ndarray | None:
    """What `load` gives for a whole JPEG of grey or RGB, by `pixels_of`; None for all else.

    Pillow reads the header, and for None everything: so what is refused is refused by one
    code, with one message, whatever the decoder.
    """
    data = jpeg_bytes(source)
    if data is None:
        return None
    try:
        header = Jpeg(io.BytesIO(data))
        transpose = TRANSPOSE.get(orientation(header))
        width, height = header.size
        if header.mode not in ("L", "RGB") or not 0 < width * height <= max_pixels:
            return None
        if srgb and header.info.get("icc_profile"):
            return None  # one code turns colours
        turned = transpose in SWAPPING
        upright = (height, width) if turned else (width, height)
        whole = (0, 0, *upright)
        x1, y1, x2, y2 = whole if box is None else pixel_box(box, upright, "")
    except Exception:  # of a broken header, or a box that cannot be cut
        return None
    pixels = pixels_of(data)
    if pixels is None or pixels.shape != (height, width, 3):
        return None
    if transpose is None and resize == "nearest":
        return sample_nearest(pixels, (x1, y1, x2, y2), size)
    image = Image.fromarray(pixels)
    if transpose is not None:
        image = image.transpose(transpose)
    return _stretched(image.crop((x1, y1, x2, y2)), size, resize)


def _from_array(array: np.ndarray, name: str, max_pixels: int) -> Image.Image:
    if array.dtype != np.uint8:
        raise refusal(
            f"{name} has type {array.dtype}, not uint8",
            "Scale it to 0..255 and convert it with .astype(numpy.uint8)",
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise refusal(
            f"{name} has shape {array.shape}",
            "Give (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)",
        )
    check_pixels((array.shape[1], array.shape[0]), name, max_pixels)
    return guarded(to_rgb, Image.fromarray(np.ascontiguousarray(array)), name)
