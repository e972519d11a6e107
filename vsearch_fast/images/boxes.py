"""Boxes in pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..checks import PixelBox
from ..errors import ArgumentError
from .refusals import refusal

Box = Sequence[float] | np.ndarray
"""x1, y1, x2, y2 in pixels of the upright picture; x2 and y2 are outside the box."""


def pixel_box(box: Box, size: tuple[int, int], name: str) -> PixelBox:
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
        raise refusal(f"The box {shown} of {name} is not finite", "Correct the box")
    x1, y1, x2, y2 = map(round, values)
    if x1 >= x2 or y1 >= y2:
        raise refusal(
            f"The box {shown} of {name} is empty or inverted",
            "Give x1, y1, x2, y2 with x1 < x2 and y1 < y2, in pixels",
        )
    width, height = size
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if x1 >= x2 or y1 >= y2:
        raise refusal(
            f"The box {shown} lies outside {name}, which has {width} x {height} pixels",
            "Correct the box",
        )
    return x1, y1, x2, y2
