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

import contextlib
import io
import math
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from vsearch_fast._jpeg import SIGNATURE, Decoder, Pixels, jpeg_bytes, sample_nearest
from vsearch_fast.errors import ArgumentError, ImageError

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | np.ndarray
"""One picture: a path, an encoded file's bytes, a PIL image or a uint8 array."""

Box = Sequence[float] | np.ndarray
"""x1, y1, x2, y2 in pixels of the upright picture; x2 and y2 are outside the box."""

MAX_PIXELS = 178_956_970
"""Largest picture decoded, in pixels: the number beyond which Pillow refuses by default.

Such a picture takes 0.7 GB of memory while it is decoded, and twice that with transparency.
"""

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)
"""Endings, in lower case, of the files that `find_images` lists."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WebP")
"""Formats read; of a GIF, TIFF or WebP with several pictures the first."""

RESIZE_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Resize rules by name; all but "nearest" widen with the reduction, so that they antialias."""

Result = TypeVar("Result")

_OPENERS: tuple[tuple[tuple[bytes, ...], Callable[[BinaryIO], ImageFile.ImageFile]], ...] = (
    # The plugins are called directly: Image.open would apply Pillow's process-wide pixel
    # limit, warn halfway to it, and try any reader that other code has registered.
    ((SIGNATURE,), JpegImagePlugin.jpeg_factory),
    ((b"\x89PNG\r\n\x1a\n",), PngImagePlugin.PngImageFile),
    ((b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile),
    ((b"BM",), BmpImagePlugin.BmpImageFile),
    (tuple(TiffImagePlugin.PREFIXES), TiffImagePlugin.TiffImageFile),
)

_TRANSPOSE = {  # by EXIF orientation; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_SWAPPING = [_TRANSPOSE[orientation] for orientation in (5, 6, 7, 8)]  # width and height

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
    it does not take, and all where there is none, is Pillow's. Other arguments and errors as
    in `decode`; ArgumentError for a size below 1 or an unknown filter.
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
    if decoder is not None and decoder.pixels is not None:
        pixels = _load_jpeg(source, size, box, resize, max_pixels, decoder.pixels)
        if pixels is not None:
            return pixels
    image = decode(source, box, name=name, max_pixels=max_pixels)
    return _stretched(image, size, resize)


def decode(
    source: Source,
    box: Box | None = None,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Read one picture: a new RGB image, upright, over white, cut to its box.

    `source` is a path (str or Path), the bytes of an encoded file, a PIL image (its current
    frame) or a uint8 array of shape (h, w), (h, w, 1), (h, w, 3) RGB or (h, w, 4) RGBA.

    - The EXIF orientation, where there is one, is applied first, also to a PIL image.
    - Transparency (an alpha channel, or a palette entry, grey or colour marked transparent)
      is laid over white, rounded to the nearest level. Pillow does not show the colour that
      a 16-bit colour PNG marks; it stays.
    - CMYK becomes RGB by Pillow's plain rule, without colour profiles, as in Keras.
    - 16-bit grey and colour keep their high byte (12-bit grey its high 8 bits). 32-bit grey
      is taken where its values are levels from 0 to 255, and refused elsewhere: nothing in
      the file says what black and white are.

    `box` is x1, y1, x2, y2 in pixels of the upright picture, rounded to whole pixels (halves
    to even) and clipped to the picture. `name` stands for the picture in errors; it defaults
    to the path or to what kind of source it is.

    Raises ImageError for a file that is missing, not a regular file, empty, of another
    format, corrupt, or cut off before its last pixel; for more than `max_pixels` pixels
    (width times height, read from the header; GIF, TIFF and WebP are held to Pillow's own
    limit besides); for an array of another type or shape; and for a box that is inverted,
    not finite, or has no pixel of the picture in it. ArgumentError for a box that is not
    four numbers and for a source that is none of the above.
    """
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source) if name is None else name
        with _opened(os.fspath(source), name, max_pixels) as opened:
            image = _guarded(_to_rgb, opened, name)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        name = "The picture given as bytes" if name is None else name
        image = _guarded(_to_rgb, _header(io.BytesIO(source), name, max_pixels), name)
    elif isinstance(source, Image.Image):
        name = "The PIL image given" if name is None else name
        _check_pixels(source.size, name, max_pixels)
        with _lazy_image_lock:
            image = _guarded(_to_rgb, source, name)
    elif isinstance(source, np.ndarray):
        name = "The array given" if name is None else name
        image = _from_array(source, name, max_pixels)
    else:
        raise ArgumentError(
            f"A {type(source).__name__} is not a picture",
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
    file: contextlib.AbstractContextManager[ImageFile.ImageFile]
    if isinstance(source, bytes):
        name = "The picture given as bytes" if name is None else name
        file = contextlib.nullcontext(_header(io.BytesIO(source), name, max_pixels))
    else:
        name = os.fspath(source) if name is None else name
        file = _opened(os.fspath(source), name, max_pixels)
    with file as opened:
        opened.draft(None, (size, size))  # None keeps the mode
        image = _guarded(_to_rgb, opened, name)
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    return image


def upright_size(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height of the picture as `decode` would return it, from the file's header.

    Raises ImageError as `decode`, but for what only its pixels would tell.
    """
    name = os.fspath(path)
    with _opened(name, name, max_pixels) as image:
        width, height = image.size
        return (height, width) if _orientation(image) >= 5 else (width, height)


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """All picture files under `folder`, at any depth, sorted by path.

    A picture file is anything but a folder whose name ends in one of `IMAGE_SUFFIXES`, in any
    case; a link that leads nowhere is listed too, so that whoever reads it reports it. Files
    and folders whose name begins with a dot are left out, and links to folders are not
    followed. Raises ArgumentError when `folder` is not a folder, and ImageError when it or a
    folder in it cannot be listed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise ArgumentError(
            f"{folder} {problem}", "No pictures were looked for", "Give a folder of pictures"
        )

    def refuse(error: OSError) -> None:
        raise ImageError(
            f"{error.filename} cannot be listed ({error.strerror})",
            "No list of pictures was made, as it would lack some",
            "Make the folder readable, or move it away",
        ) from error

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [entry for entry in folders if not entry.startswith(".")]
        paths = (Path(parent, entry) for entry in files if not entry.startswith("."))
        found += [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(found)


def _stretched(image: Image.Image, size: int, resize: str) -> np.ndarray:
    if image.size != (size, size):
        image = image.resize((size, size), RESIZE_FILTERS[resize])
    return np.array(image)


def _load_jpeg(
    source: Source,
    size: int,
    box: Box | None,
    resize: str,
    max_pixels: int,
    pixels_of: Pixels,
) -> np.ndarray | None:
    """What `load` gives for a whole JPEG of grey or RGB, by `pixels_of`; None for all else.

    Pillow reads the header, and for None everything: so what is refused is refused by one
    code, with one message, whatever the decoder.
    """
    data = jpeg_bytes(source)
    if data is None:
        return None
    try:
        header = JpegImagePlugin.jpeg_factory(io.BytesIO(data))
        transpose = _TRANSPOSE.get(_orientation(header))
        width, height = header.size
        if header.mode not in ("L", "RGB") or not 0 < width * height <= max_pixels:
            return None
        turned = transpose in _SWAPPING
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


@contextlib.contextmanager
def _opened(path: str, name: str, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """A picture's file, its header read; ImageError for whatever is wrong with either."""
    try:
        # Opening a named pipe would wait for a writer, and reading a device may never end.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise _refusal(f"{name} is {kind}", "Give the path of a picture file")
        with open(path, "rb") as file:
            yield _header(file, name, max_pixels)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise _refusal(f"{name} does not exist", "Check the path") from error
    except OSError as error:
        raise _refusal(
            f"{name} cannot be opened ({error.strerror})", "Check the path and its permissions"
        ) from error
    except ValueError as error:  # a NUL character in the path
        raise _refusal(f"{name!r} is not a path ({error})", "Check the path") from error


def _header(file: BinaryIO, name: str, max_pixels: int) -> ImageFile.ImageFile:
    """An open file's picture, not decoded yet; its type is found by its first bytes."""
    prefix = file.read(30)
    if not prefix:
        raise _refusal(f"{name} is empty", "Fetch or copy the file again")
    opener = _opener(prefix)
    if opener is None:
        raise _refusal(
            f"{name} is not an image of a format that is read here",
            f"Convert it to one of {', '.join(FORMATS)}",
        )
    if opener is WebPImagePlugin.WebPImageFile:
        # Its constructor already makes the canvas.
        _check_pixels(_guarded(_webp_size, prefix, name), name, max_pixels)
    file.seek(0)
    image = _guarded(opener, file, name)
    _check_pixels(image.size, name, max_pixels)
    return image


def _opener(prefix: bytes) -> Callable[[BinaryIO], ImageFile.ImageFile] | None:
    if prefix[:4] == b"RIFF" and prefix[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    for signatures, opener in _OPENERS:
        if prefix.startswith(signatures):
            return opener
    return None


def _webp_size(header: bytes) -> tuple[int, int]:
    """Width and height from a WebP file's first 30 bytes (RFC 9649, sections 2.5 to 2.7)."""
    kind = header[12:16]
    if kind == b"VP8X":
        return (
            int.from_bytes(header[24:27], "little") + 1,
            int.from_bytes(header[27:30], "little") + 1,
        )
    if kind == b"VP8L":
        bits = int.from_bytes(header[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<2H", header[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("a WebP file without a picture at its start")


def _guarded(step: Callable[[Any], Result], argument: Any, name: str) -> Result:
    """Run one step of Pillow's; whatever it raises becomes an ImageError.

    On hostile bytes Pillow's readers raise nearly anything (OSError, SyntaxError, ValueError,
    struct.error, IndexError, KeyError, ZeroDivisionError, zlib.error, ...), so that a list of
    types would always lack one.
    """
    try:
        return step(argument)
    except ImageError:
        raise
    except Exception as error:
        detail = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise _refusal(
            f"{name} cannot be decoded: it is damaged, cut off or of an unknown kind ({detail})",
            "Fetch or copy the file again, or leave it out",
        ) from error


def _check_pixels(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise _refusal(f"{name} has no pixels ({width} x {height})", "Leave it out")
    if width * height > max_pixels:
        raise _refusal(
            f"{name} has {width} x {height} pixels, more than the limit of {max_pixels:,}",
            "If it is no decompression bomb, reduce it, or raise max_pixels",
        )


def _from_array(array: np.ndarray, name: str, max_pixels: int) -> Image.Image:
    if array.dtype != np.uint8:
        raise _refusal(
            f"{name} has type {array.dtype}, not uint8",
            "Scale it to 0..255 and convert it with .astype(numpy.uint8)",
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise _refusal(
            f"{name} has shape {array.shape}",
            "Give (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)",
        )
    _check_pixels((array.shape[1], array.shape[0]), name, max_pixels)
    return _guarded(_to_rgb, Image.fromarray(np.ascontiguousarray(array)), name)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Decode the pixels; upright and over white. Returns `image` itself if nothing changes."""
    image.load()
    transpose = _TRANSPOSE.get(_orientation(image))
    if image.mode == "I" or image.mode == "F" or image.mode.startswith("I;16"):
        image = _deep_grey(image)
    if image.has_transparency_data:
        image = _over_white(image)
    elif image.mode != "RGB":
        image = image.convert("RGB")
    if transpose is None:
        return image
    upright = image.transpose(transpose)
    upright.info = {}  # with the tag, whoever decodes it again would turn it again
    return upright


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) when there is none or the block is broken."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # Pillow's EXIF reader raises as freely as its decoders. The pixels are whole, and a
        # tag that nobody can read turns no picture.
        return 1


def _over_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    canvas = Image.new("RGB", image.size, (255, 255, 255))
    canvas.paste(image, mask=image)
    return canvas


def _deep_grey(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits as 8-bit grey, mode L or LA (see `decode`)."""
    values = np.asarray(image)
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        low, high = float(values.min()), float(values.max())
        # Floats up to 1 are levels of another scale, which Keras shows as black.
        if not (low >= 0 and (1 < high <= 255 or low == high == 0)):
            raise ValueError(
                f"32-bit grey with values from {low:g} to {high:g}, not 0 to 255: "
                "convert it to 8-bit grey first"
            )
        return image.convert("L")
    bits = 16
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Pillow opens 12-bit TIFF as I;16 without scaling it.
        bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    grey = Image.fromarray((values >> (bits - 8)).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def pixel_box(box: Box, size: tuple[int, int], name: str) -> tuple[int, int, int, int]:
    """The box in whole pixels, clipped to a picture of `size` (width, height), as `decode` cuts.

    Errors as there.
    """
    try:
        values = [float(value) for value in box]
    except (TypeError, ValueError):
        values = []
    if len(values) != 4:
        raise ArgumentError(
            f"The box {box!r} of {name} is not four numbers",
            "The picture was not read",
            "Give x1, y1, x2, y2 in pixels",
        )
    shown = ", ".join(f"{value:g}" for value in values)
    if not all(map(math.isfinite, values)):
        raise _refusal(f"The box {shown} of {name} is not finite", "Correct the box")
    x1, y1, x2, y2 = map(round, values)
    if x1 >= x2 or y1 >= y2:
        raise _refusal(
            f"The box {shown} of {name} is empty or inverted",
            "Give x1, y1, x2, y2 with x1 < x2 and y1 < y2, in pixels",
        )
    width, height = size
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if x1 >= x2 or y1 >= y2:
        raise _refusal(
            f"The box {shown} lies outside {name}, which has {width} x {height} pixels",
            "Correct the box",
        )
    return x1, y1, x2, y2


def _refusal(cause: str, cure: str) -> ImageError:
    return ImageError(cause, "The picture was not read", cure)
