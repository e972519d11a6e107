"""Exact range search: all rows within a radius of each query, however many.

The result is defined by `vsearch_fast.kernels.reference.range_search` and equal to it to the bit.
It is searched for on the processor (`cpu.within`), and held in memory up to a stated size.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arithmetic import usually
from ..checks import array_of, positive
from ..errors import ArgumentError
from ..loading import once, package
from ..machine import available_threads
from ..words import Metric, plural
from . import tiling
from .arguments import (
    Strategy,
    checked_array,
    checked_radii,
    checked_segments,
    checked_words,
    refuse_not_finite,
)
from .choosing import strategy_for
from .cpu.chunks import Problem
from .proof import Proof, Work
from .resident import Resident
from .rows import Reading, converted, live_rows
from .sketches import Sketch, Sketched

#: Pairs of a result at most, unless another limit is given: 16 bytes each, and as much again
#: while they are put in order.
LIMIT = 1 << 26
#: Pairs a query by which a strategy is chosen: how many there will be is not known before.
_EXPECTED = 10

Ranges = tuple[NDArray[np.int64], NDArray, NDArray[np.int64]]


@overload
def range_search(
    queries: NDArray, database: NDArray | Sketched | Resident, radius: ArrayLike, *,
    metric: Metric, mask: NDArray[np.bool_] | None = None, strategy: Strategy = "auto",
    threads: int | None = None, limit: int = LIMIT, explain: Literal[False] = False,
) -> Ranges: ...  # fmt: skip


@overload
def range_search(
    queries: NDArray, database: NDArray | Sketched | Resident, radius: ArrayLike, *,
    metric: Metric, mask: NDArray[np.bool_] | None = None, strategy: Strategy = "auto",
    threads: int | None = None, limit: int = LIMIT, explain: Literal[True],
) -> tuple[NDArray[np.int64], NDArray, NDArray[np.int64], Proof]: ...  # fmt: skip


def range_search(
    queries: NDArray,
    database: NDArray | Sketched | Resident,
    radius: ArrayLike,
    *,
    metric: Metric,
    mask: NDArray[np.bool_] | None = None,
    strategy: Strategy = "auto",
    threads: int | None = None,
    limit: int = LIMIT,
    explain: bool = False,
) -> Ranges | tuple[NDArray[np.int64], NDArray, NDArray[np.int64], Proof]:
    """All rows within a radius of each query, exactly.

    Args:
        queries, database, metric, mask, strategy, threads: as for `topk`. Rows of a `Resident`
            database are searched where they lie in this machine's memory.
        radius: rows at this distance or nearer are found: one number, or one a query ``(q,)``;
            infinity finds all. At least 0, but for ``ip``, whose distances are negated products,
            and ``cosine``, whose may be a rounding below 0.
        limit: pairs of a query and a row that the result may have at most; each takes 16 bytes,
            and twice that while they are put in order.
        explain: also return a `Proof`.

    Returns:
        ``(offsets, distances, ids)``. Row i of the queries has the pairs from ``offsets[i]`` to
        ``offsets[i + 1]``, in the order (distance, row number); offsets are int64 ``(q + 1,)``,
        distances and ids as those of `topk`. With ``explain`` a `Proof` is the fourth.

    Raises:
        ArgumentError: more pairs than ``limit`` (it says how many); a radius that is NaN, or
            negative where it may not be; otherwise as `topk`.
        DTypeError: another type of array.
    """
    array, sketch = taken_apart(database)
    found = range_segments(
        queries, [array], radius, metric=metric, masks=None if mask is None else [mask],
        sketches=None if sketch is None else [sketch], strategy=strategy, threads=threads,
        limit=limit,
    )  # fmt: skip
    return found if explain else found[:3]


def taken_apart(database: Any) -> tuple[Any, Sketch | None]:
    """The array of a database, and its sketch if it has one."""
    if isinstance(database, Sketched | Resident):
        return database.array, database.sketch
    return database, None


@usually
def range_segments(
    queries: NDArray,
    segments: Sequence[NDArray],
    radius: ArrayLike,
    *,
    metric: str,
    masks: Sequence[NDArray[np.bool_] | None] | None = None,
    sketches: Sequence[Sketch | None] | None = None,
    reading: Reading | None = None,
    strategy: str = "auto",
    threads: int | None = None,
    limit: int = LIMIT,
    instead: str = "",
) -> tuple[NDArray[np.int64], NDArray, NDArray[np.int64], Proof]:
    """`range_search` over several arrays as if they were one, as `dispatch.topk_segments`.

    ``instead`` is what one can do about too many pairs; by default a larger limit.
    """
    checked_words(metric, "cpu", strategy, threads)
    limit = positive(limit, "limit", "Nothing was searched")
    queries = array_of(queries, "queries", "Nothing was searched")
    queries = checked_array(queries[None] if queries.ndim == 1 else queries, "queries", metric)
    radii = checked_radii(radius, len(queries), metric)
    segments, lives = checked_segments(segments, queries.shape[1], metric, masks, sketches)
    cpu = on_processor()
    kernels = cpu.family(metric, queries.shape[1])
    queries = converted(queries, kernels.rows)
    if kernels.rows.kind == "f":
        refuse_not_finite(queries)
    live = live_rows(segments, lives)
    strategy = chosen(strategy, metric, live, len(queries), queries.shape[1], sketches)
    workers = workers_for(live * len(queries) * queries.shape[1] * kernels.rows.itemsize, threads)

    problem = Problem(metric, segments, lives, sketches or [None] * len(segments), 1, reading)
    task = cpu.Task(problem, kernels, strategy == "sketch")
    gathering, stop, work = cpu.Gathering(limit), Event(), Work()
    counts, parts = [np.zeros(1, np.int64)], [(np.empty(0), np.empty(0, np.int64))]
    size = task.batch()
    if live and len(queries):
        task.prepare()
        for first in range(0, len(queries), size):
            part = slice(first, first + size)
            gathering.begin(workers)
            work.add(cpu.search(task, queries[part], radii[part], workers, gathering, stop))
            each, *pairs = gathering.end(len(queries[part]), workers, stop)
            counts.append(each)
            parts.append((pairs[0], pairs[1]))
            if gathering.beyond:
                parts.clear()
    else:
        counts.append(np.zeros(len(queries), np.int64))
    if gathering.beyond:
        raise too_many(gathering.total, limit, "queries", instead)
    proof = Proof(
        metric, used(work, strategy), cpu.level(), len(queries), live,
        work.scanned, work.sketched, work.candidates, work.undecided, work.repeated,
        work.bytes_read, work.reduced, work.after_coarse, work.after_fine,
    )  # fmt: skip
    distances = np.concatenate([part for part, _ in parts]).astype(kernels.distances)
    ids = np.concatenate([part for _, part in parts])
    return np.cumsum(np.concatenate(counts)), distances, ids, proof


def chosen(
    strategy: str, metric: str, rows: int, queries: int, dim: int, sketches: object | None
) -> str:
    """``scan`` or ``sketch``, as it was asked for or is likely the faster one."""
    if metric == "hamming":
        return "scan"
    if strategy != "auto":
        return strategy
    return strategy_for(rows, queries, dim, _EXPECTED, sketched=sketches is not None)


def used(work: Work, strategy: str) -> str:
    """What a `Proof` calls the strategy after the work."""
    if strategy == "sketch" and work.scanned:
        return "sketch and scan" if work.sketched or work.reduced else "scan"
    return strategy


def workers_for(bytes_: int, threads: int | None) -> int:
    """Threads for work of so many bytes."""
    if threads is None and bytes_ < tiling.TILING.inline_bytes:
        return 1
    return threads or available_threads()


def too_many(total: int, limit: int, of: str, instead: str = "") -> ArgumentError:
    """The error for a result that would take more memory than it may."""
    return ArgumentError(
        f"{plural(total, 'pair lies', 'pairs lie')} within the radius, and the limit is {limit:,}",
        f"Nothing was returned: they would take {32 * total / 1e6:,.1f} MB",
        f"Use a smaller radius or fewer {of}, or {instead or f'pass limit={total}'}",
    )


class _OnProcessor(NamedTuple):
    family: Any
    Task: Any
    Gathering: Any
    search: Any
    level: Any


@once
def on_processor() -> _OnProcessor:
    """What searches on the processor, and needs Numba."""
    package("numba")
    from ..kernels.level import simd_level
    from .cpu import gathering, scan, within

    return _OnProcessor(scan.family, within.Task, gathering.Gathering, within.search, simd_level)
