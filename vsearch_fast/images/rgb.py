"""From a decoded picture of any mode to upright RGB over white."""

from __future__ import annotations

import numpy as np
from PIL import (
    ExifTags,
    Image,
    TiffImagePlugin,
)

from .colours import to_srgb
from .refusals import UnclearScale

TRANSPOSE = {  # by EXIF orientation; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

SWAPPING = [TRANSPOSE[orientation] for orientation in (5, 6, 7, 8)]  # width and height


def to_rgb(image: Image.Image, srgb: bool = False) -> Image.Image:
    """Decode the pixels; upright and over white. Returns `image` itself if nothing changes.

    With `srgb` the colours of 8 bits are turned by the picture's own profile (`colours.py`).
    """
    is_deep_colour = _is_deep_colour(image)
    image.load()
    transpose = TRANSPOSE.get(orientation(image))
    if is_deep_colour and image.mode in ("RGB", "RGBA"):
        _refuse_nearly_black(image)
    if image.mode == "I" or image.mode == "F" or image.mode.startswith("I;16"):
        image = _deep_grey(image)
    elif srgb:
        image = to_srgb(image)
    if image.has_transparency_data:
        image = _over_white(image)
    elif image.mode != "RGB":
        image = image.convert("RGB")
    if transpose is None:
        return image
    upright = image.transpose(transpose)
    upright.info = {}  # with the tag, whoever decodes it again would turn it again
    return upright


def orientation(image: Image.Image) -> int:
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


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether a file that is not decoded yet holds colour of 16 bits."""
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def _refuse_nearly_black(image: Image.Image) -> None:
    """Of 16-bit colour Pillow keeps the high byte: 12-bit numbers would leave 16 levels."""
    highest = max(high for _, high in image.convert("RGB").getextrema())  # type: ignore[misc]
    if 1 <= highest < 16:
        raise UnclearScale(
            f"16-bit colour with values below {256 * (highest + 1):,} of 65,536, nearly black: "
            "12-bit numbers, or underexposed"
        )


def _deep_grey(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits as 8-bit grey, mode L or LA (see `decode`)."""
    values = np.asarray(image)
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        low, high = float(values.min()), float(values.max())
        # Floats up to 1 are levels of another scale, which Keras shows as black.
        if not (low >= 0 and (1 < high <= 255 or low == high == 0)):
            raise UnclearScale(f"32-bit grey with values from {low:g} to {high:g}, not 0 to 255")
        return image.convert("L")
    bits = 16
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Pillow opens 12-bit TIFF as I;16 without scaling it.
        bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    if bits == 16 and 256 <= values.max(initial=0) < 4096:
        bits = 12  # a sensor's numbers as they are: as 16 bits they would be nearly black
    grey = Image.fromarray((values >> (bits - 8)).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey
