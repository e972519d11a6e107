"""Whatever is wrong with a picture, as an `ImageError` that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import ImageError

MAX_PIXELS = 178_956_970
"""Largest picture decoded, in pixels: the number beyond which Pillow refuses by default.

Such a picture takes 0.7 GB of memory while it is decoded, and twice that with transparency.
"""

Result = TypeVar("Result")


class UnclearScale(Exception):
    """A whole picture whose numbers do not say what black and white are; `cure` what to do."""

    cure = "Convert it to 8-bit grey or colour first"


def guarded(step: Callable[[Any], Result], argument: Any, name: str) -> Result:
    """Run one step of Pillow's; whatever it raises becomes an ImageError.

    On hostile bytes Pillow's readers raise nearly anything (OSError, SyntaxError, ValueError,
    struct.error, IndexError, KeyError, ZeroDivisionError, zlib.error, ...), so that a list of
    types would always lack one.
    """
    try:
        return step(argument)
    except (ImageError, MemoryError):
        raise
    except UnclearScale as error:
        raise refusal(f"{name} is {error}", error.cure) from None
    except Exception as error:
        detail = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        cause = f"{name} cannot be decoded: it is damaged, cut off or of an unknown kind ({detail})"
        if "truncated" in detail.lower():
            cause = f"{name} cannot be decoded: it is cut off before its last pixel ({detail})"
        raise refusal(cause, "Fetch or copy the file again, or leave it out") from error


def check_pixels(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise refusal(f"{name} has no pixels ({width} x {height})", "Leave it out")
    if width * height > max_pixels:
        raise refusal(
            f"{name} has {width} x {height} pixels, more than the limit of {max_pixels:,}",
            "If it is no decompression bomb, reduce it, or raise max_pixels",
        )


def refusal(cause: str, cure: str) -> ImageError:
    return ImageError(cause, "The picture was not read", cure)
