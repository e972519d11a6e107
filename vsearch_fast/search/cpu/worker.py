"""One thread's share of a batch: it bounds chunks of rows, lists pairs, and decides them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.layout import PAGE
from ...kernels.pairs import bring_forward, drop_listed
from ...kernels.select import lower_limits
from .. import tiling
from ..rows import Live, Sources, converted, direct, no_mask, readable
from ..sketches import Run
from .bounder import Bounder
from .chunks import Chunk
from .shared import Shared


class Worker(Bounder):
    """A thread's share of a batch: nothing of it is written by others while it runs."""

    shared: Shared

    def __init__(self, shared: Shared, number: int) -> None:
        super().__init__(shared, shared.uppers[number], shared.counts[0, number])
        self.number = number
        padded = len(shared.queries)
        self.near_uppers = shared.near_uppers[number]
        self.distances, self.ids = shared.distances[number], shared.ids[number]
        _, self.near_counts, self.held = shared.counts[:, number]
        self.nearest = np.full(padded, np.inf)  # of the distances
        self.promising = np.empty((padded, len(self.order)))
        self.promising_counts = np.empty(padded, np.int64)
        # Rows before the first probe; a large k makes it dearer than the pairs that it saves.
        sizes = tiling.TILING
        self.unprobed = sizes.first_rows if shared.problem.k <= sizes.small_k else 0
        self.mean_error: float | None = None  # of rows that were sampled

    def take(self, chunk: Chunk) -> int:
        """Search a chunk. Returns -1, or the id of its first row that is not finite."""
        shared = self.shared
        problem = shared.problem
        segment, live = problem.segments[chunk.segment], problem.lives[chunk.segment]
        if live is not None:
            live = live[chunk.start : chunk.stop]
        mask = no_mask() if live is None else live
        rows = segment[chunk.start : chunk.stop]
        count = len(rows) if live is None else int(np.count_nonzero(mask))
        if count == 0:
            return -1
        if chunk.run is None or shared.hopeless:
            return self._scan(chunk, rows, live, count)
        first = chunk.offset + chunk.start
        sources, copied = shared.sources, not readable(segment)
        if copied:
            rows = converted(rows, live=live)
            self.relieve(sources, everything=True)  # these sources alone know what is listed
            sources = Sources.of([(first, rows)])
        data, facts, bad = self.sketches(chunk, chunk.start, chunk.stop, rows, live, count)
        if len(bad):
            return first + int(bad[0])
        self.begin(chunk, chunk.start, chunk.stop, live)
        self._bound(chunk.run, data, facts, mask, first, sources)
        self.end(chunk, count)
        if copied:
            self.relieve(sources, everything=True)  # the copy goes
        return -1

    def sample(self, chunk: Chunk, stride: int, rank: int) -> None:
        """Hold the ``rank`` smallest upper bounds of each ``stride``-th row of a chunk."""
        sketch = self.shared.problem.sketches[chunk.segment]
        live = self.shared.problem.lives[chunk.segment]
        assert sketch is not None and chunk.run is not None
        part = slice(chunk.start, chunk.stop)
        mask = np.zeros(chunk.stop - chunk.start, np.uint8)
        mask[::stride] = 1 if live is None else live[part][::stride]
        facts = sketch.facts[part]
        sampled = np.flatnonzero(mask)
        if len(sampled) == 0:
            return
        self.mean_error = float(facts[sampled, self.shared.error_column].mean())
        position = 0
        while position < len(mask):
            self.listed = self.refined = 0  # the list does not matter here
            position = self.first_tier(
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
        shared = self.shared
        position = 0
        while position < len(data) and not shared.stop.is_set():
            unprobed = self.unprobed
            if self._reduced is not None:  # whole pages
                unprobed = -(-unprobed // PAGE) * PAGE
            end = min(len(data), position + (unprobed or len(data)))
            position = self.first_tier(
                run_, data, facts, mask, first, position, end, shared.problem.k
            )
            if position < end:
                self.relieve(sources)
            elif self.unprobed:
                self.unprobed = 0
                self.probe(sources)

    def seed(self, chunk: Chunk, stride: int, held: int) -> None:
        """Hold the ``held`` rows that are nearest as reduced, of every ``stride``-th page of a
        chunk."""
        reduced = chunk.reduced
        assert reduced is not None
        live = self.shared.problem.lives[chunk.segment]
        bounding = self.shared.bounding(reduced.reduction)
        offset = chunk.start - reduced.start
        bounding.nearest(
            *self.coarse(reduced, offset, bounding),
            0, chunk.stop - chunk.start, chunk.offset + chunk.start, stride,
            no_mask() if live is None else live[chunk.start : chunk.stop],
            held, self.distances, self.ids, self.held, self.nearest,
        )  # fmt: skip

    def use_seeds(self, nearest: int) -> None:
        """Bound the ``nearest`` of what `seed` holds by float32, for `near_uppers`, and let all
        go."""
        shared = self.shared
        for query in range(shared.count):
            held = self.held[query]
            ids = self.ids[query, :held]
            if held > nearest:
                order = np.argpartition(self.distances[query, :held], nearest - 1)
                ids = ids[order[:nearest]]
            end = self.listed + len(ids)
            self.pair_queries[self.listed : end] = query
            self.pair_rows[self.listed : end] = ids
            self.pair_lowers[self.listed : end] = 0.0
            self.listed = end
        candidates = self.work.candidates
        self.refine_near(shared.sources)
        self.work.candidates = candidates  # these will be met again, and counted then
        self.listed = self.refined = 0
        self.held[:] = 0
        self.nearest[:] = np.inf

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
        np.minimum(self.limits, self.caps, out=self.limits)
        self.refined, self.listed = drop_listed(
            self.pair_queries, self.pair_rows, self.pair_lowers,
            self.refined, self.listed, self.limits,
        )  # fmt: skip

    def probe(self, sources: Sources) -> None:
        """Lower the limits cheaply: the second tier for each query's most promising pairs.

        Their true distances limit what follows more tightly than any upper bound of a sketch.
        """
        end = bring_forward(
            self.pair_queries, self.pair_rows, self.pair_lowers, self.refined, self.listed,
            self.shared.problem.k, self.promising, self.promising_counts, self.order,
        )  # fmt: skip
        self.refine_near(sources, end)
        self._lower_caps()
        self.drop()

    def _lower_caps(self) -> None:
        """Take limits from bounds of buffers that hold k and are not full yet, too."""
        number = slice(self.number, self.number + 1)
        lower_limits(
            self.shared.near_uppers[number], self.shared.counts[1, number],
            self.shared.problem.k, self.caps,
        )  # fmt: skip

    def refine_near(self, sources: Sources, end: int | None = None) -> None:
        """The second tier, for what it has not seen."""
        end = self.listed if end is None else end
        self._tell(self.refined, end)
        done = self.shared.tiers.near(
            *self._pairs(sources, self.refined, end), self.near_uppers, self.near_counts,
            self.caps, self.order,
        )  # fmt: skip
        self.refined = end
        self.work.candidates += done
        self.work.bytes_read += done * self._row_bytes()

    def decide(self, sources: Sources) -> None:
        """The third tier, for all that is listed; the list is empty then."""
        self._tell(0, self.listed)
        self._exact(sources, 0, self.refined)
        # Candidates are counted where they are computed first.
        self.work.candidates += self._exact(sources, self.refined, self.listed)
        self.listed = self.refined = 0
        np.minimum(self.caps, self.nearest, out=self.caps)

    def _exact(self, sources: Sources, start: int, end: int) -> int:
        """The third tier, for pairs ``start`` to ``end``. Returns how many were computed."""
        if start == end:
            return 0
        done: int = self.shared.tiers.exact(
            *self._pairs(sources, start, end), self.caps,
            self.distances, self.ids, self.held, self.nearest,
        )  # fmt: skip
        self.work.undecided += done
        self.work.bytes_read += done * self._row_bytes()
        return done

    def _tell(self, start: int, end: int) -> None:
        """Tell whoever checks rows that those of these listed pairs are read."""
        reading = self.shared.problem.reading
        if reading is not None and start < end:
            reading.pairs(self.pair_rows[start:end])

    def _row_bytes(self) -> int:
        segment = self.shared.problem.segments[0]
        return segment.shape[1] * segment.dtype.itemsize

    def _pairs(self, sources: Sources, start: int, end: int) -> tuple[Any, ...]:
        """What both refining tiers take, of pairs ``start`` to ``end``."""
        queries = self.shared.queries
        return (
            queries.ctypes.data, queries.strides[0], queries.shape[1],
            sources.firsts, sources.bases, sources.strides, sources.halves,
            self.pair_queries, self.pair_rows, self.pair_lowers, start, end,
            self.shared.problem.k,
        )  # fmt: skip

    def _scan(self, chunk: Chunk, rows: NDArray, live: Live, count: int) -> int:
        """Compute every distance of a chunk by the definition."""
        shared = self.shared
        mask = no_mask() if live is None else live
        if shared.problem.reading is not None:
            shared.problem.reading.rows(chunk.segment, chunk.start, chunk.stop, live)
        read = count * rows.shape[1] * rows.itemsize
        if not direct(rows, np.dtype(np.float32)):
            rows = converted(rows, live=live)
        first = chunk.offset + chunk.start
        limits = self.nearest.copy()
        limits[shared.count :] = -np.inf  # nothing is below it: padding never enters a buffer
        row_bytes = max(1, rows.shape[1] * 4)
        bad = shared.tiers.scan(
            shared.queries.ctypes.data, shared.queries.strides[0], shared.count,
            rows.__array_interface__["data"][0], rows.strides[0], rows.shape[1] * 4,
            0, len(rows), first,
            mask, max(1, min(tiling.TILING.tile_bytes // row_bytes, 4096)), shared.problem.k,
            self.distances, self.ids, self.held, limits,
        )  # fmt: skip
        self.nearest[: shared.count] = limits[: shared.count]
        np.minimum(self.caps, self.nearest, out=self.caps)
        np.minimum(self.limits, self.caps, out=self.limits)
        self.work.scanned += count * shared.count
        self.work.bytes_read += read
        return -1 if bad < 0 else first + int(bad)
