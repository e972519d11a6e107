"""Search for a batch of queries on one device: scan blocks of rows, settle what they list.

Rows are scanned in rounds that grow, since a limit that few rows have lowered lets many pairs
pass: after each round the lists are selected from, which lowers the limits of the next. Rounds
are queued one behind the other. One whose pairs did not fit is forgotten by the device, with those
behind it; the host learns it when it asks, once for a run of rows, and begins again there with
fewer rows, now asking after each round: so few always fit.

Hamming distances are exact, and each round keeps the k nearest. Sketches and float32 sums give
bounds: each round refines the most promising pairs by definition, where the stored rows are on
the device, and keeps what the limits do not exclude. What is left at the end is refined, and of
that the k nearest are the result.

Rows that are reduced, too, pass by their reductions once a first round has lowered the limits, and
their sketches are read for what these leave; until a round shows that they leave too much. That,
too, the device sees to: once there was a round that may show it, sketches are queued behind the
reductions, and the device does either.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels import layout
from ...kernels.cuda.device import Device
from ...kernels.cuda.sources import PRODUCTS
from ...kernels.memory import aligned
from .. import tiling
from ..proof import Work
from ..sketches import sketch_block
from . import lists as _lists
from .blocks import Block, ReducedPart, padded
from .bounds import bounds_of
from .host import HostRows
from .lists import ALWAYS, INSTEAD, ByReductions, Lists
from .products import (
    NO_PRODUCTS,
    Products,
    distances_of,
    facts_of,
    squares_of,
    squares_there,
    terms_of,
)
from .reduced import Asked, scan_reduced, usable
from .scans import Compared, scan

#: Share of its list's room that a round may be expected to fill.
_FILL = 8
#: More pairs than any round has.
_ANY = np.iinfo(np.int64).max
#: Bytes of lists for which there is room on any device.
_SMALL_LISTS = 4 << 20


@dataclass(frozen=True)
class Problem:
    """One search, as it is the same for all devices and batches."""

    metric: str
    dim: int  # numbers a row; of Hamming, bytes
    k: int
    host: HostRows | None  # decides pairs whose rows no device has
    refuse: Callable[[int], Exception]  # the error for a row that holds NaN or infinity

    @property
    def exact(self) -> bool:
        """Whether scans give distances, not bounds."""
        return self.metric == "hamming"

    @property
    def products(self) -> bool:
        """Whether distances are made of inner products."""
        return self.metric in PRODUCTS


@dataclass(frozen=True)
class _Ahead:
    """A round that was queued and not asked about: its rows, those scanned before it, and whether
    it may have been reductions that scanned it."""

    first: int
    size: int
    seen: int
    reduced: bool


def search(
    device: Device,
    problem: Problem,
    queries: NDArray,
    blocks: Callable[[], Generator[Block]],
) -> tuple[NDArray, NDArray[np.int64], NDArray[np.int64], Work]:
    """The nearest of all rows of the blocks.

    Args:
        queries: packed codes, or float32.
        blocks: gives them in ascending order of id, once for each batch of queries.

    Returns:
        distances and ids ``(q, k)``, how many of each query's are there, and the work done.
    """
    work = Work()
    capacity = _lists.capacity_for(problem.k, tiling.TILING.device_list)
    each = _lists.bytes_a_query(capacity, not problem.exact)
    room = tiling.TILING.device_bytes
    if len(queries) * each > min(room, _SMALL_LISTS):  # asking the device takes its time
        room = min(room, device.free_bytes() // 4)
    batch = max(1, room // each)
    distances = np.zeros((len(queries), problem.k), np.int32 if problem.exact else np.float64)
    ids = np.zeros((len(queries), problem.k), np.int64)
    counts = np.zeros(len(queries), np.int64)
    for start in range(0, len(queries), batch):
        some = slice(start, start + batch)
        part = _Batch(device, problem, queries[some], capacity)
        with closing(blocks()) as coming:
            for block in coming:
                part.take(block)
        counts[some], keys, found = part.finish()
        width = keys.shape[1]
        distances[some, :width] = keys if problem.exact else distances_of(keys, problem.metric)
        ids[some, :width] = found
        work.add(part.work)
    return distances, ids, counts, work


class _Batch:
    def __init__(self, device: Device, problem: Problem, queries: NDArray, capacity: int) -> None:
        self.device, self.problem, self.queries = device, problem, queries
        self.lists: Lists = _lists.lend(
            device, len(queries), problem.k, capacity, not problem.exact, problem.metric
        )
        self._longest = 0  # no list holds more pairs
        self._unsure = False  # whether a round was queued whose pairs may have had no room
        self.work = Work()
        self._refined = 0
        self._resident: list[Block] = []  # blocks with vectors that stay
        self._sketched: dict[tuple[float, float], Compared] = {}
        self._asked: dict[int, Asked] = {}  # queries by the reduction, whose id it is
        self._flat = False  # reductions leave too much: sketches alone are cheaper
        self._may_be_flat = False  # which the device may know, and nobody has asked
        self._told = _lists.Reduced()  # what it has said of reductions, and is counted
        self._offered = 0  # rows of rounds of which the device said what scanned them
        self._seen = 0  # rows that were scanned
        host = np.zeros((len(queries), padded(queries.shape[1] * queries.itemsize)), np.uint8)
        host[:, : queries.shape[1] * queries.itemsize] = np.ascontiguousarray(queries).view(
            np.uint8
        )
        self.rows = Compared(device.upload(host))
        if problem.exact:
            self.rows.sums = device.upload(np.bitwise_count(host).sum(axis=1, dtype=np.uint32))
            self.gamma = self.unit = self.lost = 0.0
        else:
            # Sums of float32: d additions, two roundings a term; subnormal numbers are flushed.
            self.gamma = layout.rounding(problem.dim)
            unit = (problem.dim + 16) * 2.0**-24
            self.unit, self.lost = unit * (1 + 2 * unit), problem.dim * 2.0**-124
        self._squares: NDArray[np.float64] = np.empty(0)  # of products: the queries' sums
        if problem.products:
            self._squares = squares_of(queries)
            self.rows.errors = device.upload(self._squares)

    def take(self, block: Block) -> None:
        """Search the rows of a block."""
        if block.live_count == 0:
            return
        live = None if block.live is None else block.live.on(self.device)
        if block.vectors is not None and not block.leaves:
            self._resident.append(block)
        self._bound(block)
        for first, last, run in block.pieces():
            if run is None:
                queries, scale, products = self.rows, self.unit, self.products(0.0)
            else:
                queries, scale = self._sketch(run.lo, run.step), run.step
                products = self.products(run.lo)
            for start, stop, part in block.cut(first, last):
                self._rounds(block, live, queries, scale, products, start, stop, part)
        if not block.runs:
            self.work.scanned += block.live_count * len(self.queries)
            self.work.bytes_read += block.live_count * int(block.rows.shape[1])
        if block.leaves:
            if block.vectors is not None:
                self.lists.promise_all()
                self._refine(block)
            self._state()  # which waits, so that the block may leave, and refuses bad rows

    def _bound(self, block: Block) -> None:
        """Have what quick tests must know of a block's rows."""
        if block.bounds is not None:
            return
        if self.problem.products and block.runs:
            block.bounds = facts_of(
                self.device, block.errors, block.totals, block.sums, block.runs, self.problem.dim
            )
        elif self.problem.products:
            block.errors, block.bounds = squares_there(self.device, block.rows, self.problem.dim)
        elif block.runs:
            block.bounds = bounds_of(self.device, block.errors, block.runs)

    def products(self, lo: float) -> Products:
        """What scans of products take; ``lo`` is what sketches of a run begin with."""
        if not self.problem.products:
            return NO_PRODUCTS
        return Products(lo, self.problem.dim, self.problem.metric == "cosine")

    def _rounds(
        self, block: Block, live: Any, queries: Compared, scale: float, products: Products,
        first: int, last: int, part: ReducedPart | None,
    ) -> None:  # fmt: skip
        lists, k = self.lists, self.problem.k
        # So few rows fit whatever they hold: settling leaves half of the room.
        safe = lists.capacity // 2
        growth = max(2, lists.capacity // (_FILL * k))
        most = last - first
        wanted = max(block.first_rows or tiling.TILING.device_rows, 2 * k)
        ahead: list[_Ahead] = []
        careful = False
        while True:
            if ahead and first == last:
                failed = self._look_back(block, ahead)
                ahead = []
                if failed is not None:
                    first, self._seen, careful = failed.first, failed.seen, True
                    most = max(safe, failed.size // 8)
                    continue
            if first == last:
                return
            asked = None
            if part is not None and self._seen >= wanted and not self._flat:
                asked = self._reduced(part)
            size = wanted - self._seen if self._seen < wanted else self._seen * growth
            size = min(size, most, last - first)
            self._scan(block, live, queries, scale, products, first, first + size, part, asked)
            if not careful:
                ahead.append(_Ahead(first, size, self._seen, asked is not None))
                if asked is not None and self._may_be_flat:
                    self._scan(
                        block, live, queries, scale, products, first, first + size, word=INSTEAD
                    )
                self._end_unasked(block, size, None if asked is None else part)
            else:
                # Asking the device waits for it: only where a list may have more than it has room
                # for, or reductions may have left too much.
                left = None
                if asked is not None or self._longest + size > lists.capacity:
                    state = self._state()
                    if state.overflowed:
                        lists.rewind()
                        most = max(safe, size // 8)
                        continue
                    left = None if asked is None else state.left
                self._longest += size
                if block.runs:
                    self._count(block, size, part, left)
                self._settle(block)
                lists.keep()
            self._seen += size
            first += size

    def _scan(
        self, block: Block, live: Any, queries: Compared, scale: float, products: Products,
        first: int, last: int, part: ReducedPart | None = None, asked: Asked | None = None,
        word: int = ALWAYS,
    ) -> None:  # fmt: skip
        """Scan positions of a block: by their reductions, where these are asked."""
        rows = Compared(block.rows, block.errors, block.sums, block.bounds, block.totals)
        if part is not None and asked is not None:
            scan_reduced(
                self.device, f"{self.problem.metric}_reduced", queries, rows, live, first, last,
                block.first, self.lists, scale, self.gamma, part, asked,
            )  # fmt: skip
        else:
            scan(
                self.device, block.family, queries, rows, live, first, last, block.first,
                self.lists, scale, self.gamma, self.lost, block.kernel, products, word,
            )  # fmt: skip

    def _end_unasked(self, block: Block, size: int, part: ReducedPart | None) -> None:
        """End a round without asking whether its pairs had room, and what reductions left of a
        ``part``: the device sees to it."""
        lists = self.lists
        if part is None:
            lists.end_round()
        else:
            most, shape = self._most_left(size), part.reduction.shape
            self._may_be_flat |= most < _ANY
            lists.end_round(
                ByReductions(
                    size, most, shape.coarse_bytes, shape.fine_bytes, int(block.rows.shape[1])
                )
            )
        self._unsure |= self._longest + size > lists.capacity
        self._longest = min(lists.capacity, self._longest + size)
        self._narrow(block)
        lists.keep()

    def _look_back(self, block: Block, ahead: list[_Ahead]) -> _Ahead | None:
        """Ask what became of the rounds that were queued; gives the first that did not fit."""
        lists, done = self.lists, len(ahead)
        if self._unsure:
            state = self._state()
            done -= lists.ended - state.due
            lists.resume(state.due)
            self._longest, self._unsure = state.longest, False
        if block.runs:
            for one in ahead[:done]:
                if one.reduced:
                    self._offered += one.size
                else:
                    self._count(block, one.size, None, None)
        if done == len(ahead):
            return None
        if self._longest > lists.capacity // 2:
            self._decide(block)
            lists.keep()
        return ahead[done]

    def _count(
        self, block: Block, size: int, part: ReducedPart | None, left: tuple[int, int] | None
    ) -> None:
        """Count a round of sketched rows, and what reductions left if they were asked."""
        work, pairs, width = self.work, size * len(self.queries), int(block.rows.shape[1])
        if part is None or left is None:
            work.sketched += pairs
            work.bytes_read += size * width
            return
        coarse, fine = left
        work.reduced += pairs
        work.after_coarse += coarse
        work.after_fine += fine
        shape = part.reduction.shape
        work.bytes_read += size * shape.coarse_bytes + coarse * shape.fine_bytes + fine * width
        self._flat |= fine > self._most_left(size)

    def _most_left(self, size: int) -> int:
        """Pairs of a round from which more are too many for reductions to go on; `_ANY` where it
        has too few rows to tell."""
        if size < tiling.TILING.device_rows:
            return _ANY
        return int(tiling.TILING.reduced_left * size * len(self.queries))

    def _reduced(self, part: ReducedPart) -> Asked | None:
        """The queries by a part's reduction; None where it would leave too much."""
        reduction = part.reduction
        if not usable(reduction):
            return None
        if id(reduction) not in self._asked:
            self._asked[id(reduction)] = Asked.of(self.device, reduction, self.queries, self.gamma)
        return self._asked[id(reduction)]

    def _narrow(self, block: Block) -> None:
        """Lower the limits by what is listed, and drop what they exclude. Once more changes nothing
        that counts: rounds behind one that did not fit may do it in vain."""
        lists = self.lists
        if self.problem.exact:
            lists.keep_nearest()
            self._longest = self.problem.k
            return
        near = [*self._resident, block] if block.leaves else self._resident
        if any(some.vectors is not None for some in near):
            lists.promise()
            for some in near:
                if some.vectors is not None:
                    self._refine(some)
        lists.lower_limits()

    def _settle(self, block: Block) -> None:
        """Narrow the lists, and leave half of their room."""
        lists = self.lists
        self._narrow(block)
        if self._longest <= lists.capacity // 2:
            return
        self._longest = self._state().longest
        if self._longest > lists.capacity // 2:
            self._decide(block)

    def _decide(self, block: Block | None) -> None:
        """Refine all that is listed and keep the k nearest."""
        self._decide_all(block)
        self.lists.keep_nearest()
        self._longest = self.problem.k
        self._state()

    def _decide_all(self, block: Block | None) -> None:
        """Refine all that is listed."""
        lists = self.lists
        lists.promise_all()
        for some in self._resident:
            self._refine(some)
        if block is not None and block.leaves and block.vectors is not None:
            self._refine(block)
        if self.problem.host is not None:
            done, bad = self.problem.host.decide(self.queries, lists, self.problem.metric)
            self._account(done)
            if bad is not None:
                raise self.problem.refuse(bad)

    def _refine(self, block: Block) -> None:
        self.lists.refine(
            self.rows.rows, block, self.problem.metric, self.problem.dim, self.rows.errors
        )

    def _account(self, refined: int) -> None:
        self.work.candidates += refined
        self.work.undecided += refined
        self.work.bytes_read += refined * self.problem.dim * 4

    def _state(self) -> _lists.State:
        state = self.lists.state()
        self._account(state.refined - self._refined)
        self._refined = state.refined
        self._flat |= state.flat
        self._count_told(state.reduced)
        if state.bad is not None:
            raise self.problem.refuse(state.bad)
        return state

    def _count_told(self, reduced: _lists.Reduced) -> None:
        """Count what the device says of reductions, as far as that is new."""
        work, told, many = self.work, self._told, len(self.queries)
        work.reduced += (reduced.rows - told.rows) * many
        work.after_coarse += reduced.after_coarse - told.after_coarse
        work.after_fine += reduced.after_fine - told.after_fine
        work.bytes_read += reduced.bytes_read - told.bytes_read
        self._told = reduced

    def _sketch(self, lo: float, step: float) -> Compared:
        """The queries as the rows of a run are sketched."""
        if (lo, step) not in self._sketched:
            width = layout.width_of(self.problem.dim)
            data = aligned((len(self.queries), width), np.uint8)
            facts = np.empty((len(self.queries), layout.FACTS))
            sketch_block(self.queries, lo, step, data, facts)
            column = layout.E1 if self.problem.metric == "l1" else layout.E2
            known, dim = facts[:, column].copy(), self.problem.dim
            if self.problem.products:
                known = terms_of(facts, self._squares, (lo, step), dim, self.problem.metric)
            self._sketched[lo, step] = Compared(
                self.device.upload(data),
                self.device.upload(known),
                self.device.upload(facts[:, layout.SQUARES].astype(np.uint32)),
            )
        return self._sketched[lo, step]

    def finish(self) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint32]]:
        """(counts, keys, ids) of the k nearest of each query, in order."""
        if not self.problem.exact:
            self._decide(None)
            # What reductions might have scanned, and did not, sketches have.
            instead = self._offered - self._told.rows
            self.work.sketched += instead * len(self.queries)
            self.work.bytes_read += instead * layout.width_of(self.problem.dim)
        counts, keys, _, ids = self.lists.listed()
        _lists.give_back(self.lists)
        return counts.astype(np.int64), keys, ids
