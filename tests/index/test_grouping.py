"""Groups of rows, compared with their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch_fast.index.grouping import Connected, complete, members


def connected_by_definition(rows, pairs):
    """Labels spread along pairs until nothing changes."""
    labels = list(range(rows))
    while True:
        before = list(labels)
        for i, j in pairs:
            labels[i] = labels[j] = min(labels[i], labels[j])
        if labels == before:
            return labels


def complete_by_definition(labels, pairs):
    """The two groups whose farthest pair is the nearest are joined, over and over."""
    groups = [sorted(np.flatnonzero(labels == label).tolist()) for label in sorted(set(labels))]
    known = {frozenset(pair): rank for rank, pair in enumerate(pairs)}  # by distance, then rows
    while True:
        best = None
        for a, b in itertools.combinations(groups, 2):
            last = max(known.get(frozenset((i, j)), np.inf) for i in a for j in b)
            if last < np.inf and (best is None or last < best[0]):
                best = last, a, b
        if best is None:
            break
        _, a, b = best
        groups = [g for g in groups if g not in (a, b)] + [sorted(a + b)]
    found = np.empty(len(labels), np.int64)
    for group in groups:
        found[group] = group[0]
    return found.tolist()


pairs_of_rows = st.integers(1, 12).flatmap(
    lambda rows: st.tuples(
        st.just(rows),
        st.lists(st.tuples(st.integers(0, rows - 1), st.integers(0, rows - 1)), max_size=40),
    )
)


@given(pairs_of_rows, st.integers(1, 7), st.randoms(use_true_random=False))
def test_connected_groups_are_those_of_the_definition(given_pairs, block, random):
    rows, pairs = given_pairs
    want = connected_by_definition(rows, pairs)
    random.shuffle(pairs)
    groups = Connected(rows)
    for start in range(0, len(pairs), block):
        part = np.array(pairs[start : start + block], np.int64)
        groups.add(part[:, 0], part[:, 1])
    assert groups.labels().tolist() == want


@given(
    st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.5, 0.8, 1.0]),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_complete_groups_are_those_of_the_definition(rows, seed, share, ties, taken):
    rng = np.random.default_rng(seed)
    every = np.array(list(itertools.combinations(range(rows), 2)), np.int64).reshape(-1, 2)
    every = every[rng.random(len(every)) < share]
    distances = rng.integers(0, 3 if ties else 1000, len(every)).astype(np.float64)
    labels = np.arange(rows)
    if taken and rows > 2:
        first, second = sorted(rng.choice(rows, 2, replace=False).tolist())
        labels[second] = first
    order = np.lexsort((every[:, 1], every[:, 0], distances))
    want = complete_by_definition(labels, every[order].tolist())
    shuffled = rng.permutation(len(every))
    got = complete(labels, every[shuffled, 0], every[shuffled, 1], distances[shuffled])
    assert got.tolist() == want
    # Every two rows of a group are a pair, or were taken for one.
    known = {tuple(pair) for pair in every.tolist()}
    for group in members(got):
        for i, j in itertools.combinations(group.tolist(), 2):
            assert (i, j) in known or labels[i] == labels[j] or taken


def test_a_chain_is_one_connected_group_and_several_complete_ones():
    i, j, distances = np.arange(4), np.arange(1, 5), np.array([3.0, 1.0, 2.0, 1.0])
    groups = Connected(6)
    groups.add(i, j)
    assert groups.labels().tolist() == [0, 0, 0, 0, 0, 5]
    assert [g.tolist() for g in members(groups.labels())] == [[0, 1, 2, 3, 4]]
    got = complete(np.arange(6), i, j, distances)
    assert [g.tolist() for g in members(got)] == [[1, 2], [3, 4]]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_rows_without_pairs_are_in_no_group(rows):
    none = np.empty(0, np.int64)
    assert list(members(Connected(rows).labels())) == []
    assert list(members(complete(np.arange(rows), none, none, np.empty(0)))) == []
