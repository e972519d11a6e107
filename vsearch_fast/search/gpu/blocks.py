"""Rows as they lie on a device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.cuda.device import Device
from ..reductions import Reduction
from ..sketches import Run

#: Bytes that every row on a device is padded to with zeros: one load.
PIECE = 16


def padded(size: int) -> int:
    """Bytes of a row on a device, of so many in memory."""
    return -(-size // PIECE) * PIECE


@dataclass
class Vectors:
    """Stored rows on a device, by which listed pairs are decided."""

    array: Any  # uint8 (rows, stride)
    halves: bool  # float16 instead of float32


class Live:
    """Numbers of a block's rows that live, ascending, on the host and on its device."""

    begin = 0  # the first position

    def __init__(self, rows: NDArray[np.uint32]) -> None:
        self.rows, self.count = rows, len(rows)
        self._there: Any = None

    def on(self, device: Device) -> Any:
        """On the device, copied at the first time."""
        if self._there is None:
            self._there = device.upload(self.rows)
        return self._there

    def position(self, row: int) -> int:
        """The first position of rows from this one on."""
        return int(np.searchsorted(self.rows, row))


class Stretch:
    """Consecutive rows of a block live, and no others: positions are their numbers, as where all
    rows live, and nothing is copied."""

    def __init__(self, begin: int, count: int) -> None:
        self.begin, self.count = begin, count

    def on(self, _: Device) -> None:
        """Nothing."""

    def position(self, row: int) -> int:
        """The first position of rows from this one on."""
        return min(max(row, self.begin), self.begin + self.count)


def live_rows(mask: NDArray[np.uint8] | None) -> Live | Stretch | None:
    """The rows that a mask (bytes, one a row) leaves; None where it leaves all."""
    if mask is None:
        return None
    count = int(np.count_nonzero(mask))
    if count == len(mask):
        return None
    begin = int(np.argmax(mask != 0))
    if np.count_nonzero(mask[begin : begin + count]) == count:
        return Stretch(begin, count)
    return Live(np.flatnonzero(mask).astype(np.uint32))


@dataclass(frozen=True, eq=False)
class ReducedPart:
    """Rows of a block that are reduced, too, as `reductions.Reduced` has them.

    Attributes:
        start, stop: rows of the block.
        coarse, fine: on the device; the first page begins with row ``start``.
    """

    reduction: Reduction
    start: int
    stop: int
    coarse: Any
    fine: Any


@dataclass
class Block:
    """Rows of one search that are scanned together.

    Attributes:
        family: of the kernels that read them (`kernels.cuda.sources.SCANS`).
        rows: on the device, uint8 (rows, a multiple of `PIECE`).
        first: id of the first.
        count: how many.
        errors, sums: on the device, float64 and uint32 a row: of sketches, the residual norm
            and the sum of squares; of codes, None and set bits; of floats, for products, the sum
            of squares and None.
        bounds: of sketches, the residual norms as scans test them (`bounds.bounds_of`); for
            products `products.facts_of`, and of floats their sizes.
        totals: of sketches, for products: uint32, the sum of a row's bytes.
        runs: of sketches: (lo, step) by rows, as `sketches.Sketch.runs`.
        live: the rows that live; None for all.
        vectors: the stored rows, None where they are not on the device.
        leaves: whether the arrays will hold other rows when the block has been searched.
        kernel: that scans it, instead of the one that fits best.
        reduced: parts that are reduced, in ascending order.
        first_rows: of a search whose limits its sketches alone lower; None: as usual.
    """

    family: str
    rows: Any
    first: int
    count: int
    errors: Any = None
    sums: Any = None
    bounds: Any = None
    totals: Any = None
    runs: tuple[Run, ...] = ()
    live: Live | Stretch | None = None
    vectors: Vectors | None = None
    leaves: bool = False
    kernel: str | None = None
    reduced: tuple[ReducedPart, ...] = ()
    first_rows: int | None = None

    @property
    def live_count(self) -> int:
        """How many rows live."""
        return self.count if self.live is None else self.live.count

    def _position(self, row: int) -> int:
        """The first position of rows from this one on."""
        return row if self.live is None else self.live.position(row)

    def cut(self, first: int, last: int) -> Iterator[tuple[int, int, ReducedPart | None]]:
        """Positions cut where reduced rows begin and end."""
        for part in self.reduced:
            start, stop = self._position(part.start), self._position(part.stop)
            start, stop = max(first, start), min(last, stop)
            if start < stop:
                if first < start:
                    yield first, start, None
                yield start, stop, part
                first = stop
        if first < last:
            yield first, last, None

    def pieces(self) -> Iterator[tuple[int, int, Run | None]]:
        """(first, last, run) of positions among the live rows that share a run."""
        position = 0 if self.live is None else self.live.begin
        if not self.runs:
            yield position, position + self.live_count, None
            return
        stops = [*(run.start for run in self.runs[1:]), self.count]
        for number, (run, stop) in enumerate(zip(self.runs, stops, strict=True)):
            following = self.runs[number + 1] if number + 1 < len(self.runs) else None
            if following and (following.lo, following.step) == (run.lo, run.step):
                continue  # one piece with what follows
            end = self._position(stop)
            if end > position:
                yield position, end, run
            position = end
