"""As many codes of 4096 bits as memory takes, ten million at most: seconds a search."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from vsearch_fast import topk
from vsearch_fast.bench.machine import available_memory

from .merging import median
from .rows import Say

BYTES = 512
MOST = 10_000_000

#: Of the memory that is free, so much at most.
_SHARE = 0.6


def measure(rows: int | None, say: Say) -> dict[str, Any]:
    """The section. Codes are random: nothing but the codes themselves tells which are near."""
    rows = min(rows or MOST, int(available_memory() * _SHARE) // BYTES)
    say(f"codes: {rows:,}")
    rng = np.random.default_rng(0)
    codes = np.empty((rows, BYTES), np.uint8)
    for start in range(0, rows, 1 << 17):
        part = codes[start : start + (1 << 17)]
        part[:] = np.frombuffer(rng.bytes(part.nbytes), np.uint8).reshape(part.shape)
    chosen = rng.integers(0, rows, 64)
    queries = codes[chosen] ^ np.packbits(rng.random((64, BYTES * 8)) < 0.1, axis=1)
    result: dict[str, Any] = {"rows": rows, "bytes": codes.nbytes, "seconds": {}}
    for count in (1, 16, 64):
        say(f"codes: {count} queries")
        began = time.perf_counter()
        _, ids = topk(queries[:count], codes, 10, metric="hamming")
        first = time.perf_counter() - began
        # A query differs from one code in a tenth of its bits, and from the others in half.
        assert np.array_equal(ids[:, 0], chosen[:count])
        part = queries[:count]
        again = median(lambda part=part: topk(part, codes, 10, metric="hamming"), 3)  # type: ignore[misc]
        result["seconds"][str(count)] = {"first": first, "median": again}
    return result
