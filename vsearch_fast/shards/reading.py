"""The rows of several indexes for one search, as if they were those of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..index.reading import Reading
from ..index.snapshot import State
from ..index.store import View
from ..search.bit_groups import Summed
from ..search.sketches import Sketch


@dataclass(frozen=True, slots=True)
class ShardedState(State):
    """The states of all shards, in order; the counts are their sums. `generation` is the opened
    sharded index's own, and another one whenever a row's number among all has changed."""

    parts: tuple[State, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ShardedView(View):
    """The views of all shards, in order; the snapshot has their state and masks behind each
    other."""

    parts: tuple[View, ...] = ()


class Numbers:
    """Numbers of rows, or lines, counted over several runs: those of run i begin at `starts[i]`."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)

    def parts(
        self, numbers: NDArray[np.int64]
    ) -> list[tuple[int, NDArray[np.intp], NDArray[np.int64]]]:
        """For each run that has any of these: which run, the places of its numbers among them,
        and the numbers counted within the run."""
        runs = np.searchsorted(self.starts, numbers, side="right") - 1
        found = []
        for run in np.unique(runs).tolist():
            places = np.flatnonzero(runs == run)
            found.append((run, places, numbers[places] - self.starts[run]))
        return found


class ShardedReading(Reading):
    """`Reading` of the shards' own, whose segments and lines are numbered one shard behind the
    other. Each keeps its checksums by itself.

    Args:
        parts: of the shards, in order.
        rows: of each.
        kind: the kind of segments that is searched.
        views: of an item.
    """

    def __init__(
        self, parts: Sequence[Reading], rows: Sequence[int], kind: str, views: int
    ) -> None:
        self._shards = list(parts)
        self._numbers = Numbers(rows)
        self._line_numbers = Numbers([count * views for count in rows])
        counts = [len(part.arrays(kind)) for part in parts]
        # Of each segment: its shard, and its number there.
        self._segments = [
            (shard, segment) for shard, count in enumerate(counts) for segment in range(count)
        ]
        self._borders = np.concatenate([[0], np.cumsum(counts)]).tolist()

    def arrays(self, kind: str) -> list[np.ndarray]:
        return [array for part in self._shards for array in part.arrays(kind)]

    def sketched(self) -> list[Sketch] | None:
        each = [part.sketched() for part in self._shards]
        if all(sketches is None for sketches in each):
            return None
        # `topk_segments` takes None for a segment without a sketch.
        found: list[Sketch] = []
        for sketches, (start, stop) in zip(each, pairwise(self._borders), strict=True):
            found += sketches if sketches is not None else [None] * (stop - start)  # type: ignore[list-item]
        return found

    def summed(self) -> list[list[Summed]] | None:
        each = [part.summed() for part in self._shards]
        if all(sums is None for sums in each):
            return None
        found: list[list[Summed]] = []
        for sums, (start, stop) in zip(each, pairwise(self._borders), strict=True):
            own = sums or []
            found += [*own, *([] for _ in range(stop - start - len(own)))]
        return found

    def copied(self, kind: str, rows: np.ndarray) -> np.ndarray:
        found = [
            (places, self._shards[shard].copied(kind, numbers))
            for shard, places, numbers in self._numbers.parts(rows)
        ]
        if not found:
            return self._shards[0].copied(kind, rows)
        out = np.empty((len(rows), found[0][1].shape[1]), found[0][1].dtype)
        for places, values in found:
            out[places] = values
        return out

    def rows(
        self, segment: int, start: int, stop: int, live: NDArray[np.uint8] | None = None
    ) -> None:
        shard, own = self._segments[segment]
        self._shards[shard].rows(own, start, stop, live)

    def sketches(
        self, segment: int, start: int, stop: int, live: NDArray[np.uint8] | None = None
    ) -> None:
        shard, own = self._segments[segment]
        self._shards[shard].sketches(own, start, stop, live)

    def reduced(
        self, segment: int, start: int, stop: int, live: NDArray[np.uint8] | None = None
    ) -> None:
        shard, own = self._segments[segment]
        self._shards[shard].reduced(own, start, stop, live)

    def pairs(self, ids: np.ndarray) -> None:
        for shard, _, lines in self._line_numbers.parts(ids):
            self._shards[shard].pairs(lines)
