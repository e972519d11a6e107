"""L1 and L2 of float32 rows by the definition: float64, 32 lanes, every row read.

One scan serves both metrics, which differ in the term alone (`simd`); a branch a tile
costs nothing beside the thousands of operations within. Differences of float32 values
reach 6.9e38, their squares 4.7e77: no finite input overflows, so that a sum that is not
finite proves NaN or infinity in its row, and no pass over the data is spent to find them.

One query by itself looks at short rows in float32 first, as soon as it has a limit, and computes
by the definition what that does not prove to be beyond it (`nearly`): that takes two thirds of the
time, and of n rows in any order about k (1 + ln(n / k)) are ever within. Long rows come from memory
as fast four by four in float64 as one by one in float32.
"""

from __future__ import annotations

import numba
import numpy as np

from .cache import compiled, within
from .nearly import enclosed, rounding
from .rows import next_tile
from .select import append, shrink
from .simd import (
    l1_f32_1x4,
    l1_f32_2x2,
    l2_f32_1x4,
    l2_f32_2x2,
    near_l1_f32,
    near_l2_f32,
)

SHORT = 4096  # bytes of a row up to which that pays
SOME = 16  # rows that are looked at in float32 by the same limit
QUERY_MULTIPLE = 2  # query blocks are padded to this many rows, with limits of -1

_F64, _I64 = numba.float64, numba.int64
SIGNATURE = _I64(
    numba.intp, numba.intp, _I64,  # queries: address, stride in bytes, how many
    numba.intp, numba.intp, _I64,  # rows: address, stride in bytes, bytes a row
    _I64, _I64, _I64,  # first row, row behind the last, id of row 0
    numba.types.Array(numba.uint8, 1, "C", readonly=True), _I64, _I64,  # live, rows a tile, k
    numba.types.Array(_F64, 2, "C"), numba.types.Array(_I64, 2, "C"),
    numba.types.Array(_I64, 1, "C"), numba.types.Array(_F64, 1, "C"),
    numba.boolean,
)  # fmt: skip


@within
def _nearer(query, row_base, row_stride, length, numbers, first, last, limit, squared, left):
    """List in ``left`` those of the numbered rows that float32 does not prove to be beyond a limit;
    the last again three times. Returns how many."""
    unit, lost, gamma = rounding(length // 4)
    count = 0
    for i in range(first, last):
        left[count] = numbers[i]
        if limit < np.inf and length <= SHORT:
            at = row_base + numbers[i] * row_stride
            near = near_l2_f32(query, at, length) if squared else near_l1_f32(query, at, length)
            # Not where nothing is known, of rows that are not finite, too.
            if near < np.inf and enclosed(near, unit, lost, gamma, squared)[0] > limit:
                continue
        count += 1
    for i in range(3):
        left[count + i] = left[max(0, count - 1)]
    return count


@compiled(SIGNATURE)
def lane_scan(
    query_base, query_stride, queries,
    row_base, row_stride, length,
    start, stop, id_offset,
    live, tile_rows, k,
    distances, ids, counts, limits,
    squared,
):  # fmt: skip
    """Scan rows ``start`` to ``stop`` for all queries; see `select` for the buffers.

    ``squared`` chooses L2 (the root taken) over L1. Queries are finite, and padded with
    their limits to `QUERY_MULTIPLE`. Rows need unit stride within a row, nothing else.
    Returns -1, or the first row that holds NaN or infinity, where the scan stopped.
    """
    numbers = np.empty(tile_rows + 4, np.int64)
    tile = np.empty(4, np.float64)
    left = np.empty(SOME + 4, np.int64)
    # Numba frees an array after the last use of its name: these are named in the loop, too.
    numbers_at, tile_at, left_at = numbers.ctypes.data, tile.ctypes.data, left.ctypes.data
    distances_at, ids_at, counts_at = distances.ctypes.data, ids.ctypes.data, counts.ctypes.data
    capacity = distances.shape[1]
    position = start
    while position < stop:
        count, position = next_tile(position, stop, live, numbers, tile_rows, 4)
        if queries == 1:
            for first in range(0, count, SOME):
                some = _nearer(
                    query_base, row_base, row_stride, length, numbers, first,
                    min(first + SOME, count), limits[0], squared, left,
                )  # fmt: skip
                for r in range(0, some, 4):
                    rows = left_at + 8 * r
                    if squared:
                        l2_f32_1x4(
                            query_base, query_stride, row_base, row_stride, rows, length, tile_at
                        )
                    else:
                        l1_f32_1x4(
                            query_base, query_stride, row_base, row_stride, rows, length, tile_at
                        )
                    for j in range(min(4, some - r)):
                        if tile[j] < limits[0]:
                            if append(
                                0, tile[j], id_offset + left[r + j],
                                distances_at, ids_at, counts_at, capacity,
                            ):  # fmt: skip
                                shrink(np.int64(0), k, distances, ids, counts, limits)
                        elif not tile[j] < np.inf:
                            return left[r + j]
            continue
        for q in range(0, queries, 2):
            base = query_base + q * query_stride
            for r in range(0, count, 2):
                rows = numbers_at + 8 * r
                if squared:
                    l2_f32_2x2(base, query_stride, row_base, row_stride, rows, length, tile_at)
                else:
                    l1_f32_2x2(base, query_stride, row_base, row_stride, rows, length, tile_at)
                for a in range(2):
                    for b in range(min(2, count - r)):
                        distance = tile[2 * a + b]
                        if distance < limits[q + a]:
                            if append(
                                q + a, distance, id_offset + numbers[r + b],
                                distances_at, ids_at, counts_at, capacity,
                            ):  # fmt: skip
                                shrink(q + a, k, distances, ids, counts, limits)
                        elif not distance < np.inf:
                            return numbers[r + b]
    return -1
