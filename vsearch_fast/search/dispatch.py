"""Exact top-k search: checks what it is given, picks the strategy, and explains itself.

::

    topk ─ one array ─┐                 ┌─ cpu.scan: every distance from stored rows
                      ├─ topk_segments ─┼─ cpu.cascade: sketches bound, stored rows decide (floats)
    Index ─ segments ─┘                 ├─ cpu.summed: sums of groups of bits bound (codes)
                                        │  (one pool of threads; work cut by `tiling`)
                                        └─ gpu: the same two on CUDA devices

The result is defined by `vsearch_fast.kernels.reference` and equal to it to the bit,
whatever the backend, the strategy, the threads, the batches and the layout of the arrays.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import usually
from ..checks import array_of
from ..errors import DeviceError
from ..loading import once, package
from ..machine import available_threads
from ..words import Metric
from . import tiling
from .arguments import (
    Backend,
    Strategy,
    checked_array,
    checked_limits,
    checked_options,
    checked_segments,
    refuse_not_finite,
)
from .choosing import strategy_for
from .cpu.chunks import Problem
from .proof import Proof, Work
from .rows import Reading, converted, live_rows, not_finite
from .sketches import Sketch, Sketched

if TYPE_CHECKING:
    from .bit_groups import Summed
    from .gpu.resident_rows import ResidentRows
    from .grouped import Grouped
    from .resident import Resident

Result = tuple[NDArray, NDArray[np.int64]]


@overload
def topk(
    queries: NDArray, database: NDArray | Sketched | Grouped | Resident, k: int, *, metric: Metric,
    mask: NDArray[np.bool_] | None = None, backend: Backend = "auto", strategy: Strategy = "auto",
    threads: int | None = None, explain: Literal[False] = False,
) -> Result: ...  # fmt: skip


@overload
def topk(
    queries: NDArray, database: NDArray | Sketched | Grouped | Resident, k: int, *, metric: Metric,
    mask: NDArray[np.bool_] | None = None, backend: Backend = "auto", strategy: Strategy = "auto",
    threads: int | None = None, explain: Literal[True],
) -> tuple[NDArray, NDArray[np.int64], Proof]: ...  # fmt: skip


def topk(
    queries: NDArray,
    database: NDArray | Sketched | Grouped | Resident,
    k: int,
    *,
    metric: Metric,
    mask: NDArray[np.bool_] | None = None,
    backend: Backend = "auto",
    strategy: Strategy = "auto",
    threads: int | None = None,
    explain: bool = False,
) -> Result | tuple[NDArray, NDArray[np.int64], Proof]:
    """The k nearest rows of each query, exactly.

    Args:
        queries: ``(q, d)``, or one of ``(d,)``; for ``hamming`` packed uint8 (`pack_bits`),
            otherwise float16, float32, or float64, which is first rounded to float32.
        database: ``(n, d)`` of the same kind; any strides, read-only or memory-mapped. Of
            floats also a `Sketched` database, which is faster from the first query on, of codes a
            `search.grouped.Grouped` one; or a `Resident` one, which stays on a GPU.
        k: how many, at least 1.
        metric: ``hamming`` (differing bits), ``l1``, ``l2``, ``cosine`` (1 less the cosine; 1
            where a row is all zeros) or ``ip`` (the inner product, negated, so that the largest
            comes first).
        mask: boolean ``(n,)``; rows where it is false do not exist for this search.
        backend: ``cpu``, ``cuda`` (all CUDA devices that the process may use; rows that are not
            `Resident` are sent there by each search), or ``auto``: the GPU for a `Resident`
            database, and where CuPy and a device are there and the work is worth the transfer.
            ``cosine`` and ``ip`` are for the CPU so far, which ``auto`` takes for them.
        strategy: ``scan`` (every distance from the stored rows), ``sketch`` (of floats: 8-bit
            sketches bound most distances, made on the way where the database has none; of codes:
            sums of their bits do, where these are at hand), or ``auto`` (the faster one). The
            result is the same.
        threads: None for all processors that the process may use.
        explain: also return a `Proof`.

    Returns:
        ``(distances, ids)``, each ``(q, min(k, live rows))``, q being 1 for a single query: the
        smallest pairs
        (distance, row number) in that order. Distances are int32 for ``hamming``,
        float64 otherwise, in the order of summation that `kernels.reference` defines.
        With ``explain`` a `Proof` is the third.

    Raises:
        ArgumentError: a wrong shape, k, metric or option; NaN or infinity, with its row.
        DTypeError: another type of array.
        DeviceError, MissingDependencyError: with ``cuda``, what a GPU lacks.
    """
    array: Any = database
    sketches, resident, summed = None, None, None
    if not isinstance(database, np.ndarray):
        array = getattr(database, "array", database)
        sketch = getattr(database, "sketch", None)
        sketches = None if sketch is None else [sketch]
        resident = getattr(database, "rows_there", None)
        summed = getattr(database, "summed", None)
    distances, ids, proof = topk_segments(
        queries, [array], k, metric=metric, masks=None if mask is None else [mask],
        sketches=sketches, summed=None if summed is None else [summed], resident=resident,
        backend=backend, strategy=strategy, threads=threads,
    )  # fmt: skip
    return (distances, ids, proof) if explain else (distances, ids)


@usually
def topk_segments(
    queries: NDArray,
    segments: Sequence[NDArray],
    k: int,
    *,
    metric: str,
    masks: Sequence[NDArray[np.bool_] | None] | None = None,
    sketches: Sequence[Sketch | None] | None = None,
    summed: Sequence[Sequence[Summed]] | None = None,
    resident: ResidentRows | None = None,
    reading: Reading | None = None,
    backend: str = "auto",
    strategy: str = "auto",
    threads: int | None = None,
    limits: NDArray | None = None,
) -> tuple[NDArray, NDArray[np.int64], Proof]:
    """`topk` over several arrays as if they were one; ids number the rows of all in turn.

    ``masks`` has one entry a segment, None where all its rows live. So has ``sketches``; a
    `Sketch` may cover the first rows alone. Rows without one are sketched on the way if that
    pays (or no segment has one, and the strategy is to sketch), else scanned. ``summed`` has, for
    each segment of codes, those of its rows whose sums are at hand. ``resident`` holds the first
    rows of all on GPUs; ``reading`` is told what is read of the others.

    ``limits`` (q,), float64, are known from elsewhere, as where k rows of another database are at
    least as near: rows beyond a query's limit are no result of it, those at the limit are. Where
    that leaves fewer than k, the last ones have id -1 and a distance that none is above.
    """
    k = checked_options(k, metric, backend, strategy, threads)
    queries = array_of(queries, "queries", "Nothing was searched")
    queries = checked_array(queries[None] if queries.ndim == 1 else queries, "queries", metric)
    segments, lives = checked_segments(segments, queries.shape[1], metric, masks, sketches, summed)
    cpu = _on_processor()
    kernels = cpu.family(metric, queries.shape[1])
    queries = converted(queries, kernels.rows)
    if kernels.rows.kind == "f":
        refuse_not_finite(queries)

    above = None
    if limits is not None:
        limits = checked_limits(limits, len(queries))
        above = _above(limits, kernels)
    live = live_rows(segments, lives)
    best = min(k, live)
    distances = np.empty((len(queries), best), kernels.distances)
    ids = np.empty((len(queries), best), np.int64)
    dim = queries.shape[1]
    pairs = live * len(queries)
    small = pairs * max(1, dim * kernels.rows.itemsize) < tiling.TILING.inline_bytes
    workers = threads or (1 if small else available_threads())
    work = Work()
    level = cpu.level
    on_devices = None
    by_sums = None
    if metric == "hamming":  # codes are as small as a sketch
        by_sums = cpu.by_sums(
            segments, lives, summed, best, kernels, reading, strategy, len(queries), live
        )
        strategy = "scan"
    # What is certain to stay on the processor is not asked about.
    many = len(queries) >= tiling.TILING.device_worth_queries
    sent = backend == "cuda" or (backend == "auto" and (many or resident is not None))
    if best and len(queries) and sent:
        on_devices = _search_on_devices(
            backend, metric, queries, segments, lives, sketches, resident, strategy, threads,
            distances, ids,
        )  # fmt: skip
    if on_devices is None and metric != "hamming" and strategy == "auto":
        strategy = strategy_for(live, len(queries), dim, best, sketched=sketches is not None)
    if best == 0 or len(queries) == 0:
        pass
    elif on_devices is not None:
        work, level = on_devices
        if reading is not None and resident is None:
            for i, segment in enumerate(segments):  # all that was sent
                reading.rows(i, 0, len(segment))
                reading.sketches(i, 0, len(segment))
        strategy = _named("sketch", work) if work.sketched or work.reduced else "scan"
    elif by_sums is not None:
        work = by_sums(queries, workers, distances, ids, above)
        strategy = _named("sums", work)
    elif strategy == "sketch":
        problem = Problem(
            metric, segments, lives, sketches or [None] * len(segments), best, reading
        )
        work = cpu.cascade(problem, queries, workers, distances, ids, limits)
        strategy = _named("sketch", work)
    else:
        read = cpu.scan(queries, segments, lives, kernels, workers, distances, ids, reading, above)
        work = Work(scanned=pairs, bytes_read=read)
    if limits is not None:  # of what was at hand all the same
        beyond = distances > limits[:, None]
        distances[beyond], ids[beyond] = kernels.beyond, -1
    proof = Proof(
        metric, strategy, level(), len(queries), live,
        work.scanned, work.sketched, work.candidates, work.undecided, work.repeated,
        work.bytes_read, work.reduced, work.after_coarse, work.after_fine,
    )  # fmt: skip
    return distances, ids, proof


def _above(limits: NDArray[np.float64], kernels: Any) -> NDArray:
    """The smallest numbers that are above limits."""
    if kernels.distances.kind == "f":
        return np.nextafter(limits, np.inf)
    return np.clip(np.floor(limits) + 1, 0, kernels.beyond).astype(kernels.distances)


def _named(bounds: str, work: Work) -> str:
    """The strategy, by what was done."""
    if not work.scanned:
        return bounds
    return f"{bounds} and scan" if work.sketched or work.reduced else "scan"


def _search_on_devices(
    backend: str,
    metric: str,
    queries: NDArray,
    segments: Sequence[NDArray],
    lives: Sequence[NDArray[np.uint8] | None],
    sketches: Sequence[Sketch | None] | None,
    resident: ResidentRows | None,
    strategy: str,
    threads: int | None,
    distances: NDArray,
    ids: NDArray[np.int64],
) -> tuple[Work, Callable[[], str]] | None:
    """Search on CUDA devices, if the backend says so or it pays; None where not.

    Returns the work and what names the devices.
    """
    Request, wanted, run_search = _devices()
    request = Request(
        metric, queries, segments, lives, sketches or [None] * len(segments), resident, strategy,
        distances.shape[1], threads, lambda row: not_finite(row, segments),
    )  # fmt: skip
    if not wanted(backend, request):
        return None
    try:
        work, name = run_search(request, distances, ids)
    except DeviceError as error:
        if backend == "cuda":
            raise
        warnings.warn(f"{error} This search used the processor.", RuntimeWarning, stacklevel=4)
        return None
    return work, lambda: name


@once
def _devices() -> tuple[Any, Any, Any]:
    from .gpu.backend import run_search
    from .gpu.request import Request, wanted

    return Request, wanted, run_search


class _OnProcessor(NamedTuple):
    family: Callable[[str, int], Any]
    scan: Callable[..., int]
    cascade: Callable[..., Work]
    by_sums: Callable[..., Callable[..., Work] | None]
    level: Callable[[], str]


@once
def _on_processor() -> _OnProcessor:
    """What searches on the processor, and needs Numba."""
    package("numba")
    from ..kernels.level import simd_level
    from .cpu import cascade, scan, summed

    return _OnProcessor(scan.family, scan.search, cascade.search, summed.searcher, simd_level)
