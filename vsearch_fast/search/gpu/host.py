"""Decide listed pairs by rows that only the host has."""

from __future__ import annotations

from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...loading import once, package
from ...machine import available_threads
from ...threads import run
from ..rows import Sources, converted, readable
from .lists import Lists
from .products import PRODUCTS, keys_of, squares_of

#: Pairs a thread from which waking another pays.
_PAIRS_A_THREAD = 64


@once
def _pair_distances() -> tuple[Any, Any]:
    package("numba")
    from ...kernels.refine import pair_distances
    from ...kernels.refine_dot import pair_dots

    return pair_distances, pair_dots


class HostRows:
    """Stored rows of a search in host memory or memory-mapped, by the ids of its result."""

    def __init__(self, segments: list[NDArray], threads: int | None) -> None:
        self._segments, self._threads = segments, threads
        self._firsts = np.cumsum([0, *map(len, segments)])[:-1]
        self._direct = Sources.of(
            [
                (int(first), segment)
                for first, segment in zip(self._firsts, segments, strict=True)
                if len(segment) and readable(segment)
            ]
        )
        self._all_direct = all(readable(segment) for segment in segments if len(segment))

    def decide(
        self, queries: NDArray[np.float32], lists: Lists, metric: str
    ) -> tuple[int, int | None]:
        """Make distances by a metric of all bounds that are listed.

        Returns how many were computed, and the lowest id of a row that holds NaN or infinity.
        """
        counts, keys, uppers, ids = lists.listed()
        listed = np.arange(keys.shape[1]) < counts[:, None]
        at = np.nonzero(listed & (keys != uppers))
        if len(at[0]) == 0:
            return 0, None
        rows = ids[at].astype(np.int64)
        order = np.argsort(rows, kind="stable")  # neighbours of a row read it from the cache
        pair_queries, rows = at[0][order].astype(np.int32), rows[order]
        distances = self._distances(queries, pair_queries, rows, metric)
        bad = ~np.isfinite(distances)
        found = np.empty(len(distances))
        found[order] = distances
        keys[at] = keys_of(found, metric)
        # What is no longer listed has any bounds.
        lists.decided(keys)
        return len(rows), int(rows[bad].min()) if bad.any() else None

    def _distances(
        self,
        queries: NDArray[np.float32],
        pair_queries: NDArray[np.int32],
        rows: NDArray[np.int64],
        metric: str,
    ) -> NDArray[np.float64]:
        queries = np.ascontiguousarray(queries, np.float32)
        sources = self._direct
        if not self._all_direct:  # converted rows of odd arrays, just those
            needed, rows = np.unique(rows, return_inverse=True)
            gathered = self._gathered(needed)  # sources know addresses alone: it must stay
            sources = Sources.of([(0, gathered)])
            rows = rows.astype(np.int64)
        distances = np.empty(len(rows))
        most = self._threads or available_threads()
        workers = max(1, min(most, len(rows) // _PAIRS_A_THREAD))
        borders = [len(rows) * worker // workers for worker in range(workers + 1)]

        differences, products = _pair_distances()
        last: tuple[Any, ...] = (metric == "l2",)
        kernel = differences
        if metric in PRODUCTS:
            kernel, last = products, (squares_of(queries), metric == "cosine")

        def work(worker: int) -> None:
            kernel(
                queries.ctypes.data, queries.strides[0], queries.shape[1],
                sources.firsts, sources.bases, sources.strides, sources.halves,
                pair_queries, rows, borders[worker], borders[worker + 1], distances, *last,
            )  # fmt: skip

        run(work, workers, Event())
        return distances

    def _gathered(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        segments = np.searchsorted(self._firsts, rows, side="right") - 1
        # The last of equal firsts: the others are empty.
        parts = [
            converted(self._segments[segment][rows[segments == segment] - self._firsts[segment]])
            for segment in np.unique(segments)
        ]
        return np.concatenate(parts)
