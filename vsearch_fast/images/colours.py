"""A picture's own colours as sRGB, by the ICC profile in its file.

Cameras and scanners write Adobe RGB, Display P3 or a printer's CMYK, and say so in a profile that
Keras, and all readers here unless they are asked (``+srgb``), pass over. Asked, LittleCMS turns the
colours: relative colorimetric, with black point compensation, as browsers and editors show them.
"""

from __future__ import annotations

import io

from PIL import Image, ImageCms

#: Modes of Pillow that a profile of this colour space describes.
_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}

#: Modes without colours, which a profile of grey or of RGB describes.
_GREY = ("1", "L", "LA")


def to_srgb(image: Image.Image) -> Image.Image:
    """A decoded picture of 8 bits in sRGB, its transparency kept; mode RGB or RGBA.

    `image` itself where it has no profile, one that calls itself sRGB, or one that is broken or of
    another kind of colours than the pixels: then the numbers are taken as they are.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES.get(source.profile.xcolor_space, "")
        if not mode or "srgb" in (source.profile.profile_description or "").lower():
            return image
        pixels = "CMYK" if image.mode == "CMYK" else "L" if image.mode in _GREY else "RGB"
        if pixels != mode and (pixels, mode) != ("L", "RGB"):
            return image
        alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
        turned = ImageCms.profileToProfile(
            image.convert(mode),
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    assert turned is not None  # it is None in place alone
    if alpha is not None:
        turned.putalpha(alpha)
    return turned
