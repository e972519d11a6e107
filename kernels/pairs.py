"""The list of undecided pairs between the tiers: three arrays, in order of the scan.

``queries`` int32 and ``rows`` int64 name a pair, ``lowers`` float64 is a lower bound of its
distance. Pairs in front have been in the float32 tier (`refine`), those behind have not.
"""

from __future__ import annotations

import numba
import numpy as np

from .cache import compiled, within
from .select import append_bound, keep_bounds, shrink_bounds

_F64, _I64 = numba.float64, numba.int64
PAIRS = (
    numba.types.Array(numba.int32, 1, "C"), numba.types.Array(_I64, 1, "C"),
    numba.types.Array(_F64, 1, "C"),
)  # fmt: skip


@within
def drop_above(queries, rows, lowers, start, count, limits):
    """Drop the pairs from ``start`` on whose lower bound is above their query's limit.

    Keeps the order; returns how many are left in all.
    """
    kept = start
    for i in range(start, count):
        if not lowers[i] > limits[queries[i]]:
            queries[kept], rows[kept], lowers[kept] = queries[i], rows[i], lowers[i]
            kept += 1
    return kept


@within
def drop_both(queries, rows, lowers, refined, count, limits):
    """`drop_above` for a list whose first ``refined`` pairs were refined.

    Returns how many refined pairs are left, and how many in all.
    """
    front = drop_above(queries, rows, lowers, np.int64(0), refined, limits)
    for i in range(refined, count):
        j = front + i - refined
        queries[j], rows[j], lowers[j] = queries[i], rows[i], lowers[i]
    return front, drop_above(queries, rows, lowers, front, front + count - refined, limits)


@compiled(numba.types.UniTuple(_I64, 2)(*PAIRS, _I64, _I64, numba.types.Array(_F64, 1, "C")))
def drop_listed(queries, rows, lowers, refined, count, limits):
    """`drop_both`, to be called from outside of kernels."""
    return drop_both(queries, rows, lowers, refined, count, limits)


@compiled(
    _I64(
        *PAIRS, _I64, _I64, _I64,
        numba.types.Array(_F64, 2, "C"), numba.types.Array(_I64, 1, "C"),
        numba.types.Array(_I64, 1, "C"),
    )
)  # fmt: skip
def bring_forward(queries, rows, lowers, start, count, k, smallest, counts, order):
    """Move each query's most promising pairs, of those from ``start`` on, to ``start``.

    They are its k with the smallest lower bounds, and ties. ``smallest`` ``(queries,
    capacity)``, ``counts`` and ``order`` are work space as `select.shrink_bounds` takes it.
    Returns the end of the pairs moved.
    """
    smallest_at, counts_at, capacity = smallest.ctypes.data, counts.ctypes.data, smallest.shape[1]
    limits = np.empty(len(counts))
    for query in range(len(counts)):
        counts[query], limits[query] = 0, np.inf
    for i in range(start, count):
        query = np.int64(queries[i])
        if lowers[i] < limits[query] and append_bound(
            query, lowers[i], smallest_at, counts_at, capacity
        ):
            limits[query] = shrink_bounds(query, k, smallest, counts, order)
    for query in range(len(counts)):
        if counts[query] >= k:
            limits[query] = keep_bounds(smallest[query], counts[query], k, order)
    front = start
    for i in range(start, count):
        if not lowers[i] > limits[queries[i]]:
            queries[i], queries[front] = queries[front], queries[i]
            rows[i], rows[front] = rows[front], rows[i]
            lowers[i], lowers[front] = lowers[front], lowers[i]
            front += 1
    return front
