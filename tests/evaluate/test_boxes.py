"""How far found boxes overlap with true ones, by hand."""

from __future__ import annotations

import numpy as np
import pytest


def test_overlaps_by_hand() -> None:
    from vsearch_fast.evaluate.boxes import intersection_over_union, overlaps

    assert intersection_over_union((0, 0, 4, 4), (2, 2, 6, 6)) == 4 / 28
    assert intersection_over_union((0, 0, 4, 4), (4, 0, 8, 4)) == 0
    assert intersection_over_union((0, 0, 4, 4), (0, 0, 4, 4)) == 1
    found, half, median, whole = overlaps(
        [(25, 25, 75, 75), (0, 0, 100, 50)], [(25, 25, 75, 75), (50, 0, 150, 50)],
        [(100, 100), (200, 100)],
    )  # fmt: skip
    np.testing.assert_allclose(found.values, [1, 1 / 3])
    assert found.median == pytest.approx(2 / 3)
    assert found.right == 0.5
    np.testing.assert_allclose(whole.values, [0.25, 0.25])
    np.testing.assert_allclose(half.values[0], 0.5)
    np.testing.assert_allclose(median.values[0], 1)  # both are half as wide and half as high
