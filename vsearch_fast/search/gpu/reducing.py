"""Resident rows are reduced, too: by their sketch's reductions, or by what is learnt of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.cuda.device import Device
from ...kernels.layout import PAGE
from .. import learning, tiling
from ..reductions import Reduced, Reduction
from ..sketches import Sketch
from .blocks import ReducedPart

#: Share of a device's free memory, at most, that a part's reductions take.
_FREE = 4
#: Rows of a part at least, as a share of those from which reducing pays: each part is scanned by a
#: launch of its own.
_LEAST = 4


@dataclass(eq=False)
class _Part:
    """Reduced rows of an extent, from its row ``start`` on; whole pages, filled as rows come."""

    reduction: Reduction
    start: int
    stop: int
    shift: int  # rows of the extent, less those of the segment
    filled: int
    arrays: tuple[Any, Any]  # coarse, fine

    def write(self, device: Device, stop: int, rows: tuple[NDArray, NDArray]) -> None:
        """Rows up to ``stop``."""
        for array, some in zip(self.arrays, rows, strict=True):
            if some.shape[1]:
                device.write(array[self.filled - self.start : stop - self.start], some)
        self.filled = stop


@dataclass(frozen=True, eq=False)
class _Source:
    """Rows of a segment that have a reduction, or can be given it; pages begin with ``start``."""

    reduction: Reduction
    start: int
    stop: int
    made: Reduced | None

    def rows(self, segment: NDArray, start: int, stop: int) -> tuple[NDArray, NDArray]:
        """Coarse and fine rows, whole pages."""
        if self.made is None:
            return self.reduction.reduce(segment[start:stop])
        some = slice(start - self.start, stop - self.start)
        return self.made.coarse[some], self.made.fine[some]


class Learnt:
    """Reductions of rows that come without a sketch, learnt from the first of them."""

    def __init__(self) -> None:
        self._known: dict[str, Reduction | None] = {}

    def sources(
        self, segment: NDArray, sketch: Sketch | None, start: int
    ) -> Iterator[tuple[str, _Source]]:
        """By metric, what can be reduced of a segment from row ``start`` on."""
        for metric in ("l1", "l2"):
            if sketch is not None and start < len(sketch):
                for made in sketch.reduced.get(metric, ()):
                    if made.stop > start:
                        yield metric, _Source(made.reduction, made.start, made.stop, made)
                continue
            first = 0 if sketch is None else len(sketch)
            reduction = self._of(metric, segment[first:])
            if reduction is not None:
                yield metric, _Source(reduction, first, len(segment), None)

    def _of(self, metric: str, rows: NDArray) -> Reduction | None:
        if metric not in self._known:
            if len(rows) < tiling.TILING.reduce_rows:
                return None
            self._known[metric] = learning.learn(rows, metric)
        return self._known[metric]


@dataclass(eq=False)
class ReducedRows:
    """The reduced rows of an extent, by metric."""

    device: Device
    parts: dict[str, list[_Part]] = field(default_factory=lambda: {"l1": [], "l2": []})

    @property
    def bytes(self) -> int:
        return sum(
            array.nbytes for parts in self.parts.values() for p in parts for array in p.arrays
        )

    def take(
        self, learnt: Learnt, segment: NDArray, sketch: Sketch | None, start: int, stop: int,
        shift: int, room: int,
    ) -> None:  # fmt: skip
        """Rows ``start`` to ``stop`` of a segment, which are ``shift`` more in the extent, of so
        much ``room``; its rows after them may come later."""
        for metric, source in learnt.sources(segment, sketch, start):
            parts = self.parts[metric]
            part = parts[-1] if parts else None
            if part is None or part.shift != shift or part.filled == part.stop:
                part = self._new(source, start, stop, shift, room)
                if part is None:
                    continue
                parts.append(part)
            if part.reduction is not source.reduction:
                continue
            end = min(stop + shift, part.stop)
            end -= (end - part.start) % PAGE
            if end > part.filled:
                rows = source.rows(segment, part.filled - shift, end - shift)
                part.write(self.device, end, rows)

    def _new(self, source: _Source, start: int, stop: int, shift: int, room: int) -> _Part | None:
        """Room for a source's rows from ``start`` on that fit into the extent; None where they
        begin later, are few, or do not fit."""
        first = max(start, source.start)
        first += -(first - source.start) % PAGE
        last = min(source.stop, room - shift)
        last -= (last - first) % PAGE
        least = max(PAGE, tiling.TILING.reduce_rows // _LEAST)
        if first >= stop or last - first < least:
            return None
        shape = source.reduction.shape
        if (last - first) * shape.bytes > self.device.free_bytes() // _FREE:
            return None
        arrays = tuple(
            self.device.empty((last - first, width), np.uint8)
            for width in (shape.coarse_bytes, shape.fine_bytes)
        )
        return _Part(
            source.reduction, first + shift, last + shift, shift, first + shift,
            (arrays[0], arrays[1]),
        )  # fmt: skip

    def within(self, metric: str, count: int) -> tuple[ReducedPart, ...]:
        """What is there of the first so many rows of the extent."""
        return tuple(
            ReducedPart(part.reduction, part.start, min(part.filled, count), *part.arrays)
            for part in self.parts.get(metric, ())
            if part.start < min(part.filled, count)
        )
