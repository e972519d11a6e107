"""The strategy ``scan``: every distance from the stored rows.

Queries go in batches that stay in cache; rows in chunks that threads take in turn, each with
selection buffers of its own, which are merged at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels import amx, dots, hamming, hamming_short, lanes, planes
from ...kernels.cache import Kernel, prepare
from ...kernels.level import simd_level
from ...loading import once
from ...threads import run
from .. import tiling
from ..rows import Live, Reading, converted, direct, no_mask, not_finite, padded_to
from .buffers import capacity_for, fill, merge, merging

Scan = Callable[..., int]


@dataclass(frozen=True)
class ManyQueries:
    """A faster scan for batches, which packs their queries first."""

    minimum: int  # queries from which it is the faster one
    multiple: int  # queries are padded to a multiple of this many
    growth: int  # bytes of a packed query for one of its own
    scanner: Callable[[NDArray], Scan]
    kernel: Kernel


@dataclass(frozen=True)
class Family:
    """What a scan must know of a metric."""

    rows: np.dtype
    distances: np.dtype
    beyond: int | float  # no distance reaches it: the limit of a query that holds nothing
    below: int | float  # no distance is below it: the limit of padding
    multiple: int  # queries are padded to a multiple of this many
    minimum_chunk: int
    scan: Scan
    kernel: Kernel
    many: ManyQueries | None = None

    def many_for(self, queries: int) -> ManyQueries | None:
        """The scan for batches, where there is one and so many queries are worth its packing."""
        return self.many if self.many and queries >= self.many.minimum else None


def family(metric: str, row_bytes: int) -> Family:
    """Kernels of a metric, for rows of so many bytes."""
    if metric == "hamming":
        return _hamming(row_bytes, simd_level())
    kernel, scan = scanning(metric)
    return Family(
        np.dtype(np.float32), np.dtype(np.float64), np.inf, -np.inf, lanes.QUERY_MULTIPLE, 512,
        scan, kernel,
    )  # fmt: skip


def scanning(metric: str) -> tuple[Kernel, Scan]:
    """The kernel that computes distances of float rows by the definition, and how it is called."""
    kernel = dots.dot_scan if metric in ("cosine", "ip") else lanes.lane_scan
    other = metric in ("cosine", "l2")

    def scan(*arguments: Any) -> int:
        return int(kernel(*arguments, other))

    return kernel, scan


@once
def _hamming_amx() -> Any:
    """Imported only where its instructions may be compiled."""
    from ...kernels import hamming_amx

    return hamming_amx


@lru_cache(maxsize=64)
def _hamming(row_bytes: int, level: str) -> Family:
    """Kernels for codes of so many bytes, with these instructions."""
    many = None
    if row_bytes % 8 == 0 and row_bytes and amx.available():
        tiles = _hamming_amx()
        many = ManyQueries(
            tiles.MINIMUM_QUERIES, tiles.QUERY_MULTIPLE, 8, tiles.scanner, tiles.KERNEL
        )
    elif 0 < row_bytes <= planes.MOST_BYTES and planes.available():
        many = ManyQueries(
            planes.MINIMUM_QUERIES, planes.QUERY_MULTIPLE, 4, planes.scanner, planes.kernel()
        )
    general, short = hamming.scanner(row_bytes), hamming_short.scanner(row_bytes)

    def scan(*arguments: Any) -> int:
        # Rows with something between them are for the general kernel.
        return (short if short and arguments[4] == row_bytes else general)(*arguments)

    return Family(
        np.dtype(np.uint8), np.dtype(np.int32), np.iinfo(np.int32).max, -1, hamming.QUERY_MULTIPLE,
        4096, scan if short else general, short or general, many,
    )  # fmt: skip


@dataclass(frozen=True)
class Chunk:
    """Rows of one segment that a thread takes at a time."""

    segment: int
    start: int
    stop: int
    offset: int  # id of the segment's row 0


def search(
    queries: NDArray,
    segments: Sequence[NDArray],
    lives: Sequence[Live],
    kernels: Family,
    workers: int,
    distances: NDArray,
    ids: NDArray[np.int64],
    reading: Reading | None = None,
    above: NDArray | None = None,
) -> int:
    """Search all segments for all queries; write the result to ``distances`` and ``ids``.

    ``above`` has a number for each query that is above all distances which matter.

    Returns the stored bytes that were read, once a batch of queries.
    """
    sizes = tiling.TILING
    row_bytes = max(1, queries.shape[1] * kernels.rows.itemsize)
    chunks = _cut(segments, workers, kernels, row_bytes, len(queries))
    workers = min(workers, len(chunks))
    capacity = capacity_for(distances.shape[1])
    many = kernels.many_for(len(queries))
    prepare([many.kernel if many else kernels.kernel, merging(kernels.distances)])
    batch = min(
        max(1, sizes.query_bytes // (row_bytes * (many.growth if many else 1))),
        max(1, sizes.buffer_bytes // (workers * capacity * 16)),
    )
    for first in range(0, len(queries), batch):
        part = slice(first, first + batch)
        _search_batch(
            queries[part], segments, lives, chunks, kernels, workers, capacity, row_bytes,
            distances[part], ids[part], reading, None if above is None else above[part],
        )  # fmt: skip
    live_bytes = sum(
        (len(s) if live is None else int(np.count_nonzero(live))) * s.shape[1] * s.itemsize
        for s, live in zip(segments, lives, strict=True)
    )
    return live_bytes * -(-len(queries) // batch)


def _cut(
    segments: Sequence[NDArray], workers: int, kernels: Family, row_bytes: int, queries: int
) -> list[Chunk]:
    """Chunks of rows in ascending order of id: eight for each worker, or fewer large ones."""
    sizes = tiling.TILING
    total = sum(map(len, segments))
    worth = total * row_bytes * queries // sizes.chunk_bytes
    if worth > workers:
        worth -= worth % workers
    count = max(1, min(8 * workers, worth))
    rows = sizes.chunk_rows or max(kernels.minimum_chunk, -(-total // count))
    if len(segments) == 1 and total <= rows and direct(segments[0], kernels.rows):
        return [Chunk(0, 0, total, 0)]
    chunks, offset = [], 0
    for number, segment in enumerate(segments):
        most = rows
        if not direct(segment, kernels.rows):
            most = max(1, min(rows, sizes.copy_bytes // row_bytes))
        chunks += [
            Chunk(number, start, min(start + most, len(segment)), offset)
            for start in range(0, len(segment), most)
        ]
        offset += len(segment)
    return chunks


def _search_batch(
    queries: NDArray,
    segments: Sequence[NDArray],
    lives: Sequence[Live],
    chunks: Sequence[Chunk],
    kernels: Family,
    workers: int,
    capacity: int,
    row_bytes: int,
    best: NDArray,
    best_ids: NDArray[np.int64],
    reading: Reading | None,
    above: NDArray | None,
) -> None:
    """Search all chunks for one batch of queries; write the result to ``best`` and ``best_ids``."""
    count, k = best.shape
    many = kernels.many_for(count)
    queries = padded_to(queries, many.multiple if many else kernels.multiple)
    padded = len(queries)
    scan = many.scanner(queries) if many else kernels.scan
    length = queries.shape[1] * queries.itemsize
    tile_rows = max(1, min(tiling.TILING.tile_bytes // row_bytes, 4096))

    distances = np.empty((workers, padded, capacity), kernels.distances)
    ids = np.empty((workers, padded, capacity), np.int64)
    counts = np.zeros((workers, padded), np.int64)
    everything = no_mask()
    turn = itertools.count()  # next() is atomic: each worker takes ascending chunks
    stop = Event() if workers > 1 else None  # which takes as long as a small search
    refused: list[int] = []

    def work(worker: int) -> None:
        # Limits are written at every improvement: each worker's on cache lines of its own.
        limits = np.empty(padded, kernels.distances)
        limits[:count] = kernels.beyond if above is None else above
        limits[count:] = kernels.below  # padding never enters a buffer
        # Asked for in here, so that each worker holds the queries: a second Ctrl-C may end the
        # caller's wait while kernels still run.
        address, stride = queries.__array_interface__["data"][0], queries.strides[0]
        held = (distances[worker], ids[worker], counts[worker], limits)
        while not (stop and stop.is_set()) and (number := next(turn)) < len(chunks):
            chunk = chunks[number]
            live, rows = lives[chunk.segment], segments[chunk.segment][chunk.start : chunk.stop]
            if live is not None:
                live = live[chunk.start : chunk.stop]
                if not live.any():
                    continue
            mask = everything if live is None else live
            if not direct(rows, kernels.rows):
                rows = converted(rows, kernels.rows, live)
            offset = chunk.offset + chunk.start
            bad = scan(
                address, stride, count,
                rows.__array_interface__["data"][0], rows.strides[0], length,
                0, len(rows), offset,
                mask, tile_rows, k, *held,
            )  # fmt: skip
            if reading is not None:
                reading.rows(chunk.segment, chunk.start, chunk.stop, live)
            if bad >= 0:
                # Chunks are taken in ascending order: those in flight may still hold an
                # earlier row, later ones need not be read.
                refused.append(offset + bad)
                if stop is None:
                    break
                stop.set()

    if stop is None:
        work(0)
    else:
        run(work, workers, stop)
    if refused:
        raise not_finite(min(refused), segments)
    if above is not None:
        fill(distances, ids, counts, k, kernels.beyond)
    merge(distances, ids, counts, best, best_ids)
