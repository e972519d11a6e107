"""`self_join` and its blocks equal the definition to the bit, and compare no two rows twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from contract_data import (
    CUTS,
    DIFFERENCES,
    FLOAT_DATA,
    FLOAT_METRICS,
    LAYOUTS,
    MASKS,
    METRICS,
    assert_same,
    codes,
    cut_as,
    floats,
    gaussian,
    mask_of,
    read_only,
)
from hypothesis import given
from hypothesis import strategies as st

from vsearch_fast.errors import ArgumentError
from vsearch_fast.kernels import reference
from vsearch_fast.search import Sketched, joins, learning, self_join, self_join_blocks
from vsearch_fast.search.arguments import Strategy
from vsearch_fast.search.cpu import within
from vsearch_fast.search.sketches import REDUCED
from vsearch_fast.search.tiling import Tiling
from vsearch_fast.words import LEAST

STRATEGIES: tuple[Strategy, ...] = ("sketch", "scan")


@given(
    metric=st.sampled_from(METRICS), strategy=st.sampled_from(STRATEGIES),
    data=st.sampled_from(tuple(FLOAT_DATA)), layout=st.sampled_from(tuple(LAYOUTS)),
    radius=st.sampled_from(("at", "below", "zero", "least", "infinite")), rows=st.integers(0, 60),
    dim=st.sampled_from((1, 5, 33, 200)), mask=st.sampled_from(MASKS), sketched=st.booleans(),
    cut=st.sampled_from(tuple(CUTS)), threads=st.sampled_from((1, 2, 3, None)),
    block=st.sampled_from((1, 7, 50, 10**6)), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_every_join_equals_the_definition(
    metric, strategy, data, layout, radius, rows, dim, mask, sketched, cut, threads, block, seed
):
    rng = np.random.default_rng(seed)
    if metric == "hamming":
        database, _ = codes(data, rng, rows, 0, dim)
    else:
        database, _ = floats(data, "alike", rng, rows, 0, dim)
    if rows > 4:
        database = database[rng.integers(rows, size=rows)]  # some rows twice
    at = 0.0
    if radius != "zero" and rows:
        at = float(rng.choice(reference.topk(database[:1], database, rows, metric)[0].ravel()))
    least = LEAST[metric]
    below = max(least, float(np.nextafter(at, -np.inf)))
    at = {"below": below, "infinite": np.inf, "least": least}.get(radius, at)
    live = mask_of(mask, rng, rows)
    want = reference.self_join(database, at, metric, live)
    there: Any = read_only(LAYOUTS[layout](database))
    with cut_as(cut):
        if sketched and metric != "hamming":
            there = Sketched(there)
        asked = {"metric": metric, "mask": live, "strategy": strategy, "threads": threads}
        assert_same(self_join(there, at, **asked), want)
        blocks = list(self_join_blocks(there, at, block=block, **asked))
    for i, j, _ in blocks:
        assert len(i) <= max(block, rows) and (i < j).all()
        assert (np.lexsort((j, i)) == np.arange(len(i))).all()
    i, j, distances = (
        np.concatenate([want[n][:0], *(each[n] for each in blocks)]) for n in range(3)
    )
    order = np.lexsort((j, i))
    if metric != "hamming":
        assert (order == np.arange(len(i))).all()
    assert_same((i[order], j[order], distances[order]), want)


@pytest.mark.parametrize("metric", DIFFERENCES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_duplicates_among_rows_that_are_nearly_equal(metric, strategy):
    rows = (30000 + 0.01 * np.random.default_rng(0).standard_normal((700, 96))).astype(np.float32)
    rows[[50, 300, 699]] = rows[20]
    got = self_join(rows, 0, metric=metric, strategy=strategy)
    assert_same(got, reference.self_join(rows, 0, metric))
    assert {(20, 50), (20, 300), (20, 699), (50, 300), (50, 699), (300, 699)} <= set(
        zip(got[0].tolist(), got[1].tolist(), strict=True)
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("cut", ["usual", "reduced"])
def test_no_two_rows_are_compared_twice(metric, strategy, cut, monkeypatch):
    """But for the rows of one block, of which both halves are; reduced ones are no exception."""
    made, rows, size = gaussian(900, 130), 900, 30
    database = reference.pack_bits(made) if metric == "hamming" else made
    compared, reduced = [], []
    search = within.search

    def watched(*arguments, **named):
        work = search(*arguments, **named)
        compared.append(work.sketched + work.scanned + work.reduced)
        reduced.append(work.reduced)
        return work

    monkeypatch.setattr(within, "_QUERIES", size)
    monkeypatch.setattr(joins, "on_processor", lambda: _told(watched))
    monkeypatch.setattr(joins, "reductions_pay", lambda *_: True)
    radius = 10**6 if metric == "hamming" else 1.0
    with cut_as(cut):
        got = self_join(database, radius, metric=metric, strategy=strategy)
    assert_same(got, reference.self_join(database, radius, metric))
    assert len(compared) == 30
    assert sum(compared) == rows * (rows + size) // 2
    if cut == "reduced" and strategy == "sketch" and metric in DIFFERENCES:
        assert sum(reduced) > 0.9 * sum(compared)
    else:
        assert sum(reduced) == 0


def _told(search):
    from vsearch_fast.search.ranges import on_processor

    return on_processor()._replace(search=search)


def test_codes_whose_set_bits_differ_by_more_are_left_out(monkeypatch):
    rng = np.random.default_rng(0)
    share = rng.random((2000, 1))
    codes = np.packbits(rng.random((2000, 512)) < share, axis=1)
    work = []
    search = within.search

    def watched(*arguments, **named):
        work.append(search(*arguments, **named))
        return work[-1]

    monkeypatch.setattr("vsearch_fast.search.joins.on_processor", lambda: _told(watched))
    for radius in (0, 10, 40):
        work.clear()
        got = self_join(codes, radius, metric="hamming")
        assert_same(got, reference.self_join(codes, radius, "hamming"))
        assert sum(each.scanned for each in work) < 0.25 * 2000**2
    assert len(got[0]) > 0


@pytest.mark.parametrize("metric", METRICS)
def test_more_pairs_than_the_limit_are_counted_and_refused(metric, monkeypatch):
    monkeypatch.setattr(within, "_QUERIES", 16)
    made = gaussian(200, 40)
    rows = reference.pack_bits(made) if metric == "hamming" else made
    with pytest.raises(ArgumentError, match="19,900 pairs lie within the radius") as raised:
        self_join(rows, np.inf, metric=metric, limit=300)
    assert "limit=19900" in raised.value.cure
    assert len(self_join(rows, np.inf, metric=metric, limit=19900)[0]) == 19900


def test_progress_is_told_and_may_stop_it(monkeypatch):
    monkeypatch.setattr(within, "_QUERIES", 16)
    rows = gaussian(100, 40)
    told: list[tuple[int, int]] = []
    mask = np.arange(100) != 50
    self_join(rows, 1, metric="l2", mask=mask, progress=lambda *now: told.append(now))
    assert told == [(min(n, 99), 99) for n in range(16, 115, 16)]

    def stop(done, total):
        if done > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        self_join(rows, 1, metric="l2", progress=stop)
    blocks = self_join_blocks(rows, np.inf, metric="l2", block=1000)
    assert len(next(blocks)[0]) <= 1000
    blocks.close()


@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_row_that_is_not_finite_is_named(metric, strategy):
    rows = gaussian(300, 40)
    rows[123, 5] = np.nan
    with pytest.raises(ArgumentError, match="row 123 of the database"):
        self_join(rows, 1, metric=metric, strategy=strategy)
    mask = np.arange(300) != 123
    got = self_join(rows, 6, metric=metric, strategy=strategy, mask=mask)
    assert_same(got, reference.self_join(rows, 6, metric, mask))


def test_odd_arrays_are_converted_once(monkeypatch):
    converted = []
    monkeypatch.setattr(within, "_QUERIES", 8)
    monkeypatch.setattr(within, "converted", lambda rows, *rest, **named: converted.append(rows))
    rows = gaussian(90, 40)
    with cut_as(Tiling(chunk_rows=16, inline_bytes=0)):
        for strategy in STRATEGIES:
            got = self_join(rows.astype(np.float64), 6, metric="l2", strategy=strategy)
            assert_same(got, reference.self_join(rows, 6, "l2"))
    assert not converted


@pytest.mark.parametrize("metric", FLOAT_METRICS)
def test_reductions_are_learnt_for_the_metric_alone_and_where_they_pay(metric, monkeypatch):
    learnt: list[str] = []
    monkeypatch.setattr(learning, "learn", lambda rows, metric: learnt.append(metric))
    rows = gaussian(90, 40)
    want = reference.self_join(rows, 6, metric)
    with cut_as(Tiling(reduce_rows=16)):
        assert_same(self_join(rows, 6, metric=metric, strategy="sketch"), want)
        assert learnt == []
        monkeypatch.setattr(joins, "reductions_pay", lambda pairs, rows, dim: pairs == 90 * 90 // 2)
        assert_same(self_join(rows, 6, metric=metric, strategy="sketch"), want)
    assert learnt == [metric] * (metric in REDUCED)


@pytest.mark.parametrize("radius", [np.nan, -1.0, [1.0, 2.0], "near"])
def test_a_radius_that_is_none_is_refused(radius):
    rows = gaussian(5, 8)
    for join in (self_join, self_join_blocks):
        with pytest.raises((ArgumentError, TypeError), match="radius"):
            join(rows, radius, metric="l2")
    with pytest.raises(ArgumentError, match="block is 0"):
        self_join_blocks(rows, 1, metric="l2", block=0)
    with pytest.raises(ArgumentError, match="limit is 0"):
        self_join(rows, 1, metric="l2", limit=0)
