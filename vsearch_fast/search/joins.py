"""Exact self-join: all pairs of rows of a database within a radius of each other.

Blocks of rows are the queries of range searches (`cpu.within`), each among the rows from its own
first on, so that no two rows are compared twice, but for those of one block. Codes are taken by
their number of set bits: two that differ in few bits differ in that number by no more, so that a
block's search leaves out all rows whose number is too large.

The result is defined by `vsearch_fast.kernels.reference.self_join` and equal to it to the bit.
"""

from __future__ import annotations

from collections.abc import Generator
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import usually
from ..checks import Progress, positive
from ..words import Metric
from .arguments import (
    Strategy,
    checked_array,
    checked_radii,
    checked_segments,
    checked_words,
)
from .cpu.chunks import Problem
from .ranges import (
    LIMIT,
    chosen,
    on_processor,
    taken_apart,
    too_many,
    workers_for,
)
from .resident import Resident
from .rows import converted, not_finite, readable
from .sketches import Sketched, build

#: Pairs of a block of `self_join_blocks` at most.
BLOCK = 1 << 22
#: Codes whose bits are counted at a time.
_COUNTED = 1 << 14

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray]


def self_join(
    database: NDArray | Sketched | Resident,
    radius: float,
    *,
    metric: Metric,
    mask: NDArray[np.bool_] | None = None,
    strategy: Strategy = "auto",
    threads: int | None = None,
    limit: int = LIMIT,
    progress: Progress | None = None,
) -> Pairs:
    """All pairs of rows within a radius of each other, exactly.

    Args:
        database, metric, mask, strategy, threads: as for `topk`; the rows of a `Resident` database
            are joined where they lie in this machine's memory. An array that is sketched takes a
            byte a number for that, one of float64 or of odd strides also a copy as float32.
        radius: pairs at this distance or nearer are found; as for `range_search`.
        limit: pairs that the result may have at most; each takes 24 bytes, and twice that while
            they are put together.
        progress: is called with the rows that are done and the rows that there are.

    Returns:
        ``(i, j, distances)``, ordered by (i, j), with i < j: row numbers, int64, and distances as
        those of `topk`.

    Raises:
        ArgumentError: more pairs than ``limit`` (it says how many; `self_join_blocks` takes any
            number); a radius as `range_search` refuses it; otherwise as `topk`.
        DTypeError: another type of array.
    """
    limit = positive(limit, "limit", "Nothing was searched")
    join = _Join(database, radius, metric, mask, strategy, threads)
    parts: list[Pairs] = [join.none()]
    total = first = 0
    while first < len(join.order):
        last = min(first + join.size, len(join.order))
        found, pairs = join.step(first, last, limit - total if parts else 0)
        total += found
        if pairs is None:
            parts.clear()  # the rest is counted
        elif parts:
            parts.append(pairs)
        first = last
        if progress is not None:
            progress(last, len(join.order))
    if not parts:
        raise too_many(total, limit, "rows")
    i, j, distances = (np.concatenate(each) for each in zip(*parts, strict=True))
    if not join.ascending:
        order = np.lexsort((j, i))
        i, j, distances = i[order], j[order], distances[order]
    return i, j, distances


def self_join_blocks(
    database: NDArray | Sketched | Resident,
    radius: float,
    *,
    metric: Metric,
    mask: NDArray[np.bool_] | None = None,
    strategy: Strategy = "auto",
    threads: int | None = None,
    block: int = BLOCK,
    progress: Progress | None = None,
) -> Generator[Pairs, None, None]:
    """`self_join` block by block, for results that memory does not hold.

    Args:
        block: pairs of a block at most, unless a single row has more.
        database, radius, metric, mask, strategy, threads, progress: as for `self_join`.

    Yields:
        ``(i, j, distances)`` as `self_join` returns them. Each pair is in one block; each block is
        ordered by (i, j), and blocks of all but Hamming follow each other in that order.

    Raises:
        ArgumentError, DTypeError: as `self_join`, before the first block where arguments are wrong.
    """
    block = positive(block, "block", "Nothing was searched")
    join = _Join(database, radius, metric, mask, strategy, threads)
    return _blocks(join, block, progress)


def _blocks(join: _Join, block: int, progress: Progress | None) -> Generator[Pairs, None, None]:
    first, size = 0, join.size
    while first < len(join.order):
        last = min(first + size, len(join.order))
        # A row alone has fewer pairs than there are rows.
        limit = block if last - first > 1 else max(block, len(join.order))
        found, pairs = join.step(first, last, limit)
        if pairs is None:
            size = max(1, (last - first) // 2)
            continue
        if found < block // 4:
            size = min(join.size, 2 * size)
        first = last
        if progress is not None:
            progress(last, len(join.order))
        if found:
            yield pairs


class _Join:
    """A self-join, checked and made ready; its steps are blocks of rows, each with all others.

    Attributes:
        order: ids of the live rows, in the order of the steps.
        ascending: whether that is the order of ids.
        size: rows of a step.
    """

    def __init__(
        self,
        database: Any,
        radius: float,
        metric: str,
        mask: NDArray[np.bool_] | None,
        strategy: str,
        threads: int | None,
    ) -> None:
        checked_words(metric, "cpu", strategy, threads)
        array, sketch = taken_apart(database)
        array = checked_array(array, "the database", metric)
        self.radius = float(checked_radii(radius, 1, metric)[0])
        [array], [live] = checked_segments(
            [array], array.shape[1], metric, None if mask is None else [mask], None
        )
        cpu = self._cpu = on_processor()
        self._kernels = cpu.family(metric, array.shape[1])
        self.order = np.arange(len(array)) if live is None else np.flatnonzero(live)
        rows, dim = len(self.order), array.shape[1]
        strategy = chosen(strategy, metric, rows, rows, dim, sketch)
        self._workers = workers_for(rows * rows * dim * self._kernels.rows.itemsize // 2, threads)
        if self._kernels.rows.kind == "f" and not readable(array):
            array = converted(array)  # once, and not for every step
        if strategy == "sketch" and sketch is None:
            sketch = build(array, threads)
        problem = Problem(metric, [array], [live], [sketch], 1, None)
        self._task = cpu.Task(problem, self._kernels, strategy == "sketch")
        if rows:
            self._task.prepare()
        self.size = self._task.batch()
        self.ascending = metric != "hamming"
        self._array, self._metric = array, metric
        if not self.ascending:
            bits = _bits(array, self.order)
            by_bits = np.argsort(bits, kind="stable")
            self.order, self._bits = self.order[by_bits], bits[by_bits]
            self._ranks = np.zeros(len(array), np.int64)
            self._ranks[self.order] = np.arange(rows)

    def none(self) -> Pairs:
        """No pairs."""
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, self._kernels.distances)

    @usually
    def step(self, first: int, last: int, limit: int) -> tuple[int, Pairs | None]:
        """The pairs of places ``first`` to ``last`` in the order, each with those behind it.

        Returns how many there are, and, where these are at most ``limit``, the pairs.
        """
        mine = self.order[first:last]
        queries = converted(self._array[mine], self._kernels.rows)
        if self._kernels.rows.kind == "f" and not np.isfinite(queries).all():
            raise not_finite(int(mine[~np.isfinite(queries).all(axis=1)][0]), [self._array])
        gathering, stop = self._cpu.Gathering(limit), Event()
        gathering.begin(self._workers)
        if self.ascending:
            task, start = self._task, int(mine[0])

            def keep(numbers: NDArray, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
                kept: NDArray[np.bool_] = ids > mine[numbers]
                return kept
        else:
            task, start = self._near(first, last), 0

            def keep(numbers: NDArray, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
                kept: NDArray[np.bool_] = self._ranks[ids] > first + numbers
                return kept

        radii = np.full(len(mine), self.radius)
        self._cpu.search(
            task, queries, radii, self._workers, gathering, stop, first=start, keep=keep
        )
        counts, distances, others = gathering.end(
            len(mine), self._workers, stop, nearest_first=False
        )
        if gathering.beyond:
            return gathering.total, None
        ids = np.repeat(mine, counts)
        i, j = np.minimum(ids, others), np.maximum(ids, others)
        order = np.lexsort((j, i))
        return gathering.total, (
            i[order], j[order], distances[order].astype(self._kernels.distances)
        )  # fmt: skip

    def _near(self, first: int, last: int) -> Any:
        """The search of codes among those behind, whose set bits are not too many."""
        most = self._bits[last - 1] + min(self.radius, 8.0 * self._array.shape[1])
        end = int(np.searchsorted(self._bits, most, side="right"))
        live = np.zeros(len(self._array), np.uint8)
        live[self.order[first:end]] = 1
        live.flags.writeable = False
        problem = Problem(self._metric, [self._array], [live], [None], 1, None)
        return self._cpu.Task(problem, self._kernels, False)


def _bits(codes: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many bits are set in each of these rows."""
    counts = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), _COUNTED):
        part = slice(start, start + _COUNTED)
        some = np.ascontiguousarray(codes[rows[part]])
        if some.shape[1] % 8 == 0 and some.shape[1]:
            counts[part] = np.bitwise_count(some.view(np.uint64)).sum(axis=1, dtype=np.int64)
        else:
            counts[part] = np.bitwise_count(some).sum(axis=1, dtype=np.int64)
    return counts
