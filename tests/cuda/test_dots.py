"""Bounds of inner products and cosines on a device: they enclose the definition, where rows and
roundings hurt, and no quick test is stricter."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from dot_data import residuals_that_hurt, sums_that_cancel
from emulated import EmulatedDevice
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vsearch_fast.kernels import layout, reference, sketch
from vsearch_fast.search.gpu.blocks import padded
from vsearch_fast.search.gpu.lists import Lists
from vsearch_fast.search.gpu.products import (
    PRODUCTS,
    Products,
    distances_of,
    facts_of,
    keys_of,
    no_limit,
    squares_of,
    squares_there,
    terms_of,
    totals_of,
)
from vsearch_fast.search.gpu.scans import Compared, scan
from vsearch_fast.search.sketches import Run

#: One scan of each kind, on a device that has it.
SKETCHES = (
    ((7, 5), "dot_sketches_tile"),
    ((7, 5), "dot_sketches_stream_2"),
    ((8, 0), "dot_sketches_warp"),
    ((9, 0), "dot_sketches_warpgroup"),
)
FLOATS = ("dot_floats_tile", "dot_floats_stream_1")


class Scanned:
    """Some queries and rows on a device, as one kernel compares them.

    Args:
        plane: (lo, step) of the sketches; None for float32.
    """

    def __init__(self, capability, kernel, metric, queries, rows, plane=None):
        self.device, self.kernel, self.metric = EmulatedDevice(capability), kernel, metric
        self.queries, self.rows, dim = queries, rows, rows.shape[1]
        self.plane = plane or (0.0, 0.0)
        self.there, self.asked = (self._compared(array) for array in (rows, queries))
        unit = (dim + 16) * 2.0**-24
        self.scale = plane[1] if plane else unit * (1 + 2 * unit)

    def _compared(self, array):
        """As they lie on the device."""
        device, dim, rows = self.device, array.shape[1], array is self.rows
        if "floats" in self.kernel:
            host = np.zeros((len(array), padded(4 * dim)), np.uint8)
            host[:, : 4 * dim] = np.ascontiguousarray(array).view(np.uint8)
            made = Compared(device.upload(host))
            if rows:
                made.errors, made.bounds = squares_there(device, made.rows, dim)
            else:
                made.errors = device.upload(squares_of(array))
            return made
        lo, step = self.plane
        data = np.empty((len(array), layout.width_of(dim)), np.uint8)
        facts = np.empty((len(array), layout.FACTS))
        array = np.ascontiguousarray(array)
        sketch.sketch_rows(array.ctypes.data, array.strides[0], dim, lo, step, data, facts)
        made = Compared(device.upload(data), device.upload(facts[:, layout.E2].copy()))
        made.sums = device.upload(facts[:, layout.SQUARES].astype(np.uint32))
        if rows:
            made.totals = device.upload(totals_of(facts))
            run = Run(0, lo, step, 0.0)
            made.bounds = facts_of(device, made.errors, made.totals, made.sums, [run], dim)
        else:
            made.errors = device.upload(
                terms_of(facts, squares_of(array), self.plane, dim, self.metric)
            )
        return made

    def within(self, limits=None, ahead=0) -> list[dict[int, tuple[float, float]]]:
        """Bounds of the rows that each query's limit leaves, in a round that is so many `ahead` of
        the one that is due."""
        device, dim, count = self.device, self.rows.shape[1], len(self.queries)
        lists = Lists(device, count, 1, 2 * len(self.rows), True, self.metric)
        lists.ended = ahead
        if limits is not None:
            device.write(lists.limits, keys_of(limits, self.metric))
        family = self.kernel[: self.kernel.index("s_") + 1]
        scan(
            device, family, self.asked, self.there, None, 0, len(self.rows), 0, lists, self.scale,
            layout.rounding(dim), dim * 2.0**-124, self.kernel,
            Products(self.plane[0], dim, self.metric == "cosine"),
        )  # fmt: skip
        counts, keys, uppers, ids = lists.listed()
        lowers, uppers = (distances_of(some, self.metric) for some in (keys, uppers))
        return [
            {
                int(ids[q, i]): (float(lowers[q, i]), float(uppers[q, i]))
                for i in range(int(counts[q]))
            }
            for q in range(count)
        ]

    def check(self) -> list[dict[int, tuple[float, float]]]:
        """Bounds enclose the definition; what a limit leaves is all that is within it."""
        distances = np.array(
            [reference.DISTANCE[self.metric](query, self.rows) for query in self.queries]
        )
        every = self.within()
        for found, true in zip(every, distances, strict=True):
            assert sorted(found) == list(range(len(self.rows)))
            for row, (lower, upper) in found.items():
                assert lower <= true[row] <= upper
        for rank in {0, len(self.rows) // 3, len(self.rows) - 1}:
            limits = np.sort(distances, axis=1)[:, rank]
            for found, true, limit in zip(self.within(limits), distances, limits, strict=True):
                assert set(np.flatnonzero(true <= limit)) <= set(found)
        return every


@pytest.mark.parametrize(("capability", "kernel"), SKETCHES)
@settings(max_examples=40)
@given(
    metric=st.sampled_from(PRODUCTS),
    seed=st.integers(0, 2**32),
    dim=st.integers(2, 70),
    largest=st.sampled_from((1, 3, 20, 255)),
    lo=st.sampled_from((0.0, -10.0, -1.5, 7.0, -128.0)),
    step=st.sampled_from((1.0, 0.125)),
    off=st.sampled_from(((1, 0), (0, 1), (1, 1), (0.1, 0.1))),
)
@example(metric="cosine", seed=0, dim=40, largest=20, lo=0.0, step=1.0, off=(1, 0))
@example(metric="ip", seed=0, dim=40, largest=20, lo=0.0, step=1.0, off=(0, 1))
def test_residuals_that_point_where_they_hurt(
    capability, kernel, metric, seed, dim, largest, lo, step, off
):
    query, rows = residuals_that_hurt(seed, dim, largest, lo, step, off)
    Scanned(capability, kernel, metric, query, rows, (lo, step)).check()


@pytest.mark.parametrize(("capability", "kernel"), SKETCHES[:2])
@settings(max_examples=40)
@given(
    metric=st.sampled_from(PRODUCTS), seed=st.integers(0, 2**32), dim=st.integers(3, 300),
    half=st.sampled_from((8355711.0, 8388607.0, 8421504.0)),
)  # fmt: skip
def test_sums_of_sketches_that_cancel(capability, kernel, metric, seed, dim, half):
    rows, lo, step = sums_that_cancel(seed, dim, half)
    Scanned(capability, kernel, metric, rows[:2], rows, (lo, step)).check()


@pytest.mark.parametrize("metric", PRODUCTS)
@pytest.mark.parametrize("scale", [2.0**-70, 2.0**-30, 1.0, 2.0**25, 2.0**60])
@pytest.mark.parametrize(("capability", "kernel"), SKETCHES[:2])
def test_sketches_at_every_scale(capability, kernel, scale, metric):
    """Steps whose squares float32 does not hold, and next to rows that it does."""
    rng = np.random.default_rng(1)
    rows = (rng.standard_normal((20, 24)) * scale).astype(np.float32)
    rows[5] = 0
    rows[6] *= np.float32(1e-3)
    plane = sketch.choose(rows)
    Scanned(capability, kernel, metric, rows[:3], rows, plane).check()


def true_dot(query: np.ndarray, row: np.ndarray) -> Fraction:
    """Rational: nothing is rounded."""
    return sum(
        (Fraction(float(a)) * Fraction(float(b)) for a, b in zip(query, row, strict=True)),
        Fraction(0),
    )


@pytest.mark.parametrize("metric", PRODUCTS)
def test_roundings_of_float32_that_add_up(metric):
    """Each term is half a unit of the sum in its last place, and lost: nearly as much as the bound
    allows. Only the order of a tile's sums, number by number, is known to lose them all."""
    dim = 512
    rows = np.ones((5, dim), np.float32)
    rows[:, 0] = 4096
    rows[1:3] *= -1
    rows[2] *= np.float32(1e-10)
    scanned = Scanned((7, 5), "dot_floats_tile", metric, rows[:1], rows)
    [found] = scanned.check()
    if metric == "ip":
        lower, upper = found[0]
        middle, reach = (Fraction(lower) + Fraction(upper)) / 2, (upper - lower) / 2
        off = abs(middle + true_dot(rows[0], rows[0]))
        assert off == dim - 1  # all ones
        assert 0.9 * reach < off < reach


@pytest.mark.parametrize("kernel", FLOATS)
@pytest.mark.parametrize("metric", PRODUCTS)
@pytest.mark.parametrize(
    ("small", "large"), [(1e-40, 3e38), (1e-39, 1e17), (1e-24, 1e-24), (1e-30, 1e10), (2e-23, 1.0)]
)
def test_products_that_are_flushed_or_overflow(kernel, metric, small, large):
    """A subnormal number beside a huge one is no small part of a sum, and flushed all the same."""
    rng = np.random.default_rng(0)
    rows = (rng.choice([-1, 1], (12, 40)) * large).astype(np.float32)
    queries = (rng.choice([-1, 1], (4, 40)) * small).astype(np.float32)
    queries[1, 0] = large
    rows[3:6, 1:] = small
    rows[6], queries[3] = 0, 0
    Scanned((7, 5), kernel, metric, queries, rows).check()


@pytest.mark.parametrize("kernel", FLOATS)
@settings(max_examples=60)
@given(
    metric=st.sampled_from(PRODUCTS), seed=st.integers(0, 2**32), dim=st.integers(1, 70),
    spread=st.sampled_from((0, 3, 20, 38)),
)  # fmt: skip
def test_parallel_and_opposite_rows(kernel, metric, seed, dim, spread):
    """Cosines of 1 and -1, where every rounding crosses an end."""
    rng = np.random.default_rng(seed)
    query = (rng.standard_normal((1, dim)) * 10.0 ** rng.uniform(-spread, spread, (1, dim))).astype(
        np.float32
    )
    query[~np.isfinite(query)] = 1
    with np.errstate(over="ignore"):
        rows = np.concatenate([query * f for f in (1, 3, 0.7, -1, -3, 2.0**-20)]).astype(np.float32)
    rows[~np.isfinite(rows)] = 1
    Scanned((7, 5), kernel, metric, query, rows).check()


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=40))
def test_keys_order_as_distances_do(numbers):
    distances = np.array(numbers)
    for metric in PRODUCTS:
        keys = keys_of(distances, metric)
        assert (distances_of(keys, metric) == distances).all()
        for a, b in zip(range(len(keys) - 1), range(1, len(keys)), strict=True):
            assert (keys[a] < keys[b]) == (distances[a] < distances[b])
        assert int(keys.max()) <= no_limit(metric)
    positive = np.abs(distances)
    assert (keys_of(positive, "l2") == positive.view(np.uint64)).all()


@pytest.mark.parametrize(
    ("capability", "kernel"), [*SKETCHES, *(((7, 5), kernel) for kernel in FLOATS)]
)
def test_no_scan_lists_what_is_not_due(capability, kernel):
    rows = np.random.default_rng(0).integers(0, 9, (9, 16)).astype(np.float32)
    plane = None if kernel in FLOATS else (0.0, 1.0)
    scanned = Scanned(capability, kernel, "cosine", rows.copy(), rows, plane)
    assert scanned.within(ahead=1) == [{}] * 9
    assert all(scanned.within())
