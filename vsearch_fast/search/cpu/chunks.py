"""What a search by sketches is given, and how its rows are cut into chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...kernels.layout import PAGE
from .. import tiling
from ..reductions import Reduced
from ..rows import Live, Reading, direct, readable
from ..sketches import Run, Sketch, choose_run, live_sample


@dataclass(frozen=True, eq=False)
class Problem:
    """One search, as it is the same for all batches and workers."""

    metric: str
    segments: Sequence[NDArray]
    lives: Sequence[Live]
    sketches: Sequence[Sketch | None]  # None: sketched on the way
    k: int
    reading: Reading | None = None

    @property
    def squared(self) -> bool:
        return self.metric == "l2"

    @property
    def dim(self) -> int:
        return self.segments[0].shape[1]


@dataclass(frozen=True)
class Chunk:
    segment: int
    start: int
    stop: int
    offset: int  # id of the segment's row 0
    run: Run | None  # None: no sketch covers these rows
    build: bool  # sketch them now
    reduced: Reduced | None = None  # holds the reduced rows, too


def cut_rows(problem: Problem, workers: int, queries: int) -> list[Chunk]:
    """Chunks in ascending order of id, each of one run, about eight for each worker."""
    sizes = tiling.TILING
    total = sum(map(len, problem.segments))
    usual = sizes.chunk_rows or max(512, -(-total // (8 * workers)))
    copied = max(1, min(usual, sizes.copy_bytes // max(1, 4 * problem.dim)))
    chunks: list[Chunk] = []
    offset = 0

    for number, (segment, live, sketch) in enumerate(
        zip(problem.segments, problem.lives, problem.sketches, strict=True)
    ):

        def cut(
            start: int, stop: int, rows: int, run_: Run | None, build: bool,
            reduced: Reduced | None = None, number: int = number, offset: int = offset,
        ) -> None:  # fmt: skip
            chunks.extend(
                Chunk(number, first, min(first + rows, stop), offset, run_, build, reduced)
                for first in range(start, stop, rows)
            )

        covered = 0
        if sketch is not None:
            covered = len(sketch)
            for run_, stop in sketch.joined:
                for first, last, part in _parts(run_.start, stop, sketch, problem.metric):
                    rows = usual if readable(segment) else copied
                    if part is not None:
                        rows = max(rows, sizes.reduced_chunk // queries)
                        rows = -(-rows // PAGE) * PAGE
                    cut(first, last, rows, run_, False, part)
        rest = len(segment) - covered
        if rest and (
            sketch is None or (queries >= sizes.build_queries and rest >= sizes.build_rows)
        ):
            before = sketch.runs[-1] if sketch is not None and sketch.runs else None
            run_ = choose_run(live_sample(segment[covered:], live, covered), covered, before)
            cut(covered, len(segment), min(copied, sizes.sketch_rows), run_, True)
        else:
            floats = direct(segment, np.dtype(np.float32))
            cut(covered, len(segment), usual if floats else copied, None, False)
        offset += len(segment)
    return chunks


def _parts(
    start: int, stop: int, sketch: Sketch, metric: str
) -> list[tuple[int, int, Reduced | None]]:
    """Rows ``start`` to ``stop`` cut where reduced ones begin and end; such begin with a page."""
    parts: list[tuple[int, int, Reduced | None]] = []
    for part in sketch.reduced.get(metric, ()):
        first = max(start, part.start)
        first += -(first - part.start) % PAGE
        last = min(stop, part.stop)
        if first < last:
            if start < first:
                parts.append((start, first, None))
            parts.append((first, last, part))
            start = last
    if start < stop:
        parts.append((start, stop, None))
    return parts
