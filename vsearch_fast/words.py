"""The words of the house: distances in their order, rules of codes, and numbers in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

Metric = Literal["l2", "l1", "hamming", "cosine", "ip"]

#: All that a search takes, in the order in which they are offered and told.
METRICS: tuple[Metric, ...] = get_args(Metric)

#: Those that pictures are judged by: thresholds and labels are kept for them, tables of accuracy
#: have a column for each, and "all" means them.
JUDGED: tuple[Metric, ...] = ("l2", "l1", "hamming")

#: The least distance that there is: of the cosine a rounding below 0, of parallel rows.
LEAST: Mapping[str, float] = {
    "l2": 0.0, "l1": 0.0, "hamming": 0.0, "cosine": -(2.0**-40), "ip": -math.inf,
}  # fmt: skip

#: How the bits of a code are made of features: above 0, above each number's median, or the signs of
#: a learnt projection. What is not ZERO the model's file alone knows.
ZERO, MEDIAN, ITQ = BINARIZE = ("zero", "median", "itq")


def plural(number: int, one: str, several: str = "") -> str:
    """``1 picture``, ``2,000 pictures``; `several` where it is not `one` and an s."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def distance_text(distance: float) -> str:
    """Bits as they are, sums with five significant digits."""
    return str(distance) if isinstance(distance, int) else f"{distance:.5g}"
