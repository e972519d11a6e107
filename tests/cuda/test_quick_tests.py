"""Scans of pairs that are made for the quick tests: nothing that they forget goes unnoticed."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import EmulatedDevice

from vsearch_fast.kernels import layout
from vsearch_fast.kernels.cuda import sources
from vsearch_fast.search.gpu.lists import Lists
from vsearch_fast.search.gpu.scans import Compared, scan

CAPABILITY = (9, 0)
FLOATS, SKETCHES = (
    [
        (family, kernel)
        for family in sources.SCANS
        if family in (f"l1_{kind}", f"l2_{kind}")
        for kernel in sources.scans_for(family, CAPABILITY)
    ]
    for kind in ("floats", "sketches")
)


def only_listed(family, kernel, query, row, limit, scale, compared=None):
    """(lower, upper) of the one pair, None where it is not listed; arrays by ``compared``."""
    device = EmulatedDevice(CAPABILITY)
    lists = Lists(device, 1, 1, 32, bounded=True)
    device.write(lists.limits, np.array([limit]).view(np.uint64))
    sides = []
    for side, array in (("query", query), ("row", row)):
        some = {name: device.upload(a) for (at, name), a in (compared or {}).items() if at == side}
        sides.append(Compared(device.upload(array.view(np.uint8)), **some))
    asked, there = sides
    gamma = layout.rounding(16)
    scan(device, family, asked, there, None, 0, 1, 0, lists, scale, gamma, 0.0, kernel)
    counts, keys, uppers, _ = lists.listed()
    if not counts[0]:
        return None
    lower, upper = (bits[0, :1].view(np.float64)[0] for bits in (keys, uppers))
    return float(lower), float(upper)


@pytest.mark.parametrize("side", ["query", "row"])
@pytest.mark.parametrize(("family", "kernel"), SKETCHES)
def test_either_sides_residual_may_be_all_that_lies_between(family, kernel, side):
    """The true distance is the sketches' less one residual, and the limit just there."""
    step, residual = 0.5, 3.0
    query, row = np.full((1, 64), 10, np.uint8), np.full((1, 64), 14, np.uint8)
    whole = 4.0 * 64 if family.startswith("l1") else np.sqrt(16.0 * 64)
    true = step * whole - residual
    given = {}
    for at, array in (("query", query), ("row", row)):
        given[at, "errors"] = np.array([residual if at == side else 0.0])
        given[at, "sums"] = (array.astype(np.uint32) ** 2).sum(axis=1, dtype=np.uint32)
    found = only_listed(family, kernel, query, row, true, step, given)
    assert found is not None
    assert found[0] <= true <= found[1]
    assert found[1] >= step * whole + residual  # the residual may as well point away
    beyond = only_listed(family, kernel, query, row, true - 0.1, step, given)
    assert beyond is None


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(("family", "kernel"), FLOATS)
def test_rows_that_are_not_finite_stay(family, kernel, value):
    """However near others are: refinement must see them, to refuse them."""
    query, row = np.zeros((1, 16), np.float32), np.zeros((1, 16), np.float32)
    row[0, 5] = value
    assert only_listed(family, kernel, query, row, 1e-3, 32 * 2.0**-24) is not None
    row[0, 5] = 1.0
    assert only_listed(family, kernel, query, row, 1e-3, 32 * 2.0**-24) is None


def just_beyond_a_rounding() -> tuple[np.ndarray, np.float32, np.float64]:
    """(bytes of a row, its residual, a limit), in steps, from a query of zeros: limit and residual
    add up to the distance, and in float32 to less, whose square is less, too."""
    rng = np.random.default_rng(0)
    for row in rng.integers(0, 256, (10_000, 1, 64), np.uint8):
        square = int((row.astype(np.int64) ** 2).sum())
        distance = np.sqrt(np.float64(square))
        below = np.float32(distance)
        if below > distance:
            below = np.nextafter(below, np.float32(0))
        residual = np.float32(below - np.float32(0.125))
        limit = np.nextafter(distance - np.float64(residual), np.inf)
        wide = np.float32(limit)
        wide = np.nextafter(wide, np.float32(1)) if wide < limit else wide
        total = np.float32(wide + residual)
        if total < distance and np.float32(total * total) < np.float32(square):
            return row, residual, limit
    raise AssertionError("no such row was found")


@pytest.mark.parametrize(("family", "kernel"), [s for s in SKETCHES if s[0] == "l2_sketches"])
def test_a_bound_that_is_rounded_down_has_a_margin(family, kernel):
    row, residual, limit = just_beyond_a_rounding()
    query = np.zeros_like(row)
    given = {
        ("query", "errors"): np.zeros(1), ("row", "errors"): np.array([residual], np.float64),
        ("query", "sums"): np.zeros(1, np.uint32),
        ("row", "sums"): (row.astype(np.uint32) ** 2).sum(axis=1, dtype=np.uint32),
    }  # fmt: skip
    assert only_listed(family, kernel, query, row, limit, 1.0, given) is not None
