"""Arrays that begin on a cache line: vectors of 64 bytes then never straddle two."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

LINE = 64


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray:
    """An uninitialised C-contiguous array whose first byte starts a cache line."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE
    return np.ndarray(shape, dtype, memory, start)
