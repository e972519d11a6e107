"""The pairs that a batch of queries has listed on a device, and what is done with them."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.cuda.device import I32, I64, U32, Device
from .. import tiling
from .blocks import Block
from .products import PRODUCTS, no_limit

#: Warps, at most, that refine one query's pairs, and of all queries.
_REFINING_BLOCKS = 64
_REFINING_ALL = 4096

NO_LIMIT = int(np.float64(np.inf).view(np.uint64))
_ALL = 2**64 - 1
#: Bytes of lists that are kept for the next search, and how many sets of them a device keeps.
_SPARE_BYTES = 16 << 20
_SPARE_LISTS = 2
_NO_ROW = 2**32 - 1
#: Words of the device's state, each of 32 bits (`end_round` of `select.cu` has what is due), and
#: numbers of 64 bits behind them.
_LONGEST, _REFINED, _BAD, _DUE, _DUE_REDUCED, _DUE_INSTEAD, _WORDS = range(7)
_NUMBERS = 6
_NEVER_DUE = 2**32 - 1

#: Which of what is queued for a round scans it, by the word that says so: whatever is due;
#: reductions, as long as they do not leave too much; or sketches in their stead.
ALWAYS, REDUCED, INSTEAD = _DUE, _DUE_REDUCED, _DUE_INSTEAD


@dataclass(frozen=True)
class State:
    """What the device says about its lists."""

    overflowed: bool
    longest: int  # pairs of the longest list, those that it has no room for included
    refined: int
    bad: int | None  # lowest id of a row that holds NaN or infinity, where one was computed
    due: int  # rounds that have ended one after the other, each with room for what it found
    flat: bool  # whether reductions left too much, by which the device scans no more then
    left: tuple[int, int]  # pairs that coarse and fine numbers left in a round that was not ended
    reduced: Reduced  # by all rounds that were


@dataclass(frozen=True)
class Reduced:
    """What reductions did in rounds that the device ended."""

    after_coarse: int = 0  # pairs
    after_fine: int = 0
    rows: int = 0  # of the database
    bytes_read: int = 0


@dataclass(frozen=True)
class ByReductions:
    """What `Lists.end_round` must know of a round that reductions scan, as long as they are due.

    Attributes:
        rows: of the round.
        most_left: pairs of sketches from which more are too many.
        coarse_bytes, fine_bytes, sketch_bytes: of a row.
    """

    rows: int
    most_left: int
    coarse_bytes: int
    fine_bytes: int
    sketch_bytes: int


_NO_REDUCTIONS = ByReductions(0, 0, 0, 0, 0)


def capacity_for(k: int, smallest: int) -> int:
    """Pairs that a list has room for: a power of two, well above k."""
    return 1 << max(smallest - 1, 8 * k - 1).bit_length()


def bytes_a_query(capacity: int, bounded: bool) -> int:
    """Of device memory."""
    return capacity * (20 if bounded else 12) + 24


_lending = Lock()


def lend(
    device: Device, queries: int, k: int, capacity: int, bounded: bool, metric: str = "l2"
) -> Lists:
    """Empty lists: those of a search before that was alike, or new ones."""
    with _lending:
        for lists in device.spare:
            if (lists.queries, lists.capacity, lists.bounded) == (queries, capacity, bounded):
                device.spare.remove(lists)
                break
        else:
            return Lists(device, queries, k, capacity, bounded, metric)
    lists.k, lists.metric = k, metric
    lists.begin()
    return lists


def give_back(lists: Lists) -> None:
    """Keep lists for `lend`, if they are small. What was asked of them must have been done."""
    if lists.queries * bytes_a_query(lists.capacity, lists.bounded) > _SPARE_BYTES:
        return
    with _lending:
        spare = lists.device.spare
        del spare[: max(0, len(spare) - _SPARE_LISTS + 1)]
        spare.append(lists)


class Lists:
    """Of each query: keys (distances or lower bounds), upper bounds, ids, and a limit.

    Args:
        bounded: whether keys are lower bounds, which `refine` makes distances.
        metric: of bounds; says what keys are (`products.keys_of`).
    """

    def __init__(
        self, device: Device, queries: int, k: int, capacity: int, bounded: bool,
        metric: str = "l2",
    ) -> None:  # fmt: skip
        self.metric = metric
        self.device, self.queries, self.k, self.capacity = device, queries, k, capacity
        self.bounded, self.bits = bounded, 64 if bounded else 32
        self.counts = device.empty((queries,), np.uint32)
        self.kept = device.empty((queries,), np.uint32)
        self.keys = device.empty((queries, capacity), np.uint64)
        self.uppers = device.empty((queries, capacity), np.uint64) if bounded else None
        self.ids = device.empty((queries, capacity), np.uint32)
        self.limits = device.empty((queries,), np.uint64)
        self.most = device.empty((queries,), np.uint64)
        # One array, so that the host learns all by one copy.
        self._told = device.empty((_WORDS + 2 * _NUMBERS,), np.uint32)
        self._state = self._told[:_WORDS]
        self.left = self._told[_WORDS:].view(np.uint64)  # what reductions left
        self.begin()

    def begin(self) -> None:
        """Empty all lists, and forget all limits."""
        self.ended = 0
        threads = self.device.shape_of("begin_lists").threads
        self.device.launch(
            "begin_lists", (-(-self.queries // threads), 1), threads, 0,
            (self.counts, self.kept, self.limits, I32(self.queries), self._state[_REFINED:],
             self._state[_BAD:], self._state[_DUE:], self.left),
        )  # fmt: skip
        if self.metric in PRODUCTS:
            self.device.fill(self.limits, no_limit(self.metric))

    def of_queries(self, some: slice) -> tuple[Any, ...]:
        """Some queries' lists, as scans take them."""
        uppers = None if self.uppers is None else self.uppers[some]
        return (
            self.limits[some], self.counts[some], self.keys[some], uppers, self.ids[some],
            I32(self.capacity),
        )  # fmt: skip

    def turn(self, word: int = ALWAYS) -> tuple[Any, Any]:
        """By which a scan knows, when it begins, whether its round is due, and by it."""
        return self._state[word:], U32(self.ended)

    def state(self) -> State:
        """Wait for the device; what has become of the lists. What is left is forgotten then."""
        shape = self.device.shape_of("longest_list")
        self.device.launch(
            "longest_list", (1, 1), shape.threads, shape.shared,
            (self.counts, I32(self.queries), self._state),
        )  # fmt: skip
        told = self.device.download(self._told)
        words, numbers = told[:_WORDS].tolist(), told[_WORDS:].view(np.uint64).tolist()
        if any(numbers[:2]):
            self.device.fill(self.left[:2], 0)
        return State(
            words[_LONGEST] > self.capacity,
            words[_LONGEST],
            words[_REFINED],
            None if words[_BAD] == _NO_ROW else words[_BAD],
            words[_DUE],
            words[_DUE_REDUCED] == _NEVER_DUE,
            (numbers[0], numbers[1]),
            Reduced(*numbers[2:]),
        )

    def end_round(self, by: ByReductions = _NO_REDUCTIONS) -> None:
        """Let the device itself forget what came since `keep`, if a list had no room for it, and
        what comes until it is asked (`State.due`) and told to `resume`. If reductions left too much
        of a round that stays, they are not due from now on."""
        shape = self.device.shape_of("end_round")
        self.device.launch(
            "end_round", (1, 1), shape.threads, shape.shared,
            (self.counts, self.kept, I32(self.queries), I32(self.capacity), U32(self.ended),
             self._state[_DUE:], self.left, I64(by.rows), I64(by.most_left), I64(by.coarse_bytes),
             I64(by.fine_bytes), I64(by.sketch_bytes)),
        )  # fmt: skip
        self.ended += 1

    def resume(self, due: int) -> None:
        """Go on with the round that is due: those behind it have not been."""
        self.ended = due

    def keep(self) -> None:
        """What is listed now stays, whatever comes."""
        self.device.copy(self.kept, self.counts)

    def rewind(self) -> None:
        """Forget what came since `keep`; it did not change what was there."""
        self.device.copy(self.counts, self.kept)

    def _select(self, kernel: str, pairs: int, arguments: tuple[Any, ...]) -> None:
        shape = self.device.shape_of(kernel)
        shared = shape.shared_bytes(pairs)
        self.device.launch(kernel, (self.queries, 1), shape.threads, shared, arguments)

    def keep_nearest(self) -> None:
        """Keep the k nearest, in order; the limit is the k-th distance."""
        pairs = min(1 << (self.k - 1).bit_length(), tiling.TILING.device_sorted)
        self._select(
            "keep_nearest", pairs,
            (self.keys, self.uppers, self.ids, self.counts, I32(self.capacity), I32(self.k),
             I32(self.bits), I32(pairs), self.limits),
        )  # fmt: skip

    def lower_limits(self) -> None:
        """Lower the limits to the k-th smallest upper bounds, and drop what they exclude."""
        self._select(
            "lower_limits", 0,
            (self.uppers, self.counts, I32(self.capacity), I32(self.k), self.limits),
        )  # fmt: skip
        self.drop()

    def drop(self) -> None:
        """Drop what the limits exclude."""
        self._select(
            "drop_listed", 0,
            (self.keys, self.uppers, self.ids, self.counts, I32(self.capacity), self.limits),
        )  # fmt: skip

    def promise(self) -> None:
        """Aim `refine` at the k pairs of each query with the lowest bounds."""
        self._select(
            "most_promising", 0,
            (self.keys, self.counts, I32(self.capacity), I32(self.k), self.most),
        )  # fmt: skip

    def promise_all(self) -> None:
        """Aim `refine` at all pairs."""
        self.device.fill(self.most, _ALL)

    def refine(
        self, queries: Any, block: Block, metric: str, dim: int, squares: Any = None
    ) -> None:
        """Compute the pairs aimed at whose rows are of a block with vectors, by definition; of
        products with the queries' sums of ``squares``, on the device."""
        vectors = block.vectors
        assert vectors is not None
        products = metric in PRODUCTS
        kernel = "refine_dots" if products else "refine"
        shape = self.device.shape_of(kernel)
        height = max(1, min(_REFINING_BLOCKS, _REFINING_ALL // self.queries))
        self.device.launch(
            kernel, (self.queries, height), shape.threads, 0,
            (queries, I64(queries.shape[1]), vectors.array, I64(vectors.array.shape[1]),
             I32(vectors.halves), I32(dim), U32(block.first), U32(block.first + block.count),
             self.most, self.counts, self.keys, self.uppers, self.ids, I32(self.capacity),
             *((squares, I32(metric == "cosine")) if products else (I32(metric == "l2"),)),
             self._state[_REFINED:], self._state[_BAD:]),
        )  # fmt: skip

    def listed(self) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """(counts, keys, uppers or keys, ids) as they are, up to the longest list."""
        counts = self.device.download(self.counts)
        longest = int(counts.max(initial=0))
        keys = self.device.download(self.keys[:, :longest])
        ids = self.device.download(self.ids[:, :longest])
        uppers = keys if self.uppers is None else self.device.download(self.uppers[:, :longest])
        return counts, keys, uppers, ids

    def decided(self, keys: NDArray[np.uint64]) -> None:
        """Write back keys that are distances now, as `listed` gave them."""
        assert self.uppers is not None
        longest = keys.shape[1]
        self.device.write(self.keys[:, :longest], keys)
        self.device.write(self.uppers[:, :longest], keys)
