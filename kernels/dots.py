"""Inner products and cosine distances of float32 rows by the definition: every row read.

As `lanes`, with terms that may be negative. Products of finite float32 values reach 1.2e77: a
sum of them is finite, so that one that is not proves NaN or infinity in its row (infinity times 0
is NaN). Cosine distances take the sum of a row's squares, too: for one query it is added up on the
way, since the row is read from memory once either way; for several it is made once a tile, of rows
that are then in cache.
"""

from __future__ import annotations

import numba
import numpy as np

from .cache import compiled, within
from .lanes import QUERY_MULTIPLE, SIGNATURE
from .rows import next_tile
from .select import append, shrink
from .simd_dot import dot_f32_1x4, dot_f32_2x2, dot_squares_f32_1x2, squares_f32_4

__all__ = ["QUERY_MULTIPLE", "cosine_distance", "dot_scan", "squares_of"]

_F64, _I64 = numba.float64, numba.int64


@within
def cosine_distance(dot, query_squares, row_squares):
    """The cosine distance of sums: as `reference.cosine` says, in its order."""
    squares = query_squares * row_squares
    if squares > 0.0:
        return 1.0 - dot / np.sqrt(squares)
    return 1.0


@compiled(numba.void(numba.intp, numba.intp, _I64, numba.types.Array(_F64, 1, "C")))
def squares_of(base, stride, length, squares):
    """The sums of the squares of ``len(squares)`` rows of ``length`` bytes of float32."""
    numbers, four = np.empty(4, np.int64), np.empty(4, np.float64)
    numbers_at, four_at = numbers.ctypes.data, four.ctypes.data
    last = len(squares) - 1
    for first in range(0, len(squares), 4):
        for i in range(4):
            numbers[i] = min(first + i, last)
        squares_f32_4(base, stride, numbers_at, length, four_at)
        for i in range(min(4, len(squares) - first)):
            squares[first + i] = four[i]


@compiled(SIGNATURE)
def dot_scan(
    query_base, query_stride, queries,
    row_base, row_stride, length,
    start, stop, id_offset,
    live, tile_rows, k,
    distances, ids, counts, limits,
    cosine,
):  # fmt: skip
    """`lanes.lane_scan` for the negated inner product, or with ``cosine`` that distance.

    The limits of padding are minus infinity, below which nothing is.
    """
    numbers = np.empty(tile_rows + 4, np.int64)
    tile = np.empty(4, np.float64)
    squares = np.empty(4, np.float64)
    query_squares = np.zeros(queries + 4, np.float64)
    row_squares = np.zeros(tile_rows + 4, np.float64)
    # Numba frees an array after the last use of its name: these are named in the loop, too.
    numbers_at, tile_at, squares_at = numbers.ctypes.data, tile.ctypes.data, squares.ctypes.data
    distances_at, ids_at, counts_at = distances.ctypes.data, ids.ctypes.data, counts.ctypes.data
    capacity = distances.shape[1]
    if cosine:
        for q in range(queries):
            numbers[:4] = q
            squares_f32_4(query_base, query_stride, numbers_at, length, squares_at)
            query_squares[q] = squares[0]
    width = 2 if cosine else 4  # rows of a tile of one query
    position = start
    while position < stop:
        count, position = next_tile(position, stop, live, numbers, tile_rows, 4)
        if queries == 1:
            for r in range(0, count, width):
                rows = numbers_at + 8 * r
                if cosine:
                    dot_squares_f32_1x2(
                        query_base, query_stride, row_base, row_stride, rows, length, tile_at
                    )
                else:
                    dot_f32_1x4(
                        query_base, query_stride, row_base, row_stride, rows, length, tile_at
                    )
                for j in range(min(width, count - r)):
                    dot = tile[j]
                    if not (-np.inf < dot < np.inf):
                        return numbers[r + j]
                    distance = 0.0 - dot
                    if cosine:
                        distance = cosine_distance(dot, query_squares[0], tile[2 + j])
                    if distance < limits[0] and append(
                        0, distance, id_offset + numbers[r + j],
                        distances_at, ids_at, counts_at, capacity,
                    ):  # fmt: skip
                        shrink(np.int64(0), k, distances, ids, counts, limits)
            continue
        if cosine:
            for r in range(0, count, 4):
                squares_f32_4(row_base, row_stride, numbers_at + 8 * r, length, squares_at)
                for j in range(4):
                    row_squares[r + j] = squares[j]
        for q in range(0, queries, 2):
            base = query_base + q * query_stride
            for r in range(0, count, 2):
                rows = numbers_at + 8 * r
                dot_f32_2x2(base, query_stride, row_base, row_stride, rows, length, tile_at)
                for a in range(2):
                    for b in range(min(2, count - r)):
                        dot = tile[2 * a + b]
                        if not (-np.inf < dot < np.inf):
                            return numbers[r + b]
                        distance = 0.0 - dot
                        if cosine:
                            distance = cosine_distance(
                                dot, query_squares[q + a], row_squares[r + b]
                            )
                        if distance < limits[q + a] and append(
                            q + a, distance, id_offset + numbers[r + b],
                            distances_at, ids_at, counts_at, capacity,
                        ):  # fmt: skip
                            shrink(q + a, k, distances, ids, counts, limits)
    return -1
