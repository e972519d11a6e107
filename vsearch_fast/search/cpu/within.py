"""All rows within a fixed limit of each query: by stored rows, or by sketches first.

::

    sketches ── bounds ──> listed pairs ── float32, rounding bound ──> few ── float64 ──> pairs
    (8 bits)  (Bounder)                (Tiers.near)             (Tiers.pairs)             within

The kernels are those of `scan` and `cascade` (reduced rows are bounded by their reductions first),
told limits that never fall: a buffer that holds more pairs than a call can append is never shrunk,
so that its limits stay. A pair is out when its lower bound is above the radius, and each that is
left is computed by the definition. Where sketches exclude too little, the rest is scanned.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ...kernels import found
from ...kernels.cache import Kernel, prepare
from ...kernels.layout import PAGE
from ...kernels.pairs import drop_listed
from ...threads import run
from .. import tiling
from ..proof import Work
from ..rows import Sources, converted, direct, no_mask, not_finite, padded_to, readable
from .bounder import Bounder
from .chunks import Chunk, Problem, cut_rows
from .gathering import Gathering, Keep
from .scan import Family
from .shared import Bounds, bounding_kernels, reductions_of
from .tiers import kernels_of

#: Queries of a batch: enough that the rows are not what is read.
_QUERIES = 256


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
            kernels += [*bounding_kernels(self.problem), drop_listed]
            kernels += kernels_of(self.problem.metric, nearest=False)
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
    return [part for chunk in cut for part in _from(chunk, first - chunk.offset)]


def _from(chunk: Chunk, first: int) -> list[Chunk]:
    """What a chunk has of its segment's rows from ``first`` on; reduced ones begin with a page."""
    if first <= chunk.start:
        return [chunk]
    if first >= chunk.stop:
        return []
    page = first
    if chunk.reduced is not None:
        page = min(chunk.stop, first + -(first - chunk.reduced.start) % PAGE)
    parts = [replace(chunk, start=page)] if page < chunk.stop else []
    return [replace(chunk, start=first, stop=page, reduced=None), *parts] if first < page else parts


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
        self.bounds = Bounds(task.problem, queries, workers) if task.sketching else None
        if self.bounds is not None:
            self.queries = self.bounds.queries  # padded enough for a scan, too
            for reduction in reductions_of(task.problem):
                self.bounds.bounding(reduction)
        else:
            self.queries = padded_to(queries, many.multiple if many else kernels.multiple)
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
        # Rows of one call, whose pairs all have room in the buffers.
        self.rows = max(1, tiling.TILING.buffer_bytes // (16 * padded * workers))
        #: The same where they are reduced.
        self.paged = max(PAGE, self.rows // PAGE * PAGE)


class _Worker:
    """A thread's share of a batch: nothing of it is written by others while it runs."""

    def __init__(self, batch: _Batch, number: int) -> None:
        self.batch, self.number, self.work = batch, number, Work()
        padded, capacity = len(batch.queries), max(batch.rows, batch.paged) + 1
        kernels = batch.task.kernels
        self.counts = np.zeros(padded, np.int64)
        self.distances = np.empty((padded, capacity), kernels.distances)
        self.ids = np.empty((padded, capacity), np.int64)  # memory that is not touched costs none
        self.bounder: Bounder | None = None
        if batch.bounds is not None:
            self.bounder = Bounder(batch.bounds, self.distances, self.counts)
            self.work = self.bounder.work
            # Lower bounds at the radius itself are not out.
            self.bounder.limits[: batch.count] = self.bounder.caps[: batch.count] = batch.radii
            self.pair_distances = np.empty(batch.bounds.room)
            self.within = 0  # candidates so far that are within the radius

    def take(self, chunk: Chunk) -> int:
        """Search a chunk, part by part. Returns -1, or the id of a row that is not finite."""
        size = self.batch.rows if chunk.reduced is None else self.batch.paged
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
        bounder, bounds = self.bounder, batch.bounds
        if chunk.run is None or bounder is None or bounds is None or bounds.hopeless:
            return self._scan(chunk.segment, start, rows, mask, count, first)
        sources = bounds.sources
        if not readable(rows):
            rows = converted(rows, live=live)
            sources = Sources.of([(first, rows)])
        data, facts, bad = bounder.sketches(chunk, start, stop, rows, live, count)
        if len(bad):
            return first + int(bad[0])
        bounder.begin(chunk, start, stop, live)
        position = 0
        while position < len(data) and not batch.stop.is_set():
            self.counts[:] = 0
            position = bounder.first_tier(
                chunk.run, data, facts, mask, first, position, len(data), 1
            )
            not_finite_id = self._decide(bounder, bounds, sources)
            if not_finite_id >= 0:
                return not_finite_id
        bounder.end(chunk, count)
        return -1

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

    def _decide(self, bounder: Bounder, bounds: Bounds, sources: Sources) -> int:
        """Compute the listed pairs, and tell those within. Returns as `take`."""
        batch, listed = self.batch, bounder.listed
        bounder.listed = bounder.refined = 0
        if listed == 0:
            return -1
        problem, tiers = batch.task.problem, bounds.tiers
        pairs = bounder.pair_queries, bounder.pair_rows
        if problem.reading is not None:
            problem.reading.pairs(pairs[1][:listed])
        rows = (
            batch.queries.ctypes.data, batch.queries.strides[0], batch.task.dim,
            sources.firsts, sources.bases, sources.strides, sources.halves, *pairs,
        )  # fmt: skip
        self.work.candidates += listed
        left, each = listed, batch.task.dim * problem.segments[0].itemsize
        # Where most of what is listed lies within, float32 would exclude nothing.
        if 2 * self.within < self.work.candidates:
            self.counts[:] = 0
            done = tiers.near(
                *rows, bounder.pair_lowers, 0, listed, 1,
                self.distances, self.counts, bounder.limits, bounder.order,
            )  # fmt: skip
            _, left = drop_listed(*pairs, bounder.pair_lowers, 0, listed, bounder.limits)
            self.work.bytes_read += done * each
        distances = self.pair_distances[:left]
        tiers.pairs(*rows, 0, left, distances)
        self.work.undecided += left
        self.work.bytes_read += left * each
        numbers, ids = pairs[0][:left], pairs[1][:left]
        within = distances <= batch.radii[numbers]
        if not np.isfinite(distances).all():
            return int(ids[~np.isfinite(distances)].min())
        self.within += int(np.count_nonzero(within))
        batch.gathering.add(
            self.number, numbers[within], distances[within], ids[within], batch.keep
        )
        return -1
