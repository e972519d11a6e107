"""The searches of a self-check: every kernel of a device, on rows that show what may be wrong.

Short rows and few queries show arithmetic: random rows with subnormal numbers, ties and duplicates.
Long rows and many queries show the rest: sums over many chunks, rings of stages that wrap, all
warps of a block, and tiles that follow each other in one block, since but one is launched along
the rows. Rows that pass through the device show its transfers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels import layout, reference, sketch
from ...kernels.cuda import sources
from ...kernels.cuda.device import Device
from ..learning import departure
from ..reductions import Plane, Reduction, Shape
from ..sketches import build
from .blocks import Block, Live, ReducedPart, Vectors, padded
from .host import HostRows
from .passing import parts_of, pass_through
from .products import totals_of
from .resident_rows import count_bits
from .rounds import Problem, search
from .scans import _RESIDENT_BYTES

_ROWS, _K = 300, 12
#: Queries of streams, whose largest takes eight; and more than the largest tile has.
_FEW, _MANY = 9, 260
#: Bytes or numbers of a row: less than a chunk, and many chunks. Hamming keeps queries of up to
#: 512 bytes where they are, and longer ones not. (The definition is slow for L1.)
_SHORT = {"hamming": 80, "l1": 160, "l2": 160, "cosine": 160, "ip": 160}
_LONG = {"hamming": (512, 1040), "l1": (528,), "l2": (1040,), "cosine": (1040,), "ip": (528,)}
#: So many numbers that reductions exclude much, of L1 as of L2.
_SHAPES = {"l1": Shape("l1", 96, 192), "l2": Shape("l2", 96, 160)}
#: Parts in which rows pass through: more than the two that are in memory at a time.
_PARTS = 5

Answer = tuple[NDArray, NDArray[np.int64]]


def trials(device: Device) -> Iterator[tuple[str, Callable[[], bool]]]:
    """(what is tried, a function that tries it: whether its results are those of the definition).

    Each can be tried alone, on the device in use.
    """
    for metric, size in _SHORT.items():
        problem = _Asked.made(metric, size, _FEW)
        for family in _families(metric):
            for kernel in sources.scans_for(family, device.capability):
                yield (
                    _named(kernel, metric),
                    partial(_right, problem, _resident, device, problem, family, kernel),
                )
        if metric in _SHAPES:
            yield (
                f"{metric}_reduced",
                partial(
                    _right, problem, _resident, device, problem, f"{metric}_sketches", None,
                    _reduction(metric, problem.rows),
                ),
            )  # fmt: skip
        yield f"{metric}, rows that pass", partial(_right, problem, _passing, device, problem)
    for metric, sizes in _LONG.items():
        for size in sizes:
            many = _Asked.made(metric, size, _MANY)
            few = many.first(_FEW)
            low = OneBlockHigh(device)
            for family in _families(metric):
                for kernel in sources.scans_for(family, device.capability):
                    if kernel.endswith("resident") and size > _RESIDENT_BYTES:
                        continue
                    problem = few if "stream" in kernel else many
                    yield (
                        f"{_named(kernel, metric)}, rows of {size}",
                        partial(_right, problem, _resident, low, problem, family, kernel),
                    )


def _right(asked: _Asked, search: Callable[..., Answer], *arguments: Any) -> bool:
    return asked.right(search(*arguments))


def _families(metric: str) -> tuple[str, ...]:
    if metric == "hamming":
        return ("hamming",)
    return sources.family_of(metric, "sketches"), sources.family_of(metric, "floats")


def _named(kernel: str, metric: str) -> str:
    """Scans of products serve two metrics."""
    return f"{kernel}, {metric}" if metric in sources.PRODUCTS else kernel


class OneBlockHigh:
    """A device whose scans are launched with one block along the rows: it takes all tiles."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int],
        threads: int,
        shared: int,
        arguments: Sequence[Any],
    ) -> None:
        if kernel in sources.SIMPLER:  # whose blocks, or clusters, lie along the rows alone
            grid = self._device.shape_of(kernel).cluster, 1
        elif "stream" in kernel:
            grid = 1, 1
        elif any(kernel.startswith(family) for family in sources.SCANS):
            grid = grid[0], 1
        self._device.launch(kernel, grid, threads, shared, arguments)


@dataclass(frozen=True, eq=False)
class _Asked:
    """Queries of some rows, most of which live, and the answer."""

    metric: str
    queries: NDArray
    rows: NDArray
    live: NDArray[np.bool_]
    answer: Answer

    @classmethod
    def made(cls, metric: str, size: int, count: int) -> _Asked:
        rng = np.random.default_rng(0)
        if metric == "hamming":
            rows: NDArray = rng.integers(0, 256, (_ROWS, size), dtype=np.uint8)
        else:
            rows = np.maximum(rng.standard_normal((_ROWS, size), np.float32), 0)
            rows[11] *= np.float32(1e-40)  # subnormal
            rows[12] *= np.float32(1e-20)  # with squares that are
        rows[7::50] = rows[3]
        queries = rows[:count].copy()
        queries[4] = 0
        live = np.ones(_ROWS, np.bool_)
        live[[0, 5, 250]] = False
        return cls(metric, queries, rows, live, reference.topk(queries, rows, _K, metric, live))

    def first(self, count: int) -> _Asked:
        """The same of fewer queries."""
        distances, ids = self.answer
        some = slice(count)
        return _Asked(
            self.metric, self.queries[some], self.rows, self.live, (distances[some], ids[some])
        )

    def right(self, found: Answer) -> bool:
        return all(np.array_equal(a, b) for a, b in zip(found, self.answer, strict=True))

    def searched(self, device: Device, blocks: Callable[[], Generator[Block]]) -> Answer:
        host = None if self.metric == "hamming" else HostRows([self.rows], 1)
        problem = Problem(self.metric, self.queries.shape[1], _K, host, _refuse)
        distances, ids, _, _ = search(device, problem, self.queries, blocks)
        return distances, ids


def _refuse(row: int) -> Exception:
    return ArithmeticError(f"row {row} seems not to be finite")


def _resident(
    device: Any, asked: _Asked, family: str, kernel: str | None, reduction: Reduction | None = None
) -> Answer:
    """By one kernel, over rows that are on the device."""
    rows = asked.rows
    host = np.zeros((len(rows), padded(rows.shape[1] * rows.itemsize)), np.uint8)
    host[:, : rows.shape[1] * rows.itemsize] = rows.view(np.uint8)
    stored = device.upload(host)
    live = Live(np.flatnonzero(asked.live).astype(np.uint32))
    # The limits of few rows let few pairs pass: the others are scanned at once.
    block = Block(family, stored, 0, len(rows), live=live, kernel=kernel, first_rows=2 * _K)
    if asked.metric == "hamming":
        block.sums = count_bits(device, stored)
    else:
        block.vectors = Vectors(stored, halves=False)
        if family.endswith("sketches"):
            made = build(rows, 1)
            block.rows = device.upload(made.bytes)
            column = layout.E1 if asked.metric == "l1" else layout.E2
            block.errors = device.upload(made.facts[:, column].copy())
            block.sums = device.upload(made.facts[:, layout.SQUARES].astype(np.uint32))
            block.totals = device.upload(totals_of(made.facts))
            block.runs = tuple(made.runs)
    if reduction is not None:
        whole = len(rows) // layout.PAGE * layout.PAGE
        pages = (device.upload(part) for part in reduction.reduce(rows[:whole]))
        block.reduced = (ReducedPart(reduction, 0, whole, *pages),)
    return asked.searched(device, lambda: (one for one in [block]))


def _passing(device: Device, asked: _Asked) -> Answer:
    """By the kernel that fits best, over rows that pass through. It is the first use of the stream
    of transfers, which a device makes then: no two threads meet over it."""
    rows = np.array_split(asked.rows, _PARTS)
    masks = [part.astype(np.uint8) for part in np.array_split(asked.live, _PARTS)]
    sketched = asked.metric == "l2"  # floats pass as sketches or as they are
    sketches = [build(part, 1) if sketched else None for part in rows]
    kinds = parts_of(asked.metric, rows, masks, sketches, (), "auto")

    def blocks() -> Generator[Block]:
        for kind in kinds:
            yield from pass_through(device, asked.metric, kind, 1, _refuse)

    return asked.searched(device, blocks)


def _reduction(metric: str, rows: NDArray[np.float32]) -> Reduction:
    """A reduction of rows to about as many numbers as they have: turned, or regrouped."""
    shape, dim = _SHAPES[metric], rows.shape[1]
    centre = rows.mean(axis=0)
    departures = [0.0, 0.0]
    if metric == "l2":
        directions = np.linalg.svd(rows - centre)[2][: shape.fine].astype(np.float32)
        combine = np.eye(shape.coarse, shape.fine)
        fine = departure(directions)
        departures = [(1 + fine) * (1 + departure(combine)) - 1, fine]
    else:
        numbers = np.arange(dim)
        directions = np.stack([numbers, 1 - numbers % 3 % 2 * 2]).astype(np.float32)
        combine = np.zeros((shape.coarse, shape.fine))
        combine[np.arange(shape.fine) // 2, np.arange(shape.fine)] = 1
        centre = np.zeros(shape.fine)
    scales = [np.ones(count, np.uint8) for count in (shape.coarse, shape.fine)]
    wide, narrow = (Plane(0.0, 1.0, d, s) for d, s in zip(departures, scales, strict=True))
    draft = Reduction(shape, centre, directions, combine, wide, narrow, (0.0, 0.0))
    mapped = draft.numbers(rows)
    wide, narrow = (
        Plane(*sketch.choose(some.numbers.astype(np.float32)), d, s)
        for some, d, s in zip((draft.coarser(mapped), mapped), departures, scales, strict=True)
    )
    return Reduction(shape, centre, directions, combine, wide, narrow, (0.0, 0.0))
