"""The nearest rows of an opened index: its segments, sketches and tombstones given to `topk`,
and the copies of them that stay on GPUs."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np

from ..checks import Progress
from ..errors import ArgumentError
from ..search.dispatch import topk_segments
from ..search.joins import Pairs, cross_join_segments, self_join_segments
from ..search.proof import Proof
from ..search.ranges import range_segments
from ..search.sketches import Sketch
from .store import Store, View
from .stored_sketches import FACTS, SKETCHES
from .views import flat, items_once, nearest_items

if TYPE_CHECKING:
    from ..search.gpu.resident_rows import ResidentRows


def kinds_of(metric: str) -> tuple[str, ...]:
    """The kinds of segments that a search by this metric reads."""
    return ("codes",) if metric == "hamming" else ("vectors", SKETCHES, FACTS)


def kind_of(metric: str) -> str:
    """The kind of segments that a metric compares."""
    return "codes" if metric == "hamming" else "vectors"


class Finder:
    """Searches a store's rows, by number; what they are is no matter here."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._residents: dict[str, ResidentRows] = {}  # by kind of segments
        self._generation = 0  # of the index, when they were copied

    @property
    def device(self) -> str:
        """ "cuda" where rows stay on GPUs, else "cpu"."""
        return "cuda" if self._residents else "cpu"

    def to(self, device: str) -> None:
        """Keep rows on all CUDA devices, or, with "cpu", no more: as `Index.to` says."""
        if device not in ("cpu", "cuda"):
            raise ArgumentError(f"device is {device!r}", "Nothing was moved", 'Use "cpu" or "cuda"')
        self._residents = {}
        if device == "cpu":
            return
        from ..search.gpu.devices import devices, failures_named
        from ..search.gpu.resident_rows import ResidentRows

        meta = self._store.meta
        view = self._store.view(None, ("vectors", SKETCHES, FACTS), "Nothing was moved")
        codes = self._store.view(None, ("codes",), "Nothing was moved")
        residents = {
            "codes": ResidentRows(devices(), "codes", -(-meta.bits // 8), False, False),
            "vectors": ResidentRows(
                devices(), "floats", meta.dim, meta.dtype == "float16", keep_vectors=True
            ),
        }
        with failures_named():
            for kind, resident in residents.items():
                self._extend(resident, kind, codes if kind == "codes" else view)
                self._store.settle(codes if kind == "codes" else view, "Nothing was moved")
        self._residents = residents
        self._generation = view.snapshot.state.generation

    def _extend(self, resident: ResidentRows, kind: str, view: View) -> None:
        """Copy the rows to the devices that are not there yet; they are read here."""
        segments, sketches = view.reading.arrays(kind), view.reading.sketched()
        for segment, rows in enumerate(segments):
            view.reading.rows(segment, 0, len(rows))
            if sketches:
                view.reading.sketches(segment, 0, len(rows))
        resident.extend(segments, sketches or [None] * len(segments))

    def stored(self, view: View, kind: str, rows: np.ndarray) -> np.ndarray:
        """Rows of a kind of a view by number, int64 (n,), copied: (n, width) as stored, of an index
        of several views (n, views, width).

        Raises:
            DamagedError: they are not as they were written.
        """
        values = view.reading.copied(kind, rows)
        self._store.settle(view, "Nothing was read")
        views = len(self._store.meta.views)
        return values if views == 1 else values.reshape(len(values), views, -1)

    def nearest(
        self,
        view: View,
        mask: np.ndarray | None,
        queries: np.ndarray,
        k: int,
        metric: str,
        *,
        threads: int | None = None,
        strategy: str = "auto",
        backend: str = "auto",
        limits: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, Proof]:
        """Distances and row numbers, each (q, min(k, rows that live)), as `topk` defines them.

        Args:
            view: the rows that there are; of `kinds_of` the metric.
            mask: bool (rows,), the rows that live; None for all.
            queries: (q, dim) float32 or float16, for hamming codes, uint8 (q, ceil(bits / 8)); of
                several views (q, v, ...): the distance is that of the nearest (`views.py`).
            k, metric, threads, strategy, backend: as for `topk`; ``auto`` is the GPU after `to`.
            limits: float64 (q,), as for `topk_segments`: the rows of what is beyond are -1.

        Raises:
            DamagedError: rows that were read are not as they were written.
            CompactedError: the rows have other numbers by now.
        """
        kind, views = kind_of(metric), len(self._store.meta.views)
        queries, asked = flat(queries)
        segments, sketches, masks = self._lines(view, mask, kind)
        if self._residents and self._generation != view.snapshot.state.generation:
            self.to("cuda")
        resident = None if backend == "cpu" else self._residents.get(kind)
        if resident is not None:  # what was added since
            self._extend(resident, kind, view)
        try:
            distances, found, proof = topk_segments(
                queries, segments, k * views, metric=metric, masks=masks, sketches=sketches,
                summed=view.reading.summed() if view.snapshot.state.rows else None,
                resident=resident, reading=view.reading, backend=backend, strategy=strategy,
                threads=threads,
                limits=None if limits is None else np.repeat(limits, asked or 1),
            )  # fmt: skip
        finally:
            # Also where a row holds NaN: nothing that was added did, so it is damaged.
            self._store.settle(view, "Nothing was searched")
        if views > 1 or asked is not None:
            distances, found = nearest_items(distances, found, asked or 1, views, k)
        return distances, found, proof

    def within(
        self,
        view: View,
        mask: np.ndarray | None,
        queries: np.ndarray,
        radius: float,
        metric: str,
        *,
        threads: int | None = None,
        strategy: str = "auto",
        limit: int,
    ) -> tuple[list[list[float | int]], list[list[int]], Proof]:
        """Distances and row numbers of all rows within a radius, a list a query, as `range_search`
        defines them; on the processor.

        Args:
            limit: pairs of a query and a row at most, of several views of these.
            view, mask, queries, metric, threads, strategy: as for `nearest`.

        Raises:
            ArgumentError: more pairs than the limit.
            DamagedError, CompactedError: as `nearest`.
        """
        views = len(self._store.meta.views)
        queries, asked = flat(queries)
        segments, sketches, masks = self._lines(view, mask, kind_of(metric))
        try:
            offsets, distances, found, proof = range_segments(
                queries, segments, radius, metric=metric, masks=masks, sketches=sketches,
                reading=view.reading, strategy=strategy, threads=threads, limit=limit,
                instead="pass k, for the nearest alone",
            )  # fmt: skip
        finally:
            self._store.settle(view, "Nothing was searched")
        borders = offsets[:: asked or 1]
        each = zip(
            np.split(distances, borders[1:-1]), np.split(found // views, borders[1:-1]), strict=True
        )
        lines = [items_once(*line) for line in each] if len(queries) else []
        return [line[0].tolist() for line in lines], [line[1].tolist() for line in lines], proof

    def joined(
        self,
        view: View,
        radius: float,
        metric: str,
        *,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Generator[Pairs, None, None]:
        """All pairs of items within a radius of each other, block by block, as `self_join_blocks`
        finds them; on the processor.

        Of several views a pair of items is there once for each pair of their views that is.

        Args:
            view: of `kinds_of` the metric; its mask says which rows count.
            progress: called with the rows that are done and those to do.

        Yields:
            ``(i, j, distances)``: row numbers, each i < j.

        Raises:
            DamagedError, CompactedError: as `nearest`.
        """
        views = len(self._store.meta.views)
        segments, sketches, masks = self._lines(view, view.mask, kind_of(metric))
        blocks = self_join_segments(
            segments, radius, metric=metric, masks=masks, sketches=sketches, reading=view.reading,
            threads=threads, progress=progress,
        )  # fmt: skip
        try:
            for i, j, distances in blocks:
                self._store.settle(view, "Nothing was compared")
                if views > 1:
                    i, j = i // views, j // views
                    other = i != j
                    i, j, distances = i[other], j[other], distances[other]
                yield i, j, distances
        finally:
            self._store.settle(view, "Nothing was compared")

    def crossed(
        self,
        view: View,
        other: Finder,
        others: View,
        radius: float,
        metric: str,
        *,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Generator[Pairs, None, None]:
        """All pairs of an item here and one of another index within a radius, block by block.

        Args:
            other, others: the other's finder, and its view, of the same kinds.
            view, radius, metric, threads, progress, and what is raised: as for `joined`.

        Yields:
            ``(i, j, distances)``: row numbers here and there.
        """
        kind = kind_of(metric)
        left, _, left_masks = self._lines(view, view.mask, kind)
        right, sketches, masks = other._lines(others, others.mask, kind)
        blocks = cross_join_segments(
            left, right, radius, metric=metric, left_masks=left_masks, masks=masks,
            sketches=sketches, left_reading=view.reading, reading=others.reading, threads=threads,
            progress=progress,
        )  # fmt: skip
        sides = (self._store, view), (other._store, others)
        views = [len(store.meta.views) for store, _ in sides]
        try:
            for i, j, distances in blocks:
                for store, read in sides:
                    store.settle(read, "Nothing was compared")
                yield i // views[0], j // views[1], distances
        finally:
            for store, read in sides:
                store.settle(read, "Nothing was compared")

    def _lines(
        self, view: View, mask: np.ndarray | None, kind: str
    ) -> tuple[list[np.ndarray], list[Sketch] | None, list[np.ndarray | None] | None]:
        """The segments of a kind, at least one, their sketches and their masks, by lines
        (`views.py`)."""
        views = len(self._store.meta.views)
        if mask is not None and views > 1:
            mask = np.repeat(mask, views)
        segments, sketches = view.reading.arrays(kind), view.reading.sketched()
        if not segments:
            [shape] = [each for each in self._store.meta.kinds if each.name == kind]
            empty = np.empty((0, shape.width // views), shape.dtype)
            segments, sketches = [empty], None
        masks = None
        if mask is not None:
            borders = np.cumsum([len(segment) for segment in segments])[:-1]
            # None where every row is live, so that nothing is tested row by row.
            masks = [None if part.all() else part for part in np.split(mask, borders)]
        return segments, sketches, masks
