"""The tiers after the sketches, and the list of pairs between them: `kernels.refine`, `pairs`
and the bounds that `select` holds."""

from __future__ import annotations

import numpy as np
import pytest
from contract_data import DIFFERENCES, FLOAT_DATA, LAYOUTS, QUERIES, assert_same, floats
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast.kernels import pairs, reference, refine, select
from vsearch_fast.kernels.halves import widen_rows
from vsearch_fast.search.cpu.buffers import merge
from vsearch_fast.search.rows import Sources, readable

READABLE = ("contiguous", "every other row", "backwards", "part of wider rows", "unaligned")


class Tiers:
    """Calls both tiers for listed pairs of queries and of rows in several arrays."""

    def __init__(self, queries, arrays, k, metric, listed, lowers=None):
        self.queries = np.ascontiguousarray(queries, np.float32)
        self.arrays = arrays  # their memory is read by address
        firsts = np.cumsum([0, *map(len, arrays)])[:-1].tolist()
        self.sources = Sources.of(
            [(first, a) for first, a in zip(firsts, arrays, strict=True) if len(a)]
        )
        self.squared = metric == "l2"
        self.k = k
        self.pair_queries = np.array([query for query, _ in listed], np.int32)
        self.pair_rows = np.array([row for _, row in listed], np.int64)
        self.lowers = np.zeros(len(listed)) if lowers is None else lowers
        count, capacity = len(queries), k + max(k, 32)
        self.limits = np.full(count, np.inf)
        self.caps = np.full(count, np.inf)
        self.uppers, self.upper_counts = np.empty((count, capacity)), np.zeros(count, np.int64)
        self.distances = np.empty((1, count, capacity))
        self.ids = np.empty((1, count, capacity), np.int64)
        self.counts = np.zeros((1, count), np.int64)
        self.order = np.arange(capacity)

    def _pairs(self, start, stop):
        s = self.sources
        return (
            self.queries.ctypes.data, self.queries.strides[0], self.queries.shape[1],
            s.firsts, s.bases, s.strides, s.halves,
            self.pair_queries, self.pair_rows, self.lowers, start, stop, self.k,
        )  # fmt: skip

    def float32(self, start=0, stop=None):
        stop = len(self.lowers) if stop is None else stop
        return refine.refine_f32(
            *self._pairs(start, stop), self.uppers, self.upper_counts, self.caps, self.order,
            self.squared,
        )  # fmt: skip

    def float64(self):
        return refine.refine_f64(
            *self._pairs(0, len(self.lowers)), self.caps, self.distances[0], self.ids[0],
            self.counts[0], self.limits, self.squared,
        )  # fmt: skip

    def best(self):
        count = len(self.queries)
        distances, ids = np.empty((count, self.k)), np.empty((count, self.k), np.int64)
        merge(self.distances, self.ids, self.counts, distances, ids)
        return distances, ids


def every_pair(queries, rows):
    return [(query, row) for row in range(rows) for query in range(queries)]


@pytest.mark.parametrize("data", FLOAT_DATA)
@pytest.mark.parametrize("kind", QUERIES)
@pytest.mark.parametrize("metric", DIFFERENCES)
def test_float32_bounds_enclose_the_defined_distance(data, kind, metric):
    """Sums that overflow, underflow or cancel included: also where nothing is left of them."""
    for dim in (1, 7, 64, 65, 1000):
        rows, queries = floats(data, kind, np.random.default_rng(dim), 30, 4, dim)
        if rows.dtype == np.float64:
            rows = rows.astype(np.float32)
        listed = every_pair(4, 30)
        tiers = Tiers(queries, [rows], 30, metric, listed)  # no limit before 62 bounds
        assert tiers.float32() == 120
        defined = np.array([reference.DISTANCE[metric](q, rows) for q in tiers.queries])
        wanted = np.array([defined[pair] for pair in listed])
        assert (tiers.lowers <= wanted).all()
        assert np.isinf(tiers.caps).all()
        for query in range(4):
            uppers = tiers.uppers[query, : tiers.upper_counts[query]]
            known = tiers.lowers.reshape(30, 4)[:, query] > 0
            if len(uppers) == 30:  # none overflowed: they stand in order of the rows
                assert (uppers >= defined[query]).all()
                # Float32 has 24 bits: bounds that say much less would be valid, too.
                width = uppers - tiers.lowers.reshape(30, 4)[:, query]
                tiny = dim * 2.0**-60 if metric == "l2" else dim * 2.0**-124
                assert (width <= 4 * (dim / 64 + 17) * 2.0**-24 * uppers + tiny).all()
            else:
                assert known.sum() <= len(uppers) < 30
                assert np.abs(rows.astype(float)).max() > 1e18 or kind == "far"


@pytest.mark.parametrize("metric", DIFFERENCES)
def test_float32_keeps_better_bounds_and_skips_what_is_out(metric):
    rows = np.random.default_rng(0).standard_normal((20, 50)).astype(np.float32)
    listed = every_pair(1, 20)
    defined = reference.DISTANCE[metric](rows[0], rows)
    better = defined * (1 - 1e-12)
    tiers = Tiers(rows[:1], [rows], 3, metric, listed, better.copy())
    tiers.caps[0] = np.sort(better)[9]
    assert tiers.float32() == 10  # what is at the limit is computed
    assert (tiers.lowers == better).all()
    # Limits fall to the k-th smallest upper bound, no lower than what it is a bound of.
    rows = np.random.default_rng(0).standard_normal((200, 50)).astype(np.float32)
    defined = np.sort(reference.DISTANCE[metric](rows[0], rows))
    tiers = Tiers(rows[:1], [rows], 3, metric, every_pair(1, 200))
    tiers.float32()
    assert defined[2] <= tiers.caps[0] < np.inf
    before = tiers.lowers.copy()
    tiers.float32(50, 60)  # these alone
    assert (tiers.lowers == before).all()


@settings(max_examples=150)
@given(
    data=st.sampled_from(tuple(FLOAT_DATA)),
    kind=st.sampled_from(QUERIES),
    metric=st.sampled_from(DIFFERENCES),
    layouts=st.lists(st.sampled_from(READABLE), min_size=1, max_size=4),
    half=st.lists(st.booleans(), min_size=4, max_size=4),
    rows=st.integers(1, 60),
    queries=st.integers(1, 4),
    dim=st.sampled_from((0, 1, 2, 8, 63, 64, 100)),
    k=st.integers(1, 40),
    bounded=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_tiers_decide_by_the_definition(
    data, kind, metric, layouts, half, rows, queries, dim, k, bounded, seed
):
    """Pairs in any order, of rows in several arrays, some of float16."""
    rng = np.random.default_rng(seed)
    database, query = floats(data, kind, rng, rows, queries, dim)
    parts = np.split(database, np.sort(rng.integers(0, rows + 1, len(layouts) - 1)))
    arrays = []
    for part, layout, halved in zip(parts, layouts, half, strict=False):
        if halved:
            part = np.clip(part, -65504, 65504).astype(np.float16)
        elif part.dtype == np.float64:
            part = part.astype(np.float32)
        arrays.append(LAYOUTS[layout](part))
        assert readable(arrays[-1]) or len(part) == 0
    stored = np.concatenate([array.astype(np.float32) for array in arrays])
    listed = every_pair(queries, rows)
    rng.shuffle(listed)
    k = min(k, rows)
    tiers = Tiers(query, arrays, k, metric, listed)
    if bounded:
        assert tiers.float32() <= len(listed)
    done = tiers.float64()
    assert queries * k <= done <= len(listed)
    assert_same(tiers.best(), reference.topk(query.astype(np.float32), stored, k, metric))


def test_every_half_is_widened_exactly():
    """All 65,536, infinities and NaN included, to the same bits as NumPy's."""
    halves = np.arange(1 << 16, dtype=np.uint16)
    floats32 = np.empty((1, 1 << 16), np.float32)
    widen_rows(halves.ctypes.data, 0, np.zeros(1, np.int64), floats32)
    floats32 = floats32[0]
    want = halves.view(np.float16).astype(np.float32)
    nan = np.isnan(want)
    assert (np.isnan(floats32) == nan).all()
    assert floats32[~nan].tobytes() == want[~nan].tobytes()
    finite = np.isfinite(want)
    # And in the tiers: the distance to zero of each.
    rows = halves.view(np.float16)[finite][:, None]
    tiers = Tiers(np.zeros((1, 1)), [rows], len(rows), "l1", every_pair(1, len(rows)))
    assert tiers.float64() == len(rows)
    zero = np.zeros((1, 1), np.float32)
    assert_same(tiers.best(), reference.topk(zero, rows, len(rows), "l1"))


# The list of pairs


@st.composite
def lists(draw):
    """(list of (query, row, lower bound), how many of them are refined, queries)."""
    queries = draw(st.integers(1, 4))
    lower = st.sampled_from((0.0, 1.0, 1.0, 2.0, 2.5, 3.0, np.inf))
    entries = draw(st.lists(st.tuples(st.integers(0, queries - 1), lower), max_size=60))
    listed = [(query, row, low) for row, (query, low) in enumerate(entries)]
    return listed, draw(st.integers(0, len(listed))), queries


def arrays_of(listed):
    return (
        np.array([query for query, _, _ in listed], np.int32),
        np.array([row for _, row, _ in listed], np.int64),
        np.array([low for _, _, low in listed]),
    )  # fmt: skip


def tuples_of(arrays, start, stop):
    return list(zip(*(a[start:stop].tolist() for a in arrays), strict=True))


@settings(max_examples=200)
@given(lists(), st.lists(st.sampled_from((-1.0, 0.0, 1.0, 2.2, 3.0, np.inf)), min_size=4))
def test_dropping_keeps_what_limits_do_not_exclude(problem, limits):
    """In order, those at the limit too, and refined ones in front."""
    listed, refined, _ = problem
    arrays = arrays_of(listed)
    front, kept = pairs.drop_listed(*arrays, refined, len(listed), np.array(limits))
    stays = [not low > limits[query] for query, _, low in listed]
    want = [pair for pair, stay in zip(listed, stays, strict=True) if stay]
    assert tuples_of(arrays, 0, kept) == want
    assert front == sum(stays[:refined])


@settings(max_examples=200)
@given(lists(), st.integers(1, 12))
def test_the_most_promising_pairs_come_forward(problem, k):
    """Each query's k smallest lower bounds and ties; no pair is lost, refined ones stay."""
    listed, refined, queries = problem
    arrays = arrays_of(listed)
    capacity = k + 3  # full after a few
    order = np.arange(capacity)
    end = pairs.bring_forward(
        *arrays, refined, len(listed), k,
        np.empty((queries, capacity)), np.empty(queries, np.int64), order,
    )  # fmt: skip
    assert sorted(order) == list(range(capacity))
    assert tuples_of(arrays, 0, refined) == listed[:refined]
    want = set()
    for query in range(queries):
        mine = [pair for pair in listed[refined:] if pair[0] == query]
        bounds = sorted(low for _, _, low in mine)
        limit = bounds[k - 1] if len(bounds) >= k else np.inf
        want |= {pair for pair in mine if pair[2] <= limit}
    assert set(tuples_of(arrays, refined, end)) == want
    assert end - refined == len(want)
    assert sorted(tuples_of(arrays, refined, None)) == sorted(listed[refined:])


@settings(max_examples=100)
@given(
    st.lists(
        st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=3, max_size=3),
        min_size=1,
        max_size=3,
    ),
    st.integers(1, 12),
    st.integers(0, 9),
)
def test_limits_are_the_kth_smallest_bound_of_all_workers(held, k, before):
    """``held`` is of each worker and query; a lower limit stays, and so does that of a query
    for which all workers together hold less than k."""
    bounds = np.full((len(held), 3, 8), -1.0)  # places that are not held must not count
    counts = np.array([[len(line) for line in worker] for worker in held], np.int64)
    for w, worker in enumerate(held):
        for q, line in enumerate(worker):
            bounds[w, q, : len(line)] = line
    limits = np.full(3, float(before))
    select.lower_limits(bounds, counts, k, limits)
    for q in range(3):
        pooled = sorted(bound for worker in held for bound in worker[q])
        want = min(before, pooled[k - 1]) if len(pooled) >= k else before
        assert limits[q] == want
