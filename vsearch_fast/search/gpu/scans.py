"""Which kernel scans, and how it is launched."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ...kernels.cuda import sources
from ...kernels.cuda.arguments import SCAN, Record
from ...kernels.cuda.device import F64, I32, I64, U32, Device, Shape
from ..sketches import Run
from .bounds import bounds_of
from .lists import ALWAYS, Lists
from .products import NO_PRODUCTS, Products

#: Passes of few queries that are as fast as one of many. A stream of rows is bound by memory; a
#: tile computes as many queries as it has room for, whether they are there or not. From the rates
#: of an H200's units (16e9 L1 pairs a second, 8e9 in float32); not measured.
_PASSES = {
    "hamming": 1, "l1_sketches": 8, "l2_sketches": 1, "l1_floats": 4, "l2_floats": 4,
    "dot_sketches": 1, "dot_floats": 4,
}  # fmt: skip
_PASSES_WITHOUT_TENSORS = 8

#: Bytes of rows that `hamming_warpgroup_resident` keeps queries of.
_RESIDENT_BYTES = 512

#: Bytes of a row up to which clusters gain nothing: tests set the pace there, not what the
#: second-level cache gives (`gpu_report.py --predict`, not measured).
_UNSHARED_BYTES = 256

#: Blocks that a stream runs on each processor: whole waves of two as of three at a time.
_STREAM_BLOCKS = 6
#: Waves of blocks, at most, in which blocks that take many tiles each are cut.
_WAVES = 4
#: Blocks, at most, that bound what one query has listed.
_BOUNDING_BLOCKS = 8
_MOST_BLOCKS = 65535
#: Bytes of a row that tensor cores' kernels have in shared memory at a time (chunks.cuh).
_CHUNK = 128
#: Shared memory of a processor beside what one block may have, and what each block takes beside
#: its own.
_SHARED_RESERVED = 1024


def kernels_for(
    family: str,
    capability: tuple[int, int],
    queries: int,
    width: int,
    shared_limit: int,
    avoided: Set[str] = frozenset(),
) -> Iterator[tuple[str, int]]:
    """(kernel, queries) of the passes by which so many queries are scanned.

    Streams hold their queries in shared memory, whose size ends them for very long rows.
    """
    names = [name for name in sources.scans_for(family, capability) if name not in avoided]
    streams = {
        size: name
        for name in names
        if "stream" in name and (size := int(name.rsplit("_", 1)[1])) * width <= shared_limit
    }
    many = [name for name in names if "stream" not in name]
    if not width <= _RESIDENT_BYTES:
        many = [name for name in many if not name.endswith("resident")]
    if width <= _UNSHARED_BYTES:
        many = [name for name in many if "multicast" not in name]
    passes = _PASSES[family]
    if family in ("l2_sketches", "dot_sketches") and many[0].endswith("tile"):
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
    """What queries, or rows, are compared by, on the device.

    Attributes:
        bounds: of sketched rows (`bounds.bounds_of`); None where they are made for each scan.
        totals: of sketched rows, for products.
        images: of queries, as clusters copy them; made when first asked for.
    """

    rows: Any
    errors: Any = None
    sums: Any = None
    bounds: Any = None
    totals: Any = None
    images: Any = None

    def images_for(self, device: Device, shape: Shape) -> Any:
        """Images of these queries for a kernel of clusters (kernels/cuda/chunks.cuh)."""
        if self.images is None:
            count, width = self.rows.shape
            tiles, chunks = -(-count // shape.queries), -(-width // _CHUNK)
            pieces = tiles * chunks * shape.queries * (_CHUNK // 16)
            self.images = device.empty((pieces * 16,), np.uint8)
            arranging = device.shape_of("arrange_queries")
            device.launch(
                "arrange_queries", (-(-pieces // arranging.rows), 1), arranging.threads, 0,
                (self.rows, I64(width), I32(count), I32(width), I32(shape.queries), self.images),
            )  # fmt: skip
        return self.images

    def bounds_by(self, device: Device, step: float) -> Any:
        """Bounds of rows; None of those that have no residuals."""
        if self.bounds is None and self.errors is not None:
            return bounds_of(device, self.errors, [Run(0, 0.0, step, 0.0)])
        return self.bounds


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
    products: Products = NO_PRODUCTS,
    word: int = ALWAYS,
) -> None:
    """Scan positions ``first`` to ``last`` for all queries of the lists.

    Args:
        live: row numbers that positions count in, on the device; None for all rows.
        base: id of row 0.
        scale, gamma, lost: as the kernels take them (kernels/cuda/common.cuh).
        kernel: instead of the one that fits best.
        products: what scans of products take besides.
        word: of the lists' state, by which the scan knows whether it is due (`Lists.turn`).
    """
    width = rows.rows.shape[1]
    passes = (
        kernels_for(
            family,
            device.capability,
            lists.queries,
            width,
            device.shared_limit,
            device.avoided | _needless(device, family, lists.queries, last - first),
        )
        if kernel is None
        else _passes_of(device, kernel, lists.queries)
    )
    bounds = rows.bounds_by(device, scale)
    start = 0
    for name, count in passes:
        some = slice(start, start + count)
        shape = device.shape_of(name)
        needs_sums = "warp" in name or family == "l2_sketches"
        arguments = _arguments(
            queries, some, rows, bounds, needs_sums, live, first, last, base, scale, gamma, lost,
            lists, products, word,
            queries.images_for(device, shape) if shape.cluster > 1 else None,
        )  # fmt: skip
        device.launch(
            name,
            _grid(name, shape, count, last - first, device.processors, device.shared_limit),
            shape.threads,
            shape.shared_bytes(width),
            (arguments,),
        )
        start += count
    if family == "dot_sketches":
        every = _arguments(
            queries, slice(start), rows, bounds, True, live, first, last, base, scale, gamma, lost,
            lists, products, word,
        )  # fmt: skip
        _bound(device, every, lists)


def _arguments(
    queries: Compared, some: slice, rows: Compared, bounds: Any, sums: bool, live: Any, first: int,
    last: int, base: int, scale: float, gamma: float, lost: float, lists: Lists,
    products: Products, word: int, images: Any = None,
) -> Record:  # fmt: skip
    """A scan of some queries as kernels take it."""
    width, mine = rows.rows.shape[1], queries.rows[some]
    return Record(SCAN, (
        *lists.turn(word), mine, I64(width), I32(len(mine)),
        None if queries.errors is None else queries.errors[some],
        queries.sums[some] if sums and queries.sums is not None else None,
        rows.rows, I64(width), rows.errors, bounds, rows.sums if sums else None,
        live, I64(first), I64(last), U32(base), I32(width),
        F64(scale), F64(gamma), F64(lost), *lists.of_queries(some),
        rows.totals, F64(products.lo), I32(products.numbers), I32(products.cosine), images,
    ))  # fmt: skip


def _needless(device: Device, family: str, queries: int, rows: int) -> set[str]:
    """Kernels of clusters, where so few tiles leave processors idle: the others then get more of
    what the second-level cache gives them all."""
    found = set()
    for name in sources.scans_for(family, device.capability):
        if "multicast" in name and name not in device.avoided:
            shape = device.shape_of(name)
            if -(-queries // shape.queries) * -(-rows // shape.rows) < device.processors:
                found.add(name)
    return found


def _bound(device: Device, arguments: Record, lists: Lists) -> None:
    """Make bounds of the sums that a scan has listed behind what was kept."""
    shape = device.shape_of("bound_dots")
    height = max(1, min(_BOUNDING_BLOCKS, lists.capacity // shape.threads))
    device.launch("bound_dots", (lists.queries, height), shape.threads, 0, (arguments, lists.kept))


def _passes_of(device: Device, kernel: str, queries: int) -> Iterator[tuple[str, int]]:
    most = device.shape_of(kernel).queries if "stream" in kernel else queries
    for start in range(0, queries, most):
        yield kernel, min(most, queries - start)


def _grid(
    kernel: str, shape: Shape, queries: int, rows: int, processors: int, shared_limit: int
) -> tuple[int, int]:
    """Blocks along queries and along rows."""
    tiles = max(1, -(-rows // shape.rows))
    if "stream" in kernel:
        return min(tiles, processors * _STREAM_BLOCKS), 1
    across = -(-queries // shape.queries)
    if kernel in sources.SIMPLER:  # one wave, whose clusters share out all tiles
        together = -(-tiles // shape.cluster)
        clusters = max(1, processors * shape.blocks // shape.cluster)
        return min(across * together, clusters) * shape.cluster, 1
    if kernel.endswith("tile"):
        return across, min(tiles, _MOST_BLOCKS)  # a tile a block
    room = (shared_limit + _SHARED_RESERVED) // (shape.shared + _SHARED_RESERVED)
    return across, _height(across, tiles, processors * max(1, min(shape.blocks, room)))


@cache
def _height(across: int, tiles: int, places: int) -> int:
    """Blocks along rows that take many tiles each, of which so many run at a time.

    Of all heights up to a few waves, the least that keeps places about as busy as any: a block's
    beginning costs something, and the last wave, and the last tiles of a wave, leave some idle.
    """
    most = max(1, min(tiles, _WAVES * places // across, _MOST_BLOCKS))

    def busy(height: int) -> float:
        waves, turns = -(-across * height // places), -(-tiles // height)
        return across * tiles / (places * waves * turns)

    best = max(busy(height) for height in range(1, most + 1))
    return next(h for h in range(1, most + 1) if busy(h) >= 0.97 * best)
