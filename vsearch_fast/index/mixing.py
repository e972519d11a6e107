"""Row numbers without their order."""

from __future__ import annotations

import numpy as np


def mixed(rows: np.ndarray) -> np.ndarray:
    """An order without order: uint64 for int64 row numbers, a different one for each.

    It is the output function of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom
    Number Generators, 2014), a bijection, the same on every machine and in every NumPy.
    """
    value = rows.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
