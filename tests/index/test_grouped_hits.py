"""One hit a thing: against a definition that sorts every item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast.errors import ArgumentError
from vsearch_fast.index import Hit, Index
from vsearch_fast.shards.index import ShardedIndex
from vsearch_fast.words import METRICS

DIM = 8


def filled(folder: Path, things: list[Any], seed: int, prefix: str = "") -> Index:
    values = np.random.default_rng(seed).integers(-2, 3, (len(things), DIM)).astype(np.float32)
    index = Index.create(folder, DIM)
    items = [{"item": thing, "even": n % 2 == 0} for n, thing in enumerate(things)]
    for item in items:
        if item["item"] == "lacks":
            del item["item"]
    index.add([f"{prefix}{n}" for n in range(len(things))], values, items)
    return index


def defined(hits: list[Hit], k: int | None) -> list[Hit]:
    """Of all hits, in order, the first of each thing."""
    kept: list[Hit] = []
    for hit in hits:
        thing = hit.metadata.get("item")
        same = [h.metadata.get("item") for h in kept]
        if thing is None or not any(s == thing and type(s) is type(thing) for s in same):
            kept.append(hit)
    return kept[:k]


# One has the column, so that there is one.
THINGS = st.lists(st.sampled_from(["a", "b", "c", 1, "1", True, None, "lacks"])).map(
    lambda things: [*things, "a"]
)


@settings(max_examples=30, deadline=None)
@given(THINGS, st.integers(1, 6), st.sampled_from(METRICS), st.integers(0, 99))
def test_hits_are_the_nearest_picture_of_each_thing(
    tmp_path_factory: pytest.TempPathFactory, things: list[Any], k: int, metric: Any, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("of")
    queries = np.random.default_rng(seed + 1).integers(-2, 3, (3, DIM)).astype(np.float32)
    queries[~queries.any(1)] = 1
    with (
        filled(folder / "a.index", things, seed) as index,
        filled(folder / "b.index", things[::-1], seed + 2, "other ") as other,
        ShardedIndex.create(folder / "both", [index.path, other.path]) as both,
    ):
        for held in (index, both):
            for where in (None, {"even": True}):
                every = held.search(queries, 999, metric, where)
                found = held.search(queries, k, metric, where, group_by="item")
                assert found == [defined(hits, k) for hits in every]
                limit = every[0][len(every[0]) // 2].distance if every[0] else 0.0
                near = held.search(queries, metric=metric, where=where, within=limit)
                found = held.search(
                    queries, metric=metric, where=where, within=limit, group_by="item"
                )
                assert found == [defined(hits, None) for hits in near]
                found = held.search(queries, k, metric, where, limit, group_by="item")
                assert found == [defined(hits, k) for hits in near]


def test_a_thing_of_a_thousand_pictures_hides_no_other(tmp_path: Path) -> None:
    """The nearest rows are all of one thing: more are asked for until there are k things."""
    near, far = np.zeros((1000, DIM), np.float32), np.ones((5, DIM), np.float32)
    with Index.create(tmp_path / "index", DIM) as index:
        index.add([f"near {n}" for n in range(1000)], near, [{"item": "one"}] * 1000)
        index.add([f"far {n}" for n in range(5)], far, [{"item": n // 2} for n in range(5)])
        queries = np.zeros((2, DIM), np.float32)
        queries[1] = 1
        found = index.search(queries, 3, group_by="item")
        assert [hit.id for hit in found[0]] == ["near 0", "far 0", "far 2"]
        assert [hit.id for hit in found[1]] == ["far 0", "far 2", "far 4"]
        assert len(index.search(queries, 99, group_by="item")[0]) == 4


def test_views_of_the_index_and_of_the_query(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = rng.integers(-2, 3, (30, 2, DIM)).astype(np.float32)
    queries = rng.integers(-2, 3, (4, 2, DIM)).astype(np.float32)
    with Index.create(tmp_path / "index", DIM, views="whole,box") as index:
        index.add(map(str, range(30)), rows, [{"item": n // 4} for n in range(30)])
        every = index.search(queries, 99)
        assert index.search(queries, 5, group_by="item") == [defined(hits, 5) for hits in every]


def test_an_unknown_column(tmp_path: Path) -> None:
    with (
        filled(tmp_path / "index", ["a"], 0) as index,
        pytest.raises(ArgumentError, match="no metadata column 'items'") as caught,
    ):
        index.search(np.zeros(DIM), group_by="items")
    assert caught.value.cure == "Its columns are: 'even', 'item'"
