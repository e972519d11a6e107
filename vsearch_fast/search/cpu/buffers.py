"""Selection buffers: how large they are, and how those of all workers become one result."""

from __future__ import annotations

from threading import Event

import numpy as np
from numpy.typing import NDArray

from ...kernels import select
from ...kernels.cache import Kernel
from ...threads import run
from .. import tiling


def capacity_for(k: int) -> int:
    """Pairs that a selection buffer holds: above k, so that shrinking it is cheap a pair."""
    return k + max(k, 32)


#: Ids from here on are of no row: they fill the lines of queries that have fewer than k rows within
#: their limit.
NO_ROW = 1 << 62


def fill(
    distances: NDArray, ids: NDArray[np.int64], counts: NDArray[np.int64], k: int, beyond: float
) -> None:
    """Give each query that holds fewer than k pairs in the buffers of all workers, as it may where
    it had a limit from the first, so many more, `beyond` all distances and of no row."""
    held = counts.sum(axis=0)
    for query in np.flatnonzero(held < k).tolist():
        start = counts[0, query]
        stop = start + k - held[query]  # fits: a buffer has room for twice k
        distances[0, query, start:stop] = beyond
        ids[0, query, start:stop] = np.arange(NO_ROW, NO_ROW + stop - start)
        counts[0, query] = stop


def merging(distances: np.dtype) -> Kernel:
    """The kernel of `merge` for such distances."""
    return select.MERGE[distances]


def merge(
    distances: NDArray,
    ids: NDArray[np.int64],
    counts: NDArray[np.int64],
    best: NDArray,
    best_ids: NDArray[np.int64],
) -> None:
    """Write the k smallest pairs of all workers' buffers to ``best`` and ``best_ids``, in order."""
    queries, k = best.shape
    parts = len(distances) if queries * k >= tiling.TILING.many_pairs else 1
    kernel = merging(distances.dtype)
    if parts == 1:
        kernel(distances, ids, counts, best, best_ids, 0, queries)
        return
    borders = [queries * part // parts for part in range(parts + 1)]

    def work(part: int) -> None:
        first, last = borders[part : part + 2]
        kernel(distances, ids, counts, best, best_ids, first, last)

    run(work, parts, Event())
