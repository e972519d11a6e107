"""L1 and L2 of float32 rows by the definition: float64, 32 lanes, every row read.

One scan serves both metrics, which differ in the term alone (`simd`); a branch a tile
costs nothing beside the thousands of operations within. Differences of float32 values
reach 6.9e38, their squares 4.7e77: no finite input overflows, so that a sum that is not
finite proves NaN or infinity in its row, and no pass over the data is spent to find them.
"""

from __future__ import annotations

import numba
import numpy as np

from .cache import compiled
from .rows import next_tile
from .select import append, shrink
from .simd import l1_f32_1x4, l1_f32_2x2, l2_f32_1x4, l2_f32_2x2

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
    # Numba frees an array after the last use of its name: these are named in the loop, too.
    numbers_at, tile_at = numbers.ctypes.data, tile.ctypes.data
    distances_at, ids_at, counts_at = distances.ctypes.data, ids.ctypes.data, counts.ctypes.data
    capacity = distances.shape[1]
    position = start
    while position < stop:
        count, position = next_tile(position, stop, live, numbers, tile_rows, 4)
        if queries == 1:
            for r in range(0, count, 4):
                rows = numbers_at + 8 * r
                if squared:
                    l2_f32_1x4(
                        query_base, query_stride, row_base, row_stride, rows, length, tile_at
                    )
                else:
                    l1_f32_1x4(
                        query_base, query_stride, row_base, row_stride, rows, length, tile_at
                    )
                for j in range(min(4, count - r)):
                    if tile[j] < limits[0]:
                        if append(
                            0, tile[j], id_offset + numbers[r + j],
                            distances_at, ids_at, counts_at, capacity,
                        ):  # fmt: skip
                            shrink(np.int64(0), k, distances, ids, counts, limits)
                    elif not tile[j] < np.inf:
                        return numbers[r + j]
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
