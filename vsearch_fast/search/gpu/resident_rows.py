"""Rows that stay on devices: codes, sketches, reductions, and the vectors where they fit.

Rows are only ever added. They lie in extents, each of which is on one device and has room for
more; a new extent is as large as a share of what is there, so that growing copies nothing and
extents stay few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels import layout
from ...kernels.cuda.device import I32, I64, Device
from ...kernels.cuda.sources import PRODUCTS, family_of
from .. import tiling
from ..sketches import Run, Sketch, choose_run, sketch_block
from .blocks import Block, Live, Stretch, Vectors, live_rows, padded
from .bounds import write_bounds
from .products import FACTS, totals_of, write_facts, write_squares
from .reducing import Learnt, ReducedRows

#: Memory of a device that stays free for the lists of searches and for others.
_FREE = 4
#: A new extent holds at least one in so many rows of what is there.
_GROWTH = 4


def count_bits(device: Device, rows: Any) -> Any:
    """Set bits of each row, on the device."""
    sums = device.empty((len(rows),), np.uint32)
    write_bit_counts(device, rows, sums)
    return sums


def write_bit_counts(device: Device, rows: Any, sums: Any) -> None:
    """`count_bits` into an array."""
    count, width = rows.shape
    if count:
        shape = device.shape_of("count_bits")
        grid = (-(-count // shape.rows), 1)
        device.launch(
            "count_bits", grid, shape.threads, 0,
            (rows, I64(width), I32(width), I64(count), sums),
        )  # fmt: skip


@dataclass(eq=False)
class _Extent:
    device: Device
    first: int
    room: int
    arrays: dict[str, Any]  # by name, `room` rows
    reduced: ReducedRows
    count: int = 0
    runs: list[Run] = field(default_factory=list)
    live: tuple[NDArray[np.uint8], Live] | None = None  # by the last mask that leaves gaps

    def live_rows(self, mask: NDArray[np.uint8]) -> Live | Stretch | None:
        """The rows that a mask leaves: searches with the same mask send them once, and of
        consecutive ones nothing is sent."""
        kept = self.live  # by another search, perhaps, at the same time
        if kept is not None and np.array_equal(kept[0], mask):
            return kept[1]
        live = live_rows(mask)
        if isinstance(live, Live):
            self.live = (mask.copy(), live)
        return live


class ResidentRows:
    """The rows of one kind, codes or floats, that stay on devices.

    Args:
        metric_kind: ``codes`` or ``floats``.
        dim: bytes of a code, or numbers of a row.
        halves: whether vectors are float16.
        keep_vectors: whether vectors stay where there is room.
    """

    def __init__(
        self, devices: Sequence[Device], kind: str, dim: int, halves: bool, keep_vectors: bool
    ) -> None:
        self.devices, self.kind, self.dim, self.halves = list(devices), kind, dim, halves
        self.keep_vectors = keep_vectors and kind == "floats"
        self.rows = 0
        self.full = False  # no device has room for more
        self._extents: list[_Extent] = []
        self._bad: list[int] = []
        self._learnt = Learnt()
        self._growing = Lock()

    @property
    def bytes(self) -> int:
        """Device memory that is taken."""
        return sum(
            extent.reduced.bytes + sum(a.nbytes for a in extent.arrays.values())
            for extent in self._extents
        )

    @property
    def vectors(self) -> int:
        """Rows whose vectors are on a device too."""
        return sum(extent.count for extent in self._extents if "vectors" in extent.arrays)

    def _shapes(self, room: int) -> dict[str, tuple[tuple[int, ...], Any]]:
        if self.kind == "codes":
            return {
                "rows": ((room, padded(self.dim)), np.uint8),
                "sums": ((room,), np.uint32),
            }
        return {
            "rows": ((room, layout.width_of(self.dim)), np.uint8),
            "e1": ((room,), np.float64),
            "e2": ((room,), np.float64),
            "b1": ((room,), np.float32),
            "b2": ((room,), np.float32),
            "sums": ((room,), np.uint32),
            "totals": ((room,), np.uint32),
            "dots": ((room, FACTS), np.float32),
        }

    def _vector_width(self) -> int:
        return padded(self.dim * (2 if self.halves else 4))

    def extend(self, segments: Sequence[NDArray], sketches: Sequence[Sketch | None]) -> None:
        """Take what the segments have beyond the rows that are here, as far as there is room."""
        with self._growing:
            total = sum(map(len, segments))
            if self.full or self.rows >= total:
                return
            coming = total - self.rows
            share = -(-coming // len(self.devices)) if not self._extents else coming
            first = 0
            for rows, sketch in zip(segments, sketches, strict=True):
                start = max(0, self.rows - first)
                while start < len(rows) and not self.full:
                    start += self._take(rows, sketch, start, share)
                first += len(rows)
                if self.full:
                    return

    def _take(self, rows: NDArray, sketch: Sketch | None, start: int, share: int) -> int:
        """Take rows from ``start`` on, as many as the last extent has room for."""
        extent = self._extents[-1] if self._extents else None
        if extent is None or extent.count == extent.room:
            extent = self._new_extent(share)
            if extent is None:
                self.full = True
                return 0
        width = layout.width_of(self.dim) if self.kind == "floats" else padded(self.dim)
        if self.keep_vectors:
            width = max(width, self._vector_width())
        size = max(1, tiling.TILING.device_block_bytes // width)
        if self.kind == "floats":
            size = max(1, size // tiling.TILING.sketch_rows) * tiling.TILING.sketch_rows
        stop = min(len(rows), start + size, start + extent.room - extent.count)
        if sketch is not None and start < len(sketch):
            stop = min(stop, len(sketch))
        with extent.device.use():
            if self.kind == "codes":
                self._write_codes(extent, rows[start:stop])
            else:
                self._write_floats(extent, rows[start:stop], sketch, start)
                shift = extent.count - start
                extent.reduced.take(self._learnt, rows, sketch, start, stop, shift, extent.room)
        # Counted last: a search at the same time sees whole rows.
        extent.count += stop - start
        self.rows += stop - start
        return stop - start

    def _new_extent(self, share: int) -> _Extent | None:
        held = {id(device): 0 for device in self.devices}
        for extent in self._extents:
            held[id(extent.device)] += extent.room
        device = min(self.devices, key=lambda one: held[id(one)])
        sizes = tiling.TILING
        fewest = min(sizes.device_extent_rows, 8 * sizes.sketch_rows)
        room = max(share, self.rows // _GROWTH, fewest)
        with device.use():
            free = device.free_bytes() * (_FREE - 1) // _FREE
            row_bytes = sum(
                int(np.prod(shape)) * np.dtype(dtype).itemsize
                for shape, dtype in self._shapes(1).values()
            )
            room = min(room, free // row_bytes)
            if room <= 0:
                return None
            shapes = self._shapes(room)
            if self.keep_vectors and room * (row_bytes + self._vector_width() + 12) <= free:
                shapes["vectors"] = ((room, self._vector_width()), np.uint8)
                if not self.halves:  # which are scanned, too
                    shapes |= {"squares": ((room,), np.float64), "sizes": ((room,), np.float32)}
            arrays = {name: device.empty(*shape) for name, shape in shapes.items()}
        extent = _Extent(device, self.rows, room, arrays, ReducedRows(device))
        self._extents.append(extent)
        return extent

    def _write_codes(self, extent: _Extent, rows: NDArray) -> None:
        some = slice(extent.count, extent.count + len(rows))
        host = np.zeros((len(rows), padded(self.dim)), np.uint8)
        host[:, : self.dim] = rows
        target = extent.arrays["rows"][some]
        extent.device.write(target, host)
        write_bit_counts(extent.device, target, extent.arrays["sums"][some])

    def _write_floats(
        self, extent: _Extent, rows: NDArray, sketch: Sketch | None, start: int
    ) -> None:
        device, arrays = extent.device, extent.arrays
        some = slice(extent.count, extent.count + len(rows))
        if sketch is not None and start < len(sketch):
            data, facts = (
                sketch.bytes[start : start + len(rows)],
                sketch.facts[start : start + len(rows)],
            )
            runs = sketch.runs_within(start, start + len(rows))
        else:
            data = np.empty((len(rows), layout.width_of(self.dim)), np.uint8)
            facts = np.empty((len(rows), layout.FACTS))
            run = choose_run(rows, 0, extent.runs[-1] if extent.runs else None)
            sketch_block(rows, run.lo, run.step, data, facts)
            runs = (run,)
        bad = np.flatnonzero(~np.isfinite(facts[:, layout.E2])) + self.rows
        self._bad += bad.tolist()
        device.write(arrays["rows"][some], data)
        device.write(arrays["e1"][some], facts[:, layout.E1].copy())
        device.write(arrays["e2"][some], facts[:, layout.E2].copy())
        device.write(arrays["sums"][some], facts[:, layout.SQUARES].astype(np.uint32))
        device.write(arrays["totals"][some], totals_of(facts))
        if "vectors" in arrays:
            dtype = np.dtype(np.float16 if self.halves else np.float32)
            host = np.zeros((len(rows), self._vector_width() // dtype.itemsize), dtype)
            with np.errstate(over="ignore"):
                host[:, : self.dim] = rows
            device.write(arrays["vectors"][some], host.view(np.uint8))
        if "squares" in arrays:
            write_squares(
                device, arrays["vectors"][some], self.dim, arrays["squares"][some],
                arrays["sizes"][some],
            )  # fmt: skip
        added = [Run(extent.count + r.start, r.lo, r.step, r.lost) for r in runs]
        stops = [*(one.start for one in added[1:]), some.stop]
        for one, stop in zip(added, stops, strict=True):
            alike = slice(one.start, stop)
            for errors, bounds in ((arrays["e1"], arrays["b1"]), (arrays["e2"], arrays["b2"])):
                write_bounds(device, errors[alike], one.step, bounds[alike])
            write_facts(
                device, arrays["e2"][alike], arrays["totals"][alike], arrays["sums"][alike], one,
                self.dim, arrays["dots"][alike],
            )  # fmt: skip
        extent.runs += added

    def covered(self, rows: int, strategy: str = "auto") -> tuple[range, ...]:
        """Ids, of the first ``rows``, of what is here as a strategy needs it, ascending: all rows,
        and for ``scan``, which reads float32, those whose vectors are here."""
        rows = min(rows, self.rows)
        if self.kind == "codes" or strategy != "scan":
            return (range(rows),) if rows else ()
        if self.halves:
            return ()
        found = (
            range(extent.first, min(extent.first + extent.count, rows))
            for extent in self._extents
            if "vectors" in extent.arrays
        )
        return tuple(some for some in found if some)

    def blocks(
        self,
        device: Device,
        metric: str,
        covered: Sequence[range],
        mask: NDArray[np.uint8] | None,
        strategy: str = "auto",
    ) -> Iterator[Block]:
        """What a device holds of rows that are `covered`; ``mask`` is of all rows, or None.

        For the strategy ``scan`` these are vectors.
        """
        for extent in self._extents:
            stop = next((some.stop for some in covered if extent.first in some), 0)
            count = min(extent.count, stop - extent.first)
            if extent.device is not device or count <= 0:
                continue
            arrays = extent.arrays
            block = Block(
                family_of(metric, "sketches"),
                arrays["rows"][:count], extent.first, count, sums=arrays["sums"][:count],
            )  # fmt: skip
            if self.kind == "floats" and strategy == "scan":
                block.family = family_of(metric, "floats")
                block.rows, block.sums = arrays["vectors"][:count], None
                if metric in PRODUCTS:
                    block.errors, block.bounds = arrays["squares"][:count], arrays["sizes"][:count]
                block.vectors = Vectors(block.rows, halves=False)
            elif self.kind == "floats":
                norm = "1" if metric == "l1" else "2"
                block.errors = arrays[f"e{norm}"][:count]
                block.bounds = arrays[f"b{norm}"][:count]
                if metric in PRODUCTS:
                    block.bounds, block.totals = arrays["dots"][:count], arrays["totals"][:count]
                block.runs = tuple(run for run in extent.runs if run.start < count)
                block.reduced = extent.reduced.within(metric, count)
                if "vectors" in arrays:
                    block.vectors = Vectors(arrays["vectors"][:count], self.halves)
            if mask is not None:
                block.live = extent.live_rows(mask[extent.first : extent.first + count])
            yield block

    def lowest_bad(self, covered: Sequence[range], mask: NDArray[np.uint8] | None) -> int | None:
        """The lowest id of a live row of these that holds NaN or infinity."""
        there = (row for row in self._bad if any(row in some for some in covered))
        return min((row for row in there if mask is None or mask[row]), default=None)
