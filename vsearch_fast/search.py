"""Exact top-k search: picks the kernel, cuts the work, merges.

::

    topk ─ one array ─┐
                      ├─ topk_segments ─ queries in batches ─ rows in chunks ─ kernel ─ merge
    Index ─ segments ─┘                                       (one thread pool)

The result is defined by `vsearch_fast.kernels.reference` and equal to it to the bit,
whatever the threads, the batches and the layout of the arrays.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._inputs import positive
from .errors import ArgumentError, DTypeError
from .kernels.reference import METRICS, Metric, pack_bits

__all__ = ["METRICS", "Metric", "Tiling", "pack_bits", "topk", "topk_segments"]

BACKENDS = ("auto", "cpu")
STRATEGIES = ("auto", "scan")


@dataclass(frozen=True)
class Tiling:
    """How work is cut. It never changes a result, and tests shrink it to cross every border."""

    tile_bytes: int = 256 << 10
    """Rows that stay in the second-level cache while all queries of a batch pass them."""
    query_bytes: int = 1 << 20
    """Queries of a batch: they stay in the second-level cache while the rows stream."""
    buffer_bytes: int = 128 << 20
    """Selection buffers of all threads: bounds the batch where k is large."""
    chunk_rows: int | None = None
    """Rows a thread takes at a time; None: an eighth of its share, not too few."""
    copy_bytes: int = 16 << 20
    """Rows that must be converted are copied this many bytes at a time."""
    inline_bytes: int = 1 << 20
    """Work (rows x queries x bytes a row) below which threads cost more than they bring."""


TILING = Tiling()


Scan = Callable[..., int]


@dataclass(frozen=True)
class _ManyQueries:
    """A faster scan for batches, which packs their queries first."""

    minimum: int  # queries from which it is the faster one
    multiple: int  # queries are padded to a multiple of this many
    growth: int  # bytes of a packed query for one of its own
    scanner: Callable[[NDArray], Scan]


@dataclass(frozen=True)
class _Family:
    """What `topk_segments` must know of a metric."""

    rows: np.dtype
    distances: np.dtype
    beyond: int | float  # no distance reaches it: the limit of a query that holds nothing
    multiple: int  # queries are padded to a multiple of this many
    minimum_chunk: int
    scan: Scan
    many: _ManyQueries | None = None

    def many_for(self, queries: int) -> _ManyQueries | None:
        """The scan for batches, where there is one and so many queries are worth its packing."""
        return self.many if self.many and queries >= self.many.minimum else None


def _family(metric: str, row_bytes: int) -> _Family:
    """Kernels of a metric; imported here, so that `import vsearch_fast` needs no Numba."""
    if metric == "hamming":
        from .kernels import amx, hamming

        many = None
        if row_bytes % 8 == 0 and row_bytes and amx.available():
            from .kernels import hamming_amx

            many = _ManyQueries(
                hamming_amx.MINIMUM_QUERIES, hamming_amx.QUERY_MULTIPLE, 8, hamming_amx.scanner
            )
        most = np.iinfo(np.int32).max
        return _Family(
            np.dtype(np.uint8), np.dtype(np.int32), most, hamming.QUERY_MULTIPLE, 4096,
            hamming.hamming_scan, many,
        )  # fmt: skip
    from .kernels import lanes

    squared = metric == "l2"

    def scan(*arguments: Any) -> int:
        return lanes.lane_scan(*arguments, squared)

    return _Family(
        np.dtype(np.float32), np.dtype(np.float64), np.inf, lanes.QUERY_MULTIPLE, 512, scan
    )


# One pool for the process. A forked child has the object but none of its threads.
_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget_pool)


def available_threads() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run(work: Callable[[int], None], workers: int, stop: Event) -> None:
    """``work(0)`` here and the others in the pool; the first error of any stops all."""
    global _pool
    if workers == 1:
        work(0)
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(max(64, os.cpu_count() or 1), thread_name_prefix="vsearch")

    def guarded(worker: int) -> None:
        try:
            work(worker)
        except BaseException:  # Ctrl-C as well
            stop.set()
            raise

    others: list[Future[None]] = []
    try:
        # At the interpreter's end a pool starts no more: whoever runs does all the work.
        with contextlib.suppress(RuntimeError):
            for worker in range(1, workers):
                others.append(_pool.submit(guarded, worker))  # noqa: PERF401
        guarded(0)
        wait(others)
    except BaseException:
        stop.set()
        raise
    for task in others:
        task.result()


def topk(
    queries: NDArray,
    database: NDArray,
    k: int,
    *,
    metric: str,
    mask: NDArray[np.bool_] | None = None,
    backend: str = "auto",
    strategy: str = "auto",
    threads: int | None = None,
) -> tuple[NDArray, NDArray[np.int64]]:
    """The k nearest rows of each query, exactly.

    Args:
        queries: ``(q, d)``; for ``hamming`` packed uint8 (`pack_bits`), otherwise float16,
            float32, or float64, which is first rounded to float32.
        database: ``(n, d)`` of the same kind; any strides, read-only or memory-mapped.
        k: how many, at least 1.
        metric: ``hamming`` (differing bits), ``l1`` or ``l2``.
        mask: boolean ``(n,)``; rows where it is false do not exist for this search.
        backend: ``auto`` or ``cpu``.
        strategy: ``auto`` or ``scan`` (every distance from the stored rows).
        threads: None for all processors that the process may use.

    Returns:
        ``(distances, ids)``, each ``(q, min(k, live rows))``: the smallest pairs
        (distance, row number) in that order. Distances are int32 for ``hamming``,
        float64 otherwise, in the order of summation that `kernels.reference` defines.

    Raises:
        ArgumentError: a wrong shape, k, metric or option; NaN or infinity, with its row.
        DTypeError: another type of array.
    """
    return topk_segments(
        queries, [database], k, metric=metric, masks=None if mask is None else [mask],
        backend=backend, strategy=strategy, threads=threads,
    )  # fmt: skip


def topk_segments(
    queries: NDArray,
    segments: Sequence[NDArray],
    k: int,
    *,
    metric: str,
    masks: Sequence[NDArray[np.bool_] | None] | None = None,
    backend: str = "auto",
    strategy: str = "auto",
    threads: int | None = None,
) -> tuple[NDArray, NDArray[np.int64]]:
    """`topk` over several arrays as if they were one; ids number the rows of all in turn.

    ``masks`` has one entry a segment, None where all its rows live.
    """
    k = _checked_options(k, metric, backend, strategy, threads)
    queries = _checked_array(queries, "queries", metric)
    segments = [
        _checked_array(s, _name("database", i, segments), metric) for i, s in enumerate(segments)
    ]
    for i, segment in enumerate(segments):
        if segment.shape[1] != queries.shape[1]:
            raise ArgumentError(
                f"queries have {queries.shape[1]} columns and "
                f"{_name('database', i, segments)} has {segment.shape[1]}",
                "Nothing was searched",
                "Use features of one model, packed alike, for both",
            )
    lives = _checked_masks(masks, segments)
    family = _family(metric, queries.shape[1])
    queries = _converted(queries, family.rows)
    if family.rows.kind == "f":
        _refuse_not_finite(queries)

    live_rows = sum(
        len(s) if live is None else int(np.count_nonzero(live))
        for s, live in zip(segments, lives, strict=True)
    )
    best = min(k, live_rows)
    distances = np.empty((len(queries), best), family.distances)
    ids = np.empty((len(queries), best), np.int64)
    if best == 0 or len(queries) == 0:
        return distances, ids

    row_bytes = max(1, queries.shape[1] * family.rows.itemsize)
    work = live_rows * len(queries) * row_bytes
    workers = threads or available_threads()
    if threads is None and work < TILING.inline_bytes:
        workers = 1
    chunks = _cut(segments, workers, family, row_bytes)
    workers = min(workers, len(chunks))
    capacity = best + max(best, 32)
    many = family.many_for(len(queries))
    batch = min(
        max(1, TILING.query_bytes // (row_bytes * (many.growth if many else 1))),
        max(1, TILING.buffer_bytes // (workers * capacity * 16)),
    )
    for first in range(0, len(queries), batch):
        part = slice(first, first + batch)
        _search_batch(
            queries[part], segments, lives, chunks, family, workers, capacity, row_bytes,
            distances[part], ids[part],
        )  # fmt: skip
    return distances, ids


@dataclass(frozen=True)
class _Chunk:
    segment: int
    start: int
    stop: int
    offset: int  # id of the segment's row 0


def _cut(
    segments: Sequence[NDArray], workers: int, family: _Family, row_bytes: int
) -> list[_Chunk]:
    """Chunks of rows in ascending order of id, about eight for each worker."""
    total = sum(map(len, segments))
    rows = TILING.chunk_rows or max(family.minimum_chunk, -(-total // (8 * workers)))
    chunks, offset = [], 0
    for number, segment in enumerate(segments):
        most = rows
        if not _direct(segment, family.rows):
            most = max(1, min(rows, TILING.copy_bytes // row_bytes))
        chunks += [
            _Chunk(number, start, min(start + most, len(segment)), offset)
            for start in range(0, len(segment), most)
        ]
        offset += len(segment)
    return chunks


def _search_batch(
    queries: NDArray,
    segments: Sequence[NDArray],
    lives: Sequence[NDArray[np.uint8] | None],
    chunks: Sequence[_Chunk],
    family: _Family,
    workers: int,
    capacity: int,
    row_bytes: int,
    best: NDArray,
    best_ids: NDArray[np.int64],
) -> None:
    """Search all chunks for one batch of queries; write the result to ``best`` and ``best_ids``."""
    from .kernels.select import merge

    count, k = best.shape
    many = family.many_for(count)
    multiple = many.multiple if many else family.multiple
    padded = -(-count // multiple) * multiple
    if padded != count:
        padding = np.zeros((padded - count, queries.shape[1]), queries.dtype)
        queries = np.concatenate([queries, padding])
    scan = many.scanner(queries) if many else family.scan
    length = queries.shape[1] * queries.itemsize
    tile_rows = max(1, min(TILING.tile_bytes // row_bytes, 4096))

    distances = np.empty((workers, padded, capacity), family.distances)
    ids = np.empty((workers, padded, capacity), np.int64)
    counts = np.zeros((workers, padded), np.int64)
    everything = np.empty(0, np.uint8)
    everything.flags.writeable = False
    turn = itertools.count()  # next() is atomic: each worker takes ascending chunks
    stop = Event()
    refused: list[int] = []

    def work(worker: int) -> None:
        # Limits are written at every improvement: each worker's on cache lines of its own.
        limits = np.full(padded, family.beyond, family.distances)
        limits[count:] = -1  # nothing is below it: padding never enters a buffer
        # Asked for in here, so that each worker holds the queries: a second Ctrl-C may end the
        # caller's wait while kernels still run.
        address, stride = queries.__array_interface__["data"][0], queries.strides[0]
        held = (distances[worker], ids[worker], counts[worker], limits)
        while not stop.is_set() and (number := next(turn)) < len(chunks):
            chunk = chunks[number]
            live = lives[chunk.segment]
            rows = segments[chunk.segment][chunk.start : chunk.stop]
            mask = everything if live is None else live[chunk.start : chunk.stop]
            if not _direct(rows, family.rows):
                rows = _converted(rows, family.rows)
            offset = chunk.offset + chunk.start
            bad = scan(
                address, stride, count,
                rows.__array_interface__["data"][0], rows.strides[0], length,
                0, len(rows), offset,
                mask, tile_rows, k, *held,
            )  # fmt: skip
            if bad >= 0:
                # Chunks are taken in ascending order: those in flight may still hold an
                # earlier row, later ones need not be read.
                refused.append(offset + bad)
                stop.set()

    _run(work, workers, stop)
    if refused:
        row, name = _locate(min(refused), segments)
        raise ArgumentError(
            f"row {row} of {name} holds NaN or infinity",
            "Nothing was returned, since no order is defined for it",
            "Remove or repair the row, or leave it out with a mask",
        )
    merge(distances, ids, counts, best, best_ids)


def _locate(row: int, segments: Sequence[NDArray]) -> tuple[int, str]:
    """Segment-relative row and name of the segment that holds a row number."""
    for i, segment in enumerate(segments):
        if row < len(segment):
            return row, _name("database", i, segments)
        row -= len(segment)
    raise AssertionError("no such row")


def _name(what: str, number: int, segments: Sequence[NDArray]) -> str:
    return f"{what} segment {number}" if len(segments) > 1 else f"the {what}"


def _direct(rows: NDArray, dtype: np.dtype) -> bool:
    """Whether kernels can read the rows where they are: native type, unit stride in a row."""
    return rows.dtype == dtype and rows.dtype.isnative and (
        rows.strides[1] == dtype.itemsize or rows.shape[1] <= 1
    )  # fmt: skip


def _converted(rows: NDArray, dtype: np.dtype) -> NDArray:
    """Rows as the kernels read them. float64 beyond float32's range becomes infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(rows, dtype)


def _refuse_not_finite(queries: NDArray) -> None:
    bad = ~np.isfinite(queries).all(axis=1)
    if bad.any():
        raise ArgumentError(
            f"query {int(np.argmax(bad))} holds NaN or infinity",
            "Nothing was searched",
            "Check the features: float32 reaches 3.4e38",
        )


def _checked_options(k: int, metric: str, backend: str, strategy: str, threads: int | None) -> int:
    for name, value, allowed in (
        ("metric", metric, METRICS),
        ("backend", backend, BACKENDS),
        ("strategy", strategy, STRATEGIES),
    ):
        if value not in allowed:
            raise ArgumentError(
                f"{name} is {value!r}", "Nothing was searched", f"Use one of {', '.join(allowed)}"
            )
    if threads is not None:
        positive(threads, "threads", "Nothing was searched")
    return positive(k, "k", "Nothing was searched")


def _checked_array(array: NDArray, name: str, metric: str) -> NDArray:
    """The array itself, as a plain ndarray, if it is a matrix of the metric's kind."""
    array = np.asarray(array)
    if metric == "hamming":
        fits, wanted = array.dtype == np.uint8, "packed uint8: pack_bits(features)"
    else:
        fits = array.dtype.kind == "f" and array.dtype.itemsize in (2, 4, 8)
        wanted = "float32 (or float16, or float64, which is rounded to float32)"
    if not fits:
        raise DTypeError(
            f"{name} holds {array.dtype}", f"{metric} is not defined for it", f"Pass {wanted}"
        )
    if metric == "hamming" and array.shape[-1:] >= (1 << 28,):
        raise ArgumentError(
            f"{name} has rows of {array.shape[-1]:,} bytes",
            "Nothing was searched: an int32 cannot hold such a distance",
            "Use rows of less than 2**28 bytes",
        )
    if array.ndim != 2:
        raise ArgumentError(
            f"{name} has the shape {array.shape}",
            "Nothing was searched",
            "Pass a matrix, one row a picture; a single vector v is v[None]",
        )
    return array


def _checked_masks(
    masks: Sequence[NDArray[np.bool_] | None] | None, segments: Sequence[NDArray]
) -> list[NDArray[np.uint8] | None]:
    """Masks as the kernels read them: read-only bytes, one a row."""
    if masks is None:
        return [None] * len(segments)
    if len(masks) != len(segments):
        raise ArgumentError(
            f"there are {len(masks)} masks for {len(segments)} segments",
            "Nothing was searched",
            "Pass one mask a segment, None where all rows live",
        )
    checked: list[NDArray[np.uint8] | None] = []
    for mask, segment in zip(masks, segments, strict=True):
        if mask is None:
            checked.append(None)
            continue
        mask = np.asarray(mask)
        if mask.dtype != np.bool_:
            raise DTypeError(
                f"the mask holds {mask.dtype}",
                "Row numbers and weights are no mask",
                "Pass booleans, true for the rows to search",
            )
        if mask.shape != (len(segment),):
            raise ArgumentError(
                f"the mask has the shape {mask.shape} and the database {len(segment)} rows",
                "Nothing was searched",
                "Pass one boolean a row",
            )
        live = np.ascontiguousarray(mask).view(np.uint8)
        live.flags.writeable = False
        checked.append(live)
    return checked
