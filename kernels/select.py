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
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .cache import compiled, within


@within
def _before(distance, number, pivot, pivot_number):
    return distance < pivot or (distance == pivot and number < pivot_number)


@within
def _swap(distances, ids, a, b):
    distances[a], distances[b] = distances[b], distances[a]
    ids[a], ids[b] = ids[b], ids[a]


@within
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


@within
def sort_pairs(distances, ids, count):
    """Heapsort of the first ``count`` pairs by (distance, id), in place."""
    for root in range(count // 2 - 1, -1, -1):
        _sift(distances, ids, root, count)
    first = np.int64(0)
    for last in range(count - 1, 0, -1):
        _swap(distances, ids, first, last)
        _sift(distances, ids, first, last)


@within
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


@intrinsic
def append(typingctx, query, distance, number, distances_at, ids_at, counts_at, capacity):
    """Append a pair to a query's buffer, which is not full; 1 if it is full now.

    ``distances_at`` and ``ids_at`` are addresses of ``(queries, capacity)``, ``counts_at`` of
    ``(queries,)``. Addresses, because a call that takes arrays passes seven words for each of
    them, and inlining it counts references: either costs more than all the rest of a push.
    The caller shrinks a full buffer: see `shrink` and `shrink_whole`.
    """
    if distance not in (types.int32, types.float64):
        return None

    def codegen(context, builder, signature, args):
        query, distance, number, distances_at, ids_at, counts_at, capacity = args
        word = ir.IntType(64)

        def place(address, index, kind):
            return builder.gep(builder.inttoptr(address, kind.as_pointer()), [index])

        slot = place(counts_at, query, word)
        count = builder.load(slot)
        here = builder.add(builder.mul(query, capacity), count)
        builder.store(distance, place(distances_at, here, distance.type))
        builder.store(number, place(ids_at, here, word))
        count = builder.add(count, word(1))
        builder.store(count, slot)
        return builder.zext(builder.icmp_signed("==", count, capacity), word)

    words = (types.int64, types.intp, types.intp, types.intp, types.int64)
    return types.int64(types.int64, distance, *words), codegen


@intrinsic
def append_bound(typingctx, query, bound, bounds_at, counts_at, capacity):
    """`append` of a float64 alone."""

    def codegen(context, builder, signature, args):
        query, bound, bounds_at, counts_at, capacity = args
        word = ir.IntType(64)
        slot = builder.gep(builder.inttoptr(counts_at, word.as_pointer()), [query])
        count = builder.load(slot)
        here = builder.add(builder.mul(query, capacity), count)
        builder.store(
            bound, builder.gep(builder.inttoptr(bounds_at, bound.type.as_pointer()), [here])
        )
        count = builder.add(count, word(1))
        builder.store(count, slot)
        return builder.zext(builder.icmp_signed("==", count, capacity), word)

    words = (types.intp, types.intp, types.int64)
    return types.int64(types.int64, types.float64, *words), codegen


@within
def shrink(query, k, distances, ids, counts, limits):
    """Keep the k smallest pairs of a query's full buffer, and lower its limit to the largest."""
    held = distances[query]
    keep_smallest(held, ids[query], len(held), k)
    limit = held[0]
    for i in range(1, k):
        limit = max(limit, held[i])
    limits[query] = limit
    counts[query] = k


@within
def keep_bounds(bounds, count, k, order):
    """Move the k smallest of the first ``count`` bounds to the front; returns the largest of them.

    ``order``, of as many places, is work space that holds different numbers and keeps them.
    """
    keep_smallest(bounds, order, count, k)
    limit = bounds[0]
    for i in range(1, k):
        limit = max(limit, bounds[i])
    return limit


@within
def shrink_bounds(query, k, bounds, counts, order):
    """Keep the k smallest bounds of a query's full buffer; returns the largest of them.

    ``order`` ``(capacity,)`` is work space that holds different numbers and keeps them.
    """
    held = bounds[query]
    counts[query] = k
    return keep_bounds(held, len(held), k, order)


#: Largest whole distance that is selected by counting.
COUNTED = 1 << 16


@within
def histogram_for(most):
    """Work space of `shrink_whole` for distances up to ``most``; empty where they are too many."""
    return np.zeros(most + 1 if most <= COUNTED else 0, np.int64)


@within
def shrink_whole(query, k, distances, ids, counts, limits, histogram):
    """`shrink` for whole distances that came in ascending order of id: by counting, in two
    passes that keep their order."""
    if len(histogram) == 0:
        shrink(query, k, distances, ids, counts, limits)
        return
    held, held_ids = distances[query], ids[query]
    most = 0
    for distance in held:
        histogram[distance] += 1
        most = max(most, distance)
    limit, below = 0, 0
    while below + histogram[limit] < k:
        below += histogram[limit]
        limit += 1
    for distance in range(most + 1):
        histogram[distance] = 0
    # Of those at the limit the first ones stay: their ids are the lowest.
    ties = k - below
    count = 0
    for i in range(len(held)):
        distance = held[i]
        held[count] = distance
        held_ids[count] = held_ids[i]
        count += (distance < limit) | ((distance == limit) & (ties > 0))
        ties -= distance == limit
    limits[query] = limit
    counts[query] = k


def _merge(distances, ids, counts, best, best_ids, start, stop):
    """The k smallest pairs of all workers' buffers, in order, for queries ``start`` to ``stop``.

    ``distances`` and ``ids`` are ``(workers, queries, capacity)``, of which ``counts``
    ``(workers, queries)`` are held, at least k in all; ``best`` and ``best_ids``
    ``(queries, k)`` receive the result.
    """
    workers, _, capacity = distances.shape
    k = best.shape[1]
    pooled = np.empty(workers * capacity, distances.dtype)
    pooled_ids = np.empty(workers * capacity, np.int64)
    for query in range(start, stop):
        total = np.int64(0)
        for worker in range(workers):
            # Loops, since a slice that is assigned takes the compiler a second.
            for i in range(counts[worker, query]):
                pooled[total] = distances[worker, query, i]
                pooled_ids[total] = ids[worker, query, i]
                total += 1
        keep_smallest(pooled, pooled_ids, total, k)
        sort_pairs(pooled, pooled_ids, k)
        for i in range(k):
            best[query, i] = pooled[i]
            best_ids[query, i] = pooled_ids[i]


#: `_merge` by the type of the distances.
MERGE = {
    np.dtype(name): compiled(
        numba.void(
            numba.types.Array(kind, 3, "C"), numba.types.Array(numba.int64, 3, "C"),
            numba.types.Array(numba.int64, 2, "C"), numba.types.Array(kind, 2, "C"),
            numba.types.Array(numba.int64, 2, "C"), numba.int64, numba.int64,
        )
    )(_merge)
    for name, kind in (("int32", numba.int32), ("float64", numba.float64))
}  # fmt: skip


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
    order = np.empty(workers * capacity, np.int64)
    for i in range(len(order)):
        order[i] = i
    for query in range(queries):
        total = np.int64(0)
        for worker in range(workers):
            for i in range(counts[worker, query]):
                pooled[total] = bounds[worker, query, i]
                total += 1
        if total >= k:
            limits[query] = min(limits[query], keep_bounds(pooled, total, k, order))
