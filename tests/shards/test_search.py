"""A sharded index has the answers of one index of the same rows, to the bit."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_data import NEVER, cut_as
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from index_data import COLOURS, SEARCHED, described, features
from sharded_data import sharded

from vsearch_fast.errors import ArgumentError
from vsearch_fast.index import Index
from vsearch_fast.search.cpu import summed
from vsearch_fast.search.tiling import Tiling
from vsearch_fast.shards import ShardedIndex

DIM = 12


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 40))
    rows = features(count, DIM, draw(st.integers(0, 99)))
    # Few different rows, so that many distances are equal, in all shards.
    rows = rows[np.array(draw(st.lists(st.integers(0, count - 1), min_size=count, max_size=count)))]
    borders = sorted(draw(st.lists(st.integers(0, count), max_size=3)))
    removed = draw(st.lists(st.integers(0, count - 1), max_size=count, unique=True))
    return {
        "rows": rows, "borders": borders, "removed": [f"item {row}" for row in removed],
        "metric": draw(st.sampled_from(SEARCHED)), "k": draw(st.integers(1, count + 3)),
        "strategy": draw(st.sampled_from(["auto", "scan", "sketch"])),
        "where": draw(st.sampled_from([None, {"colour": ["red", "blue"]}, {"new": True}])),
        "dtype": draw(st.sampled_from(["float32", "float16"])),
    }  # fmt: skip


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(cases())
def test_answers_are_those_of_one_index(case: dict[str, Any]) -> None:
    rows = case["rows"]
    with tempfile.TemporaryDirectory() as folder:
        one, many = sharded(
            Path(folder), rows, case["borders"], removed=case["removed"], dtype=case["dtype"]
        )
        queries = np.concatenate([rows[:3], features(3, DIM, 7)])
        asked = {name: case[name] for name in ("metric", "where", "strategy")}
        with Index.open(one) as index, ShardedIndex.open(many) as shards:
            expected, proof = index.search(queries, case["k"], explain=True, **asked)
            found, told = shards.search(queries, case["k"], explain=True, **asked)
            assert found == expected
            assert (told.rows, told.queries, told.metric) == (
                proof.rows, proof.queries, proof.metric,
            )  # fmt: skip
            near = [hit.distance for hits in expected for hit in hits]
            if near:
                radius = sorted(near)[len(near) // 2]
                del asked["strategy"]
                for more in ({"within": radius}, {"max_distance": radius, "k": case["k"]}):
                    expected = index.search(queries, **asked, **more)
                    assert shards.search(queries, **asked, **more) == expected


def test_equal_distances_are_in_the_order_of_the_shards(tmp_path: Path) -> None:
    rows = np.repeat(features(1, DIM), 30, axis=0)
    _, many = sharded(tmp_path, rows, [3, 3, 17])
    with ShardedIndex.open(many) as shards:
        for metric in SEARCHED:
            [hits] = shards.search(rows[0], 30, metric)
            assert [hit.id for hit in hits] == [f"item {row}" for row in range(30)]


@pytest.mark.parametrize("metric", SEARCHED)
def test_two_views_of_an_item(tmp_path: Path, metric: Any) -> None:
    rows = features(60, DIM).reshape(30, 2, DIM)
    rows[20] = rows[4]
    one, many = sharded(tmp_path, rows, [7, 20], views="whole,box", removed=["item 3"])
    queries = features(6, DIM, 3).reshape(3, 2, DIM)
    with Index.open(one) as index, ShardedIndex.open(many) as shards:
        for asked in (queries, queries[:, 0]):
            assert shards.search(asked, 12, metric) == index.search(asked, 12, metric)
        names = ["item 25", "item 1"]
        assert np.array_equal(shards.features(names), index.features(names))
        assert np.array_equal(shards.codes(names), index.codes(names))


def test_rows_that_are_sketched_and_reduced(tmp_path: Path) -> None:
    """Shards of thousands of rows bound them by sketches and reductions of their own."""
    dim = 144
    rng = np.random.default_rng(5)
    low = rng.standard_normal((9000, 6)) @ rng.standard_normal((6, dim))
    rows = (low + 0.01 * rng.standard_normal(low.shape)).astype(np.float32)
    rows[8000:8100] = rows[100:200]
    items = [described(row) for row in range(len(rows))]
    one, many = sharded(tmp_path, rows, [4500], items=items, segment_rows=3000)
    queries = rows[[100, 4600]] + np.float32(1e-3)
    with Index.open(one) as index, ShardedIndex.open(many) as shards:
        for metric in SEARCHED:
            expected = index.search(queries, 20, metric)
            found, proof = shards.search(queries, 20, metric, strategy="sketch", explain=True)
            assert found == expected
            if metric != "hamming":
                assert proof.sketched + proof.reduced > 0
            if metric == "l2":
                assert proof.reduced > 4096


def test_codes_of_which_some_shards_have_sums(tmp_path: Path, monkeypatch: Any) -> None:
    """Sums of groups of bits are each shard's own, of groups that it has learnt."""
    monkeypatch.setattr(summed, "_MOST", 0)
    tiled = Tiling(
        inline_bytes=0, summed_left=NEVER, summed_live=0.0, summed_least=0, summed_bytes=1,
        reduce_rows=100, reduced_worth=np.inf, reduced_shapes=(),
    )  # fmt: skip
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((400, 5)) @ rng.standard_normal((5, 72))
    rows = (rows + 0.3 * rng.standard_normal(rows.shape)).astype(np.float32)
    rows[150:160] = rows[:10]
    with cut_as(tiled):
        one, many = sharded(tmp_path, rows, [140, 170, 290], removed=["item 3"], segment_rows=60)
        queries = rows[[0, 5, 200, 399]]
        with Index.open(one) as index, ShardedIndex.open(many) as shards:
            for k in (1, 10, 399):
                found, proof = shards.search(queries, k, "hamming", explain=True)
                assert found == index.search(queries, k, "hamming")
                # Thirty codes of the second shard are too few to learn from.
                assert (proof.reduced, proof.scanned) == (4 * 369, 4 * 30)


def test_a_column_that_some_shards_lack(tmp_path: Path) -> None:
    rows = features(6, DIM)
    plain = [described(row) for row in range(6)]
    items = [*plain[:3], *(type(item)(item.id, metadata={"kind": "x"}) for item in plain[3:])]
    one, many = sharded(tmp_path, rows, [3], items=items)
    with Index.open(one) as index, ShardedIndex.open(many) as shards:
        for where in ({"kind": "x"}, {"colour": COLOURS}, {"kind": "x", "colour": "red"}):
            assert shards.search(rows, 6, where=where) == index.search(rows, 6, where=where)
        with pytest.raises(ArgumentError, match=r"'colour'.*'kind'") as told:
            shards.search(rows, where={"size": 1})
        with pytest.raises(ArgumentError) as expected:
            index.search(rows, where={"size": 1})
        assert str(told.value) == str(expected.value)


def test_an_empty_index_and_empty_shards(tmp_path: Path) -> None:
    one, many = sharded(tmp_path / "none", features(0, DIM), [0, 0])
    with ShardedIndex.open(many) as shards:
        assert (len(shards), list(shards)) == (0, [])
        assert shards.search(features(2, DIM)) == [[], []]
        assert shards.features([]).shape == (0, DIM)
    rows = features(5, DIM)
    one, many = sharded(tmp_path / "some", rows, [0, 5, 5])
    with Index.open(one) as index, ShardedIndex.open(many) as shards:
        assert shards.search(rows) == index.search(rows)


def test_thresholds_and_likeness(tmp_path: Path) -> None:
    rows = features(80, DIM)
    rows[40:60] = rows[:20] + np.float32(0.01)
    items = [
        type(described(row))(
            f"item {row}", metadata={"item": row % 20, "category": "ab"[row % 2], "group": row % 7}
        )
        for row in range(80)
    ]
    one, many = sharded(tmp_path, rows, [30, 55], items=items, removed=["item 5", "item 70"])
    with Index.open(one) as index, ShardedIndex.open(many) as shards:
        assert shards.calibrate("l1", group="group") == index.calibrate("l1", group="group")
        assert shards.threshold("hamming") == index.threshold("hamming")
        assert shards.learn("l2") == index.learn("l2")
        found = shards.search(rows, max_distance="auto")
        assert found == index.search(rows, max_distance="auto")
        assert shards.save_thresholds() == 3
        assert shards.save_learnt() == 1
    with Index.open(one) as index, ShardedIndex.open(many) as shards:
        assert shards.info()["thresholds"].keys() == {"l1", "l2", "hamming"}
        assert shards.info()["likeness"].keys() == {"l2"}
