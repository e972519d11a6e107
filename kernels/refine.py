"""The second and third tier of exact L1 and L2 search: what the sketches left undecided.

`refine_f32` computes the listed pairs in float32 with a rounding bound, which leaves little
more than the k nearest; `refine_f64` computes those by the definition. Both read the stored
rows, float32 or float16, where they lie.

`nearly` says what the float32 tier proves; where it proves nothing the pair goes on.
"""

from __future__ import annotations

import numba
import numpy as np

from .cache import compiled, within
from .halves import halves_at, widen
from .nearly import enclosed, rounding
from .select import append, append_bound, shrink, shrink_bounds
from .simd import l1_f32_1x1, l2_f32_1x1, near_l1_f32, near_l2_f32

_F64, _I32, _I64, _U8 = numba.float64, numba.int32, numba.int64, numba.uint8
SOURCES = (
    # Where rows lie: first id, address, stride in bytes of each source, whether it is float16.
    numba.types.Array(_I64, 1, "C"), numba.types.Array(_I64, 1, "C"),
    numba.types.Array(_I64, 1, "C"), numba.types.Array(_U8, 1, "C"),
)  # fmt: skip
PAIRED = (
    numba.intp, numba.intp, _I64,  # float32 queries: address, stride in bytes, numbers a row
    *SOURCES,
    numba.types.Array(_I32, 1, "C"), numba.types.Array(_I64, 1, "C"),  # pairs: query, row id
    numba.types.Array(_F64, 1, "C"), _I64, _I64,  # lower bound; first pair, pair behind the last
    _I64,  # k
)  # fmt: skip


@within
def _source_of(row, firsts, guess):
    """The source that holds a row id; consecutive pairs mostly share one."""
    if firsts[guess] <= row and (guess + 1 == len(firsts) or row < firsts[guess + 1]):
        return guess
    low, high = 0, len(firsts)  # the first source behind it lies within
    while low < high:
        middle = (low + high) // 2
        if firsts[middle] <= row:
            low = middle + 1
        else:
            high = middle
    return low - 1


@within
def row_at(row, source, widened, firsts, bases, strides, are_halves, wide):
    """Where a row lies as float32, with its source and the row that ``wide`` holds; both are
    guesses before: consecutive pairs mostly share them."""
    source = _source_of(row, firsts, source)
    at = bases[source] + (row - firsts[source]) * strides[source]
    if are_halves[source]:
        if row != widened:
            widen(halves_at(at, len(wide)), wide)
            widened = row
        at = wide.ctypes.data
    return at, source, widened


@compiled(
    _I64(
        *PAIRED,
        numba.types.Array(_F64, 2, "C"), numba.types.Array(_I64, 1, "C"),  # upper bounds, counts
        numba.types.Array(_F64, 1, "C"), numba.types.Array(_I64, 1, "C"),  # limits, order
        numba.boolean,
    )
)  # fmt: skip
def refine_f32(
    query_base, query_stride, dim,
    firsts, bases, strides, are_halves,
    pair_queries, pair_rows, pair_lowers, start, stop, k,
    uppers, counts, limits, order,
    squared,
):  # fmt: skip
    """Tighten the lower bounds of pairs ``start`` to ``stop``, and the limits by their upper
    bounds (see `sketch_scan`). Returns how many pairs were computed; those that a limit has
    excluded meanwhile are not."""
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
        q = query_base + query * query_stride
        near = near_l2_f32(q, at, 4 * dim) if squared else near_l1_f32(q, at, 4 * dim)
        if not near < np.inf:
            continue  # nothing is known: pair_lowers stays, and the float64 tier decides
        lower, upper = enclosed(near, unit, lost, gamma, squared)
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
        numba.boolean,
    )
)  # fmt: skip
def refine_f64(
    query_base, query_stride, dim,
    firsts, bases, strides, are_halves,
    pair_queries, pair_rows, pair_lowers, start, stop, k,
    caps,
    distances, ids, counts, limits,
    squared,
):  # fmt: skip
    """Compute pairs ``start`` to ``stop`` by the definition and hold the k nearest (see
    `select`). Returns how many pairs were computed."""
    wide = np.empty(dim, np.float32)
    number = np.zeros(1, np.int64)
    found = np.empty(1, np.float64)
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
        q = query_base + query * query_stride
        number[0] = 0
        if squared:
            l2_f32_1x1(q, 0, at, 0, number_at, 4 * dim, found_at)
        else:
            l1_f32_1x1(q, 0, at, 0, number_at, 4 * dim, found_at)
        # Pairs come in no order of id: one at the limit may have the lower id.
        if found[0] <= limits[query]:
            full = append(query, found[0], row, distances_at, ids_at, counts_at, capacity)
            if full:
                shrink(query, k, distances, ids, counts, limits)
    return done


@compiled(
    numba.void(
        numba.intp, numba.intp, _I64,  # float32 queries: address, stride in bytes, numbers a row
        *SOURCES,
        numba.types.Array(_I32, 1, "C"), numba.types.Array(_I64, 1, "C"),  # pairs: query, row id
        _I64, _I64, numba.types.Array(_F64, 1, "C"),  # first pair, behind the last; distances
        numba.boolean,
    )
)  # fmt: skip
def pair_distances(
    query_base, query_stride, dim,
    firsts, bases, strides, are_halves,
    pair_queries, pair_rows, start, stop, distances,
    squared,
):  # fmt: skip
    """The distances of pairs ``start`` to ``stop`` by the definition. Rows that hold NaN or
    infinity give distances that are not finite."""
    wide = np.empty(dim, np.float32)
    number = np.zeros(1, np.int64)
    found = np.empty(1, np.float64)
    number_at, found_at = number.ctypes.data, found.ctypes.data
    source, widened = np.int64(0), np.int64(-1)
    for i in range(start, stop):
        at, source, widened = row_at(
            pair_rows[i], source, widened, firsts, bases, strides, are_halves, wide
        )
        q = query_base + pair_queries[i] * query_stride
        number[0] = 0
        if squared:
            l2_f32_1x1(q, 0, at, 0, number_at, 4 * dim, found_at)
        else:
            l1_f32_1x1(q, 0, at, 0, number_at, 4 * dim, found_at)
        distances[i] = found[0]
