"""Which bits of codes tell pictures apart: those that are not the same for all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: A share of constant bits above which Hamming distances deserve a warning.
MUCH = 0.5

#: Pictures below which a bit may be the same for all by chance.
ENOUGH = 12


class BitTally:
    """Counts bits that no picture and that every picture has set, codes coming in any portions.

    It holds two codes, however many pictures there are.
    """

    def __init__(self, dim: int) -> None:
        """`dim` is the number of bits that mean something: as a rule that of the features."""
        self.dim = dim
        self.pictures = 0
        width = -(-dim // 8)
        self._some = np.zeros(width, np.uint8)
        self._all = np.full(width, 255, np.uint8)

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Packed codes, uint8 (n, ceil(dim / 8))."""
        if len(codes):
            self.pictures += len(codes)
            self._some |= np.bitwise_or.reduce(codes, axis=0)
            self._all &= np.bitwise_and.reduce(codes, axis=0)

    @property
    def never(self) -> int:
        """Bits that no picture has set; 0 without pictures."""
        return self.dim - self._count(self._some) if self.pictures else 0

    @property
    def always(self) -> int:
        """Bits that every picture has set; 0 without pictures."""
        return self._count(self._all) if self.pictures else 0

    @property
    def constant(self) -> int:
        return self.never + self.always

    def warning(self) -> str:
        """What to tell who relies on Hamming distances; "" where enough bits differ."""
        if self.pictures < ENOUGH or self.constant <= MUCH * self.dim:
            return ""
        if self.constant == self.dim:
            return f"All {self.dim:,} bits are the same for all pictures: Hamming tells nothing"
        return (
            f"{self.constant:,} of {self.dim:,} bits are the same for all pictures: Hamming "
            "distances tell little"
        )

    def _count(self, code: NDArray[np.uint8]) -> int:
        return int(np.unpackbits(code, count=self.dim).sum())


def tally(codes: NDArray[np.uint8], dim: int) -> BitTally:
    """The tally of packed codes, uint8 (n, ceil(dim / 8))."""
    made = BitTally(dim)
    made.add(codes)
    return made
