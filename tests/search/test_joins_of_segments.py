"""Joins of several arrays, and of two sides, equal the definition to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from contract_data import CUTS, FLOAT_DATA, METRICS, assert_same, codes, cut_as, floats
from hypothesis import given
from hypothesis import strategies as st

from vsearch_fast.errors import ArgumentError
from vsearch_fast.kernels import reference
from vsearch_fast.search.joins import cross_join_segments, self_join_segments
from vsearch_fast.search.sketches import build
from vsearch_fast.words import LEAST


def made(metric, data, rng, rows, dim, dtype):
    if metric == "hamming":
        found, _ = codes(data, rng, rows, 0, dim)
    else:
        found, _ = floats(data, "alike", rng, rows, 0, dim)
        if dtype == "float16":
            found = found.clip(-60_000, 60_000)
        found = found.astype(dtype)
    if rows > 4:
        found = found[rng.integers(rows, size=rows)]  # some rows twice
    return found


def cut(array, rng, pieces):
    """The array in pieces, some of them empty."""
    borders = np.sort(rng.integers(0, len(array) + 1, pieces - 1))
    return np.split(array, borders), borders


def sketched(segments, metric, rng):
    """Sketches of some of the segments; None for no list."""
    if metric == "hamming" or rng.random() < 0.3:
        return None
    return [build(each) if len(each) and rng.random() < 0.6 else None for each in segments]


class Told:
    """Notes which rows are read."""

    def __init__(self, segments):
        self.starts = np.cumsum([0, *map(len, segments)])
        self.read = np.zeros(self.starts[-1], bool)

    def rows(self, segment, start, stop, live=None):
        part = self.read[self.starts[segment] + start : self.starts[segment] + stop]
        part |= True if live is None else live.astype(bool)

    def sketches(self, segment, start, stop, live=None):
        pass

    def reduced(self, segment, start, stop, live=None):
        pass

    def pairs(self, ids):
        self.read[ids] = True


shapes = {
    "metric": st.sampled_from(METRICS), "strategy": st.sampled_from(("auto", "sketch", "scan")),
    "data": st.sampled_from(tuple(FLOAT_DATA)), "rows": st.integers(0, 60),
    "dim": st.sampled_from((1, 33, 200)), "pieces": st.integers(1, 5), "masked": st.booleans(),
    "dtype": st.sampled_from(("float32", "float16")), "name": st.sampled_from(tuple(CUTS)),
    "threads": st.sampled_from((1, 3, None)), "block": st.sampled_from((1, 7, 10**6)),
    "seed": st.integers(0, 2**32 - 1),
}  # fmt: skip


def radius_at(rng, metric, one, two):
    """A distance that some pair has, or the least."""
    if not len(one) or not len(two):
        return 1.0
    query = one[rng.integers(len(one))][None]
    distances = reference.topk(query, two, len(two), metric)[0].ravel()
    return max(float(rng.choice(distances)), float(LEAST[metric]))


def gathered(blocks, like):
    parts = [like, *blocks]
    i, j, distances = (np.concatenate([part[n] for part in parts]) for n in range(3))
    order = np.lexsort((j, i))
    return i[order], j[order], distances[order]


@given(**shapes)
def test_a_self_join_of_segments(
    metric, strategy, data, rows, dim, pieces, masked, dtype, name, threads, block, seed
):
    rng = np.random.default_rng(seed)
    database = made(metric, data, rng, rows, dim, dtype)
    segments, borders = cut(database, rng, pieces)
    live = rng.random(rows) < 0.7 if masked else None
    masks = None if live is None else np.split(live, borders)
    radius = radius_at(rng, metric, database, database)
    want = reference.self_join(database, radius, metric, live)
    told = Told(segments)
    done = []
    with cut_as(name):
        blocks = list(
            self_join_segments(
                segments, radius, metric=metric, masks=masks,
                sketches=sketched(segments, metric, rng), reading=told, strategy=strategy,
                threads=threads, block=block, progress=lambda *each: done.append(each),
            )
        )  # fmt: skip
    assert all(len(i) <= max(block, rows) and (i < j).all() for i, j, _ in blocks)
    assert_same(gathered(blocks, [each[:0] for each in want]), want)
    every = np.ones(rows, bool) if live is None else live
    assert (told.read == every).all()  # checksums see what is compared, and nothing else
    if every.any():
        assert done[-1] == (every.sum(), every.sum())


@given(**shapes, others=st.integers(0, 40))
def test_a_cross_join_is_a_range_search_of_each_row(
    metric, strategy, data, rows, dim, pieces, masked, dtype, name, threads, block, seed, others
):
    rng = np.random.default_rng(seed)
    every = made(metric, data, rng, rows + others, dim, dtype)
    one, two = every[:rows], every[rows:]
    left, left_borders = cut(one, rng, pieces)
    right, borders = cut(two, rng, pieces)
    radius = radius_at(rng, metric, one, two)
    left_live = rng.random(rows) < 0.7 if masked else np.ones(rows, bool)
    live = rng.random(others) < 0.7 if masked else np.ones(others, bool)
    masks: dict[str, Any] = {
        "left_masks": np.split(left_live, left_borders),
        "masks": np.split(live, borders),
    }
    told = Told(left)
    with cut_as(name):
        blocks = list(
            cross_join_segments(
                left, right, radius, metric=metric, **(masks if masked else {}),
                sketches=sketched(right, metric, rng), left_reading=told, strategy=strategy,
                threads=threads, block=block,
            )
        )  # fmt: skip
    offsets, distances, ids = reference.range_search(one, two, np.full(rows, radius), metric, live)
    numbers = np.repeat(np.arange(rows), np.diff(offsets))
    kept = left_live[numbers]
    numbers, ids, distances = numbers[kept], ids[kept], distances[kept]
    order = np.lexsort((ids, numbers))
    got = [np.concatenate([numbers[:0], *(each[0] for each in blocks)])]
    got += [np.concatenate([ids[:0], *(each[1] for each in blocks)])]
    got += [np.concatenate([distances[:0], *(each[2] for each in blocks)])]
    assert_same(got, (numbers[order], ids[order], distances[order]))  # in that order, too
    assert all(len(each[0]) <= max(block, others) for each in blocks)
    assert (told.read == left_live).all()


def test_arguments_are_refused():
    rows = np.ones((4, 8), np.float32)
    with pytest.raises(ArgumentError, match="queries have 8 columns and database segment 1 has 9"):
        list(self_join_segments([rows, np.ones((2, 9), np.float32)], 1.0, metric="l2"))
    with pytest.raises(ArgumentError, match="radius is -1"):
        list(cross_join_segments([rows], [rows], -1.0, metric="l2"))
    bad = rows.copy()
    bad[2, 3] = np.nan
    for segments in ([rows, bad], [bad, rows]):
        row = 2
        number = 1 if segments[1] is bad else 0
        with pytest.raises(ArgumentError, match=f"row {row} of database segment {number}"):
            list(cross_join_segments(segments, [rows], 1.0, metric="l2"))
