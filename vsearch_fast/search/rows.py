"""Stored rows as kernels read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import ArgumentError
from ..kernels.memory import aligned
from ..loading import once, package

#: float16 numbers from which calling a kernel to widen them pays, and numbers of other types that
#: are converted at a time where not all rows live.
_MANY_HALVES = 1 << 14
_COPIED = 1 << 16

Live = NDArray[np.uint8] | None
"""Which rows of a segment live, one byte a row; None: all."""


class Reading(Protocol):
    """Is told, by the thread that reads them, which rows are read; for whoever checks them.

    Segments are numbered as they were given, rows within them.
    """

    def rows(self, segment: int, start: int, stop: int, live: Live = None) -> None:
        """Stored rows, in a run; of them those that live."""

    def sketches(self, segment: int, start: int, stop: int, live: Live = None) -> None:
        """Sketches and their facts, likewise."""

    def reduced(self, segment: int, start: int, stop: int, live: Live = None) -> None:
        """Reduced rows, coarse and fine, likewise."""

    def pairs(self, ids: NDArray[np.int64]) -> None:
        """Stored rows here and there, by the ids that results have; some more than once."""


def live_rows(segments: Sequence[NDArray], lives: Sequence[Live]) -> int:
    """How many rows of all segments live."""
    return sum(
        len(rows) if live is None else int(np.count_nonzero(live))
        for rows, live in zip(segments, lives, strict=True)
    )


@dataclass(frozen=True, eq=False)
class Sources:
    """Where the stored rows of ids lie, as `kernels.refine` takes it."""

    firsts: NDArray[np.int64]
    bases: NDArray[np.int64]
    strides: NDArray[np.int64]
    halves: NDArray[np.uint8]

    @classmethod
    def of(cls, arrays: Sequence[tuple[int, NDArray]]) -> Sources:
        """Of (first id, array) in ascending order; native rows of unit stride."""
        return cls(
            np.array([first for first, _ in arrays], np.int64),
            np.array([a.__array_interface__["data"][0] for _, a in arrays], np.int64),
            np.array([a.strides[0] for _, a in arrays], np.int64),
            np.array([a.dtype.itemsize == 2 for _, a in arrays], np.uint8),
        )


def readable(rows: NDArray) -> bool:
    """Whether the tiers can read the rows where they lie."""
    return direct(rows, np.dtype(np.float32)) or direct(rows, np.dtype(np.float16))


def padded_to(queries: NDArray, multiple: int) -> NDArray:
    """The queries, C-contiguous on cache lines, and rows of zeros up to a multiple."""
    count, dim = queries.shape
    padded = aligned((-(-count // multiple) * multiple, dim), queries.dtype)
    padded[:count] = queries
    padded[count:] = 0
    return padded


def no_mask() -> NDArray[np.uint8]:
    """What a kernel takes for "all rows live"."""
    everything = np.empty(0, np.uint8)
    everything.flags.writeable = False
    return everything


def not_finite(row: int, segments: Sequence[NDArray]) -> ArgumentError:
    """The error for a row, numbered over all segments, that holds NaN or infinity."""
    for i, segment in enumerate(segments):
        if row < len(segment):
            return ArgumentError(
                f"row {row} of {segment_name('database', i, segments)} holds NaN or infinity",
                "Nothing was returned, since no order is defined for it",
                "Remove or repair the row, or leave it out with a mask",
            )
        row -= len(segment)
    raise AssertionError("no such row")


def segment_name(what: str, number: int, segments: Sequence[Any]) -> str:
    """What an error calls a segment: by its number where there are several."""
    return f"{what} segment {number}" if len(segments) > 1 else f"the {what}"


def direct(rows: NDArray, dtype: np.dtype) -> bool:
    """Whether kernels can read the rows where they are: native type, unit stride in a row."""
    return rows.dtype == dtype and rows.dtype.isnative and (
        rows.strides[1] == dtype.itemsize or rows.shape[1] <= 1
    )  # fmt: skip


def converted(rows: NDArray, dtype: DTypeLike = np.float32, live: Live = None) -> NDArray:
    """Rows as the kernels read them: C-contiguous, native. float64 beyond float32's range becomes
    infinite.

    Of rows that do not live nothing is read: what stands in their places is left as it came.
    """
    dtype = np.dtype(dtype)
    if rows.dtype == dtype and rows.dtype.isnative and rows.flags.c_contiguous:
        return rows
    halves = (
        dtype == np.float32 and rows.size >= _MANY_HALVES and direct(rows, np.dtype(np.float16))
    )
    if live is None and not halves:
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(rows, dtype)
    numbers = np.arange(len(rows)) if live is None else np.flatnonzero(live)
    # Memory of this size is the system's: what nobody writes to costs none.
    out = np.empty(rows.shape, dtype)
    if halves:
        _widen_rows()(rows.__array_interface__["data"][0], rows.strides[0], numbers, out)
        return out
    some = max(1, _COPIED // max(1, rows.shape[1]))  # a copy of them stays in cache
    with np.errstate(over="ignore"):
        for start in range(0, len(numbers), some):
            part = numbers[start : start + some]
            out[part] = rows[part]
    return out


@once
def _widen_rows() -> Any:
    package("numba")
    from ..kernels.halves import widen_rows

    return widen_rows
