"""Blocks of rows that lie in host memory or on disk and pass through the device.

Codes pass as they are. Of float rows, those that have sketches pass as sketches, a quarter of
the bytes, and the host decides what they leave; others pass as float32, and the device decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ...kernels import layout
from ...kernels.cuda.device import Device
from ...kernels.cuda.sources import PRODUCTS, family_of
from ...machine import available_threads
from ...threads import run
from .. import tiling
from ..sketches import Run, Sketch, choose_run, sketch_block
from .blocks import Block, Vectors, live_rows, padded
from .feed import feed
from .resident_rows import count_bits

#: Rows that a thread copies or sketches at a time.
_ROWS_A_TASK = 256


@dataclass(frozen=True, eq=False)
class Passing:
    """Consecutive rows of one segment that are alike: sketched, to be sketched, or neither.

    Attributes:
        rows: of the segment.
        first: id of the first.
        mask: bytes, one a row, or None where all live.
        sketch: of the segment, which covers these rows from ``start`` on; or None.
        run: with which to sketch the rows on the way; or None.
    """

    rows: NDArray
    first: int
    mask: NDArray[np.uint8] | None
    sketch: Sketch | None = None
    start: int = 0
    run: Run | None = None

    def cut(self, size: int) -> Iterator[Passing]:
        """Parts of so many rows that have a live one."""
        for begin in range(0, len(self.rows), size):
            some = slice(begin, begin + size)
            mask = None if self.mask is None else self.mask[some]
            if mask is None or mask.any():
                yield Passing(
                    self.rows[some], self.first + begin, mask, self.sketch, self.start + begin,
                    self.run,
                )  # fmt: skip


def pass_through(
    device: Device,
    metric: str,
    parts: Sequence[Passing],
    threads: int | None,
    refuse: Callable[[int], Exception],
) -> Iterator[Block]:
    """The live rows of these parts, which are all of one kind, as blocks that leave.

    ``refuse`` makes the error for the id of a row whose sketch says that it is not finite; of
    rows that have none, the search finds out.
    """
    if not parts:
        return
    dim = parts[0].rows.shape[1]
    tasks = _Tasks(threads)
    if metric == "hamming":
        yield from _codes(device, parts, dim, tasks)
    elif parts[0].sketch is not None or parts[0].run is not None:
        yield from _sketches(device, metric, parts, dim, tasks, refuse)
    else:
        yield from _floats(device, metric, parts, dim, tasks)


def _pieces(parts: Sequence[Passing], width: int) -> tuple[list[Passing], int]:
    """The parts in blocks, and the rows of the largest."""
    size = max(1, tiling.TILING.device_block_bytes // width)
    pieces = [piece for part in parts for piece in part.cut(size)]
    return pieces, max((len(piece.rows) for piece in pieces), default=0)


class _Tasks:
    """Copies and sketches rows by several threads: one cannot keep up with the bus."""

    def __init__(self, threads: int | None) -> None:
        self.threads = threads or available_threads()

    def over(self, rows: int, work: Callable[[slice], None]) -> None:
        starts = range(0, rows, _ROWS_A_TASK)
        workers = max(1, min(self.threads, len(starts)))

        def some(worker: int) -> None:
            for start in starts[worker::workers]:
                work(slice(start, min(start + _ROWS_A_TASK, rows)))

        run(some, workers, Event())


def _codes(device: Device, parts: Sequence[Passing], dim: int, tasks: _Tasks) -> Iterator[Block]:
    width = padded(dim)
    pieces, largest = _pieces(parts, width)

    def fill(part: Passing, pinned: Mapping[str, NDArray]) -> int:
        target = pinned["rows"]

        def copy(some: slice) -> None:
            target[some, :dim] = part.rows[some]
            target[some, dim:] = 0

        tasks.over(len(part.rows), copy)
        return len(part.rows)

    for part, arrays in feed(device, pieces, {"rows": ((largest, width), np.uint8)}, fill):
        rows = arrays["rows"]
        yield Block(
            "hamming", rows, part.first, len(part.rows), sums=count_bits(device, rows),
            live=live_rows(part.mask), leaves=True,
        )  # fmt: skip


def _floats(
    device: Device, metric: str, parts: Sequence[Passing], dim: int, tasks: _Tasks
) -> Iterator[Block]:
    width = padded(4 * dim)
    pieces, largest = _pieces(parts, width)

    def fill(part: Passing, pinned: Mapping[str, NDArray]) -> int:
        target = pinned["rows"].view(np.float32)

        def copy(some: slice) -> None:
            with np.errstate(over="ignore"):  # float64 beyond float32's range becomes infinite
                target[some, :dim] = part.rows[some]
            target[some, dim:] = 0

        tasks.over(len(part.rows), copy)
        return len(part.rows)

    for part, arrays in feed(device, pieces, {"rows": ((largest, width), np.uint8)}, fill):
        yield Block(
            family_of(metric, "floats"), arrays["rows"], part.first, len(part.rows),
            live=live_rows(part.mask), vectors=Vectors(arrays["rows"], halves=False), leaves=True,
        )  # fmt: skip


def _sketches(
    device: Device,
    metric: str,
    parts: Sequence[Passing],
    dim: int,
    tasks: _Tasks,
    refuse: Callable[[int], Exception],
) -> Iterator[Block]:
    width = layout.width_of(dim)
    pieces, largest = _pieces(parts, width)
    column = layout.E1 if metric == "l1" else layout.E2

    def fill(part: Passing, pinned: Mapping[str, NDArray]) -> int:
        rows, errors, sums = pinned["rows"], pinned["errors"], pinned["sums"]

        def copy(some: slice) -> None:
            if part.sketch is not None:
                there = slice(part.start + some.start, part.start + some.stop)
                rows[some] = part.sketch.bytes[there]
                facts = part.sketch.facts[there]
            else:
                assert part.run is not None
                facts = np.empty((some.stop - some.start, layout.FACTS))
                sketch_block(part.rows[some], part.run.lo, part.run.step, rows[some], facts)
            errors[some] = facts[:, column]
            with np.errstate(invalid="ignore"):
                sums[some] = facts[:, layout.SQUARES]
                if metric in PRODUCTS:
                    pinned["totals"][some] = facts[:, layout.SUM]

        tasks.over(len(part.rows), copy)
        bad = ~np.isfinite(errors[: len(part.rows)])
        if part.mask is not None:
            bad &= part.mask != 0
        if bad.any():
            raise refuse(part.first + int(np.argmax(bad)))
        return len(part.rows)

    shapes = {
        "rows": ((largest, width), np.uint8),
        "errors": ((largest,), np.float64),
        "sums": ((largest,), np.uint32),
    }
    if metric in PRODUCTS:
        shapes["totals"] = ((largest,), np.uint32)
    for part, arrays in feed(device, pieces, shapes, fill):
        yield Block(
            family_of(metric, "sketches"), arrays["rows"], part.first, len(part.rows),
            arrays["errors"], arrays["sums"], runs=_runs_of(part), live=live_rows(part.mask),
            totals=arrays.get("totals"), leaves=True,
        )  # fmt: skip


def _runs_of(part: Passing) -> tuple[Run, ...]:
    """Runs of a part, numbered from its first row."""
    if part.sketch is None:
        assert part.run is not None
        return (Run(0, part.run.lo, part.run.step, part.run.lost),)
    return part.sketch.runs_within(part.start, part.start + len(part.rows))


def _uncovered(
    rows: int, first: int, covered: Sequence[range], border: int, sketch: Sketch | None
) -> Iterator[tuple[int, int, Sketch | None]]:
    """(start, stop, sketch) of a segment's rows that are not covered, cut where its sketch ends."""
    start = 0
    for some in (*covered, range(first + rows, first + rows)):
        stop = min(rows, max(start, some.start - first))
        if start < min(stop, border):
            yield start, min(stop, border), sketch
        if max(start, border) < stop:
            yield max(start, border), stop, None
        start = min(rows, max(start, some.stop - first))


def parts_of(
    metric: str,
    segments: Sequence[NDArray],
    masks: Sequence[NDArray[np.uint8] | None],
    sketches: Sequence[Sketch | None],
    covered: Sequence[range],
    strategy: str,
) -> list[list[Passing]]:
    """The rows of no id that is ``covered`` (ascending), grouped by kind, each in ascending order
    of id; none of parts without a live row.

    Under the strategy ``sketch`` rows without a sketch are sketched on the way.
    """
    plain: list[Passing] = []
    sketched: list[Passing] = []
    first = 0
    for rows, mask, sketch in zip(segments, masks, sketches, strict=True):
        border = 0  # where rows without a sketch begin
        if metric != "hamming" and strategy != "scan" and sketch is not None:
            border = len(sketch)
        for start, stop, using in _uncovered(len(rows), first, covered, border, sketch):
            if mask is not None and not mask[start:stop].any():
                continue
            part = Passing(
                rows[start:stop], first + start, None if mask is None else mask[start:stop],
                using, start,
            )  # fmt: skip
            if part.sketch is not None:
                sketched.append(part)
            elif metric != "hamming" and strategy == "sketch":
                run_ = choose_run(part.rows)
                sketched.append(Passing(part.rows, part.first, part.mask, None, 0, run_))
            else:
                plain.append(part)
        first += len(rows)
    return [sketched, plain]
