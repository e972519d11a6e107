"""Exact range search: all rows within a radius of each query, however many.

The result is defined by `vsearch_fast.kernels.reference.range_search` and equal to it to the bit.
It is searched for on the processor (`cpu.within`) or on GPUs (`gpu.ranging`), and held in memory up
to a stated size.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arithmetic import usually
from ..checks import array_of, positive
from ..errors import ArgumentError, DeviceError
from ..loading import once, package
from ..machine import available_threads
from ..words import Metric, plural
from . import tiling
from .arguments import (
    Backend,
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
from .rows import Live, Reading, converted, live_rows, not_finite
from .sketches import Sketch, Sketched

if TYPE_CHECKING:
    from .gpu.resident_rows import ResidentRows

#: Pairs of a result at most, unless another limit is given: 16 bytes each, and as much again
#: while they are put in order.
LIMIT = 1 << 26
#: Pairs a query by which a strategy is chosen: how many there will be is not known before.
_EXPECTED = 10

Ranges = tuple[NDArray[np.int64], NDArray, NDArray[np.int64]]


@overload
def range_search(
    queries: NDArray, database: NDArray | Sketched | Resident, radius: ArrayLike, *,
    metric: Metric, mask: NDArray[np.bool_] | None = None, backend: Backend = "auto",
    strategy: Strategy = "auto", threads: int | None = None, limit: int = LIMIT,
    explain: Literal[False] = False,
) -> Ranges: ...  # fmt: skip


@overload
def range_search(
    queries: NDArray, database: NDArray | Sketched | Resident, radius: ArrayLike, *,
    metric: Metric, mask: NDArray[np.bool_] | None = None, backend: Backend = "auto",
    strategy: Strategy = "auto", threads: int | None = None, limit: int = LIMIT,
    explain: Literal[True],
) -> tuple[NDArray[np.int64], NDArray, NDArray[np.int64], Proof]: ...  # fmt: skip


def range_search(
    queries: NDArray,
    database: NDArray | Sketched | Resident,
    radius: ArrayLike,
    *,
    metric: Metric,
    mask: NDArray[np.bool_] | None = None,
    backend: Backend = "auto",
    strategy: Strategy = "auto",
    threads: int | None = None,
    limit: int = LIMIT,
    explain: bool = False,
) -> Ranges | tuple[NDArray[np.int64], NDArray, NDArray[np.int64], Proof]:
    """All rows within a radius of each query, exactly.

    Args:
        queries, database, metric, mask, backend, strategy, threads: as for `topk`.
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
        DeviceError, MissingDependencyError: with ``cuda``, what a GPU lacks.
    """
    array, sketch = taken_apart(database)
    found = range_segments(
        queries, [array], radius, metric=metric, masks=None if mask is None else [mask],
        sketches=None if sketch is None else [sketch],
        resident=database.rows_there if isinstance(database, Resident) else None,
        backend=backend, strategy=strategy, threads=threads, limit=limit,
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
    resident: ResidentRows | None = None,
    reading: Reading | None = None,
    backend: str = "auto",
    strategy: str = "auto",
    threads: int | None = None,
    limit: int = LIMIT,
    instead: str = "",
) -> tuple[NDArray[np.int64], NDArray, NDArray[np.int64], Proof]:
    """`range_search` over several arrays as if they were one, as `dispatch.topk_segments`.

    ``instead`` is what one can do about too many pairs; by default a larger limit.
    """
    checked_words(metric, backend, strategy, threads)
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
    within = _Within(queries, segments, lives, radii, metric, live, limit)
    found = None
    if live and len(queries) and backend != "cpu":
        found = _on_devices(backend, within, sketches, resident, strategy, threads)
        if found is not None and reading is not None and resident is None:
            for i, segment in enumerate(segments):  # all that was sent
                reading.rows(i, 0, len(segment))
                reading.sketches(i, 0, len(segment))
    if found is None:
        found = _by_processor(within, sketches, reading, strategy, threads)
    if found.gathering.beyond:
        raise too_many(found.gathering.total, limit, "queries", instead)
    work = found.work
    proof = Proof(
        metric, found.strategy, found.by, len(queries), live,
        work.scanned, work.sketched, work.candidates, work.undecided, work.repeated,
        work.bytes_read, work.reduced, work.after_coarse, work.after_fine,
    )  # fmt: skip
    distances = np.concatenate([part for part, _ in found.parts]).astype(kernels.distances)
    ids = np.concatenate([part for _, part in found.parts])
    return np.cumsum(np.concatenate(found.counts)), distances, ids, proof


@dataclass(frozen=True, eq=False)
class _Within:
    """A range search, checked."""

    queries: NDArray
    segments: list[NDArray]
    lives: list[Live]
    radii: NDArray[np.float64]
    metric: str
    live: int
    limit: int


class _Found:
    """What batches of queries have, and what found it.

    Attributes:
        counts, parts: pairs of each query; distances and ids.
        by: names what searched, `strategy` how.
    """

    def __init__(self, gathering: Any) -> None:
        self.gathering, self.work = gathering, Work()
        self.counts = [np.zeros(1, np.int64)]
        self.parts: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = [
            (np.empty(0), np.empty(0, np.int64))
        ]
        self.by = self.strategy = ""

    def end(self, queries: int, workers: int, work: Work, stop: Event) -> None:
        """Take what is gathered of a batch of so many queries."""
        self.work.add(work)
        each, *pairs = self.gathering.end(queries, workers, stop)
        self.counts.append(each)
        self.parts.append((pairs[0], pairs[1]))
        if self.gathering.beyond:
            self.parts.clear()


def _by_processor(
    within: _Within, sketches: Sequence[Sketch | None] | None, reading: Reading | None,
    strategy: str, threads: int | None,
) -> _Found:  # fmt: skip
    cpu = on_processor()
    queries, segments, metric = within.queries, within.segments, within.metric
    kernels = cpu.family(metric, queries.shape[1])
    strategy = chosen(strategy, metric, within.live, len(queries), queries.shape[1], sketches)
    bytes_ = within.live * len(queries) * queries.shape[1] * kernels.rows.itemsize
    workers = workers_for(bytes_, threads)
    problem = Problem(
        metric, segments, within.lives, sketches or [None] * len(segments), 1, reading
    )
    task = cpu.Task(problem, kernels, strategy == "sketch")
    found, stop = _Found(cpu.Gathering(within.limit)), Event()
    size = task.batch()
    if within.live and len(queries):
        task.prepare()
        for first in range(0, len(queries), size):
            part = slice(first, first + size)
            found.gathering.begin(workers)
            work = cpu.search(
                task, queries[part], within.radii[part], workers, found.gathering, stop
            )
            found.end(len(queries[part]), workers, work, stop)
    else:
        found.counts.append(np.zeros(len(queries), np.int64))
    found.strategy, found.by = used(found.work, strategy), cpu.level()
    return found


def _on_devices(
    backend: str, within: _Within, sketches: Sequence[Sketch | None] | None,
    resident: ResidentRows | None, strategy: str, threads: int | None,
) -> _Found | None:  # fmt: skip
    """Search on CUDA devices, if the backend says so or it pays; None where not."""
    queries, segments = within.queries, within.segments
    few = len(queries) < tiling.TILING.device_worth_queries
    if backend == "auto" and resident is None and few:
        return None  # what is certain to stay on the processor is not asked about
    gpu = _devices()
    request = gpu.Request(
        within.metric, queries, segments, within.lives, sketches or [None] * len(segments),
        resident, "scan" if within.metric == "hamming" else strategy, 1, threads,
        lambda row: not_finite(row, segments),
    )  # fmt: skip
    if not gpu.wanted(backend, request):
        return None
    found, stop = _Found(on_processor().Gathering(within.limit)), Event()
    workers = threads or available_threads()
    try:
        for batch, work in gpu.run_ranges(request, within.radii, found.gathering):
            found.end(batch, workers, work, stop)
    except DeviceError as error:
        if backend == "cuda":
            raise
        warnings.warn(f"{error} This search used the processor.", RuntimeWarning, stacklevel=4)
        return None
    made = found.work
    found.strategy = used(made, "sketch" if made.sketched or made.reduced else "scan")
    found.by = gpu.name_of(request)
    return found


class _OnDevices(NamedTuple):
    Request: Any
    wanted: Any
    run_ranges: Any
    name_of: Any


@once
def _devices() -> _OnDevices:
    from .gpu.backend import name_of, run_ranges
    from .gpu.request import Request, wanted

    return _OnDevices(Request, wanted, run_ranges, name_of)


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
