"""Reductions of a database's rows to few numbers: the level below the sketches.

A `Reduction` is a map from rows to some hundred numbers (*fine*), and on to some tens (*coarse*),
that never moves two rows apart (`kernels.reduce`): along directions for L2, by sums of groups
for L1. It is learnt from a sample of the rows (`learning`), which also tells whether it would
exclude enough to be worth reading. Rows that are reduced by it are a `Reduced`.

Both sets of numbers are sketched in bytes, as rows are (`kernels.sketch`), and laid out as
`kernels.coarse` reads them.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels import layout
from ..kernels.memory import aligned
from ..loading import once, package
from . import tiling
from .rows import converted

#: Numbers of a row that are multiplied in float32 before products are added up in float64.
_BLOCK = 256
#: Weights from here on are left out: sums of theirs would leave float32.
_LARGEST = 1e37
#: Below it errors are not told apart, so that their squares stay within float32.
_SMALLEST = 1e-15
#: What float32 facts are rounded up by.
_UP = 1.0 + 2.0**-20


class Kernels(NamedTuple):
    """Modules that need Numba."""

    coarse: Any
    reduce: Any
    sketch: Any
    projection: Any


@once
def kernels() -> Kernels:
    """Imported when first asked for."""
    package("numba")
    from ..kernels import coarse, projection, reduce, sketch

    assert projection.DEEP <= _BLOCK  # errors are bounded by that
    return Kernels(coarse, reduce, sketch, projection)


@dataclass(frozen=True, slots=True)
class Shape:
    """How many numbers a reduced row has, and bytes: 16 coarse rows a page, fine ones alone.

    ``fine`` is 0 where the coarse numbers are all.
    """

    metric: str
    coarse: int
    fine: int

    @property
    def numbers(self) -> int:
        """That a map makes of a row."""
        return self.fine or self.coarse

    @property
    def coarse_bytes(self) -> int:
        """A row's share of a page."""
        return self.coarse + (12 if self.metric == "l2" else 4)

    @property
    def fine_bytes(self) -> int:
        return self.fine and self.fine + (16 if self.metric == "l2" else 64)

    @property
    def widths(self) -> tuple[int, ...]:
        """Bytes of what there is of a row: coarse, and fine ones where there are."""
        return (self.coarse_bytes, self.fine_bytes) if self.fine else (self.coarse_bytes,)

    @property
    def bytes(self) -> int:
        return sum(self.widths)


def shape_for(metric: str, dim: int) -> Shape | None:
    """What rows of so many numbers are reduced to; None: they are short enough."""
    for name, least, coarse, fine in tiling.TILING.reduced_shapes:
        if name == metric and dim >= least:
            return Shape(metric, coarse, fine)
    return None


@dataclass(frozen=True, eq=False)
class Plane:
    """One of a reduction's two sketches: ``x_hat = lo + step * u``.

    Attributes:
        lo, step: of the numbers, as `kernels.sketch.choose` finds them.
        departure: how far the squares of the map's singular values may be from 1 (L2; else 0).
        scales: L1: ``x_hat = scale * (lo + step * u)``, one a number; L2: ones.
    """

    lo: float
    step: float
    departure: float
    scales: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ReducedQueries:
    """Queries as `kernels.reduced_scan` takes them, for one plane; padding has errors of NaN.

    For L1 ``residuals`` are the bytes of the plane's scales.
    """

    numbers: NDArray
    weights: NDArray[np.float32]
    residuals: NDArray[np.float32]
    errors: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reduction:
    """A map of rows to few numbers, and how these are sketched.

    Attributes:
        shape: of what it makes.
        centre: L2: float32 (d,), taken off each row; L1: float64 (numbers,), off the sums.
        directions: L2: float32 (numbers, d), nearly orthonormal; L1: float32 (2, d), group and
            sign of each number.
        combine: float64 (coarse, numbers): coarse numbers of fine ones; L2: nearly orthonormal
            rows; L1: one sign a column.
        coarse, fine: their sketches.
        left: shares of the rows that the two leave to be compared, of the sample.
    """

    shape: Shape
    centre: NDArray
    directions: NDArray[np.float32]
    combine: NDArray[np.float64]
    coarse: Plane
    fine: Plane
    left: tuple[float, float]

    @property
    def dim(self) -> int:
        return self.directions.shape[1]

    @property
    def widths(self) -> tuple[int, ...]:
        """As `Shape.widths`."""
        return self.shape.widths

    @cached_property
    def _blocks(self) -> NDArray[np.float32]:
        """Directions cut in blocks of `_BLOCK` numbers, zeros behind the last: (blocks, _BLOCK,
        directions)."""
        count = -(-self.dim // _BLOCK)
        padded = np.zeros((len(self.directions), count * _BLOCK), np.float32)
        padded[:, : self.dim] = self.directions
        cut = padded.reshape(len(padded), count, _BLOCK)
        return np.ascontiguousarray(cut.transpose(1, 2, 0))

    @cached_property
    def _tiles(self) -> NDArray[np.float32]:
        tiles: NDArray[np.float32] = kernels().projection.tiles_of(self.directions)
        return tiles

    @cached_property
    def _groups(self) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        return self.directions[0].astype(np.int32), self.directions[1].astype(np.float64)

    def numbers(self, rows: NDArray) -> Mapped:
        """The numbers of rows ``(n, d)``, float32, and what is lost in computing them."""
        return self._along(rows) if self.shape.metric == "l2" else self._summed(rows)

    def _along(self, rows: NDArray[np.float32]) -> Mapped:
        with np.errstate(over="ignore", invalid="ignore"):
            # Squares in float64: those of float32 may leave its range.
            if len(rows) == 1:  # one call for all blocks
                centred = rows - self.centre
                cut = np.zeros(len(self._blocks) * _BLOCK, np.float32)
                cut[: self.dim] = centred[0]
                parts = np.matmul(cut.reshape(-1, 1, _BLOCK), self._blocks)
                numbers = parts.sum(axis=(0, 1), dtype=np.float64)[None]
                squares = np.einsum("ij,ij->i", centred, centred, dtype=np.float64)
            else:
                numbers, squares = self._projected(rows)
            # Any order of _BLOCK products and sums, and the difference of each number.
            unit = _BLOCK * 2.0**-24
            relative = np.sqrt(len(self.directions)) * unit / (1 - unit) * 1.01 + 2.0**-23
            return Mapped(numbers, np.sqrt(squares) * relative, squares)

    def _projected(
        self, rows: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Numbers of rows along the directions, and the centred rows' squares, summed."""
        projection = kernels().projection
        tiles, count = self._tiles, -(-len(rows) // projection.ROWS) * projection.ROWS
        numbers = np.empty((count, tiles.shape[1] * projection.WIDE))
        squares = np.empty(len(rows))
        room = np.zeros((projection.ROWS, len(tiles) * projection.DEEP), np.float32)
        if len(rows):
            address = rows.__array_interface__["data"][0]
            projection.project(address, rows.strides[0], self.centre, tiles, room, numbers, squares)
        return numbers[: len(rows), : self.shape.numbers], squares

    def _summed(self, rows: NDArray[np.float32]) -> Mapped:
        reduce = kernels().reduce
        numbers, sizes = np.empty((len(rows), self.shape.numbers)), np.empty(len(rows))
        address = rows.__array_interface__["data"][0]
        reduce.group_sums(address, rows.strides[0], *self._groups, numbers, sizes)
        sizes += np.abs(self.centre).sum()
        return Mapped(numbers - self.centre, sizes * (self.dim + 8) * 2.0**-52, None)

    def coarser(self, mapped: Mapped) -> Mapped:
        """The coarse numbers of mapped rows."""
        if not self.shape.fine:
            return mapped
        with np.errstate(over="ignore", invalid="ignore"):
            lost = mapped.lost * (1.0 + 1e-6)
            if mapped.squares is None:
                lost = lost + np.abs(mapped.numbers).sum(axis=1) * 2.0**-40
            else:
                lost = lost + np.sqrt(mapped.squares) * 2.0**-40
            return Mapped(_combined(mapped.numbers, self.combine), lost, mapped.squares)

    def reduce(self, rows: NDArray) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Rows ``(n, d)``, n a multiple of 16, as coarse pages ``(n, bytes)`` and fine rows
        ``(n, bytes)``."""
        coarse = kernels().coarse
        mapped = self.numbers(converted(rows))
        squared = self.shape.metric == "l2"
        page = coarse.PAGE
        pages = aligned((len(rows), self.shape.coarse_bytes), np.uint8)
        fine = aligned((len(rows), self.shape.fine_bytes), np.uint8)
        numbers, weights, residuals, errors = self._sketched(self.coarser(mapped), self.coarse)
        count = len(rows) // page
        view = pages.reshape(count, page * self.shape.coarse_bytes)
        pairs = numbers.reshape(count, page, self.shape.coarse // 2, 2).transpose(0, 2, 1, 3)
        view[:, : page * self.shape.coarse] = pairs.reshape(count, -1)
        facts = np.stack([weights, residuals, errors][0 if squared else 2 :], axis=1)
        facts = facts.reshape(count, page, -1).transpose(0, 2, 1)
        view[:, page * self.shape.coarse :] = (
            np.ascontiguousarray(facts).reshape(count, -1).view(np.uint8)
        )
        if self.shape.fine:
            numbers, weights, residuals, errors = self._sketched(mapped, self.fine)
            fine[:, : self.shape.fine] = numbers
            facts = np.zeros(
                (len(rows), (self.shape.fine_bytes - self.shape.fine) // 4), np.float32
            )
            facts[:, 0], facts[:, 1], facts[:, 2] = weights, residuals, errors
            fine[:, self.shape.fine :] = facts.view(np.uint8)
        return pages, fine

    def _sketched(
        self, mapped: Mapped, plane: Plane
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Bytes, weights, residuals and errors of mapped rows in a plane."""
        if mapped.squares is None:
            return self._scaled(mapped, plane)
        sketch = kernels().sketch
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = mapped.numbers.astype(np.float32)
        count, wide = numbers.shape
        out = np.empty((count, layout.width_of(wide)), np.uint8)
        facts = np.empty((count, layout.FACTS))
        address = numbers.__array_interface__["data"][0]
        sketch.sketch_rows(address, numbers.strides[0], wide, plane.lo, plane.step, out, facts)
        with np.errstate(over="ignore", invalid="ignore"):
            errors = facts[:, layout.E2] + mapped.lost + _norm(mapped.numbers) * 2.0**-23
            residuals, doubt = mapped.residuals(plane)
            weights = plane.step**2 * facts[:, layout.SQUARES] + residuals.astype(np.float64) ** 2
            weights[~(weights < _LARGEST)] = np.nan
            errors = (errors + doubt) * _UP + _SMALLEST
            return out[:, :wide], weights.astype(np.float32), residuals, errors.astype(np.float32)

    def _scaled(
        self, mapped: Mapped, plane: Plane
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """`_sketched` of L1; it has neither weights nor residuals."""
        scales = plane.scales.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            whole = np.rint((mapped.numbers / scales - plane.lo) / plane.step)
            np.clip(np.nan_to_num(whole), 0, 255, out=whole)
            residuals = np.abs(mapped.numbers - scales * (plane.lo + plane.step * whole))
            size = np.abs(mapped.numbers).sum(axis=1) + 257 * plane.step * scales.sum()
            size += abs(plane.lo) * scales.sum()
            errors = residuals.sum(axis=1) * (1.0 + 2.0**-40) + mapped.lost + size * 2.0**-48
            errors = np.where(errors < _LARGEST, errors * _UP + _SMALLEST, np.nan)
        zeros = np.zeros(len(whole), np.float32)
        return whole.astype(np.uint8), zeros, zeros, errors.astype(np.float32)

    def queries(
        self, queries: NDArray[np.float32], padded: int
    ) -> tuple[ReducedQueries, ReducedQueries]:
        """Queries in both planes, padded to so many. The second is of no use where there are no
        fine numbers."""
        mapped = self.numbers(queries)
        coarse = self._asked(self.coarser(mapped), self.coarse, padded)
        return coarse, self._asked(mapped, self.fine, padded) if self.shape.fine else coarse

    def _asked(self, mapped: Mapped, plane: Plane, padded: int) -> ReducedQueries:
        coarse = kernels().coarse
        count, wide = mapped.numbers.shape
        weights, residuals = np.zeros(padded, np.float32), np.zeros(padded, np.float32)
        errors = np.full(padded, np.nan)
        if mapped.squares is None:
            data = aligned((padded, layout.width_of(wide)), np.uint8)
            data[:] = 0
            data[:count, :wide], _, _, errors[:count] = self._sketched(mapped, plane)
            scales = aligned((layout.width_of(wide),), np.uint8)
            scales[:] = 0
            scales[:wide] = plane.scales
            return ReducedQueries(data, weights, scales.view(np.float32), errors)
        unit = plane.step / coarse.FINER
        most = min(32767, (2**31 - 1) // (255 * mapped.numbers.shape[1]))
        with np.errstate(over="ignore", invalid="ignore"):
            whole = np.clip(np.rint((mapped.numbers - plane.lo) / unit), -most, most)
            near = plane.lo + unit * whole
            residual, doubt = mapped.residuals(plane)
            lost = mapped.lost + np.sqrt(mapped.squares) * 2.0**-40 + abs(plane.lo) * 2.0**-40
            error = _norm(mapped.numbers - near) + lost + doubt
            weight = unit**2 * (whole * whole).sum(axis=1) + residual.astype(np.float64) ** 2
            weights[:count] = np.where(weight < _LARGEST, weight, np.nan)
        residuals[:count], errors[:count] = residual, error * _UP + _SMALLEST
        numbers = aligned((padded, wide), np.int16)
        numbers[:] = 0
        np.copyto(numbers[:count], whole, casting="unsafe", where=np.isfinite(whole))
        return ReducedQueries(numbers, weights, residuals, errors)

    def to_bytes(self) -> bytes:
        """As `from_bytes` reads it."""
        out = io.BytesIO()
        np.savez(
            out,
            metric=np.array(self.shape.metric),
            shape=np.array([self.shape.coarse, self.shape.fine]),
            centre=self.centre, directions=self.directions, combine=self.combine,
            planes=np.array([[p.lo, p.step, p.departure] for p in (self.coarse, self.fine)]),
            scales=np.concatenate([self.coarse.scales, self.fine.scales]),
            left=np.array(self.left),
        )  # fmt: skip
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Reduction:
        """ValueError: these are not what `to_bytes` made."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                shape = Shape(str(arrays["metric"]), *(int(n) for n in arrays["shape"]))
                scales = np.split(arrays["scales"], [shape.coarse])
                coarse, fine = (
                    Plane(float(lo), float(step), float(departure), np.ascontiguousarray(some))
                    for (lo, step, departure), some in zip(arrays["planes"], scales, strict=True)
                )
                left = float(arrays["left"][0]), float(arrays["left"][1])
                return cls(
                    shape,
                    arrays["centre"],
                    arrays["directions"],
                    arrays["combine"],
                    coarse,
                    fine,
                    left,
                )
        except (KeyError, TypeError, zipfile.BadZipFile, EOFError, OSError) as error:
            raise ValueError(f"no reduction: {error}") from error


@dataclass(frozen=True, eq=False)
class Mapped:
    """Numbers of rows, before they are sketched.

    Attributes:
        numbers: float64 (n, m).
        lost: what computing them may have moved a row by, in the metric.
        squares: of the centred rows, summed (L2); None for L1.
    """

    numbers: NDArray[np.float64]
    lost: NDArray[np.float64]
    squares: NDArray[np.float64] | None

    def residuals(self, plane: Plane) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Norms of what the numbers leave out, and how far off these may be (L2; else 0)."""
        if self.squares is None:
            zero = np.zeros(len(self.numbers))
            return zero.astype(np.float32), zero
        left = self.squares - np.einsum("ij,ij->i", self.numbers, self.numbers)
        norm = np.sqrt(self.squares)
        doubt = self.squares * (1.2 * plane.departure + 2.0**-30) + 2.1 * norm * self.lost
        residual = np.sqrt(np.maximum(left, 0)).astype(np.float32)
        wide = residual.astype(np.float64)
        low, high = np.sqrt(np.maximum(left - doubt, 0)), np.sqrt(np.maximum(left + doubt, 0))
        return residual, np.maximum(high - wide, wide - low) * _UP


def _combined(numbers: NDArray[np.float64], combine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coarse numbers of fine ones. By pages: products so small use one thread of a library that
    has several, which would wait for each other by turning, and whose work others share here."""
    pages, rest = divmod(len(numbers), layout.PAGE)
    if rest or pages < 2:
        return numbers @ combine.T
    parts = numbers.reshape(pages, layout.PAGE, -1) @ combine.T
    return parts.reshape(len(numbers), -1)


def _norm(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.einsum("ij,ij->i", numbers, numbers))


@dataclass(frozen=True, eq=False)
class Reduced:
    """Rows of an array that are reduced, from ``start`` on, both multiples of 16.

    Attributes:
        coarse: uint8 (rows, `Shape.coarse_bytes`), C-contiguous: pages of 16.
        fine: uint8 (rows, `Shape.fine_bytes`), C-contiguous.
    """

    reduction: Reduction
    start: int
    coarse: NDArray[np.uint8]
    fine: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.coarse)

    @property
    def stop(self) -> int:
        return self.start + len(self)
