"""The protocol against an example computed by hand, and against plain loops over pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast.evaluate import neighbours as neighbours_module
from vsearch_fast.evaluate.neighbours import eligible_neighbours
from vsearch_fast.evaluate.protocol import Bootstrap, Jaccard, Same, judge
from vsearch_fast.kernels import reference

# Seven pictures on a line; L1 and L2 are |x - y|. Senders: a took 0 1 2, b 3 4, c 5 6.
PLACES = np.array([[0.0], [1.0], [2.0], [4.0], [5.0], [9.0], [11.0]], np.float32)
SENDERS = np.array([0, 0, 0, 1, 1, 2, 2])
# Shirts (0) and hats (1), and one coat (2), which nothing else is.
KINDS = np.array([0, 1, 0, 0, 1, 0, 2])
ALL = np.arange(7)


def by_hand(rule):
    owners = SENDERS if rule == "others" else ALL
    [lists] = eligible_neighbours(PLACES, ALL, [owners], 3, metric="l1", backend="cpu")
    return lists, judge(Same(KINDS), "share", ALL, owners, [lists], (1, 3))


def test_neighbours_by_hand():
    lists, _ = by_hand("others")
    assert lists.tolist() == [
        [3, 4, 5],  # 0 may not match 1 and 2
        [3, 4, 5],
        [3, 4, 5],
        [2, 1, 0],  # at 2, 3, 4; 5 is at 5
        [2, 1, 5],  # at 3, 4, and 4 again: the smaller row number is 1
        [4, 3, 2],
        [4, 3, 2],
    ]
    lists, _ = by_hand("any")
    assert lists[2].tolist() == [1, 0, 3]  # 0 and 3 are both at 2


def test_precision_by_hand():
    _, truth = by_hand("others")
    [gains] = truth.gains
    # P@1: 0 -> 3 shirt, hit; 1 (hat) -> 3 shirt, miss; 2 -> 3 hit; 3 -> 2 hit;
    # 4 (hat) -> 2, miss; 5 -> 4 (hat), miss; 6, the only coat, can have no hit.
    assert gains[:, 0].tolist() == [1, 0, 1, 1, 0, 0, 0]
    thirds = [2, 1, 2, 2, 1, 2, 0]
    np.testing.assert_allclose(gains[:, 1], np.array(thirds) / 3)
    assert truth.counted.all()
    assert truth.matched.tolist() == [True] * 6 + [False]
    # Eligible for 0: 3 4 5 6, two of them shirts; for 3: 0 1 2 5 6, three; for 1: 4 of 4.
    np.testing.assert_allclose(truth.control[:, 0], [2 / 4, 1 / 4, 2 / 4, 3 / 5, 1 / 5, 3 / 5, 0])
    np.testing.assert_allclose(truth.control[:, 1], truth.control[:, 0])


def test_averages_by_hand():
    _, truth = by_hand("others")
    bootstrap = Bootstrap(SENDERS, KINDS, seed=0, draws=500)
    micro = bootstrap.averages(truth.gains[0], truth.counted, "micro")
    macro = bootstrap.averages(truth.gains[0], truth.counted, "macro")
    assert micro.point[0] == pytest.approx(3 / 7)
    # Shirts 3 of 4, hats 0 of 2, coats 0 of 1.
    assert macro.point[0] == pytest.approx((3 / 4 + 0 + 0) / 3)
    # Three senders with sums 2 of 3, 1 of 2, 0 of 2: every draw is one of ten mixtures.
    mixtures = {
        (2 * a + 1 * b) / (3 * a + 2 * b + 2 * c)
        for a, b, c in itertools.product(range(4), repeat=3)
        if a + b + c == 3
    }
    assert {round(x, 9) for x in micro.draws[:, 0]} == {round(x, 9) for x in mixtures}
    low, high = micro.interval(0)
    assert low == 0 and high == pytest.approx(2 / 3)


def test_fewer_eligible_than_k_are_misses():
    owners = np.array([0, 0, 1])
    rows = np.array([[0.0], [1.0], [2.0]], np.float32)
    queries = np.arange(3)
    [lists] = eligible_neighbours(rows, queries, [owners], 5, metric="l2", backend="cpu")
    assert lists.tolist() == [[2, -1, -1, -1, -1], [2, -1, -1, -1, -1], [1, 0, -1, -1, -1]]
    truth = judge(Same(np.zeros(3, np.int64)), "share", queries, owners, [lists], (1, 5))
    np.testing.assert_allclose(truth.gains[0], [[1, 1 / 5], [1, 1 / 5], [1, 2 / 5]])
    np.testing.assert_allclose(truth.control, truth.gains[0])  # there is no choice


def test_item_recall_leaves_out_items_with_one_view():
    items = np.array([0, 0, 1, -1])
    rows = np.array([[0.0], [3.0], [1.0], [2.0]], np.float32)
    queries = owners = np.arange(4)
    [lists] = eligible_neighbours(rows, queries, [owners], 3, metric="l2", backend="cpu")
    truth = judge(Same(items), "found", queries, owners, [lists], (1, 3))
    assert truth.counted.tolist() == [True, True, False, False]
    assert truth.gains[0][:2].tolist() == [[0, 1], [0, 1]]
    np.testing.assert_allclose(truth.control[:2], [[1 / 3, 1], [1 / 3, 1]])


def test_jaccard():
    positive = np.array([[1, 1, 0], [1, 0, 1], [0, 0, 0], [1, 1, 0]], bool)
    relation = Jaccard(positive)
    np.testing.assert_allclose(
        relation.block(np.array([0, 1])), [[1, 1 / 3, 0, 1], [1 / 3, 1, 0, 1 / 3]], rtol=1e-6
    )
    assert relation.known(np.arange(4)).tolist() == [True, True, False, True]


def plain_lists(rows, queries, owner, k, metric, mask):
    """Every distance, then a filter, a query at a time."""
    live = np.ones(len(rows), bool) if mask is None else mask
    out = np.full((len(queries), k), -1)
    for place, query in enumerate(queries):
        _, [ids] = reference.topk(rows[[query]], rows, len(rows), metric)
        chosen = [row for row in ids if live[row] and owner[row] != owner[query]][:k]
        out[place, : len(chosen)] = chosen
    return out


@settings(max_examples=60)
@given(data=st.data())
def test_neighbours_equal_plain_loops(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6), label="seed"))
    count = data.draw(st.integers(2, 90), label="rows")
    groups = data.draw(st.integers(1, count), label="groups")
    k = data.draw(st.integers(1, 12), label="k")
    metric = data.draw(st.sampled_from(["l1", "l2", "hamming"]), label="metric")
    if metric == "hamming":
        rows = rng.integers(0, 4, (count, 2), np.uint8)
    else:  # few values: many ties
        rows = rng.integers(-2, 3, (count, 3)).astype(np.float32)
    owners = [rng.integers(0, groups, count), np.arange(count)]
    mask = rng.random(count) < 0.6 if data.draw(st.booleans(), label="mask") else None
    queries = np.flatnonzero(np.ones(count, bool) if mask is None else mask)[:40]
    if not len(queries):
        return
    # With few spare rows many lists are too short at first.
    before = neighbours_module._SPARE
    neighbours_module._SPARE = data.draw(st.integers(0, 5), label="spare")
    try:
        found = eligible_neighbours(
            rows, queries, owners, k, metric=metric, mask=mask, backend="cpu"
        )
    finally:
        neighbours_module._SPARE = before
    for owner, lists in zip(owners, found, strict=True):
        np.testing.assert_array_equal(lists, plain_lists(rows, queries, owner, k, metric, mask))


@settings(max_examples=60)
@given(data=st.data())
def test_judge_equals_plain_loops(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6), label="seed"))
    count = data.draw(st.integers(2, 9), label="rows")
    kind = data.draw(st.sampled_from(["share", "found"]), label="kind")
    rows = rng.integers(0, 5, (count, 2)).astype(np.float32)
    labels = rng.integers(-1, 3, count)
    owner = rng.integers(0, data.draw(st.integers(1, count)), count)
    mask = rng.random(count) < 0.8 if data.draw(st.booleans(), label="mask") else None
    live = np.ones(count, bool) if mask is None else mask
    queries = np.flatnonzero(live)
    if not len(queries):
        return
    ks = (1, 3)
    [lists] = eligible_neighbours(rows, queries, [owner], 3, metric="l2", mask=mask, backend="cpu")
    truth = judge(Same(labels), kind, queries, owner, [lists], ks, mask)
    for place, query in enumerate(queries):
        eligible = [row for row in range(count) if live[row] and owner[row] != owner[query]]

        def right(row, query=query):
            return labels[row] == labels[query] and labels[query] >= 0

        def gain(ranked, k):
            hits = [right(row) for row in ranked[:k]]
            return sum(hits) / k if kind == "share" else float(any(hits))

        matched = any(map(right, eligible))
        assert truth.matched[place] == matched
        assert truth.counted[place] == (labels[query] >= 0 and (kind == "share" or matched))
        ranked = [row for row in lists[place] if row >= 0]
        for column, k in enumerate(ks):
            assert truth.gains[0][place, column] == pytest.approx(gain(ranked, k))
            # Chance: the mean over every way to draw k of the eligible rows.
            ways = list(itertools.combinations(eligible, min(k, len(eligible))))
            mean = np.mean([gain(way, k) for way in ways])
            assert truth.control[place, column] == pytest.approx(mean)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_bootstrap_equals_plain_loops(seed):
    rng = np.random.default_rng(seed)
    groups, categories = rng.integers(0, 6, 30), rng.integers(0, 4, 30)
    values = rng.random((30, 2))
    counted = rng.random(30) < 0.8
    bootstrap = Bootstrap(groups, categories, seed=seed, draws=20)
    names = np.unique(groups)
    for average in ("micro", "macro"):
        means = bootstrap.averages(values, counted, average)
        for draw in range(20):
            taken = [
                row
                for name, times in zip(names, bootstrap._times[draw].astype(int), strict=True)
                for _ in range(times)
                for row in np.flatnonzero((groups == name) & counted)
            ]
            if not taken:
                assert np.isnan(means.draws[draw]).all()
                continue
            if average == "micro":
                expected = values[taken].mean(axis=0)
            else:
                kinds = categories[taken]
                expected = np.mean(
                    [values[np.array(taken)[kinds == kind]].mean(axis=0) for kind in set(kinds)],
                    axis=0,
                )
            np.testing.assert_allclose(means.draws[draw], expected)


def test_difference_is_paired():
    # A second model that is better by exactly 0.1 everywhere: its lead is certain.
    rng = np.random.default_rng(0)
    first = rng.random(200)
    values = np.stack([first, first + 0.1], axis=1)
    bootstrap = Bootstrap(np.arange(200) // 4, np.zeros(200, np.int64), seed=1)
    means = bootstrap.averages(values, np.ones(200, bool), "micro")
    np.testing.assert_allclose(means.difference(1, 0), [0.1, 0.1, 0.1])
    low, high = means.interval(0)
    assert high - low > 0.02
