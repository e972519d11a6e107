"""Hamming distance in two stages: sums of groups of bits exclude most rows, the rest is counted.

The bits of a row are divided into disjoint groups of at most 255, some of them inverted, and each
group's set bits are counted: a byte a group. Where two rows differ in h bits of a group, these
counts differ by at most h. So

    d(q, x) >= sum over groups of |S(q) - S(x)|,

in whole numbers, whatever the groups. Nothing is rounded and nothing has to be proved of how they
were chosen; groups of bits that are set together make the bound tight. A row whose bound reaches
the limit is never read.
"""

from __future__ import annotations

import numba
import numpy as np

from ..loading import once
from .cache import Kernel, compiled
from .level import counts_by_bytes
from .select import append, histogram_for, shrink_whole
from .simd import count_trailing_zeros, hamming_u8_1x8
from .simd_groups import ROWS, VECTOR, add_bytes, copy_row, groups_below
from .simd_u8 import prefetch

MOST_BITS = 255  # of a group: its sum is a byte
TILE_BYTES = 128 << 10  # rows that stay in the second-level cache while the queries pass
FEW_ROWS = 64  # of a tile, for one query: those that are left are asked for ahead

_U8, _I32, _I64 = numba.uint8, numba.int32, numba.int64


@compiled(
    numba.void(
        numba.intp, numba.intp, _I64, _I64,  # rows: address, stride in bytes, bytes a row, how many
        numba.types.Array(_U8, 3, "C", readonly=True), numba.types.Array(_U8, 2, "C"),
    )
)  # fmt: skip
def group_sums(row_base, row_stride, length, rows, table, sums):
    """Write the sums of all groups of each row.

    ``table`` ``(2 * length, 16, width)`` has what a value of each half byte adds to each sum, the
    lower half first; ``sums`` is ``(rows, width)``. Both begin on 32 bytes.
    """
    width = sums.shape[1]
    table_at, sums_at = table.ctypes.data, sums.ctypes.data
    row = np.empty(length, np.uint8)
    row_at = row.ctypes.data
    for r in range(rows):
        out = sums_at + r * width
        sums[r] = 0
        copy_row(row_at, row_base + r * row_stride, length)
        for i in range(length):
            value = np.int64(row[i])
            low = table_at + (32 * i + (value & 15)) * width
            add_bytes(out, low, width // VECTOR)
            high = table_at + (32 * i + 16 + (value >> 4)) * width
            add_bytes(out, high, width // VECTOR)


_SIGNATURE = _I64(
    numba.intp, numba.intp, _I64, numba.intp,  # queries: address, stride, how many; their sums
    numba.intp, numba.intp, _I64, numba.intp,  # rows: address, stride, bytes a row; their sums
    _I64, _I64, _I64,  # first row, row behind the last, id of row 0
    numba.types.Array(_U8, 1, "C", readonly=True), _I64,  # live, k
    numba.types.Array(_I32, 2, "C"), numba.types.Array(_I64, 2, "C"),
    numba.types.Array(_I64, 1, "C"), numba.types.Array(_I32, 1, "C"),
)  # fmt: skip


@once
def scanner(level: int, vectors: int, words: int) -> Kernel:
    """The scan for rows of ``vectors`` times 32 sums, of ``words`` times 64 bytes (0: any length).

    It scans rows ``start`` to ``stop`` for all queries; see `select` for the buffers. Limits may
    begin at any distance that k rows are known to be below. Queries' sums begin on 32 bytes.
    Returns how many pairs the bounds left.
    """
    width = vectors * VECTOR
    by_bytes = int(counts_by_bytes())

    def hamming_groups_scan(
        query_base, query_stride, queries, query_sums,
        row_base, row_stride, length, row_sums,
        start, stop, id_offset,
        live, k,
        distances, ids, counts, limits,
    ):  # fmt: skip
        tile = FEW_ROWS if queries == 1 else max(ROWS, TILE_BYTES // max(1, length) // ROWS * ROWS)
        found = np.empty((2, tile + 2 * ROWS), np.int64)
        eight = np.empty(ROWS, np.int32)
        eight_limits = np.empty(ROWS, np.int32)
        behind = np.zeros(ROWS * width, np.uint8)
        # Numba frees an array after the last use of its name: these are named in the loop, too.
        behind_at, found_at = behind.ctypes.data, found.ctypes.data
        eight_at, eight_limits_at = eight.ctypes.data, eight_limits.ctypes.data
        whole = start + (stop - start) // ROWS * ROWS
        copy_row(behind_at, row_sums + whole * width, (stop - whole) * width)
        histogram = histogram_for(8 * length)
        distances_at, ids_at, counts_at = distances.ctypes.data, ids.ctypes.data, counts.ctypes.data
        capacity = distances.shape[1]
        left = 0
        # One query's rows are counted a tile later than they are asked for.
        lag = 1 if queries == 1 else 0
        waiting = 0
        for first in range(start, stop + lag * tile, tile):
            last = min(first + tile, stop)
            for q in range(queries):
                limit = np.int64(limits[q])
                side = (first - start) // tile & lag
                count = 0
                for r in range(first, last, ROWS):
                    at = behind_at if r == whole else row_sums + r * width
                    below = groups_below(level, vectors, at, query_sums + q * width, limit)
                    if below == 0:
                        continue
                    # All eight are written, and those that are not left are written over.
                    for j in range(ROWS):
                        found[side, count] = r + j
                        row = min(r + j, last - 1)
                        lives = len(live) == 0 or live[row] != 0
                        count += (below >> j & 1) & (r + j < last) & lives
                left += count
                if lag:
                    for i in range(count):
                        prefetch(row_base + found[side, i] * row_stride, length)
                    side = 1 - side
                    count, waiting = waiting, count
                if count == 0:
                    continue
                for i in range(count, count + ROWS):
                    found[side, i] = found[side, count - 1]
                listed = found_at + 8 * side * found.shape[1]
                for j in range(ROWS):
                    eight_limits[j] = limit
                for i in range(0, count, ROWS):
                    below = hamming_u8_1x8(
                        words, by_bytes,
                        query_base + q * query_stride, query_stride, row_base, row_stride,
                        listed + 8 * i, length, eight_limits_at, eight_at,
                    )  # fmt: skip
                    while below != 0:
                        j = count_trailing_zeros(below)
                        below &= below - 1
                        # Ascending rows, so that equal distances come by ascending id.
                        if i + j < count and eight[j] < limit and append(
                            q, eight[j], id_offset + found[side, i + j],
                            distances_at, ids_at, counts_at, capacity,
                        ):  # fmt: skip
                            shrink_whole(q, k, distances, ids, counts, limits, histogram)
                            limit = np.int64(limits[q])
                            for other in range(ROWS):
                                eight_limits[other] = limit
        # What its address alone knows until here.
        behind[0] = 0
        return left

    name = f"hamming_groups_scan_{level}_{vectors}_{words}_{by_bytes}"
    hamming_groups_scan.__name__ = hamming_groups_scan.__qualname__ = name
    return compiled(_SIGNATURE)(hamming_groups_scan)
