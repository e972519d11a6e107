"""The strategy ``sketch``: bounds decide most pairs, and stored vectors are read for the rest.

::

    sketches ── bounds ──> listed pairs ── float32, rounding bound ──> few ── float64 ──> k nearest
    (8 bits)  (sketch_scan)              (refine_f32)                     (refine_f64)

Each worker bounds chunks of rows and lists the pairs that its limits (the k-th smallest upper
bound that it has met) do not exclude. When all are done, the limits of all are joined, and
what is left is decided: the most promising pairs first (`_Worker.probe`), since a true
distance limits more tightly than a sketch's upper bound. A list that overflows is relieved in
the same way; where sketches exclude too little, the rest is scanned (`kernels.lanes`). Rows
of a segment beyond its sketch are scanned, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels import layout
from ...kernels.memory import aligned
from ...threads import run
from .. import tiling
from ..proof import Work
from ..rows import Sources, as_float32, direct, no_mask, not_finite, padded_to, readable
from ..sketches import Run, sketch_block
from .buffers import capacity_for, merge
from .chunks import Chunk, Problem, cut_rows

#: Bytes of a listed pair: query, row and lower bound.
_PAIR_BYTES = 4 + 8 + 8


def search(
    problem: Problem,
    queries: NDArray[np.float32],
    workers: int,
    distances: NDArray[np.float64],
    ids: NDArray[np.int64],
) -> Work:
    """Search for all queries; write the result to ``distances`` and ``ids``."""
    chunks = cut_rows(problem, workers, len(queries))
    workers = min(workers, len(chunks))
    sizes = tiling.TILING
    # Bounds of two tiers and of promising pairs, 8 bytes each, and pairs of distance and id.
    held = workers * capacity_for(problem.k) * (3 * 8 + 16)
    listed = workers * _PAIR_BYTES * sizes.listed_times_k * problem.k
    batch = min(
        max(1, sizes.sketch_query_bytes // max(1, 4 * problem.dim)),
        sizes.largest_batch,
        max(1, sizes.buffer_bytes // held),
        max(sizes.small_batch, sizes.list_bytes // listed),
    )
    work = Work()
    for first in range(0, len(queries), batch):
        part = slice(first, first + batch)
        some, best, best_ids = queries[part], distances[part], ids[part]
        done, missed = _search_batch(problem, some, chunks, workers, best, best_ids, guess=True)
        work.add(done)
        if len(missed):
            found, found_ids = best[missed], best_ids[missed]
            again, _ = _search_batch(
                problem, some[missed], chunks, workers, found, found_ids, guess=False
            )
            best[missed], best_ids[missed] = found, found_ids
            again.sketched = again.scanned = 0  # these pairs are counted already
            again.repeated = len(missed)
            work.add(again)
    return work


def _search_batch(
    problem: Problem,
    queries: NDArray[np.float32],
    chunks: Sequence[Chunk],
    workers: int,
    best: NDArray[np.float64],
    best_ids: NDArray[np.int64],
    guess: bool,
) -> tuple[Work, NDArray[np.int64]]:
    """`_Batch.search`; its buffers are gone when it returns."""
    batch = _Batch(problem, queries, chunks, workers)
    try:
        missed = batch.search(best, best_ids, guess)
        return batch.work(), missed
    finally:
        batch.workers.clear()  # which refer to the batch: a cycle would wait for the collector


@dataclass(frozen=True)
class _SketchedQueries:
    bytes: NDArray[np.uint8]
    constants: NDArray[np.int64]
    errors: NDArray[np.float64]


class _Batch:
    """Some queries, all rows."""

    def __init__(
        self,
        problem: Problem,
        queries: NDArray[np.float32],
        chunks: Sequence[Chunk],
        workers: int,
    ) -> None:
        from ...kernels import sketch, sketch_scan
        from ...kernels.level import simd_level
        from ...kernels.simd_u8 import ABSOLUTE, PRODUCT, number_of, signed_queries

        self.problem, self.chunks = problem, chunks
        self.count = len(queries)
        self.queries = padded_to(queries, sketch_scan.QUERY_MULTIPLE)
        operation, level = (PRODUCT if problem.squared else ABSOLUTE), number_of(simd_level())
        self.width, self.facts = layout.width_of(problem.dim), layout.FACTS
        self.error_column = layout.E2 if problem.squared else layout.E1
        self.wide = self.width > sketch_scan.NARROW
        self.scan = sketch_scan.scanner(operation, level, self.wide)
        self.signed = signed_queries(operation, level)
        self.gamma = sketch.rounding(problem.dim)
        row_bytes = min(self.width, sketch_scan.BLOCK) if self.wide else self.width
        sizes = tiling.TILING
        share = sizes.list_bytes // (_PAIR_BYTES * workers)
        # A list must hold all pairs of two tiles, which must not make it larger than its share.
        self.tile_rows = max(1, min(sizes.tile_bytes // row_bytes, share // (2 * self.count)))
        fair = min(share, max(sizes.pairs_a_query, sizes.listed_times_k * problem.k) * self.count)
        self.room = max(fair, 2 * self.tile_rows * self.count, 4 * problem.k * self.count)
        firsts = np.cumsum([0, *map(len, problem.segments)])[:-1].tolist()
        self.sources = Sources.of(
            [
                (first, segment)
                for first, segment in zip(firsts, problem.segments, strict=True)
                if len(segment) and readable(segment)
            ]
        )
        padded, capacity = len(self.queries), capacity_for(problem.k)
        self.uppers = np.empty((workers, padded, capacity))
        self.near_uppers = np.empty((workers, padded, capacity))
        self.distances = np.empty((workers, padded, capacity))
        self.ids = np.empty((workers, padded, capacity), np.int64)
        self.counts = np.zeros((3, workers, padded), np.int64)  # of uppers, near_uppers, distances
        self.workers = [_Worker(self, number) for number in range(workers)]
        self.stop = Event()
        self.refused: list[int] = []
        self.hopeless = False

    def sketch_queries(self, lo: float, step: float) -> _SketchedQueries:
        """The queries as the rows of a run are sketched; padding has errors of NaN."""

        data = aligned((len(self.queries), self.width), np.uint8)
        facts = np.empty((len(self.queries), layout.FACTS))
        sketch_block(self.queries, lo, step, data, facts)
        errors = facts[:, self.error_column].copy()
        errors[self.count :] = np.nan
        constants = facts[:, layout.SQUARES].astype(np.int64)
        if self.signed:
            data ^= 128
        return _SketchedQueries(data, constants, errors)

    def work(self) -> Work:
        """What all workers did."""
        work = Work()
        for worker in self.workers:
            work.add(worker.work)
        return work

    def search(
        self, best: NDArray[np.float64], best_ids: NDArray[np.int64], guess: bool
    ) -> NDArray[np.int64]:
        """Search all chunks; write the result to ``best`` and ``best_ids``.

        With ``guess`` limits may start from a guess. Returns the numbers of the queries that
        have fewer than k rows within it: what was written for them is worth nothing.
        """
        guessed = self._guess() if guess else np.full(len(self.queries), np.inf)
        for worker in self.workers:
            worker.limits[:] = worker.caps[:] = guessed
        turn = itertools.count()  # next() is atomic: each worker takes ascending chunks

        def first_tier(number: int) -> None:
            worker = self.workers[number]
            while not self.stop.is_set() and (turned := next(turn)) < len(self.chunks):
                bad = worker.take(self.chunks[turned])
                if bad >= 0:
                    self.refused.append(bad)
                    self.stop.set()

        run(first_tier, len(self.workers), self.stop)
        if self.refused:
            raise not_finite(min(self.refused), self.problem.segments)
        self._join_limits()
        self._each(lambda worker: worker.probe(self.sources))
        self._join_limits()
        self._each(lambda worker: worker.refine_near(self.sources))
        self._join_limits()
        self._each(lambda worker: worker.decide(self.sources))
        merge(self.distances, self.ids, self.counts[2], best, best_ids)
        enough = self.counts[2].sum(axis=0)[: self.count] >= self.problem.k
        return np.flatnonzero(~(enough & (best[:, -1] <= guessed[: self.count])))

    def _guess(self) -> NDArray[np.float64]:
        """Limits that the k-th smallest distances are likely to keep, from a sample of the rows.

        For a large k, whose limit takes many rows to fall. Nothing is proved by it: whoever
        starts from a guess finds out whether k rows lie within.
        """
        from ...kernels.select import lower_limits

        limits = np.full(len(self.queries), np.inf)
        chunks = [chunk for chunk in self.chunks if chunk.run is not None and not chunk.build]
        rows = sum(chunk.stop - chunk.start for chunk in chunks)
        sizes = tiling.TILING
        stride = rows // sizes.sample_rows
        if self.problem.k <= sizes.small_k or stride < sizes.sample_stride:
            return limits
        expected = self.problem.k / stride
        rank = int(expected + 2.5 * expected**0.5 + 3)
        turn = itertools.count()

        def work(number: int) -> None:
            while not self.stop.is_set() and (turned := next(turn)) < len(chunks):
                self.workers[number].sample(chunks[turned], stride, rank)

        run(work, len(self.workers), self.stop)
        lower_limits(self.uppers, self.counts[0], rank, limits)
        # Upper bounds of the sample, less what they are above the distances themselves.
        for worker in self.workers:
            if worker.mean_error is not None:
                limits -= next(iter(worker.known.values())).errors + worker.mean_error
                break
        self.counts[0] = 0
        return limits

    def _join_limits(self) -> None:
        """Give all workers the lowest limits that all bounds together prove, and drop by them.

        Bounds of one tier are of different rows, those of two tiers need not be: each tier
        proves a limit of its own.
        """
        from ...kernels.select import lower_limits

        limits = np.full(len(self.queries), np.inf)
        for bounds, counts in zip(
            (self.uppers, self.near_uppers, self.distances), self.counts, strict=True
        ):
            lower_limits(bounds, counts, self.problem.k, limits)
        for worker in self.workers:
            np.minimum(worker.caps, limits, out=worker.caps)
            worker.drop()

    def _each(self, work: Callable[[_Worker], None]) -> None:
        """Do this for all workers that have pairs listed."""
        busy = [worker for worker in self.workers if worker.listed]
        if sum(worker.listed for worker in busy) <= tiling.TILING.few_pairs:
            for worker in busy:
                work(worker)
        else:
            run(lambda number: work(busy[number]), len(busy), self.stop)


@dataclass
class _Worker:
    """A thread's share of a batch: nothing of it is written by others while it runs."""

    batch: _Batch
    number: int
    work: Work = field(default_factory=Work)

    def __post_init__(self) -> None:
        batch, number = self.batch, self.number
        padded = len(batch.queries)
        self.uppers, self.near_uppers = batch.uppers[number], batch.near_uppers[number]
        self.distances, self.ids = batch.distances[number], batch.ids[number]
        self.counts, self.near_counts, self.held = batch.counts[:, number]
        self.limits = np.full(padded, np.inf)  # of the sketches' upper bounds, and below caps
        self.caps = np.full(padded, np.inf)  # what the other tiers have proved
        self.nearest = np.full(padded, np.inf)  # of the distances
        self.order = np.arange(capacity_for(batch.problem.k))
        self.promising = np.empty((padded, len(self.order)))
        self.promising_counts = np.empty(padded, np.int64)
        self.pair_queries = np.empty(batch.room, np.int32)
        self.pair_rows = np.empty(batch.room, np.int64)
        self.pair_lowers = np.empty(batch.room)
        # Rows before the first probe; a large k makes it dearer than the pairs that it saves.
        sizes = tiling.TILING
        self.unprobed = sizes.first_rows if batch.problem.k <= sizes.small_k else 0
        self.listed = self.refined = 0  # pairs; the first of them have been in float32
        self.mean_error: float | None = None  # of rows that were sampled
        self.known: dict[tuple[float, float], _SketchedQueries] = {}

    def take(self, chunk: Chunk) -> int:
        """Search a chunk. Returns -1, or the id of its first row that is not finite."""
        batch = self.batch
        problem = batch.problem
        segment, live = problem.segments[chunk.segment], problem.lives[chunk.segment]
        mask = no_mask() if live is None else live[chunk.start : chunk.stop]
        rows = segment[chunk.start : chunk.stop]
        count = len(rows) if live is None else int(np.count_nonzero(mask))
        if count == 0:
            return -1
        if chunk.run is None or batch.hopeless:
            return self._scan(chunk, rows, mask, count)
        first = chunk.offset + chunk.start
        sources, copied = batch.sources, not readable(segment)
        if copied:
            rows = as_float32(rows)
            self.relieve(sources, everything=True)  # these sources alone know what is listed
            sources = Sources.of([(first, rows)])
        sketch = problem.sketches[chunk.segment]
        if sketch is not None and not chunk.build:
            bad = sketch.bad[(sketch.bad >= chunk.start) & (sketch.bad < chunk.stop)] - chunk.start
            data = sketch.bytes[chunk.start : chunk.stop]
            facts = sketch.facts[chunk.start : chunk.stop]
        else:
            data = aligned((len(rows), batch.width), np.uint8)
            facts = np.empty((len(rows), batch.facts))
            self.work.bytes_read += rows.nbytes
            bad = np.empty(0, np.int64)
            if not sketch_block(rows, chunk.run.lo, chunk.run.step, data, facts):
                bad = np.flatnonzero(~np.isfinite(facts).all(axis=1))
        if live is not None:
            bad = bad[mask[bad] != 0]
        if len(bad):
            return first + int(bad[0])
        self._bound(chunk.run, data, facts, mask, first, sources)
        self.work.sketched += count * batch.count
        self.work.bytes_read += count * (data.shape[1] + facts.shape[1] * facts.itemsize)
        if copied:
            self.relieve(sources, everything=True)  # the copy goes
        sizes = tiling.TILING
        if self.work.sketched >= sizes.fair_trial * batch.count and (
            self.work.candidates > sizes.hopeless * self.work.sketched
        ):
            batch.hopeless = True
        return -1

    def sample(self, chunk: Chunk, stride: int, rank: int) -> None:
        """Hold the ``rank`` smallest upper bounds of each ``stride``-th row of a chunk."""
        sketch = self.batch.problem.sketches[chunk.segment]
        live = self.batch.problem.lives[chunk.segment]
        assert sketch is not None and chunk.run is not None
        part = slice(chunk.start, chunk.stop)
        mask = np.zeros(chunk.stop - chunk.start, np.uint8)
        mask[::stride] = 1 if live is None else live[part][::stride]
        facts = sketch.facts[part]
        sampled = np.flatnonzero(mask)
        if len(sampled) == 0:
            return
        self.mean_error = float(facts[sampled, self.batch.error_column].mean())
        position = 0
        while position < len(mask):
            self.listed = self.refined = 0  # the list does not matter here
            position = self._first_tier(
                chunk.run, sketch.bytes[part], facts, mask, 0, position, len(mask), rank
            )
        self.listed = self.refined = 0

    def _bound(
        self,
        run_: Run,
        data: NDArray[np.uint8],
        facts: NDArray[np.float64],
        mask: NDArray[np.uint8],
        first: int,
        sources: Sources,
    ) -> None:
        """The first tier: list the pairs that the limits do not exclude."""
        batch = self.batch
        position = 0
        while position < len(data) and not batch.stop.is_set():
            end = min(len(data), position + (self.unprobed or len(data)))
            position = self._first_tier(
                run_, data, facts, mask, first, position, end, batch.problem.k
            )
            if position < end:
                self.relieve(sources)
            elif self.unprobed:
                self.unprobed = 0
                self.probe(sources)

    def _first_tier(
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
        batch = self.batch
        queries = self._sketched(run_)
        position, self.refined, self.listed = batch.scan(
            queries.bytes.ctypes.data, batch.width, batch.count,
            queries.constants, queries.errors,
            data.ctypes.data, batch.width,
            facts, run_.step, batch.gamma,
            position, end, first,
            mask, batch.tile_rows, k,
            self.uppers, self.counts,
            self.limits, self.caps,
            self.order,
            self.pair_queries, self.pair_rows, self.pair_lowers, self.refined, self.listed,
        )  # fmt: skip
        return position

    def _sketched(self, run_: Run) -> _SketchedQueries:
        key = run_.lo, run_.step
        if key not in self.known:
            if len(self.known) >= tiling.TILING.kept_parameters:
                self.known.pop(next(iter(self.known)))
            self.known[key] = self.batch.sketch_queries(*key)
        return self.known[key]

    def relieve(self, sources: Sources, everything: bool = False) -> None:
        """Make room in the list: by lower limits, float32 bounds and, at last, by deciding."""
        self.probe(sources)
        if everything or self.listed > len(self.pair_rows) // 4:
            self.refine_near(sources)
            self.drop()
        if everything or self.listed > len(self.pair_rows) // 4:
            self.decide(sources)

    def drop(self) -> None:
        """Drop listed pairs that the limits exclude."""
        from ...kernels.pairs import drop_listed

        np.minimum(self.limits, self.caps, out=self.limits)
        self.refined, self.listed = drop_listed(
            self.pair_queries, self.pair_rows, self.pair_lowers,
            self.refined, self.listed, self.limits,
        )  # fmt: skip

    def probe(self, sources: Sources) -> None:
        """Lower the limits cheaply: the second tier for each query's most promising pairs.

        Their true distances limit what follows more tightly than any upper bound of a sketch.
        """
        from ...kernels.pairs import bring_forward

        end = bring_forward(
            self.pair_queries, self.pair_rows, self.pair_lowers, self.refined, self.listed,
            self.batch.problem.k, self.promising, self.promising_counts, self.order,
        )  # fmt: skip
        self.refine_near(sources, end)
        self._lower_caps()
        self.drop()

    def _lower_caps(self) -> None:
        """Take limits from bounds of buffers that hold k and are not full yet, too."""
        from ...kernels.select import lower_limits

        number = slice(self.number, self.number + 1)
        lower_limits(
            self.batch.near_uppers[number], self.batch.counts[1, number],
            self.batch.problem.k, self.caps,
        )  # fmt: skip

    def refine_near(self, sources: Sources, end: int | None = None) -> None:
        """The second tier, for what it has not seen."""
        from ...kernels.refine import refine_f32

        end = self.listed if end is None else end
        done = refine_f32(
            *self._pairs(sources, self.refined, end), self.near_uppers, self.near_counts,
            self.caps, self.order, self.batch.problem.squared,
        )  # fmt: skip
        self.refined = end
        self.work.candidates += done
        self.work.bytes_read += done * self._row_bytes()

    def decide(self, sources: Sources) -> None:
        """The third tier, for all that is listed; the list is empty then."""
        from ...kernels.refine import refine_f64

        done = refine_f64(
            *self._pairs(sources, 0, self.listed), self.caps,
            self.distances, self.ids, self.held, self.nearest, self.batch.problem.squared,
        )  # fmt: skip
        self.listed = self.refined = 0
        np.minimum(self.caps, self.nearest, out=self.caps)
        self.work.undecided += done
        self.work.bytes_read += done * self._row_bytes()

    def _row_bytes(self) -> int:
        segment = self.batch.problem.segments[0]
        return segment.shape[1] * segment.dtype.itemsize

    def _pairs(self, sources: Sources, start: int, end: int) -> tuple[Any, ...]:
        """What both refining tiers take, of pairs ``start`` to ``end``."""
        queries = self.batch.queries
        return (
            queries.ctypes.data, queries.strides[0], queries.shape[1],
            sources.firsts, sources.bases, sources.strides, sources.halves,
            self.pair_queries, self.pair_rows, self.pair_lowers, start, end,
            self.batch.problem.k,
        )  # fmt: skip

    def _scan(self, chunk: Chunk, rows: NDArray, mask: NDArray[np.uint8], count: int) -> int:
        """Compute every distance of a chunk by the definition."""
        from ...kernels.lanes import lane_scan

        batch = self.batch
        read = rows.nbytes
        if not direct(rows, np.dtype(np.float32)):
            rows = as_float32(rows)
        first = chunk.offset + chunk.start
        limits = self.nearest.copy()
        limits[batch.count :] = -1  # nothing is below it: padding never enters a buffer
        row_bytes = max(1, rows.shape[1] * 4)
        bad = lane_scan(
            batch.queries.ctypes.data, batch.queries.strides[0], batch.count,
            rows.__array_interface__["data"][0], rows.strides[0], rows.shape[1] * 4,
            0, len(rows), first,
            mask, max(1, min(tiling.TILING.tile_bytes // row_bytes, 4096)), batch.problem.k,
            self.distances, self.ids, self.held, limits, batch.problem.squared,
        )  # fmt: skip
        self.nearest[: batch.count] = limits[: batch.count]
        np.minimum(self.caps, self.nearest, out=self.caps)
        np.minimum(self.limits, self.caps, out=self.limits)
        self.work.scanned += count * batch.count
        self.work.bytes_read += read
        return -1 if bad < 0 else first + int(bad)
