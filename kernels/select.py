"""Top-k selection by (distance, id), fused into the scans.

A scan hands over each pair below the query's running *limit*. Pairs are appended to a
buffer that holds more than k; when it is full, `shrink` keeps the k smallest and lowers
the limit. Both steps cost O(1) a pair on average, for any k; an order of rows made to defeat
the choice of pivots costs O(log k).

A scan visits rows in ascending id, so a row whose distance *equals* the limit can never
displace one that is held, and the test is ``distance < limit``.
"""

from __future__ import annotations

import numba
import numpy as np

from .cache import compiled


@numba.njit
def _before(distance, number, pivot, pivot_number):
    return distance < pivot or (distance == pivot and number < pivot_number)


@numba.njit
def _swap(distances, ids, a, b):
    distances[a], distances[b] = distances[b], distances[a]
    ids[a], ids[b] = ids[b], ids[a]


@numba.njit
def _sift(distances, ids, root, count):
    while True:
        child = 2 * root + 1
        if child >= count:
            return
        if child + 1 < count and _before(
            distances[child], ids[child], distances[child + 1], ids[child + 1]
        ):
            child += 1
        if not _before(distances[root], ids[root], distances[child], ids[child]):
            return
        _swap(distances, ids, root, child)
        root = child


@numba.njit
def sort_pairs(distances, ids, count):
    """Heapsort of the first ``count`` pairs by (distance, id), in place."""
    for root in range(count // 2 - 1, -1, -1):
        _sift(distances, ids, root, count)
    for last in range(count - 1, 0, -1):
        _swap(distances, ids, 0, last)
        _sift(distances, ids, 0, last)


@numba.njit
def keep_smallest(distances, ids, count, k):
    """Quickselect: move the k smallest of the first ``count`` pairs to the front, unordered.

    Pairs are distinct by id, so that any number of equal distances does no harm.
    """
    low, high = 0, count - 1
    rounds = 0
    while low < high:
        rounds += 1
        if rounds > 2 * np.log2(count) + 8:
            sort_pairs(distances, ids, count)
            return
        # Median of three as the pivot: buffers are partly sorted by construction.
        middle = (low + high) >> 1
        if _before(distances[middle], ids[middle], distances[low], ids[low]):
            _swap(distances, ids, middle, low)
        if _before(distances[high], ids[high], distances[low], ids[low]):
            _swap(distances, ids, high, low)
        if _before(distances[high], ids[high], distances[middle], ids[middle]):
            _swap(distances, ids, high, middle)
        pivot, pivot_number = distances[middle], ids[middle]
        a, b = low, high
        while a <= b:
            while _before(distances[a], ids[a], pivot, pivot_number):
                a += 1
            while _before(pivot, pivot_number, distances[b], ids[b]):
                b -= 1
            if a <= b:
                _swap(distances, ids, a, b)
                a += 1
                b -= 1
        if k - 1 <= b:
            high = b
        elif k - 1 >= a:
            low = a
        else:
            return


@numba.njit
def push(query, distance, number, k, distances, ids, counts, limits):
    """Hold one pair below the query's limit; shrink its buffer when full.

    ``distances`` and ``ids`` are ``(queries, capacity)`` with capacity above k, ``counts``
    and ``limits`` ``(queries,)``.
    """
    count = counts[query]
    distances[query, count] = distance
    ids[query, count] = number
    count += 1
    if count == distances.shape[1]:
        keep_smallest(distances[query], ids[query], count, k)
        limit = distances[query, 0]
        for i in range(1, k):
            limit = max(limit, distances[query, i])
        limits[query] = limit
        count = k
    counts[query] = count


@numba.njit
def push_bound(query, bound, k, bounds, counts, order):
    """Hold one bound of a query; True when its buffer was full and now holds the k smallest.

    ``bounds`` is ``(queries, capacity)`` with capacity above k, ``counts`` ``(queries,)``;
    ``order`` ``(capacity,)`` is work space that holds different numbers and keeps them.
    """
    count = counts[query]
    bounds[query, count] = bound
    count += 1
    full = count == bounds.shape[1]
    if full:
        keep_smallest(bounds[query], order, count, k)
        count = k
    counts[query] = count
    return full


_MERGE = [
    numba.void(
        numba.types.Array(kind, 3, "C"),
        numba.types.Array(numba.int64, 3, "C"),
        numba.types.Array(numba.int64, 2, "C"),
        numba.types.Array(kind, 2, "C"),
        numba.types.Array(numba.int64, 2, "C"),
    )
    for kind in (numba.int32, numba.float64)
]


@compiled(*_MERGE)
def merge(distances, ids, counts, best, best_ids):
    """The k smallest pairs of all workers' buffers, in order.

    ``distances`` and ``ids`` are ``(workers, queries, capacity)``, of which ``counts``
    ``(workers, queries)`` are held, at least k in all; ``best`` and ``best_ids``
    ``(queries, k)`` receive the result.
    """
    workers, _, capacity = distances.shape
    queries, k = best.shape
    pooled = np.empty(workers * capacity, distances.dtype)
    pooled_ids = np.empty(workers * capacity, np.int64)
    for query in range(queries):
        total = 0
        for worker in range(workers):
            held = counts[worker, query]
            pooled[total : total + held] = distances[worker, query, :held]
            pooled_ids[total : total + held] = ids[worker, query, :held]
            total += held
        keep_smallest(pooled, pooled_ids, total, k)
        sort_pairs(pooled, pooled_ids, k)
        best[query] = pooled[:k]
        best_ids[query] = pooled_ids[:k]


@compiled(
    numba.void(
        numba.types.Array(numba.float64, 3, "C"), numba.types.Array(numba.int64, 2, "C"),
        numba.int64, numba.types.Array(numba.float64, 1, "C"),
    )
)  # fmt: skip
def lower_limits(bounds, counts, k, limits):
    """Lower each query's limit to the k-th smallest of all workers' bounds, where there are k.

    ``bounds`` is ``(workers, queries, capacity)``, of which ``counts`` ``(workers, queries)``
    are held, and ``limits`` ``(queries,)``. No row may stand behind two of the bounds.
    """
    workers, queries, capacity = bounds.shape
    pooled = np.empty(workers * capacity)
    order = np.arange(workers * capacity)
    for query in range(queries):
        total = 0
        for worker in range(workers):
            held = counts[worker, query]
            pooled[total : total + held] = bounds[worker, query, :held]
            total += held
        if total < k:
            continue
        keep_smallest(pooled, order, total, k)
        limits[query] = min(limits[query], pooled[:k].max())
