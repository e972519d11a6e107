"""What a sketched row is made of; known without Numba, so that files can be laid out by it."""

from __future__ import annotations

PADDING = 64  # bytes that rows are padded to with zeros: whole vectors

#: Reduced rows that stand together (`coarse`).
PAGE = 16

#: Sums of groups of bits that a code has, times some (`bit_groups`); bits a group at most: a byte.
SUMS = 32
MOST_BITS = 255

#: Columns of a sketched row's `facts`, float64: e1, e2, the sum of u and the sum of u**2.
FACTS = 4
E1, E2, SUM, SQUARES = range(FACTS)


def width_of(dim: int) -> int:
    """Bytes of a sketched row of ``dim`` numbers."""
    return max(1, -(-dim // PADDING)) * PADDING


def rounding(dim: int) -> float:
    """How far, relatively, a defined distance may lie from the true one."""
    return (dim / 32 + 16) * 2.0**-53
