"""What this machine can do at most, measured, so that a speed can be told as a share of it."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from ..kernels.cache import compiled
from ..search import available_threads


@compiled(numba.uint64(numba.types.Array(numba.uint64, 1, "C")))
def _read(words):  # type: ignore[no-untyped-def]
    total = np.uint64(0)
    for i in range(len(words)):
        total ^= words[i]
    return total


def read_bandwidth(threads: int | None = None, size: int = 1 << 30, repeats: int = 7) -> float:
    """Bytes a second that all threads together read from memory, median of ``repeats``.

    ``size`` bytes should exceed the last-level cache by far; each thread reads its share
    once per repeat.
    """
    threads = threads or available_threads()
    words = np.ones(size // 8, np.uint64)  # written once: untouched pages would not be memory
    shares = np.array_split(words, threads)
    times = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats + 1):
            start = time.perf_counter()
            list(pool.map(_read, shares))
            times.append(time.perf_counter() - start)
    return words.nbytes / statistics.median(times[1:])
