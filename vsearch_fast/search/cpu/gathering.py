"""What workers find within a radius: pairs in blocks, and in order; only counted beyond a limit."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ...kernels import found
from ...threads import run
from .. import tiling

#: Tells of pairs (query numbers, ids) which of them are kept.
Keep = Callable[[NDArray, NDArray[np.int64]], NDArray[np.bool_]]
_Block = tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64]]


class Gathering:
    """The pairs that a search finds, of all its batches of queries.

    Args:
        limit: pairs that are held at most. Beyond it all are let go, and the rest is counted.

    Attributes:
        total: pairs of the batches that are done.
        beyond: whether there were more than the limit.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.total, self.beyond = limit, 0, False
        self._counts: list[int] = []
        self._blocks: list[list[_Block]] = []

    def begin(self, workers: int) -> None:
        """A batch, which so many workers search."""
        self._counts = [0] * workers
        self._blocks = [[] for _ in range(workers)]

    def add(
        self,
        worker: int,
        queries: NDArray,
        distances: NDArray,
        ids: NDArray[np.int64],
        keep: Keep | None,
    ) -> None:
        """Pairs that a worker has found: queries of the batch, distances and ids; copied."""
        if keep is not None and len(ids):
            kept = keep(queries, ids)
            queries, distances, ids = queries[kept], distances[kept], ids[kept]
        if not len(ids):
            return
        self._counts[worker] += len(ids)
        if not self.beyond and self.total + sum(self._counts) > self.limit:
            self.beyond = True  # what another adds meanwhile goes with the batch
            for blocks in self._blocks:
                blocks.clear()
        if not self.beyond:
            # Whole numbers below 2**53 are the same in float64: one kernel serves all metrics.
            self._blocks[worker].append(
                (queries.astype(np.int32), distances.astype(np.float64), ids.astype(np.int64))
            )

    def end(
        self, queries: int, workers: int, stop: Event, *, nearest_first: bool = True
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """A batch is done: how many pairs each query has, and these, by (query, distance, id), or
        by the query alone.

        Beyond the limit there are none.
        """
        self.total += sum(self._counts)
        blocks = [block for part in self._blocks for block in part]
        self._blocks = []
        counts = np.zeros(queries, np.int64)
        if self.beyond:
            blocks.clear()
        for numbers, _, _ in blocks:
            counts += np.bincount(numbers, minlength=queries)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        distances, ids = np.empty(offsets[-1]), np.empty(offsets[-1], np.int64)
        places = offsets[:-1].copy()
        blocks.reverse()
        while blocks:  # each goes as it is placed
            found.place_found(*blocks.pop(), places, distances, ids)
        if nearest_first:
            self._sort(distances, ids, offsets, workers, stop)
        return counts, distances, ids

    def _sort(
        self,
        distances: NDArray[np.float64],
        ids: NDArray[np.int64],
        offsets: NDArray[np.int64],
        workers: int,
        stop: Event,
    ) -> None:
        queries = len(offsets) - 1
        for query in np.flatnonzero(np.diff(offsets) > found.SORTED):
            some = slice(offsets[query], offsets[query + 1])
            order = np.lexsort((ids[some], distances[some]))
            distances[some], ids[some] = distances[some][order], ids[some][order]
        if len(ids) < tiling.TILING.many_pairs:
            workers = 1
        # Queries of alike many pairs for each.
        borders = np.searchsorted(offsets, np.linspace(0, len(ids), workers + 1)[1:-1])
        borders = np.concatenate([[0], np.minimum(borders, queries), [queries]])

        def work(part: int) -> None:
            found.sort_found(distances, ids, offsets, int(borders[part]), int(borders[part + 1]))

        run(work, workers, stop)
