"""Codes searched by sums of groups of their bits, where they have some (`kernels.bit_groups`).

Rows without sums are scanned among them, by the kernels of `scan`; so are chunks of which a mask
leaves little, and all that follows for a worker whose sums have excluded too little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from itertools import count as numbers
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ...kernels import bit_groups
from ...kernels.cache import Kernel, prepare
from ...kernels.layout import SUMS
from ...kernels.level import simd_level
from ...kernels.simd_groups import ROWS
from ...kernels.simd_u8 import number_of
from ...threads import run
from .. import tiling
from ..bit_groups import BitGroups, Summed, first_half
from ..proof import Work
from ..rows import Live, Reading, converted, direct, no_mask, padded_to
from .buffers import capacity_for, fill, merge, merging
from .scan import Family

#: Rows of a chunk, at least, and pairs that are worth fewer of them, down to an eighth.
_CHUNK, _PAIRS = 8192, 1 << 16
#: One row in so many is bounded for the limits that a search begins with.
_PROBED = 16
#: For each of the k nearest, rows whose distances are counted for these.
_COUNTED = 4
#: For each of the k nearest, live rows from which all this pays.
_MOST = 16


@dataclass(frozen=True, eq=False)
class Chunk:
    """Rows of a segment that a thread takes at a time, all of one `Summed` or of none."""

    segment: int
    start: int
    stop: int
    offset: int  # id of the segment's row 0
    summed: Summed | None


@dataclass(frozen=True, eq=False)
class Problem:
    """One search, as it is the same for all batches and workers."""

    segments: Sequence[NDArray[np.uint8]]
    lives: Sequence[Live]
    summed: Sequence[Sequence[Summed]]  # of each segment, in ascending order
    k: int
    kernels: Family
    reading: Reading | None = None

    @property
    def length(self) -> int:
        """Bytes of a code."""
        return self.segments[0].shape[1]


def searcher(
    segments: Sequence[NDArray[np.uint8]],
    lives: Sequence[Live],
    summed: Sequence[Sequence[Summed]] | None,
    k: int,
    kernels: Family,
    reading: Reading | None,
    strategy: str,
    queries: int,
    live: int,
) -> Callable[..., Work] | None:
    """What searches these codes by sums, called with queries, workers, and arrays for the result;
    None where there are none, or too few live rows, or the strategy is to scan."""
    least = tiling.TILING.summed_least * (4 if queries == 1 else 1)
    few = live < _MOST * k or live * segments[0].shape[1] < least
    if strategy == "scan" or few or not any(summed or ()):
        return None
    assert summed is not None
    return partial(search, problem=Problem(segments, lives, summed, k, kernels, reading))


def kernels_for(length: int) -> tuple[Kernel, Kernel, Kernel]:
    """Kernels for codes of so many bytes: of the scan, the limits, and the queries' sums."""
    level = min(2, max(1, number_of(simd_level())))  # AVX2's instructions, or none by name
    words = bit_groups.words_of(length)
    return (
        bit_groups.scanner(level, words), bit_groups.prober(level, words), bit_groups.group_sums,
    )  # fmt: skip


def search(
    queries: NDArray[np.uint8],
    workers: int,
    distances: NDArray[np.int32],
    ids: NDArray[np.int64],
    above: NDArray[np.int32] | None = None,
    *,
    problem: Problem,
) -> Work:
    """Search all segments for all queries; write the result to ``distances`` and ``ids``.

    ``above`` has a number for each query that is above all distances which matter.
    """
    sizes = tiling.TILING
    chunks = _cut(problem, workers, len(queries))
    workers = min(workers, len(chunks))
    scan, probe, _ = kernels_for(problem.length)
    family = problem.kernels
    capacity = capacity_for(problem.k)
    batch = max(1, min(1024, sizes.buffer_bytes // (workers * capacity * 16)))
    many = family.many_for(min(batch, len(queries)))
    prepare([scan, probe, many.kernel if many else family.kernel, merging(family.distances)])
    work = Work()
    for first in range(0, len(queries), batch):
        part = slice(first, first + batch)
        asked = _Batch(queries[part], problem, chunks, workers, scan, probe)
        asked.search(distances[part], ids[part], None if above is None else above[part])
        for each in asked.work:
            work.add(each)
    return work


def _cut(problem: Problem, workers: int, queries: int) -> list[Chunk]:
    """Chunks in ascending order of id, about eight for each worker."""
    total = sum(map(len, problem.segments))
    least = max(_CHUNK // 8, min(_CHUNK, _PAIRS // queries))
    usual = tiling.TILING.chunk_rows or max(least, -(-total // (8 * workers)))
    chunks: list[Chunk] = []
    offset = 0
    for number, (segment, summed) in enumerate(zip(problem.segments, problem.summed, strict=True)):
        parts = summed if direct(segment, np.dtype(np.uint8)) else ()
        borders = sorted({0, len(segment), *chain(*((p.start, p.stop) for p in parts))})
        for start, stop in pairwise(borders):
            own = next((part for part in parts if part.start <= start < part.stop), None)
            chunks += [
                Chunk(number, first, min(first + usual, stop), offset, own)
                for first in range(start, stop, usual)
            ]
        offset += len(segment)
    return chunks


class _Batch:
    """A batch of queries, and what the workers hold for it.

    Attributes:
        work: of each worker, when all is done.
    """

    def __init__(
        self,
        queries: NDArray[np.uint8],
        problem: Problem,
        chunks: Sequence[Chunk],
        workers: int,
        scan: Kernel,
        probe: Kernel,
    ) -> None:
        self.problem, self.chunks, self.workers = problem, chunks, workers
        self.count, self._scan, self._probe = len(queries), scan, probe
        many = problem.kernels.many_for(self.count)
        self.queries = padded_to(queries, many.multiple if many else problem.kernels.multiple)
        self._whole = many.scanner(self.queries) if many else problem.kernels.scan
        self._sums: dict[int, NDArray[np.uint8]] = {}
        for part in chain(*problem.summed):
            if id(part.groups) not in self._sums:
                self._sums[id(part.groups)] = part.groups.sums(self.queries[: self.count], 1)
        self.work = [Work() for _ in range(workers)]

    def search(
        self,
        best: NDArray[np.int32],
        best_ids: NDArray[np.int64],
        above: NDArray[np.int32] | None,
    ) -> None:
        """Search all chunks; write the result to ``best`` and ``best_ids``."""
        k, padded = self.problem.k, len(self.queries)
        shape = self.workers, padded, capacity_for(k)
        distances, ids = np.empty(shape, np.int32), np.empty(shape, np.int64)
        counts = np.zeros(shape[:2], np.int64)
        begin = self._limits()
        if above is not None:
            begin = np.minimum(begin, above)
        turn, stop = numbers(), Event()  # next() is atomic: each worker takes ascending chunks

        def work(worker: int) -> None:
            # Limits are written at every improvement: each worker's on cache lines of its own.
            limits = np.full(padded, self.problem.kernels.below, np.int32)
            limits[: self.count] = begin
            held = distances[worker], ids[worker], counts[worker], limits
            while not stop.is_set() and (number := next(turn)) < len(self.chunks):
                self._take(self.chunks[number], held, self.work[worker])

        run(work, self.workers, stop)
        if above is not None:
            fill(distances, ids, counts, k, self.problem.kernels.beyond)
        merge(distances, ids, counts, best, best_ids)

    def _take(self, chunk: Chunk, held: tuple[NDArray, ...], work: Work) -> None:
        """Search a chunk for all queries, by its sums or whole."""
        sizes, problem, length = tiling.TILING, self.problem, self.problem.length
        rows, live = self._rows(chunk)
        alive = chunk.stop - chunk.start if live is None else int(np.count_nonzero(live))
        if alive == 0:
            return
        pairs, few = alive * self.count, alive < sizes.summed_live * (chunk.stop - chunk.start)
        hopeless = (
            work.reduced >= sizes.fair_trial
            and work.after_coarse + work.after_fine > sizes.summed_left * work.reduced
        )  # fmt: skip
        if chunk.summed is None or few or hopeless:
            if not direct(rows, np.dtype(np.uint8)):
                rows = converted(rows, np.uint8, live)
            tile = max(1, min(sizes.tile_bytes // max(1, length), 4096))
            self._whole(
                self.queries.ctypes.data, self.queries.strides[0], self.count,
                rows.__array_interface__["data"][0], rows.strides[0], length,
                0, len(rows), chunk.offset + chunk.start,
                no_mask() if live is None else live, tile, problem.k, *held,
            )  # fmt: skip
            work.scanned += pairs
            work.bytes_read += alive * length
        else:
            sums = chunk.summed.sums[chunk.start - chunk.summed.start :][: len(rows)]
            left, halved = self._scan(
                *self._asked(chunk.summed.groups), *_stored(rows, sums),
                0, len(rows), chunk.offset + chunk.start,
                no_mask() if live is None else live, problem.k, *held,
            )  # fmt: skip
            half = first_half(length)
            work.reduced += pairs
            work.after_coarse += left
            work.after_fine += halved
            work.bytes_read += alive * SUMS + left * half + halved * (length - half)
            if problem.reading is not None:
                problem.reading.reduced(chunk.segment, chunk.start, chunk.stop, live)
        if problem.reading is not None:
            # All of them: their checksums are of many rows.
            problem.reading.rows(chunk.segment, chunk.start, chunk.stop, live)

    def _rows(self, chunk: Chunk) -> tuple[NDArray[np.uint8], Live]:
        part, live = slice(chunk.start, chunk.stop), self.problem.lives[chunk.segment]
        return self.problem.segments[chunk.segment][part], None if live is None else live[part]

    def _asked(self, groups: BitGroups) -> tuple[int, int, int, int]:
        sums = self._sums[id(groups)]
        return self.queries.ctypes.data, self.queries.strides[0], self.count, sums.ctypes.data

    def _limits(self) -> NDArray[np.int32]:
        """Limits that k live rows are below, for each query: one above the k-th true distance of
        rows whose bounds are the least among some from all over the database."""
        k, beyond = self.problem.k, 8 * self.problem.length + 1
        capacity = capacity_for(k)
        distances = np.full((self.count, capacity), beyond, np.int32)
        ids, counts = np.empty((self.count, capacity), np.int64), np.zeros(self.count, np.int64)
        limits = np.full(self.count, beyond, np.int32)
        held = distances, ids, counts, limits
        problem, total = self.problem, sum(map(len, self.problem.segments))
        for segment, live, parts in zip(
            problem.segments, problem.lives, problem.summed, strict=True
        ):
            for part in parts if direct(segment, np.dtype(np.uint8)) else ():
                few = max(ROWS, -(-_COUNTED * k * len(part) // total))
                self._probe(
                    *self._asked(part.groups), *_stored(segment[part.start :], part.sums),
                    0, len(part), ROWS * _PROBED,
                    no_mask() if live is None else live[part.start : part.stop], few, k, *held,
                )  # fmt: skip
        # A full buffer that was shrunk holds more behind its count.
        distances[np.arange(capacity) >= counts[:, None]] = beyond
        return np.minimum(np.partition(distances, k - 1, axis=1)[:, k - 1] + 1, beyond)


def _stored(rows: NDArray[np.uint8], sums: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Rows and their sums as kernels take them."""
    at, sums_at = (array.__array_interface__["data"][0] for array in (rows, sums))
    return at, rows.strides[0], rows.shape[1], sums_at
