"""What all workers of a batch of queries share: the queries, the kernels, the rows, the buffers."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels import layout, reduced_scan, sketch_dot, sketch_scan
from ...kernels.cache import Kernel
from ...kernels.coarse import FINER
from ...kernels.level import simd_level
from ...kernels.memory import aligned
from ...kernels.simd_u8 import ABSOLUTE, PRODUCT, number_of, signed_queries
from .. import tiling
from ..reductions import ReducedQueries, Reduction
from ..rows import Sources, padded_to, readable
from ..sketches import sketch_block
from .buffers import capacity_for
from .chunks import Problem
from .tiers import PRODUCTS, tiers_of

#: Bytes of a listed pair: query, row and lower bound.
PAIR_BYTES = 4 + 8 + 8


@dataclass(frozen=True, eq=False)
class SketchedQueries:
    """Queries as the rows of a run are sketched, and what the first tier must know of them: as
    `kernels.sketch_scan` takes it constants and errors, or as `kernels.sketch_dot` does."""

    bytes: NDArray[np.uint8]
    known: tuple[Any, ...]


def scanner_of(problem: Problem) -> Kernel:
    """The kernel that bounds the pairs of a search."""
    wide = layout.width_of(problem.dim) > sketch_scan.NARROW
    level = number_of(simd_level())
    if problem.metric in PRODUCTS:
        return sketch_dot.scanner(level, wide)
    return sketch_scan.scanner(_operation(problem), level, wide)


def _operation(problem: Problem) -> int:
    return ABSOLUTE if problem.metric == "l1" else PRODUCT


@dataclass(frozen=True, eq=False)
class Bounding:
    """A reduction's share in a batch: its kernels, the queries, and how limits grow by rounding."""

    scan: Kernel
    nearest: Kernel
    coarse: ReducedQueries
    fine: ReducedQueries
    scales: tuple[float, float]
    growth: float
    tile_rows: int


class Bounds:
    """Some queries, all rows, and what bounds the distances between them: by sketches, and by
    reductions where there are any.

    Attributes:
        problem: the search.
        queries: padded; the first `count` are real.
        room: pairs that a worker's list holds, at least those of two tiles.
        hopeless: set by a worker for all: sketches exclude too little, the rest is scanned.
        flat: likewise: reductions exclude too little, the rest is bounded by sketches alone.
    """

    def __init__(self, problem: Problem, queries: NDArray[np.float32], workers: int) -> None:
        self.problem = problem
        self.count = len(queries)
        self.queries = padded_to(queries, sketch_scan.QUERY_MULTIPLE)
        self.tiers = tiers_of(problem.metric, self.queries, self.count)
        self.width, self.facts = layout.width_of(problem.dim), layout.FACTS
        self.error_column = layout.E1 if problem.metric == "l1" else layout.E2
        self.wide = self.width > sketch_scan.NARROW
        self.scan = scanner_of(problem)
        self.operation, self.level = _operation(problem), number_of(simd_level())
        self.signed = signed_queries(self.operation, self.level)
        self.gamma = layout.rounding(problem.dim)
        row_bytes = min(self.width, sketch_scan.BLOCK) if self.wide else self.width
        sizes = tiling.TILING
        share = self.share = sizes.list_bytes // (PAIR_BYTES * workers)
        # A list must hold all pairs of two tiles, which must not make it larger than its share.
        self.tile_rows = max(1, min(sizes.tile_bytes // row_bytes, share // (2 * self.count)))
        self.room = max(
            min(share, sizes.pairs_a_query * self.count), 2 * self.tile_rows * self.count
        )
        if any(sketch and sketch.reduced.get(problem.metric) for sketch in problem.sketches):
            page = layout.PAGE * self.count
            self.room = max(self.room, 2 * page, 2 * min(sizes.reduced_tile, share // 2))
        firsts = np.cumsum([0, *map(len, problem.segments)])[:-1].tolist()
        self.sources = Sources.of(
            [
                (first, segment)
                for first, segment in zip(firsts, problem.segments, strict=True)
                if len(segment) and readable(segment)
            ]
        )
        self.hopeless = self.flat = False
        self._bounding: dict[int, Bounding] = {}

    def sketch_queries(self, lo: float, step: float) -> SketchedQueries:
        """The queries as the rows of a run are sketched; padding has errors of NaN."""
        data = aligned((len(self.queries), self.width), np.uint8)
        facts = np.empty((len(self.queries), layout.FACTS))
        data[self.count :], facts[self.count :] = 0, 0
        real = slice(self.count)
        sketch_block(self.queries[real], lo, step, data[real], facts[real])
        if self.signed:
            data ^= 128
        if self.tiers.terms is not None:
            return SketchedQueries(data, self.tiers.terms(facts, lo, step))
        errors = facts[:, self.error_column].copy()
        errors[self.count :] = np.nan
        constants = facts[:, layout.SQUARES].astype(np.int64)
        return SketchedQueries(data, (constants, errors))

    def bounding(self, reduction: Reduction) -> Bounding:
        """What bounds pairs by a reduction; made when first asked for, by one thread."""
        known = self._bounding.get(id(reduction))
        if known is not None:
            return known
        shape = reduction.shape
        coarse, fine = reduction.queries(self.queries[: self.count], len(self.queries))
        planes = reduction.coarse, reduction.fine
        if self.problem.squared:
            scales = tuple(plane.step**2 / FINER for plane in planes)
            departure = max(plane.departure for plane in planes)
        else:
            scales, departure = tuple(plane.step * (1 - 2.0**-20) for plane in planes), 0.0
        kernels = reduced_kernels(self.operation, self.level, shape.coarse)
        rows = max(self.tile_rows, min(tiling.TILING.reduced_tile // self.count,
                                       self.share // (2 * self.count)))  # fmt: skip
        made = Bounding(
            *kernels, coarse, fine, (scales[0], scales[1]),
            (1 + departure) * (1 + 2 * self.gamma) * (1 + 2.0**-40),
            max(layout.PAGE, rows // layout.PAGE * layout.PAGE),
        )  # fmt: skip
        self._bounding[id(reduction)] = made
        return made


class Shared(Bounds):
    """`Bounds`, and the buffers that the k nearest are selected in, none of the workers but each a
    part.

    Attributes:
        stop: set when any worker has failed, or met a row that is not finite.
        uppers, near_uppers, distances, ids: selection buffers by tier, worker and query.
        counts: what is in them (tier, worker, query).
    """

    def __init__(
        self, problem: Problem, queries: NDArray[np.float32], workers: int, stop: Event
    ) -> None:
        super().__init__(problem, queries, workers)
        fair = min(self.share, tiling.TILING.listed_times_k * problem.k * self.count)
        self.room = max(self.room, fair, 4 * problem.k * self.count)
        padded, capacity = len(self.queries), capacity_for(problem.k)
        self.uppers = np.empty((workers, padded, capacity))
        self.near_uppers = np.empty((workers, padded, capacity))
        self.distances = np.empty((workers, padded, capacity))
        self.ids = np.empty((workers, padded, capacity), np.int64)
        self.counts = np.zeros((3, workers, padded), np.int64)  # of uppers, near_uppers, distances
        self.seeds = (problem.k + capacity) // 2
        self.stop = stop


def reduced_kernels(operation: int, level: int, numbers: int) -> tuple[Kernel, Kernel]:
    """The kernels that bound pairs by reductions of so many coarse numbers, and find near ones."""
    return (
        reduced_scan.reduced_scanner(operation, level, numbers),
        reduced_scan.coarse_nearest(operation, level, numbers),
    )


def bounding_kernels(problem: Problem) -> list[Kernel]:
    """What bounding the pairs of a search needs compiled."""
    operation, level = _operation(problem), number_of(simd_level())
    shapes = (reduction.shape for reduction in reductions_of(problem))
    reduced = [reduced_kernels(operation, level, shape.coarse)[0] for shape in shapes]
    return [scanner_of(problem), *reduced]


def reductions_of(problem: Problem) -> list[Reduction]:
    """Those that rows of a search are reduced by."""
    each = [
        part.reduction
        for sketch in problem.sketches
        if sketch is not None
        for part in sketch.reduced.get(problem.metric, ())
    ]
    return list({id(reduction): reduction for reduction in each}.values())
