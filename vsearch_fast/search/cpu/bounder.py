"""The first tier of one thread: rows are bounded by their sketches, or by their reductions first,
and pairs that limits do not exclude are listed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.memory import aligned
from .. import tiling
from ..proof import Work
from ..reductions import Reduced
from ..rows import Live
from ..sketches import Run, sketch_live
from .chunks import Chunk
from .shared import Bounding, Bounds, SketchedQueries


class Bounder:
    """A thread's limits, its list of pairs and what it counts.

    Args:
        shared: of all threads.
        uppers, counts: a selection buffer for the upper bounds of each query.

    Attributes:
        limits: a query's pairs whose lower bound is above it are out.
        caps: limits that are proved otherwise, and that those by upper bounds stay below.
        listed, refined: pairs of the list; the first of them have been in float32.
    """

    def __init__(
        self, shared: Bounds, uppers: NDArray[np.float64], counts: NDArray[np.int64]
    ) -> None:
        self.shared, self.work = shared, Work()
        self.uppers, self.counts = uppers, counts
        self.limits = np.full(len(shared.queries), np.inf)
        self.caps = np.full(len(shared.queries), np.inf)
        self.order = np.arange(uppers.shape[1])
        self.pair_queries = np.empty(shared.room, np.int32)
        self.pair_rows = np.empty(shared.room, np.int64)
        self.pair_lowers = np.empty(shared.room)
        self.listed = self.refined = 0
        self.known: dict[tuple[float, float], SketchedQueries] = {}
        self._reduced: tuple[Reduced, int] | None = None  # of the rows in hand, and the first
        self._left = 0  # pairs that reductions had left before these

    def sketches(
        self, chunk: Chunk, start: int, stop: int, rows: NDArray, live: Live, count: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.int64]]:
        """Sketches and facts of rows ``start`` to ``stop``, of which ``count`` live, made where
        there are none; and the numbers, from ``start``, of live rows that are not finite."""
        shared, reading = self.shared, self.shared.problem.reading
        sketch, run_ = shared.problem.sketches[chunk.segment], chunk.run
        assert run_ is not None
        if sketch is not None and not chunk.build:
            bad = sketch.bad[(sketch.bad >= start) & (sketch.bad < stop)] - start
            data, facts = sketch.bytes[start:stop], sketch.facts[start:stop]
            if reading is not None:
                reading.sketches(chunk.segment, start, stop, live)
        else:
            if reading is not None:
                reading.rows(chunk.segment, start, stop, live)
            data = aligned((len(rows), shared.width), np.uint8)
            facts = np.empty((len(rows), shared.facts))
            self.work.bytes_read += count * rows.shape[1] * rows.itemsize
            bad = np.empty(0, np.int64)
            if not sketch_live(rows, live, run_.lo, run_.step, data, facts):
                bad = np.flatnonzero(~np.isfinite(facts).all(axis=1))
        if live is not None:
            bad = bad[live[bad] != 0]
        return data, facts, bad

    def begin(self, chunk: Chunk, start: int, stop: int, live: Live) -> None:
        """Rows ``start`` to ``stop`` of a chunk are to be bounded; as reduced, where they are (and
        ``start`` begins a page) and that has paid."""
        if chunk.reduced is not None and not self.shared.flat:
            self._reduced = chunk.reduced, start - chunk.reduced.start
            if self.shared.problem.reading is not None:
                self.shared.problem.reading.reduced(chunk.segment, start, stop, live)
        self._left = self.work.after_fine

    def end(self, chunk: Chunk, count: int) -> None:
        """So many live rows have been bounded: count them, and see whether it is worth it."""
        shared, work = self.shared, self.work
        sketch_bytes = shared.width + shared.facts * 8
        if self._reduced is None:
            work.sketched += count * shared.count
            work.bytes_read += count * sketch_bytes
        else:
            work.reduced += count * shared.count
            work.bytes_read += count * self._reduced[0].coarse.shape[1]
            work.bytes_read += (work.after_fine - self._left) * sketch_bytes
            self._reduced = None
        sizes = tiling.TILING
        bounded = work.sketched + work.reduced
        if bounded >= sizes.fair_trial * shared.count:
            if work.candidates > sizes.hopeless * bounded:
                shared.hopeless = True
            if work.after_fine > sizes.reduced_left * work.reduced:
                shared.flat = True

    def first_tier(
        self,
        run_: Run,
        data: NDArray[np.uint8],
        facts: NDArray[np.float64],
        mask: NDArray[np.uint8],
        first: int,
        position: int,
        end: int,
        k: int,
    ) -> int:
        """Bound rows ``position`` to ``end``; returns where the list was full."""
        shared = self.shared
        queries = self._sketched(run_)
        if self._reduced is not None:
            return self._reduced_tier(
                *self._reduced, queries, run_, data, facts, mask, first, position, end, k
            )
        position, self.refined, self.listed = shared.scan(
            queries.bytes.ctypes.data, shared.width, shared.count,
            *queries.known,
            data.ctypes.data, shared.width,
            facts, run_.step, shared.gamma,
            position, end, first,
            mask, shared.tile_rows, k,
            self.uppers, self.counts,
            self.limits, self.caps,
            self.order,
            self.pair_queries, self.pair_rows, self.pair_lowers, self.refined, self.listed,
        )  # fmt: skip
        return position

    def _reduced_tier(
        self,
        reduced: Reduced,
        offset: int,
        queries: SketchedQueries,
        run_: Run,
        data: NDArray[np.uint8],
        facts: NDArray[np.float64],
        mask: NDArray[np.uint8],
        first: int,
        position: int,
        end: int,
        k: int,
    ) -> int:
        """`first_tier` of rows that are reduced, from ``offset`` on."""
        shared = self.shared
        bounding = shared.bounding(reduced.reduction)
        shape, fine = reduced.reduction.shape, bounding.fine
        position, self.refined, self.listed, coarse_left, fine_left = bounding.scan(
            *self.coarse(reduced, offset, bounding),
            fine.numbers.ctypes.data, fine.numbers.strides[0],
            fine.weights, fine.residuals, fine.errors, bounding.scales[1],
            reduced.fine.ctypes.data + offset * shape.fine_bytes, shape.fine_bytes, shape.fine,
            queries.bytes.ctypes.data, shared.width, *queries.known,
            data.ctypes.data, shared.width, facts, run_.step, shared.gamma,
            position, end, first,
            mask, bounding.tile_rows, k,
            self.uppers, self.counts,
            self.limits, self.caps,
            self.order,
            self.pair_queries, self.pair_rows, self.pair_lowers, self.refined, self.listed,
        )  # fmt: skip
        self.work.after_coarse += coarse_left
        self.work.after_fine += fine_left
        self.work.bytes_read += coarse_left * shape.fine_bytes
        return position

    def coarse(self, reduced: Reduced, offset: int, bounding: Bounding) -> tuple[Any, ...]:
        """What kernels take of the coarse numbers of queries and rows, the latter from ``offset``
        on."""
        coarse = bounding.coarse
        return (
            coarse.numbers.ctypes.data, coarse.numbers.strides[0], self.shared.count,
            coarse.weights, coarse.residuals, coarse.errors, bounding.scales[0], bounding.growth,
            reduced.coarse.ctypes.data + offset * reduced.coarse.shape[1],
        )  # fmt: skip

    def _sketched(self, run_: Run) -> SketchedQueries:
        key = run_.lo, run_.step
        if key not in self.known:
            if len(self.known) >= tiling.TILING.kept_parameters:
                self.known.pop(next(iter(self.known)))
            self.known[key] = self.shared.sketch_queries(*key)
        return self.known[key]
