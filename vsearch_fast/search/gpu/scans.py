"""Which kernel scans, and how it is launched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...kernels.cuda import sources
from ...kernels.cuda.device import F64, I32, I64, U32, Device
from .lists import Lists

#: Passes of few queries that are as fast as one of many. A stream of rows is bound by memory; a
#: tile computes as many queries as it has room for, whether they are there or not. From the rates
#: of an H200's units (16e9 L1 pairs a second, 8e9 in float32); not measured.
_PASSES = {"hamming": 1, "l1_sketches": 8, "l2_sketches": 1, "l1_floats": 4, "l2_floats": 4}
_PASSES_WITHOUT_TENSORS = 8

#: Bytes of rows that `hamming_warpgroup_resident` keeps queries of.
_RESIDENT_BYTES = 512

#: Blocks that a stream runs on each processor, and waves of blocks in which tiles are cut.
_STREAM_BLOCKS = 8
_WAVES = 4
_MOST_BLOCKS = 65535


def kernels_for(
    family: str, capability: tuple[int, int], queries: int, width: int, shared_limit: int
) -> Iterator[tuple[str, int]]:
    """(kernel, queries) of the passes by which so many queries are scanned.

    Streams hold their queries in shared memory, whose size ends them for very long rows.
    """
    names = sources.scans_for(family, capability)
    streams = {
        size: name
        for name in names
        if "stream" in name and (size := int(name.rsplit("_", 1)[1])) * width <= shared_limit
    }
    many = [name for name in names if "stream" not in name]
    if not width <= _RESIDENT_BYTES:
        many = [name for name in many if not name.endswith("resident")]
    passes = _PASSES[family]
    if family == "l2_sketches" and many[0].endswith("tile"):
        passes = _PASSES_WITHOUT_TENSORS
    largest = max(streams, default=0)
    if queries > largest * passes:
        yield many[0], queries
        return
    while queries:
        size = min((size for size in streams if size >= queries), default=largest)
        yield streams[size], min(size, queries)
        queries -= min(size, queries)


@dataclass
class Compared:
    """What queries are compared by, on the device: one row a query."""

    rows: Any
    errors: Any = None
    sums: Any = None


def scan(
    device: Device,
    family: str,
    queries: Compared,
    rows: Compared,
    live: Any,
    first: int,
    last: int,
    base: int,
    lists: Lists,
    scale: float,
    gamma: float,
    lost: float,
    kernel: str | None = None,
) -> None:
    """Scan positions ``first`` to ``last`` for all queries of the lists.

    Args:
        live: row numbers that positions count in, on the device; None for all rows.
        base: id of row 0.
        scale, gamma, lost: as the kernels take them (kernels/cuda/common.cuh).
        kernel: instead of the one that fits best.
    """
    width = rows.rows.shape[1]
    passes = (
        kernels_for(family, device.capability, lists.queries, width, device.shared_limit)
        if kernel is None
        else _passes_of(device, kernel, lists.queries)
    )
    start = 0
    for name, count in passes:
        some = slice(start, start + count)
        shape = device.shape_of(name)
        needs_sums = "warp" in name or family == "l2_sketches"
        device.launch(
            name,
            _grid(name, shape.queries, shape.rows, count, last - first, device.processors),
            shape.threads,
            shape.shared_bytes(width),
            (
                queries.rows[some], I64(width), I32(count),
                None if queries.errors is None else queries.errors[some],
                queries.sums[some] if needs_sums else None,
                rows.rows, I64(width), rows.errors, rows.sums if needs_sums else None,
                live, I64(first), I64(last), U32(base), I32(width),
                F64(scale), F64(gamma), F64(lost), *lists.of_queries(some),
            ),
        )  # fmt: skip
        start += count


def _passes_of(device: Device, kernel: str, queries: int) -> Iterator[tuple[str, int]]:
    most = device.shape_of(kernel).queries if "stream" in kernel else queries
    for start in range(0, queries, most):
        yield kernel, min(most, queries - start)


def _grid(
    kernel: str, tile_queries: int, tile_rows: int, queries: int, rows: int, processors: int
) -> tuple[int, int]:
    """Blocks along queries and along rows."""
    tiles = max(1, -(-rows // tile_rows))
    if "stream" in kernel:
        return min(tiles, processors * _STREAM_BLOCKS), 1
    across = -(-queries // tile_queries)
    if kernel.endswith("tile"):
        return across, min(tiles, _MOST_BLOCKS)
    # Each block takes many tiles, and one block fills a processor: of all heights up to a few
    # waves, the one that leaves the fewest processors idle in the last.
    most = max(1, min(tiles, _WAVES * processors // across, _MOST_BLOCKS))

    def busy(height: int) -> float:
        blocks = across * height
        return blocks / (-(-blocks // processors) * processors)

    best = max(busy(height) for height in range(1, most + 1))
    return across, next(h for h in range(1, most + 1) if busy(h) >= 0.97 * best)
