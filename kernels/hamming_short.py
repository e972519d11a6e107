"""Hamming distance of rows of 8 to 128 bytes that lie one behind the other.

Such rows are shorter than what a search does around them: a list of their numbers, one load a
row and a sum across a register would each cost more than the distance. Eight rows are as many
vectors as a row has words. They meet the query, repeated eight times, and their counts are added
in pairs until each lane of one vector is a row's distance, which is compared there.
"""

from __future__ import annotations

import numba
import numpy as np

from ..loading import once
from .cache import Kernel, compiled
from .level import counts_in_vectors, simd_level
from .select import append, histogram_for, shrink_whole
from .simd import count_trailing_zeros
from .simd_bits import copy_words, counted_by_bytes, rows_at_once, short_rows

#: Words of 8 bytes a row for which there is a kernel: 64 to 1,024 bits.
WORDS = (1, 2, 3, 4, 6, 8, 12, 16)
TILE_BYTES = 16384  # rows that stay in the first-level cache while the queries pass

_U8, _I32, _I64 = numba.uint8, numba.int32, numba.int64
_SIGNATURE = _I64(
    numba.intp, numba.intp, _I64,  # queries: address, stride in bytes, how many
    numba.intp, numba.intp, _I64,  # rows: address, stride in bytes, bytes a row
    _I64, _I64, _I64,  # first row, row behind the last, id of row 0
    numba.types.Array(_U8, 1, "C", readonly=True), _I64, _I64,  # live, rows a tile, k
    numba.types.Array(_I32, 2, "C"), numba.types.Array(_I64, 2, "C"),
    numba.types.Array(_I64, 1, "C"), numba.types.Array(_I32, 1, "C"),
)  # fmt: skip


def scanner(length: int) -> Kernel | None:
    """The kernel for rows of ``length`` bytes, where there is one."""
    words, rest = divmod(length, 8)
    if rest or words not in WORDS:
        return None
    by_bytes = counted_by_bytes(words) and simd_level() != "portable" and not counts_in_vectors()
    return _scanner(words, int(by_bytes))


@once
def _scanner(words: int, by_bytes: int) -> Kernel:
    """The kernel for rows of so many words; see `hamming.scanner`.

    ``row_stride`` must be the rows' own bytes: nothing lies between them.
    """
    step = rows_at_once(words)
    row_bytes = 8 * words

    def hamming_short_scan(
        query_base, query_stride, queries,
        row_base, row_stride, length,
        start, stop, id_offset,
        live, tile_rows, k,
        distances, ids, counts, limits,
    ):  # fmt: skip
        patterns = np.empty(queries * 8 * row_bytes + 64, np.uint8)
        last_rows = np.zeros(step * row_bytes, np.uint8)
        tile = np.empty(step, np.int32)
        # Numba frees an array after the last use of its name: these are named in the loop, too.
        patterns_at = patterns.ctypes.data
        patterns_at += -patterns_at % 64
        tile_at, last_at = tile.ctypes.data, last_rows.ctypes.data
        for q in range(queries):
            for copy in range(8):
                copy_words(
                    patterns_at + (8 * q + copy) * row_bytes, query_base + q * query_stride, words
                )
        whole = start + (stop - start) // step * step
        if whole < stop:
            copy_words(last_at, row_base + whole * row_bytes, (stop - whole) * words)
        histogram = histogram_for(8 * row_bytes)
        distances_at, ids_at, counts_at = distances.ctypes.data, ids.ctypes.data, counts.ctypes.data
        capacity = distances.shape[1]
        rows = max(step, min(tile_rows, TILE_BYTES // row_bytes) // step * step)
        for first in range(start, stop, rows):
            last = min(first + rows, stop)
            for q in range(queries):
                pattern = patterns_at + 8 * q * row_bytes
                limit = np.int64(limits[q])
                for r in range(first, last, step):
                    at = row_base + r * row_bytes
                    if r == whole:
                        at = last_at
                    below = short_rows(words, by_bytes, at, pattern, limit, tile_at)
                    while below != 0:
                        j = count_trailing_zeros(below)
                        below &= below - 1
                        # Ascending rows, so that equal distances come by ascending id.
                        if r + j < last and tile[j] < limit and (
                            len(live) == 0 or live[r + j] != 0
                        ) and append(
                            q, tile[j], id_offset + r + j,
                            distances_at, ids_at, counts_at, capacity,
                        ):  # fmt: skip
                            shrink_whole(q, k, distances, ids, counts, limits, histogram)
                            limit = np.int64(limits[q])
        # What addresses alone know until here.
        patterns[0] = last_rows[0]
        return -1

    name = f"hamming_short_scan_{words}_{by_bytes}"
    hamming_short_scan.__name__ = hamming_short_scan.__qualname__ = name
    return compiled(_SIGNATURE)(hamming_short_scan)
