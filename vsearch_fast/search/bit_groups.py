"""Sums of groups of a code's bits: some bytes a row, which bound Hamming distances from below.

A `BitGroups` says which sum each bit adds to, and makes the sums of rows; `bit_grouping` chooses
one by a sample of them. Rows whose sums are at hand are a `Summed`; `Grouped` is a database with
such. Why sums bound distances is told in `kernels.bit_groups`; `cpu.summed` searches by them.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from functools import cached_property
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.layout import MOST_BITS, SUMS
from ..kernels.memory import aligned
from ..loading import once, package
from ..machine import available_threads
from ..threads import run
from .rows import converted, direct

_BLOCK = 4096  # rows whose sums are made at a time


@once
def _kernels() -> Any:
    package("numba")
    from ..kernels import bit_groups, cache

    return bit_groups, cache


def first_half(length: int) -> int:
    """Bytes of the first half of a code."""
    return length // 2


@dataclass(frozen=True, eq=False)
class BitGroups:
    """Which sum each bit adds to.

    Attributes:
        group: int16 ``(bits,)``, numbers of groups below `kernels.layout.SUMS`: of the bits of the
            first half of the bytes in its first half. At most 255 bits are of each.
        inverted: bool ``(bits,)``: bits that are counted where they are not set.
        left: shares of a sample's rows that the sums leave to be read, and the first halves.
    """

    group: NDArray[np.int16]
    inverted: NDArray[np.bool_]
    left: tuple[float, float]

    def sound(self) -> bool:
        """Whether kernels can add up the groups: a wrong one would be read behind its table."""
        group, half = self.group, SUMS // 2
        if group.ndim != 1 or len(group) % 8 or group.shape != self.inverted.shape:
            return False
        if group.dtype != np.int16 or self.inverted.dtype != np.bool_:
            return False
        first, second = np.split(group, [first_half(len(group) // 8) * 8])
        return bool(
            ((first >= 0) & (first < half)).all()
            and ((second >= half) & (second < SUMS)).all()
            and np.bincount(group, minlength=1).max() <= MOST_BITS
        )

    @property
    def length(self) -> int:
        """Bytes of a code."""
        return len(self.group) // 8

    @cached_property
    def table(self) -> NDArray[np.uint8]:
        """What each value of each half byte adds to each sum, as `kernels.bit_groups` takes it."""
        bits = np.arange(len(self.group))
        table = aligned((len(bits) // 4, 16, SUMS), np.uint8)
        table[:] = 0
        # np.packbits: the first bit of a byte is the highest. Plane 2 b is the lower half.
        plane, shift = 2 * (bits // 8) + (bits % 8 < 4), 3 - bits % 4
        for value in range(16):
            counted = (value >> shift & 1) ^ self.inverted
            np.add.at(table[:, value], (plane, self.group), counted.astype(np.uint8))
        table.flags.writeable = False
        return table

    def sums(self, codes: NDArray[np.uint8], threads: int | None = None) -> NDArray[np.uint8]:
        """``(n, SUMS)`` sums of packed codes ``(n, bits / 8)``."""
        kernels, cache = _kernels()
        table = self.table
        out = aligned((len(codes), SUMS), np.uint8)
        blocks = range(0, len(codes), _BLOCK)
        turn = iter(blocks)
        workers = max(1, min(threads or available_threads(), len(blocks)))
        cache.prepare([kernels.group_sums])

        def work(_: int) -> None:
            for start in turn:
                rows = codes[start : start + _BLOCK]
                if not direct(rows, np.dtype(np.uint8)):
                    rows = converted(rows, np.uint8)
                kernels.group_sums(
                    rows.__array_interface__["data"][0], rows.strides[0], rows.shape[1], len(rows),
                    table, out[start : start + len(rows)],
                )  # fmt: skip

        run(work, workers, Event())
        return out

    @property
    def widths(self) -> tuple[int, ...]:
        """Bytes that an index stores of a code, by kind."""
        return (SUMS,)

    def to_bytes(self) -> bytes:
        """As `from_bytes` reads it."""
        out = io.BytesIO()
        np.savez(out, group=self.group, inverted=self.inverted, left=np.array(self.left))
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> BitGroups:
        """ValueError: these are not what `to_bytes` made, or no groups that can be added up."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                left = float(arrays["left"][0]), float(arrays["left"][1])
                found = cls(arrays["group"], arrays["inverted"], left)
        except (KeyError, TypeError, zipfile.BadZipFile, EOFError, OSError) as error:
            raise ValueError(f"no groups of bits: {error}") from error
        if not found.sound():
            raise ValueError(f"no groups of bits: {len(found.group)} of them")
        return found


@dataclass(frozen=True, eq=False)
class Summed:
    """Rows of an array of codes whose sums are at hand, from ``start`` on.

    Attributes:
        sums: uint8 ``(rows, kernels.layout.SUMS)``, C-contiguous.
    """

    groups: BitGroups
    start: int
    sums: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.sums)

    @property
    def stop(self) -> int:
        return self.start + len(self)
