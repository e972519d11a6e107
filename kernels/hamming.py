"""Hamming distance on packed bits: exclusive or, population count on 64-bit words.

A distance is an exact integer of at most 8 times the row's bytes, held in int32: rows
of less than 2**28 bytes. Two register tiles (`simd`): 4 queries x 2 rows, where arithmetic
bounds the speed, and 1 query x 8 rows, where memory does. The tile compares with the
limits before anything leaves the registers; only pairs below theirs are looked at.
"""

from __future__ import annotations

import numba
import numpy as np

from ..loading import once
from .cache import Kernel, compiled
from .level import counts_by_bytes
from .rows import next_tile
from .select import append, histogram_for, shrink_whole
from .simd import count_trailing_zeros, hamming_u8_1x8, hamming_u8_4x2

QUERY_MULTIPLE = 4  # query blocks are padded to this many rows, with limits of -1
UNROLLED = (64, 512)  # bytes a row: 512 and 4096 features

_U8, _I32, _I64 = numba.uint8, numba.int32, numba.int64
_SIGNATURE = _I64(
    numba.intp, numba.intp, _I64,  # queries: address, stride in bytes, how many
    numba.intp, numba.intp, _I64,  # rows: address, stride in bytes, bytes a row
    _I64, _I64, _I64,  # first row, row behind the last, id of row 0
    numba.types.Array(_U8, 1, "C", readonly=True), _I64, _I64,  # live, rows a tile, k
    numba.types.Array(_I32, 2, "C"), numba.types.Array(_I64, 2, "C"),
    numba.types.Array(_I64, 1, "C"), numba.types.Array(_I32, 1, "C"),
)  # fmt: skip


def scanner(length: int) -> Kernel:
    """The scan kernel for rows of ``length`` bytes: unrolled for usual widths, else generic."""
    return _scanner(length // 64 if length in UNROLLED else 0, int(counts_by_bytes()))


@once
def _scanner(words: int, by_bytes: int) -> Kernel:
    """The scan kernel for rows of so many vectors of 64 bytes; 0: of any length.

    The kernel scans rows ``start`` to ``stop`` for all queries; see `select` for the
    buffers. Queries and limits are padded to `QUERY_MULTIPLE`. Rows need unit stride within a
    row, nothing else. Returns -1: every bit pattern has a distance.
    """

    def hamming_scan(
        query_base, query_stride, queries,
        row_base, row_stride, length,
        start, stop, id_offset,
        live, tile_rows, k,
        distances, ids, counts, limits,
    ):  # fmt: skip
        numbers = np.empty(tile_rows + 8, np.int64)
        tile = np.empty(8, np.int32)
        tile_limits = np.empty(8, np.int32)
        histogram = histogram_for(8 * length)
        # Numba frees an array after the last use of its name: these are named in the loop, too.
        numbers_at, tile_at = numbers.ctypes.data, tile.ctypes.data
        limits_at = tile_limits.ctypes.data
        distances_at, ids_at, counts_at = distances.ctypes.data, ids.ctypes.data, counts.ctypes.data
        capacity = distances.shape[1]
        position = start
        while position < stop:
            count, position = next_tile(position, stop, live, numbers, tile_rows, 8)
            if queries == 1:
                for j in range(8):
                    tile_limits[j] = limits[0]
                for r in range(0, count, 8):
                    below = hamming_u8_1x8(
                        words, by_bytes, query_base, query_stride, row_base, row_stride,
                        numbers_at + 8 * r, length, limits_at, tile_at,
                    )  # fmt: skip
                    if below == 0:
                        continue
                    while below != 0:
                        j = count_trailing_zeros(below)
                        below &= below - 1
                        if r + j < count and tile[j] < limits[0] and append(
                            0, tile[j], id_offset + numbers[r + j],
                            distances_at, ids_at, counts_at, capacity,
                        ):  # fmt: skip
                            shrink_whole(np.int64(0), k, distances, ids, counts, limits, histogram)
                    for j in range(8):
                        tile_limits[j] = limits[0]
                continue
            for q in range(0, queries, 4):
                for a in range(4):
                    tile_limits[2 * a] = tile_limits[2 * a + 1] = limits[q + a]
                for r in range(0, count, 2):
                    below = hamming_u8_4x2(
                        words, by_bytes,
                        query_base + q * query_stride, query_stride, row_base, row_stride,
                        numbers_at + 8 * r, length, limits_at, tile_at,
                    )  # fmt: skip
                    while below != 0:
                        j = count_trailing_zeros(below)
                        below &= below - 1
                        a, b = q + j // 2, r + j % 2
                        # Ascending rows, so that equal distances come by ascending id.
                        if b < count and tile[j] < limits[a] and append(
                            a, tile[j], id_offset + numbers[b],
                            distances_at, ids_at, counts_at, capacity,
                        ):  # fmt: skip
                            shrink_whole(a, k, distances, ids, counts, limits, histogram)
                            tile_limits[j // 2 * 2] = tile_limits[j // 2 * 2 + 1] = limits[a]
        return -1

    name = f"hamming_scan_{words}_{by_bytes}"
    hamming_scan.__name__ = hamming_scan.__qualname__ = name
    return compiled(_SIGNATURE)(hamming_scan)
