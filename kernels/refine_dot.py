"""The second and third tier of exact search by `cosine` and `ip`, as `refine` is of L1 and L2.

Bounds of the float32 tier. With u = 2**-24 and n = d/64 + 9 additions a sum of products is off
by at most ``(n + 1) u`` of the sum of their *sizes*, in the second order more, and by 2**-150 for
each product that is subnormal; so, by Cauchy and Schwarz, by ``unit |q| |x| + lost`` with the same
``unit`` and ``lost`` as in `nearly`. A sum of squares is off by ``unit`` of itself, and ``lost``.
A sum that overflows bounds nothing, and the pair goes on.
"""

from __future__ import annotations

import numba
import numpy as np

from .cache import compiled
from .dots import cosine_distance
from .nearly import rounding
from .refine import PAIRED, SOURCES, row_at
from .select import append, append_bound, shrink, shrink_bounds
from .simd_dot import dot_squares_f32_1x1, near_dot_squares_f32

_F64, _I32, _I64 = numba.float64, numba.int32, numba.int64


@compiled(
    _I64(
        *PAIRED,
        numba.types.Array(_F64, 2, "C"), numba.types.Array(_I64, 1, "C"),  # upper bounds, counts
        numba.types.Array(_F64, 1, "C"), numba.types.Array(_I64, 1, "C"),  # limits, order
        numba.types.Array(_F64, 1, "C"), numba.boolean,  # sums of queries' squares; cosine
    )
)  # fmt: skip
def near_dots(
    query_base, query_stride, dim,
    firsts, bases, strides, are_halves,
    pair_queries, pair_rows, pair_lowers, start, stop, k,
    uppers, counts, limits, order,
    squares, cosine,
):  # fmt: skip
    """`refine.refine_f32` for products."""
    wide = np.empty(dim, np.float32)
    uppers_at, counts_at, capacity = uppers.ctypes.data, counts.ctypes.data, uppers.shape[1]
    unit, lost, gamma = rounding(dim)
    done, source, widened = 0, np.int64(0), np.int64(-1)
    for i in range(start, stop):
        query, row = np.int64(pair_queries[i]), pair_rows[i]
        if pair_lowers[i] > limits[query]:
            continue
        done += 1
        at, source, widened = row_at(row, source, widened, firsts, bases, strides, are_halves, wide)
        dot, square = near_dot_squares_f32(query_base + query * query_stride, at, 4 * dim)
        if not (-np.inf < dot < np.inf and square < np.inf):
            continue  # nothing is known: pair_lowers stays, and the float64 tier decides
        size = np.sqrt(squares[query]) * (1.0 + gamma)
        if not cosine:
            sizes = size * np.sqrt(square * (1.0 + unit) + lost)
            reach = (unit + 2.0 * gamma) * sizes * (1.0 + 2.0**-40) + lost
            lower, upper = 0.0 - dot - reach, 0.0 - dot + reach
        elif size == 0.0:
            lower = upper = 1.0
        else:
            share = unit + 2.0 * lost / square if square > 0.0 else 1.0
            if not share < 0.25:
                continue  # the row may be zeros, or be short of being so
            sizes = size * np.sqrt(square)
            reach = (unit + share) * (1.0 + share) + 2.0 * lost / sizes + 4.0 * gamma
            angle = dot / sizes
            lower, upper = 1.0 - angle - reach, 1.0 - angle + reach
        pair_lowers[i] = max(pair_lowers[i], lower)
        if upper < limits[query] and append_bound(query, upper, uppers_at, counts_at, capacity):
            limit = shrink_bounds(query, k, uppers, counts, order)
            limits[query] = min(limits[query], limit)
    return done


@compiled(
    _I64(
        *PAIRED,
        numba.types.Array(_F64, 1, "C"),  # limits of lower bounds
        numba.types.Array(_F64, 2, "C"), numba.types.Array(_I64, 2, "C"),
        numba.types.Array(_I64, 1, "C"), numba.types.Array(_F64, 1, "C"),
        numba.types.Array(_F64, 1, "C"), numba.boolean,  # sums of queries' squares; cosine
    )
)  # fmt: skip
def exact_dots(
    query_base, query_stride, dim,
    firsts, bases, strides, are_halves,
    pair_queries, pair_rows, pair_lowers, start, stop, k,
    caps,
    distances, ids, counts, limits,
    squares, cosine,
):  # fmt: skip
    """`refine.refine_f64` for products."""
    wide = np.empty(dim, np.float32)
    number = np.zeros(1, np.int64)
    found = np.empty(2, np.float64)
    number_at, found_at = number.ctypes.data, found.ctypes.data
    distances_at, ids_at, counts_at = distances.ctypes.data, ids.ctypes.data, counts.ctypes.data
    capacity = distances.shape[1]
    done, source, widened = 0, np.int64(0), np.int64(-1)
    for i in range(start, stop):
        query, row = np.int64(pair_queries[i]), pair_rows[i]
        if pair_lowers[i] > min(limits[query], caps[query]):
            continue
        done += 1
        at, source, widened = row_at(row, source, widened, firsts, bases, strides, are_halves, wide)
        number[0] = 0
        dot_squares_f32_1x1(
            query_base + query * query_stride, 0, at, 0, number_at, 4 * dim, found_at
        )
        distance = 0.0 - found[0]
        if cosine:
            distance = cosine_distance(found[0], squares[query], found[1])
        # Pairs come in no order of id: one at the limit may have the lower id.
        if distance <= limits[query]:
            full = append(query, distance, row, distances_at, ids_at, counts_at, capacity)
            if full:
                shrink(query, k, distances, ids, counts, limits)
    return done


@compiled(
    numba.void(
        numba.intp, numba.intp, _I64,  # float32 queries: address, stride in bytes, numbers a row
        *SOURCES,
        numba.types.Array(_I32, 1, "C"), numba.types.Array(_I64, 1, "C"),  # pairs: query, row id
        _I64, _I64, numba.types.Array(_F64, 1, "C"),  # first pair, behind the last; distances
        numba.types.Array(_F64, 1, "C"), numba.boolean,  # sums of queries' squares; cosine
    )
)  # fmt: skip
def pair_dots(
    query_base, query_stride, dim,
    firsts, bases, strides, are_halves,
    pair_queries, pair_rows, start, stop, distances,
    squares, cosine,
):  # fmt: skip
    """`refine.pair_distances` for products."""
    wide = np.empty(dim, np.float32)
    number = np.zeros(1, np.int64)
    found = np.empty(2, np.float64)
    number_at, found_at = number.ctypes.data, found.ctypes.data
    source, widened = np.int64(0), np.int64(-1)
    for i in range(start, stop):
        query = np.int64(pair_queries[i])
        at, source, widened = row_at(
            pair_rows[i], source, widened, firsts, bases, strides, are_halves, wide
        )
        number[0] = 0
        dot_squares_f32_1x1(
            query_base + query * query_stride, 0, at, 0, number_at, 4 * dim, found_at
        )
        distances[i] = 0.0 - found[0]
        if cosine:
            distances[i] = cosine_distance(found[0], squares[query], found[1])
