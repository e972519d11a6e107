"""Exact joins: all pairs of rows of a database within a radius of each other, or of two databases.

Blocks of rows are the queries of range searches (`cpu.within`), each among the rows from its own
first on, so that no two rows are compared twice, but for those of one block. Codes are taken by
their number of set bits: two that differ in few bits differ in that number by no more, so that a
block's search leaves out all rows whose number is too large.

The result is defined by `vsearch_fast.kernels.reference.self_join` and equal to it to the bit. A
cross join is the range search of every row of one database among those of another.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
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
from .choosing import reductions_pay
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
from .rows import Reading, converted, live_rows, not_finite, readable, segment_name
from .sketches import REDUCED, Sketch, Sketched, build

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
    join = _join(database, radius, metric, mask, strategy, threads)
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
    join = _join(database, radius, metric, mask, strategy, threads)
    return _blocks(join, block, progress)


def self_join_segments(
    segments: Sequence[NDArray],
    radius: float,
    *,
    metric: str,
    masks: Sequence[NDArray[np.bool_] | None] | None = None,
    sketches: Sequence[Sketch | None] | None = None,
    reading: Reading | None = None,
    strategy: str = "auto",
    threads: int | None = None,
    block: int = BLOCK,
    progress: Progress | None = None,
) -> Generator[Pairs, None, None]:
    """`self_join_blocks` over several arrays, at least one, as if they were one; ``reading`` is
    told what is read, as by `dispatch.topk_segments`."""
    join = _Join(segments, radius, metric, masks, sketches, reading, strategy, threads)
    return _blocks(join, block, progress)


def cross_join_segments(
    left: Sequence[NDArray],
    right: Sequence[NDArray],
    radius: float,
    *,
    metric: str,
    left_masks: Sequence[NDArray[np.bool_] | None] | None = None,
    masks: Sequence[NDArray[np.bool_] | None] | None = None,
    sketches: Sequence[Sketch | None] | None = None,
    left_reading: Reading | None = None,
    reading: Reading | None = None,
    strategy: str = "auto",
    threads: int | None = None,
    block: int = BLOCK,
    progress: Progress | None = None,
) -> Generator[Pairs, None, None]:
    """All pairs of a row of ``left`` and one of ``right`` within a radius, block by block: those
    that `range_search` finds of the rows of ``left`` among the others.

    Masks, sketches and what is told of reading are of ``right``, but for those of ``left``; each
    side is at least one array. Other arguments as for `self_join_segments`.

    Yields:
        ``(i, j, distances)``: rows of ``left`` and of ``right``, ordered by (i, j), also from block
        to block.
    """
    join = _Cross(
        left, right, radius, metric, left_masks, masks, sketches, left_reading, reading, strategy,
        threads,
    )  # fmt: skip
    return _blocks(join, block, progress)


def _blocks(
    join: _Join | _Cross, block: int, progress: Progress | None
) -> Generator[Pairs, None, None]:
    first, size = 0, join.size
    while first < len(join.order):
        last = min(first + size, len(join.order))
        limit = block if last - first > 1 else max(block, join.most)
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


def _join(
    database: Any,
    radius: float,
    metric: str,
    mask: NDArray[np.bool_] | None,
    strategy: str,
    threads: int | None,
) -> _Join:
    """The join of one array, as it is given."""
    array, sketch = taken_apart(database)
    masks = None if mask is None else [mask]
    sketches = None if sketch is None else [sketch]
    return _Join([array], radius, metric, masks, sketches, None, strategy, threads)


class _Rows:
    """Rows of several arrays, taken by their ids."""

    def __init__(self, arrays: Sequence[NDArray], reading: Reading | None) -> None:
        self.arrays, self._reading = arrays, reading
        self.starts = np.cumsum([0, *map(len, arrays)])

    def taken(self, ids: NDArray[np.int64], dtype: np.dtype) -> NDArray:
        """A copy of these rows, as the kernels read them.

        Raises:
            ArgumentError: one holds NaN or infinity.
        """
        if self._reading is not None:
            self._reading.pairs(ids)
        if len(self.arrays) == 1:
            rows = self.arrays[0][ids]
        else:
            rows = np.empty((len(ids), self.arrays[0].shape[1]), self.arrays[0].dtype)
            places = np.searchsorted(self.starts, ids, side="right") - 1
            for place in np.unique(places).tolist():
                own = places == place
                rows[own] = self.arrays[place][ids[own] - self.starts[place]]
        rows = converted(rows, dtype)
        if dtype.kind == "f":
            finite = np.isfinite(rows).all(axis=1)
            if not finite.all():
                raise not_finite(int(ids[~finite][0]), self.arrays)
        return rows


def _sketched(
    arrays: Sequence[NDArray],
    sketches: Sequence[Sketch | None],
    metric: str,
    pairs: int,
    threads: int | None,
) -> list[Sketch | None]:
    """Sketches of arrays, made where there are none; and, for so many pairs, reductions by the
    metric where it has any and these pay."""
    made = list(sketches)
    for number, array in enumerate(arrays):
        if made[number] is None and len(array):
            rows, dim = array.shape
            pay = metric in REDUCED and reductions_pay(pairs, rows, dim)
            made[number] = build(array, threads, (metric,) if pay else ())
    return made


def _live_ids(arrays: Sequence[NDArray], lives: Sequence[NDArray[np.uint8] | None]) -> NDArray:
    """Ids of the rows that live, ascending, int64."""
    starts = np.cumsum([0, *map(len, arrays)])
    return np.concatenate(
        [
            start + (np.arange(len(rows)) if live is None else np.flatnonzero(live))
            for start, rows, live in zip(starts[:-1], arrays, lives, strict=True)
        ]
    ).astype(np.int64, copy=False)


class _Join:
    """A self-join, checked and made ready; its steps are blocks of rows, each with all others.

    Attributes:
        order: ids of the live rows, in the order of the steps.
        ascending: whether that is the order of ids.
        size: rows of a step.
        most: pairs of a row at most.
    """

    def __init__(
        self,
        segments: Sequence[Any],
        radius: float,
        metric: str,
        masks: Sequence[NDArray[np.bool_] | None] | None,
        sketches: Sequence[Sketch | None] | None,
        reading: Reading | None,
        strategy: str,
        threads: int | None,
    ) -> None:
        checked_words(metric, "cpu", strategy, threads)
        first = checked_array(segments[0], segment_name("database", 0, segments), metric)
        self.radius = float(checked_radii(radius, 1, metric)[0])
        dim = first.shape[1]
        arrays, lives = checked_segments(segments, dim, metric, masks, sketches)
        cpu = self._cpu = on_processor()
        self._kernels = cpu.family(metric, dim)
        self.order = _live_ids(arrays, lives)
        rows = self.most = len(self.order)
        strategy = chosen(strategy, metric, rows, rows, dim, sketches)
        self._workers = workers_for(rows * rows * dim * self._kernels.rows.itemsize // 2, threads)
        if self._kernels.rows.kind == "f":  # once, and not for every step
            arrays = [each if readable(each) else converted(each) for each in arrays]
        made = list(sketches or [None] * len(arrays))
        if strategy == "sketch":
            made = _sketched(arrays, made, metric, rows * rows // 2, threads)
        problem = Problem(metric, arrays, lives, made, 1, reading)
        self._task = cpu.Task(problem, self._kernels, strategy == "sketch")
        if rows:
            self._task.prepare()
        self.size = self._task.batch()
        self.ascending = metric != "hamming"
        self._rows, self._metric, self._reading = _Rows(arrays, reading), metric, reading
        if not self.ascending:
            bits = self._set_bits()
            by_bits = np.argsort(bits, kind="stable")
            self.order, self._bits = self.order[by_bits], bits[by_bits]
            self._ranks = np.zeros(self._rows.starts[-1], np.int64)
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
        queries = self._rows.taken(mine, self._kernels.rows)
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
        arrays = self._rows.arrays
        most = self._bits[last - 1] + min(self.radius, 8.0 * arrays[0].shape[1])
        end = int(np.searchsorted(self._bits, most, side="right"))
        live = np.zeros(self._rows.starts[-1], np.uint8)
        live[self.order[first:end]] = 1
        live.flags.writeable = False
        lives = np.split(live, self._rows.starts[1:-1])
        problem = Problem(self._metric, arrays, lives, [None] * len(arrays), 1, self._reading)
        return self._cpu.Task(problem, self._kernels, False)

    def _set_bits(self) -> NDArray[np.int64]:
        """How many bits are set in each of the live rows, which are in the order of ids."""
        starts = self._rows.starts
        borders = np.searchsorted(self.order, starts[1:-1])
        each = zip(self._rows.arrays, starts, np.split(self.order, borders), strict=False)
        return np.concatenate([_bits(codes, ids - start) for codes, start, ids in each])


class _Cross:
    """A join of rows with others, checked and made ready; its steps are blocks of the first.

    Attributes:
        order: ids of the first rows that live, ascending.
        size: rows of a step.
        most: pairs of a row at most.
    """

    def __init__(
        self,
        left: Sequence[Any],
        right: Sequence[Any],
        radius: float,
        metric: str,
        left_masks: Sequence[NDArray[np.bool_] | None] | None,
        masks: Sequence[NDArray[np.bool_] | None] | None,
        sketches: Sequence[Sketch | None] | None,
        left_reading: Reading | None,
        reading: Reading | None,
        strategy: str,
        threads: int | None,
    ) -> None:
        checked_words(metric, "cpu", strategy, threads)
        first = checked_array(left[0], segment_name("queries", 0, left), metric)
        self.radius = float(checked_radii(radius, 1, metric)[0])
        dim = first.shape[1]
        queries, left_lives = checked_segments(left, dim, metric, left_masks, None)
        arrays, lives = checked_segments(right, dim, metric, masks, sketches)
        cpu = self._cpu = on_processor()
        self._kernels = cpu.family(metric, dim)
        self.order = _live_ids(queries, left_lives)
        rows = self.most = live_rows(arrays, lives)
        strategy = chosen(strategy, metric, rows, len(self.order), dim, sketches)
        work = rows * len(self.order) * dim * self._kernels.rows.itemsize
        self._workers = workers_for(work, threads)
        made = list(sketches or [None] * len(arrays))
        if strategy == "sketch":
            made = _sketched(arrays, made, metric, rows * len(self.order), threads)
        problem = Problem(metric, arrays, lives, made, 1, reading)
        self._task = cpu.Task(problem, self._kernels, strategy == "sketch")
        if rows and len(self.order):
            self._task.prepare()
        self.size, self._rows = self._task.batch(), _Rows(queries, left_reading)

    @usually
    def step(self, first: int, last: int, limit: int) -> tuple[int, Pairs | None]:
        """As `_Join.step`, of the rows at these places with all others."""
        mine = self.order[first:last]
        queries = self._rows.taken(mine, self._kernels.rows)
        gathering, stop = self._cpu.Gathering(limit), Event()
        gathering.begin(self._workers)
        radii = np.full(len(mine), self.radius)
        self._cpu.search(self._task, queries, radii, self._workers, gathering, stop)
        counts, distances, others = gathering.end(
            len(mine), self._workers, stop, nearest_first=False
        )
        if gathering.beyond:
            return gathering.total, None
        ids = np.repeat(mine, counts)
        order = np.lexsort((others, ids))
        return gathering.total, (
            ids, others[order], distances[order].astype(self._kernels.distances)
        )  # fmt: skip


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
