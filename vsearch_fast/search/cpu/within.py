"""All rows within a fixed limit of each query: by stored rows, or by sketches first.

::

    sketches ── bounds ──> listed pairs ── float32, rounding bound ──> few ── float64 ──> pairs
    (8 bits)  (sketch_scan)              (refine_f32)            (pair_distances)         within

The kernels are those of `scan` and `cascade`, told limits that never fall: a buffer that holds more
pairs than a call can append is never shrunk, so that its limits stay. A pair is out when its lower
bound is above the radius, and each that is left is computed by the definition. Where sketches
exclude too little, the rest is scanned.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ...kernels import found, layout, sketch_scan
from ...kernels.cache import Kernel, prepare
from ...kernels.level import simd_level
from ...kernels.memory import aligned
from ...kernels.pairs import drop_listed
from ...kernels.refine import pair_distances, refine_f32
from ...kernels.simd_u8 import ABSOLUTE, PRODUCT, number_of, signed_queries
from ...threads import run
from .. import tiling
from ..proof import Work
from ..rows import Sources, converted, direct, no_mask, not_finite, padded_to, readable
from ..sketches import Run, sketch_block, sketch_live
from .chunks import Chunk, Problem, cut_rows
from .gathering import Gathering, Keep
from .scan import Family
from .shared import PAIR_BYTES, SketchedQueries, scanner_of

#: Queries of a batch: enough that the rows are not what is read.
_QUERIES = 256
#: Padding of queries that serves the scan and the sketches.
_MULTIPLE = sketch_scan.QUERY_MULTIPLE


@dataclass(frozen=True, eq=False)
class Task:
    """A range search, as it is the same for all batches of queries.

    Attributes:
        problem: rows, sketches and masks; its k is of no meaning.
        kernels: of the scan.
        sketching: whether rows that have, or get, sketches are bounded by them.
    """

    problem: Problem
    kernels: Family
    sketching: bool

    @property
    def dim(self) -> int:
        return self.problem.segments[0].shape[1]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row as the kernels read it."""
        return max(1, self.dim * self.kernels.rows.itemsize)

    def batch(self) -> int:
        """Queries that are searched together."""
        sizes = tiling.TILING
        room = sizes.sketch_query_bytes if self.sketching else sizes.query_bytes
        return max(1, min(_QUERIES, room // self.row_bytes))

    def prepare(self) -> None:
        """Have what it needs compiled."""
        kernels: list[Kernel] = [found.place_found, found.sort_found]
        if self.sketching:
            kernels += [scanner_of(self.problem), drop_listed, refine_f32, pair_distances]
        else:
            many = self.kernels.many_for(self.batch())
            kernels.append(many.kernel if many else self.kernels.kernel)
        prepare(kernels)


def search(
    task: Task,
    queries: NDArray,
    radii: NDArray[np.float64],
    workers: int,
    gathering: Gathering,
    stop: Event,
    *,
    first: int = 0,
    keep: Keep | None = None,
) -> Work:
    """Find the pairs of one batch of queries; `gathering` has begun it and is told them.

    Args:
        queries: (q, d) of the kernels' type, not padded.
        radii: float64 (q,).
        first: rows before this id are left out.
        keep: which of the pairs found count.
    """
    chunks = _chunks(task, workers, len(queries), first)
    workers = min(workers, len(chunks))
    work = Work()
    if not chunks or not len(queries):
        return work
    batch = _Batch(task, queries, radii, workers, gathering, stop, keep)
    turn = itertools.count()  # next() is atomic: each worker takes ascending chunks
    each = [_Worker(batch, number) for number in range(workers)]

    def take(number: int) -> None:
        while not stop.is_set() and (turned := next(turn)) < len(chunks):
            bad = each[number].take(chunks[turned])
            if bad >= 0:
                batch.refused.append(bad)
                stop.set()

    run(take, workers, stop)
    if batch.refused:
        raise not_finite(min(batch.refused), task.problem.segments)
    for worker in each:
        work.add(worker.work)
    return work


def _chunks(task: Task, workers: int, queries: int, first: int) -> Sequence[Chunk]:
    """Chunks of rows from an id on; without sketches all of them are to be scanned."""
    if task.sketching:
        cut: list[Chunk] = cut_rows(task.problem, workers, queries)
    else:
        sizes = tiling.TILING
        total = sum(map(len, task.problem.segments)) - first
        rows = sizes.chunk_rows or max(task.kernels.minimum_chunk, -(-total // (8 * workers)))
        cut, offset = [], 0
        for number, segment in enumerate(task.problem.segments):
            most = rows
            if not direct(segment, task.kernels.rows):
                most = max(1, min(rows, sizes.copy_bytes // task.row_bytes))
            cut += [
                Chunk(number, start, min(start + most, len(segment)), offset, None, False)
                for start in range(max(0, first - offset), len(segment), most)
            ]
            offset += len(segment)
    return [
        Chunk(c.segment, max(c.start, first - c.offset), c.stop, c.offset, c.run, c.build)
        for c in cut
        if c.offset + c.stop > first
    ]


class _Batch:
    """Some queries and their limits, as all workers share them."""

    def __init__(
        self,
        task: Task,
        queries: NDArray,
        radii: NDArray[np.float64],
        workers: int,
        gathering: Gathering,
        stop: Event,
        keep: Keep | None,
    ) -> None:
        self.task, self.gathering, self.stop, self.keep = task, gathering, stop, keep
        self.count, self.workers, self.radii = len(queries), workers, radii
        kernels = task.kernels
        many = None if task.sketching else kernels.many_for(self.count)
        self.queries = padded_to(
            queries, many.multiple if many else max(_MULTIPLE, kernels.multiple)
        )
        self.scan = many.scanner(self.queries) if many else kernels.scan
        self.refused: list[int] = []
        padded = len(self.queries)
        # What a scan lists is below its limits; padding is below nothing.
        whole = kernels.distances.kind == "i"
        self.limits = np.full(padded, -1 if whole else -np.inf, kernels.distances)
        if whole:
            most = np.iinfo(kernels.distances).max - 1
            self.limits[: self.count] = np.minimum(np.floor(radii), most).astype(np.int64) + 1
        else:
            self.limits[: self.count] = np.nextafter(radii, np.inf)
        sizes = tiling.TILING
        # Rows of one call, whose pairs all have room in the buffers.
        self.rows = max(1, sizes.buffer_bytes // (16 * padded * workers))
        self.hopeless = False
        if not task.sketching:
            return
        problem = task.problem
        operation, level = (PRODUCT if problem.squared else ABSOLUTE), number_of(simd_level())
        self.bounding, self.signed = scanner_of(problem), signed_queries(operation, level)
        self.width, self.gamma = layout.width_of(task.dim), layout.rounding(task.dim)
        self.error_column = layout.E2 if problem.squared else layout.E1
        #: Limits of lower bounds, which the radius itself does not exclude.
        self.reach = np.full(padded, np.inf)
        self.reach[: self.count] = radii
        share = sizes.list_bytes // (PAIR_BYTES * workers)
        row_bytes = min(self.width, sketch_scan.BLOCK)
        if self.width <= sketch_scan.NARROW:
            row_bytes = self.width
        self.tile_rows = max(1, min(sizes.tile_bytes // row_bytes, share // (2 * self.count)))
        self.room = max(2 * self.tile_rows * self.count, min(share, 8192 * self.count))
        firsts = np.cumsum([0, *map(len, problem.segments)])[:-1].tolist()
        self.sources = Sources.of(
            [
                (start, segment)
                for start, segment in zip(firsts, problem.segments, strict=True)
                if len(segment) and readable(segment)
            ]
        )

    def sketch_queries(self, lo: float, step: float) -> SketchedQueries:
        """The queries as the rows of a run are sketched; padding has errors of NaN."""
        data = aligned((len(self.queries), self.width), np.uint8)
        facts = np.empty((len(self.queries), layout.FACTS))
        sketch_block(self.queries, lo, step, data, facts)
        errors = facts[:, self.error_column].copy()
        errors[self.count :] = np.nan
        constants = facts[:, layout.SQUARES].astype(np.int64)
        if self.signed:
            data ^= 128
        return SketchedQueries(data, constants, errors)


class _Worker:
    """A thread's share of a batch: nothing of it is written by others while it runs."""

    def __init__(self, batch: _Batch, number: int) -> None:
        self.batch, self.number, self.work = batch, number, Work()
        padded, capacity = len(batch.queries), batch.rows + 1
        kernels = batch.task.kernels
        self.counts = np.zeros(padded, np.int64)
        self.distances = np.empty((padded, capacity), kernels.distances)
        self.ids = np.empty((padded, capacity), np.int64)  # memory that is not touched costs none
        if not batch.task.sketching:
            return
        self.order = np.arange(capacity)
        self.pair_queries = np.empty(batch.room, np.int32)
        self.pair_rows = np.empty(batch.room, np.int64)
        self.pair_lowers = np.empty(batch.room)
        self.pair_distances = np.empty(batch.room)
        self.listed = self.within = 0  # candidates so far, and those of them within the radius
        self.known: dict[tuple[float, float], SketchedQueries] = {}

    def take(self, chunk: Chunk) -> int:
        """Search a chunk, part by part. Returns -1, or the id of a row that is not finite."""
        size = self.batch.rows
        for start in range(chunk.start, chunk.stop, size):
            if self.batch.stop.is_set():
                break
            bad = self._take(chunk, start, min(start + size, chunk.stop))
            if bad >= 0:
                return bad
        return -1

    def _take(self, chunk: Chunk, start: int, stop: int) -> int:
        batch = self.batch
        problem = batch.task.problem
        live = problem.lives[chunk.segment]
        if live is not None:
            live = live[start:stop]
        count = stop - start if live is None else int(np.count_nonzero(live))
        if count == 0:
            return -1
        rows = problem.segments[chunk.segment][start:stop]
        mask = no_mask() if live is None else live
        first = chunk.offset + start
        if chunk.run is None or batch.hopeless:
            return self._scan(chunk.segment, start, rows, mask, count, first)
        sources = batch.sources
        if not readable(rows):
            rows = converted(rows, live=live)
            sources = Sources.of([(first, rows)])
        sketch = problem.sketches[chunk.segment]
        if sketch is not None and not chunk.build:
            bad = sketch.bad[(sketch.bad >= start) & (sketch.bad < stop)] - start
            data, facts = sketch.bytes[start:stop], sketch.facts[start:stop]
            if problem.reading is not None:
                problem.reading.sketches(chunk.segment, start, stop, live)
        else:
            if problem.reading is not None:
                problem.reading.rows(chunk.segment, start, stop, live)
            data = aligned((len(rows), batch.width), np.uint8)
            facts = np.empty((len(rows), layout.FACTS))
            self.work.bytes_read += count * batch.task.dim * rows.itemsize
            bad = np.empty(0, np.int64)
            if not sketch_live(rows, live, chunk.run.lo, chunk.run.step, data, facts):
                bad = np.flatnonzero(~np.isfinite(facts).all(axis=1))
        bad = bad[mask[bad] != 0] if live is not None else bad
        if len(bad):
            return first + int(bad[0])
        return self._bound(chunk.run, data, facts, mask, count, first, sources)

    def _scan(
        self,
        segment: int,
        start: int,
        rows: NDArray,
        mask: NDArray[np.uint8],
        count: int,
        first: int,
    ) -> int:
        """Compute every distance by the definition."""
        batch, reading = self.batch, self.batch.task.problem.reading
        kernels, live = batch.task.kernels, mask if len(mask) else None
        self.work.scanned += count * batch.count
        self.work.bytes_read += count * batch.task.dim * rows.itemsize
        if not direct(rows, kernels.rows):
            rows = converted(rows, kernels.rows, live)
        self.counts[:] = 0
        bad = batch.scan(
            batch.queries.__array_interface__["data"][0], batch.queries.strides[0], batch.count,
            rows.__array_interface__["data"][0], rows.strides[0], batch.task.dim * rows.itemsize,
            0, len(rows), first,
            mask, max(1, min(tiling.TILING.tile_bytes // batch.task.row_bytes, 4096)), 1,
            self.distances, self.ids, self.counts, batch.limits,
        )  # fmt: skip
        if reading is not None:
            reading.rows(segment, start, start + len(rows), live)
        if bad >= 0:
            return first + int(bad)
        counts = self.counts[: batch.count]
        total = int(counts.sum())
        if total:
            numbers = np.repeat(np.arange(batch.count, dtype=np.int64), counts)
            before = np.cumsum(counts) - counts
            places = numbers * self.ids.shape[1] + np.arange(total) - before[numbers]
            found_ids = self.ids.reshape(-1)[places]
            batch.gathering.add(
                self.number, numbers, self.distances.reshape(-1)[places], found_ids, batch.keep
            )
        return -1

    def _bound(
        self,
        run_: Run,
        data: NDArray[np.uint8],
        facts: NDArray[np.float64],
        mask: NDArray[np.uint8],
        count: int,
        first: int,
        sources: Sources,
    ) -> int:
        """List the pairs that their bounds do not exclude, and decide them."""
        batch, position = self.batch, 0
        queries = self._sketched(run_)
        while position < len(data) and not batch.stop.is_set():
            self.counts[:] = 0
            position, _, listed = batch.bounding(
                queries.bytes.ctypes.data, batch.width, batch.count,
                queries.constants, queries.errors,
                data.ctypes.data, batch.width,
                facts, run_.step, batch.gamma,
                position, len(data), first,
                mask, batch.tile_rows, 1,
                self.distances, self.counts,
                batch.reach, batch.reach,
                self.order,
                self.pair_queries, self.pair_rows, self.pair_lowers, 0, 0,
            )  # fmt: skip
            bad = self._decide(listed, sources)
            if bad >= 0:
                return bad
        self.work.sketched += count * batch.count
        self.work.bytes_read += count * (data.shape[1] + facts.shape[1] * facts.itemsize)
        sizes = tiling.TILING
        if self.work.sketched >= sizes.fair_trial * batch.count and (
            self.listed > sizes.hopeless * self.work.sketched
        ):
            batch.hopeless = True
        return -1

    def _sketched(self, run_: Run) -> SketchedQueries:
        key = run_.lo, run_.step
        if key not in self.known:
            if len(self.known) >= tiling.TILING.kept_parameters:
                self.known.pop(next(iter(self.known)))
            self.known[key] = self.batch.sketch_queries(*key)
        return self.known[key]

    def _decide(self, listed: int, sources: Sources) -> int:
        """Compute the listed pairs, and tell those within. Returns as `take`."""
        batch = self.batch
        if listed == 0:
            return -1
        problem = batch.task.problem
        if problem.reading is not None:
            problem.reading.pairs(self.pair_rows[:listed])
        rows = (
            batch.queries.ctypes.data, batch.queries.strides[0], batch.task.dim,
            sources.firsts, sources.bases, sources.strides, sources.halves,
            self.pair_queries, self.pair_rows,
        )  # fmt: skip
        self.work.candidates += listed
        self.listed += listed
        left, each = listed, batch.task.dim * problem.segments[0].itemsize
        # Where most of what is listed lies within, float32 would exclude nothing.
        if 2 * self.within < self.listed:
            self.counts[:] = 0
            done = refine_f32(
                *rows, self.pair_lowers, 0, listed, 1,
                self.distances, self.counts, batch.reach, self.order, problem.squared,
            )  # fmt: skip
            _, left = drop_listed(
                self.pair_queries, self.pair_rows, self.pair_lowers, 0, listed, batch.reach
            )
            self.work.bytes_read += done * each
        distances = self.pair_distances[:left]
        pair_distances(*rows, 0, left, distances, problem.squared)
        self.work.undecided += left
        self.work.bytes_read += left * each
        numbers, ids = self.pair_queries[:left], self.pair_rows[:left]
        within = distances <= batch.radii[numbers]
        if not np.isfinite(distances).all():
            return int(ids[~np.isfinite(distances)].min())
        self.within += int(np.count_nonzero(within))
        batch.gathering.add(
            self.number, numbers[within], distances[within], ids[within], batch.keep
        )
        return -1
