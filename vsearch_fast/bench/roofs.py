"""What this machine can do at most, measured, so that a speed can be told as a share of it.

A *step* is the work of a search on one byte of packed signs, or on one feature. Roofs:

``read``        bytes/s that all threads together read from memory
``popcount``    steps/s of Hamming distance: exclusive or and population count of a byte
``byte sad``    steps/s of L1 on 8-bit sketches
``byte dot``    steps/s of L2 on 8-bit sketches
``float sad``   steps/s of L1 on float32
``float fma``   steps/s of L2 on float32: a multiply-add, as matrix products are made of
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ..machine import available_threads
from ..system import cache_sizes

#: Bytes of one vector of a tile: eight of them lie in the first-level cache.
_LENGTH = 2048
#: Seconds that one timing of an instruction roof takes.
_SECONDS = 0.02


@dataclass(frozen=True)
class Roofs:
    """Rates in steps/s (see the module), ``read`` in bytes/s, with all ``threads``."""

    threads: int
    read: float
    read_slowest: float
    read_fastest: float
    popcount: float
    byte_sad: float
    byte_dot: float
    float_sad: float
    float_fma: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def read_shares(array: NDArray, threads: int) -> list[tuple[int, int]]:
    """(address, bytes) of each thread's share of a C-contiguous array, in whole 512 bytes."""
    cuts = [array.nbytes * i // threads // 512 * 512 for i in range(threads + 1)]
    base = array.__array_interface__["data"][0]
    return [(base + a, b - a) for a, b in itertools.pairwise(cuts)]


def reader(array: NDArray, threads: int) -> Callable[[ThreadPoolExecutor], None]:
    """A function that reads all of the array once, each thread of a pool its share."""
    from .roof_kernels import read

    shares = read_shares(array, threads)

    def once(pool: ThreadPoolExecutor) -> None:
        list(pool.map(lambda share: read(*share), shares))

    return once


def read_bandwidth(
    threads: int | None = None, size: int = 1 << 30, repeats: int = 9
) -> tuple[float, float, float]:
    """(median, slowest, fastest) bytes a second of ``repeats`` reads of ``size`` bytes.

    ``size`` should exceed the last-level cache by far. Two reads go before, untimed.
    """
    threads = threads or available_threads()
    array = np.ones(size // 8, np.uint64)  # written once: untouched pages would not be memory
    once = reader(array, threads)
    times = []
    with ThreadPoolExecutor(threads) as pool:
        for number in range(repeats + 2):
            start = time.perf_counter()
            once(pool)
            if number >= 2:
                times.append(time.perf_counter() - start)
    return array.nbytes / statistics.median(times), size / max(times), size / min(times)


def instruction_rate(name: str, threads: int | None = None, repeats: int = 9) -> float:
    """Steps a second of one kernel of `roof_kernels` in all threads, fastest of ``repeats``.

    The fastest, since nothing but another program's work changes it. (Bandwidth is a median: it
    varies by itself.)
    """
    from . import roof_kernels as kernels

    threads = threads or available_threads()
    kernel = getattr(kernels, name)
    size = 4 if name.startswith("float") else 1
    block = 2 * kernels.SIDE * _LENGTH
    # Each thread's vectors on pages of their own; ones, since float steps on noise could meet
    # subnormal numbers, which are slow.
    store = np.ones(((block + 8192) * threads) // size, np.float32 if size == 4 else np.uint8)
    base = -(-store.__array_interface__["data"][0] // 4096) * 4096
    places = [base + i * (block + 4096) for i in range(threads)]
    steps = kernels.SIDE**2 * _LENGTH // size

    def seconds(pool: ThreadPoolExecutor, rounds: int) -> float:
        start = time.perf_counter()
        list(pool.map(lambda place: kernel(place, _LENGTH, rounds), places))
        return time.perf_counter() - start

    with ThreadPoolExecutor(threads) as pool:
        rounds = 1000
        while (spent := seconds(pool, rounds)) < _SECONDS / 4:
            rounds *= 4
        rounds = max(1, int(rounds * _SECONDS / spent))
        seconds(pool, rounds)
        times = [seconds(pool, rounds) for _ in range(repeats)]
    # `store` is named here so that it lives until the last kernel has returned.
    return store.size * 0 + threads * steps * rounds / min(times)


def measure_roofs(
    threads: int | None = None,
    *,
    quick: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Roofs:
    """All roofs; about ten seconds, ``quick`` about two, and compilation the first time."""
    threads = threads or available_threads()
    repeats = 5 if quick else 15
    say("roofs: read bandwidth")
    size = max(1 << 28, 4 * last_level_cache()) if quick else max(1 << 30, 8 * last_level_cache())
    read, slowest, fastest = read_bandwidth(threads, min(size, 1 << 32), repeats)
    rates = {}
    for name in ("popcount", "byte_sad", "byte_dot", "float_sad", "float_fma"):
        say(f"roofs: {name.replace('_', ' ')}")
        rates[name] = instruction_rate(name, threads, repeats)
    return Roofs(threads, read, slowest, fastest, **rates)


def last_level_cache() -> int:
    """Bytes of the largest cache that the system tells of; 32 MiB where it tells nothing."""
    return max([*cache_sizes(), 1 << 25])
