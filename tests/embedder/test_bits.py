"""bits.py: constant bits counted in portions, against their definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vsearch_fast.embedder.bits import BitTally, tally


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 40), st.floats(0, 1))
def test_bits_are_counted_as_defined(seed: int, pictures: int, dim: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    bits = rng.random((pictures, dim)) < share * rng.random(dim)
    codes = np.packbits(bits, axis=-1).reshape(pictures, -(-dim // 8))
    made = BitTally(dim)
    for start in range(0, pictures, 7):
        made.add(codes[start : start + 7])
    made.add(codes[:0])
    never = int((~bits.any(axis=0)).sum()) if pictures else 0
    always = int(bits.all(axis=0).sum()) if pictures else 0
    assert (made.pictures, made.never, made.always) == (pictures, never, always)
    whole = tally(codes, dim)
    assert (whole.never, whole.always, whole.constant) == (never, always, never + always)
    assert bool(made.warning()) == (pictures >= 12 and never + always > dim / 2)


def test_the_warning_says_how_bad_it_is() -> None:
    assert tally(np.full((12, 2), 255, np.uint8), 16).warning().startswith("All 16 bits are")
    codes = np.zeros((12, 2), np.uint8)
    codes[0, 0] = 0b11
    assert tally(codes, 16).warning().startswith("14 of 16 bits are the same")
    assert tally(codes[:11], 16).warning() == ""
