"""Bounds of cosine and inner product: they enclose the definition, whatever the data and the
parameters of the sketches; and no comparison before them is stricter."""

from __future__ import annotations

import numpy as np
import pytest
from contract_data import FLOAT_DATA, LEVELS, QUERIES, floats
from dot_data import residuals_that_hurt, sums_that_cancel
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vsearch_fast.kernels import layout, reference, sketch, sketch_dot, sketch_scan
from vsearch_fast.kernels.memory import aligned
from vsearch_fast.kernels.simd_u8 import PRODUCT, number_of, signed_queries
from vsearch_fast.search.cpu.tiers import tiers_of
from vsearch_fast.search.rows import Sources, padded_to

NUMBERS = sorted({number_of(level) for level in LEVELS})
PRODUCTS = ("cosine", "ip")

#: Data of which float32 loses products, or their squares.
TINY = {
    "tiny": lambda rng, shape: (rng.choice([-1, 1], shape) * 10.0 ** rng.uniform(-24, -18, shape))
    .astype(np.float32),
    "tiny and alike": lambda rng, shape: (3e-23 * (1 + rng.random(shape))).astype(np.float32),
}  # fmt: skip


def sketched(rows, lo, step):
    rows = np.ascontiguousarray(rows, np.float32)
    data = aligned((len(rows), layout.width_of(rows.shape[1])), np.uint8)
    facts = np.empty((len(rows), layout.FACTS))
    sketch.sketch_rows(rows.ctypes.data, rows.strides[0], rows.shape[1], lo, step, data, facts)
    return data, facts


def scanned(metric, queries, rows, lo, step, level, limits=None, live=None, tile_rows=3):
    """Lower and upper bounds (q, n) of the pairs that a scan lists, NaN of those it does not.

    Upper bounds are in no order of rows: each query's in the order in which they were found.
    """
    count, (n, dim) = len(queries), rows.shape
    padded = padded_to(np.ascontiguousarray(queries, np.float32), 4)
    x, x_facts = sketched(rows, lo, step)
    q, q_facts = sketched(padded, lo, step)
    if signed_queries(PRODUCT, level):
        q ^= 128
    make_terms = tiers_of(metric, padded, count).terms
    assert make_terms is not None
    terms = make_terms(q_facts, lo, step)
    if live is None:
        live = np.empty(0, np.uint8)
        live.flags.writeable = False
    capacity = 2 * n + 64
    uppers, counts = np.full((len(padded), capacity), np.nan), np.zeros(len(padded), np.int64)
    room = 2 * n * count + 64
    listed = np.empty(room, np.int32), np.empty(room, np.int64), np.empty(room)
    held = np.full(len(padded), np.inf)
    if limits is not None:
        held[:count] = limits
    wide = x.shape[1] > sketch_scan.NARROW
    stop, refined, pairs = sketch_dot.scanner(level, wide)(
        q.ctypes.data, x.shape[1], count, *terms, x.ctypes.data, x.shape[1],
        x_facts, step, layout.rounding(dim), 0, n, 1000, live, tile_rows, n + 32,
        uppers, counts, held, held.copy(), np.arange(capacity), *listed, 0, 0,
    )  # fmt: skip
    assert (stop, refined) == (n, 0)
    lowers = np.full((count, n), np.nan)
    lowers[listed[0][:pairs], listed[1][:pairs] - 1000] = listed[2][:pairs]
    assert np.count_nonzero(~np.isnan(lowers)) == pairs
    assert not counts[count:].any()
    return lowers, uppers[:count], counts[:count]


def defined(metric, queries, rows):
    return np.array([reference.DISTANCE[metric](query, rows) for query in queries])


def check(metric, queries, rows, lo, step, level):
    """Bounds enclose the definition; what a limit lets through is all that is within it."""
    distances = defined(metric, queries, rows)
    lowers, uppers, counts = scanned(metric, queries, rows, lo, step, level)
    assert (lowers <= distances).all()
    # An upper bound that says nothing (infinity) is not held.
    for query in range(len(queries)):
        if counts[query] == len(rows):
            assert (uppers[query, : len(rows)] >= distances[query]).all()
    for rank in {0, len(rows) // 3, len(rows) - 1}:
        limits = np.sort(distances, axis=1)[:, rank]
        listed, _, _ = scanned(metric, queries, rows, lo, step, level, limits)
        assert not np.isnan(listed[distances <= limits[:, None]]).any()


@pytest.mark.parametrize("level", NUMBERS)
@pytest.mark.parametrize("metric", PRODUCTS)
@pytest.mark.parametrize("dim", [5, 300, 16_400])
@pytest.mark.parametrize("queries", [1, 3, 4, 9])
@pytest.mark.parametrize("data", ["far offset", "scale changes", "saturated", "gaussian"])
def test_bounds_of_a_scan(level, metric, dim, queries, data):
    rng = np.random.default_rng(dim)
    rows, some = (np.asarray(a, np.float32) for a in floats(data, "alike", rng, 11, queries, dim))
    check(metric, some, rows, *sketch.choose(np.ascontiguousarray(rows)), level)


@settings(max_examples=300)
@given(
    metric=st.sampled_from(PRODUCTS),
    data=st.sampled_from(sorted(FLOAT_DATA)),
    kind=st.sampled_from(QUERIES),
    seed=st.integers(0, 2**32),
    dim=st.integers(1, 200),
    queries=st.integers(1, 5),
    moved=st.sampled_from((0, 0, -3, 0.4, 1e6)),
    scaled=st.sampled_from((1, 1, 2.0**-10, 0.3, 1e5)),
)
def test_bounds_of_any_data_by_any_parameters(
    metric, data, kind, seed, dim, queries, moved, scaled
):
    """Also parameters that fit these rows badly, or not at all."""
    rng = np.random.default_rng(seed)
    rows, some = (np.asarray(a, np.float32) for a in floats(data, kind, rng, 9, queries, dim))
    lo, step = sketch.choose(np.ascontiguousarray(rows))
    lo, step = lo + moved * step, sketch._rounded_step(step * scaled)
    if not np.isfinite(lo + 255 * step):
        return
    check(metric, some, rows, lo, step, NUMBERS[0])


@settings(max_examples=400)
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
def test_residuals_that_point_where_they_hurt(metric, seed, dim, largest, lo, step, off):
    """Residuals of random data nearly cancel. These add up: they reach the bounds themselves."""
    query, rows = residuals_that_hurt(seed, dim, largest, lo, step, off)
    check(metric, query, rows, lo, step, NUMBERS[0])


@settings(max_examples=200)
@given(
    metric=st.sampled_from(PRODUCTS), seed=st.integers(0, 2**32), dim=st.integers(3, 300),
    half=st.sampled_from((8355711.0, 8388607.0, 8421504.0)),
)  # fmt: skip
def test_sums_of_sketches_that_cancel(metric, seed, dim, half):
    """What is left is rounding."""
    rows, lo, step = sums_that_cancel(seed, dim, half)
    check(metric, rows[:2], rows, lo, step, NUMBERS[0])


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), dim=st.integers(500, 2000))
@example(seed=13, dim=1000)
@example(seed=22, dim=1000)
def test_roundings_below_zero(seed, dim):
    """Parallel rows, on their sketches exactly, of sums beyond 53 bits: the definition may be less
    than 0, or above 2."""
    rng = np.random.default_rng(seed)
    step = 65793.0
    query = rng.integers(-14, 15, dim)
    rows = query * np.array([3, 7, 9, -3, -7, -9])[:, None]
    check("cosine", (query[None] * step).astype(np.float32), (rows * step).astype(np.float32),
          -128 * step, step, NUMBERS[0])  # fmt: skip


def test_a_limit_beyond_the_opposite_direction():
    """A query that is far from its sketch, and a row opposite to that: it is not the farthest."""
    query = np.array([[1, 0.45]], np.float32)
    rows = np.array([[-1, 0], [-9, -3], [5, 5]], np.float32)
    check("cosine", query, rows, -10.0, 1.0, NUMBERS[0])


def test_bounds_are_not_lax():
    """An answer would be right without bounds, too: these may be so wide and no wider."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, 400)).astype(np.float32)
    lo, step = sketch.choose(rows)
    facts = sketched(rows, lo, step)[1]
    sizes = np.linalg.norm(rows, axis=1)
    shares = facts[:, layout.E2] / sizes
    for metric, unit in (("ip", sizes[:4, None] * sizes), ("cosine", 1)):
        distances = defined(metric, rows[:4], rows)
        lowers, _, _ = scanned(metric, rows[:4], rows, lo, step, NUMBERS[0])
        reach = (distances - lowers) / unit
        assert (reach <= 2.02 * (shares[:4, None] + shares)).all()
        limits = np.sort(lowers, axis=1)[:, 20]
        listed, _, _ = scanned(metric, rows[:4], rows, lo, step, NUMBERS[0], limits)
        assert (np.count_nonzero(~np.isnan(listed), axis=1) == 21).all()


def test_a_tile_that_float32_cannot_hold_excludes_nothing():
    """Terms beyond 1e18 steps, whose sums would be infinite, or of either sign infinite."""
    rng = np.random.default_rng(1)
    rows = (rng.choice([-1, 1], (9, 40)) * 10.0 ** rng.uniform(15, 38, (9, 40))).astype(np.float32)
    for lo, step in ((0.0, 1.0), (-1e30, 1.0), (1e38, 2.0**-20), (-3e38, 1.0)):
        for metric in PRODUCTS:
            check(metric, rows[:3], rows, lo, step, NUMBERS[0])


@settings(max_examples=200)
@given(
    metric=st.sampled_from(PRODUCTS),
    data=st.sampled_from(sorted([*FLOAT_DATA, *TINY])),
    seed=st.integers(0, 2**32),
    dim=st.integers(1, 300),
)
def test_bounds_in_float32_enclose_the_definition(metric, data, seed, dim):
    rng = np.random.default_rng(seed)
    make = {**FLOAT_DATA, **TINY}[data]
    rows, queries = (np.ascontiguousarray(make(rng, (n, dim)), np.float32) for n in (7, 3))
    queries[0], queries[1, : dim // 2] = rows[0], 0
    if data in TINY:  # of which float32 holds the products, and not the squares
        queries[2] *= np.float32(1e20)
    distances = defined(metric, queries, rows)
    pairs = [(query, row) for query in range(3) for row in range(7)]
    for query, row in pairs:  # one by one, so that the upper bound is known, too
        lowers, uppers = np.full(1, -np.inf), np.full((3, 40), np.inf)
        counts, caps = np.zeros(3, np.int64), np.full(3, np.inf)
        sources = Sources.of([(0, rows)])
        where = (
            queries.ctypes.data, queries.strides[0], dim,
            sources.firsts, sources.bases, sources.strides, sources.halves,
            np.array([query], np.int32), np.array([row], np.int64), lowers, 0, 1, 8,
        )  # fmt: skip
        tiers = tiers_of(metric, queries, 3)
        assert tiers.near(*where, uppers, counts, caps, np.arange(40)) == 1
        assert lowers[0] <= distances[query, row] <= uppers[query, 0]
        best, ids = np.empty((3, 40)), np.empty((3, 40), np.int64)
        held, limits = np.zeros(3, np.int64), np.full(3, np.inf)
        assert tiers.exact(*where, caps, best, ids, held, limits) == 1
        assert (best[query, 0], ids[query, 0]) == (distances[query, row], row)
