"""The strategy ``sketch``: bounds decide most pairs, and stored vectors are read for the rest.

::

    sketches ── bounds ──> listed pairs ── float32, rounding bound ──> few ── float64 ──> k nearest
    (8 bits)  (sketch_scan)              (refine_f32)                     (refine_f64)

Each worker bounds chunks of rows and lists the pairs that its limits (the k-th smallest upper
bound that it has met) do not exclude. When all are done, the limits of all are joined, and
what is left is decided: the most promising pairs first (`Worker.probe`), since a true
distance limits more tightly than a sketch's upper bound. Few rows are not worth cutting: there each
worker takes some of the queries to all rows. A list that overflows is relieved in
the same way; where sketches exclude too little, the rest is scanned (`kernels.lanes`). Rows
of a segment beyond its sketch are scanned, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ...kernels.cache import Kernel, prepare
from ...kernels.layout import PAGE
from ...kernels.pairs import bring_forward, drop_listed
from ...kernels.select import lower_limits
from ...kernels.sketch import sketch_rows
from ...threads import run
from .. import tiling
from ..proof import Work
from ..rows import not_finite, readable
from .buffers import capacity_for, fill, merge, merging
from .chunks import Chunk, Problem, cut_rows
from .shared import PAIR_BYTES, Shared, scanner_of
from .tiers import PRODUCTS, kernels_of, lowered
from .worker import Worker


def kernels_for(problem: Problem) -> list[Kernel]:
    """What such a search needs compiled (and `kernels.lanes`, where rows must be scanned)."""
    scan = scanner_of(problem)
    return [
        sketch_rows, scan, bring_forward, drop_listed, lower_limits, *kernels_of(problem.metric),
        merging(np.dtype(np.float64)),
    ]  # fmt: skip


def search(
    problem: Problem,
    queries: NDArray[np.float32],
    workers: int,
    distances: NDArray[np.float64],
    ids: NDArray[np.int64],
    limits: NDArray[np.float64] | None = None,
) -> Work:
    """Search for all queries; write the result to ``distances`` and ``ids``.

    ``limits`` has, for each query, a distance beyond which rows do not matter.
    """
    prepare(kernels_for(problem))
    stop = Event()
    shares = _shares(problem, len(queries), workers)
    if len(shares) == 1:
        chunks = cut_rows(problem, workers, len(queries))
        return _search_some(problem, queries, chunks, workers, distances, ids, stop, limits)
    chunks = cut_rows(problem, 1, len(queries))
    total, works = Work(), [Work() for _ in shares]

    def search_share(number: int) -> None:
        share = shares[number]
        works[number] = _search_some(
            problem, queries[share], chunks, 1, distances[share], ids[share], stop,
            _of(limits, share),
        )  # fmt: skip

    run(search_share, len(shares), stop)
    for work in works:
        total.add(work)
    return total


def _shares(problem: Problem, queries: int, workers: int) -> list[slice]:
    """Queries that a worker each takes to all rows; all of them where the rows are cut instead."""
    sizes = tiling.TILING
    sketched = all(
        sketch is not None and len(sketch) == len(segment)
        for sketch, segment in zip(problem.sketches, problem.segments, strict=True)
    )
    few = sum(map(len, problem.segments)) <= sizes.whole_rows
    if not (sketched and few and sizes.chunk_rows is None):
        return [slice(queries)]
    shares = max(1, min(workers, queries // sizes.whole_queries))
    borders = [queries * part // shares for part in range(shares + 1)]
    return [slice(*pair) for pair in itertools.pairwise(borders)]


def _search_some(
    problem: Problem,
    queries: NDArray[np.float32],
    chunks: Sequence[Chunk],
    workers: int,
    distances: NDArray[np.float64],
    ids: NDArray[np.int64],
    stop: Event,
    limits: NDArray[np.float64] | None,
) -> Work:
    """Search for these queries, batch by batch."""
    workers = min(workers, len(chunks))
    sizes = tiling.TILING
    # Bounds of two tiers and of promising pairs, 8 bytes each, and pairs of distance and id.
    held = workers * capacity_for(problem.k) * (3 * 8 + 16)
    listed = workers * PAIR_BYTES * sizes.listed_times_k * problem.k
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
        done, missed = _search_batch(
            problem, some, chunks, workers, best, best_ids, stop, _of(limits, part), guess=True
        )
        work.add(done)
        if len(missed):
            found, found_ids = best[missed], best_ids[missed]
            again, _ = _search_batch(
                problem, some[missed], chunks, workers, found, found_ids, stop,
                _of(_of(limits, part), missed), guess=False,
            )  # fmt: skip
            best[missed], best_ids[missed] = found, found_ids
            # These pairs are counted already.
            again.sketched = again.scanned = again.reduced = 0
            again.after_coarse = again.after_fine = 0
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
    stop: Event,
    limits: NDArray[np.float64] | None,
    guess: bool,
) -> tuple[Work, NDArray[np.int64]]:
    """`_Batch.search`; its buffers are gone when it returns."""
    batch = _Batch(problem, queries, chunks, workers, stop)
    missed = batch.search(best, best_ids, limits, guess)
    return batch.work(), missed


def _of(
    limits: NDArray[np.float64] | None, queries: slice | NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """The limits of these queries."""
    return None if limits is None else limits[queries]


class _Batch:
    """Some queries, all rows: the workers that search them, and what they share."""

    def __init__(
        self,
        problem: Problem,
        queries: NDArray[np.float32],
        chunks: Sequence[Chunk],
        workers: int,
        stop: Event,
    ) -> None:
        self.shared = Shared(problem, queries, workers, stop)
        self.chunks = chunks
        self.workers = [Worker(self.shared, number) for number in range(workers)]
        self.refused: list[int] = []

    def work(self) -> Work:
        """What all workers did."""
        work = Work()
        for worker in self.workers:
            work.add(worker.work)
        return work

    def search(
        self,
        best: NDArray[np.float64],
        best_ids: NDArray[np.int64],
        limits: NDArray[np.float64] | None,
        guess: bool,
    ) -> NDArray[np.int64]:
        """Search all chunks; write the result to ``best`` and ``best_ids``.

        Rows beyond ``limits`` do not matter: where fewer than k are within, the rest is no row
        (`fill`). With ``guess`` limits may start from a guess. Returns the numbers of the queries
        that have fewer than k rows within it: what was written for them is worth nothing.
        """
        shared = self.shared
        guessed = self._guess() if guess else np.full(len(shared.queries), np.inf)
        given = guessed[: shared.count] >= (np.inf if limits is None else limits)
        if limits is not None:
            guessed[: shared.count] = np.minimum(guessed[: shared.count], limits)
        for worker in self.workers:
            worker.limits[:] = worker.caps[:] = guessed
        if shared.problem.k <= tiling.TILING.small_k:
            self._seed()
        turn = itertools.count()  # next() is atomic: each worker takes ascending chunks

        def first_tier(number: int) -> None:
            worker = self.workers[number]
            while not shared.stop.is_set() and (turned := next(turn)) < len(self.chunks):
                bad = worker.take(self.chunks[turned])
                if bad >= 0:
                    self.refused.append(bad)
                    shared.stop.set()

        run(first_tier, len(self.workers), shared.stop)
        if self.refused:
            raise not_finite(min(self.refused), shared.problem.segments)
        self._join_limits()
        # Where most are the nearest, float32 only comes before float64: both read the same rows.
        listed = sum(worker.listed for worker in self.workers)
        if listed > tiling.TILING.decided_share * shared.problem.k * shared.count:
            self._each(lambda worker: worker.probe(shared.sources))
            self._join_limits()
            self._each(lambda worker: worker.refine_near(shared.sources))
            self._join_limits()
        self._each(lambda worker: worker.decide(shared.sources))
        enough = shared.counts[2].sum(axis=0)[: shared.count] >= shared.problem.k
        if limits is not None:
            counts = shared.counts[2][:, : shared.count]
            fill(shared.distances, shared.ids, counts, shared.problem.k, np.inf)
        merge(shared.distances, shared.ids, shared.counts[2], best, best_ids)
        # Within a limit that was given and not guessed all has been found.
        return np.flatnonzero(~(given | (enough & (best[:, -1] <= guessed[: shared.count]))))

    def _guess(self) -> NDArray[np.float64]:
        """Limits that the k-th smallest distances are likely to keep, from a sample of the rows.

        For a large k, whose limit takes many rows to fall. Nothing is proved by it: whoever
        starts from a guess finds out whether k rows lie within.
        """
        shared, sizes, k = self.shared, tiling.TILING, self.shared.problem.k
        limits = np.full(len(shared.queries), np.inf)
        if k <= sizes.small_k:
            return limits
        chunks = [chunk for chunk in self.chunks if chunk.run is not None and not chunk.build]
        rows = _rows(chunks)
        reduced = [chunk for chunk in chunks if self._seeds(chunk)]
        if 2 * _rows(reduced) > rows:
            stride = self._stride(reduced, max(sizes.sample_rows, sizes.guessed_ranks * rows // k))
            if stride < sizes.sample_stride:
                return limits
            sampled = sum(
                len(range(chunk.start, chunk.stop, PAGE * stride)) * PAGE for chunk in reduced
            )
            rank = _rank(k * sampled / rows)
            return self._near_limits(reduced, stride, min(2 * rank, shared.seeds), rank)
        stride = rows // sizes.sample_rows
        if stride < sizes.sample_stride:
            return limits
        rank = _rank(k / stride)
        turn = itertools.count()

        def work(number: int) -> None:
            while not shared.stop.is_set() and (turned := next(turn)) < len(chunks):
                self.workers[number].sample(chunks[turned], stride, rank)

        run(work, len(self.workers), shared.stop)
        lower_limits(shared.uppers, shared.counts[0], rank, limits)
        # Upper bounds of the sample, less what they are above the distances themselves.
        for worker in self.workers:
            if worker.mean_error is not None:
                known = next(iter(worker.known.values())).known
                if shared.problem.metric in PRODUCTS:
                    limits = lowered(shared.problem.metric, limits, known, worker.mean_error)
                else:
                    limits -= known[1] + worker.mean_error
                break
        shared.counts[0] = 0
        return limits

    def _seed(self) -> None:
        """Limits from the true distances of rows that are near as reduced, of a sample of pages.

        Rows of which only a few bytes are read have no upper bounds worth having.
        """
        shared = self.shared
        chunks = [chunk for chunk in self.chunks if self._seeds(chunk)]
        if not chunks:
            return
        sizes = tiling.TILING
        # Of few rows a part, since taking all would cost as much as bounding all.
        wanted = min(max(sizes.seed_rows, 50 * shared.problem.k), -(-_rows(chunks) // 4))
        stride = self._stride(chunks, wanted)
        limits = self._near_limits(chunks, stride, shared.seeds, shared.problem.k)
        for worker in self.workers:
            np.minimum(worker.caps, limits, out=worker.caps)
            np.minimum(worker.limits, worker.caps, out=worker.limits)
            worker.unprobed = 0

    def _seeds(self, chunk: Chunk) -> bool:
        segment = self.shared.problem.segments[chunk.segment]
        return chunk.reduced is not None and readable(segment)

    @staticmethod
    def _stride(chunks: Sequence[Chunk], wanted: int) -> int:
        """Pages from one of a sample to the next, for so many rows and a page of each chunk."""
        shortest = min(chunk.stop - chunk.start for chunk in chunks)
        return max(1, min(_rows(chunks) // wanted, shortest // PAGE))

    def _near_limits(
        self, chunks: Sequence[Chunk], stride: int, held: int, rank: int
    ) -> NDArray[np.float64]:
        """The ``rank``-th smallest upper bounds of the ``held`` rows that are nearest as reduced,
        of every ``stride``-th page of these chunks."""
        shared = self.shared
        for chunk in chunks:
            assert chunk.reduced is not None
            shared.bounding(chunk.reduced.reduction)
        turn = itertools.count()

        def work(number: int) -> None:
            worker = self.workers[number]
            while not shared.stop.is_set() and (turned := next(turn)) < len(chunks):
                worker.seed(chunks[turned], stride, held)
            worker.use_seeds(held)

        run(work, len(self.workers), shared.stop)
        limits = np.full(len(shared.queries), np.inf)
        lower_limits(shared.near_uppers, shared.counts[1], rank, limits)
        shared.counts[1] = 0  # the same rows will be met again
        return limits

    def _join_limits(self) -> None:
        """Give all workers the lowest limits that all bounds together prove, and drop by them.

        Bounds of one tier are of different rows, those of two tiers need not be: each tier
        proves a limit of its own.
        """
        shared = self.shared
        limits = np.full(len(shared.queries), np.inf)
        for bounds, counts in zip(
            (shared.uppers, shared.near_uppers, shared.distances),
            shared.counts,
            strict=True,
        ):
            lower_limits(bounds, counts, shared.problem.k, limits)
        for worker in self.workers:
            np.minimum(worker.caps, limits, out=worker.caps)
            worker.drop()

    def _each(self, work: Callable[[Worker], None]) -> None:
        """Do this for all workers that have pairs listed."""
        busy = [worker for worker in self.workers if worker.listed]
        if sum(worker.listed for worker in busy) <= tiling.TILING.few_pairs:
            for worker in busy:
                work(worker)
        else:
            run(lambda number: work(busy[number]), len(busy), self.shared.stop)


def _rank(expected: float) -> int:
    """Neighbours that a sample holds at most, as a rule, where so many are expected."""
    return int(expected + 2.5 * expected**0.5 + 3)


def _rows(chunks: Sequence[Chunk]) -> int:
    return sum(chunk.stop - chunk.start for chunk in chunks)
