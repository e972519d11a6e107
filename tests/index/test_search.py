"""Index: searches equal the oracle's answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_data import DIM, METRICS, ROWS, SEARCHED, described, expected, features, found

from vsearch_fast.errors import ArgumentError
from vsearch_fast.index import Index, Item, hits
from vsearch_fast.index import arguments as inputs
from vsearch_fast.kernels import reference


@pytest.mark.parametrize("metric", SEARCHED)
@pytest.mark.parametrize("k", [1, 10, ROWS, 1000])
def test_search_is_the_oracles_answer(index: Index, data: np.ndarray, metric: Any, k: int) -> None:
    queries = np.concatenate([features(5, seed=1), data[:3], data[40:42]])
    hits = index.search(queries, k, metric)
    assert found(hits) == expected(queries, data, k, metric)
    kind = int if metric == "hamming" else float
    assert all(type(hit.distance) is kind for line in hits for hit in line)
    for hit in hits[0]:
        item = index.get(hit.id)
        assert (hit.path, hit.box, hit.metadata) == (item.path, item.box, item.metadata)


@pytest.mark.parametrize("metric", SEARCHED)
def test_removed_replaced_and_filtered(index: Index, data: np.ndarray, metric: Any) -> None:
    queries = features(4, seed=2)
    index.remove([f"item {row}" for row in range(0, 40, 3)])
    live = np.ones(ROWS, bool)
    live[0:40:3] = False
    assert found(index.search(queries, 12, metric)) == expected(queries, data, 12, metric, live)
    blue_or_red = live & (np.arange(ROWS) % 3 != 1)
    where: dict[str, Any] = {"colour": ["blue", "red"]}
    hits = index.search(queries, 50, metric, where=where)
    assert found(hits) == expected(queries, data, 50, metric, blue_or_red)
    where["new"] = True
    both = blue_or_red & (np.arange(ROWS) % 5 == 0)
    hits = index.search(queries, 50, metric, where=where)
    assert found(hits) == expected(queries, data, 50, metric, both)
    assert {hit.metadata["colour"] for line in hits for hit in line} == {"blue", "red"}
    # A whole segment is gone, and its rows come back as new ones.
    index.remove([f"item {row}" for row in range(48, 64)])
    live[48:64] = False
    assert found(index.search(queries, 99, metric)) == expected(queries, data, 99, metric, live)
    index.add(["item 50", "item 49"], data[[50, 49]])
    more, alive = np.concatenate([data, data[[50, 49]]]), np.append(live, [True, True])
    names = {"item 90": "item 50", "item 91": "item 49"}
    wanted = expected(queries, more, 99, metric, alive)
    renamed = [[(names.get(name, name), distance) for name, distance in line] for line in wanted]
    assert found(index.search(queries, 99, metric)) == renamed
    assert index.get("item 50") == Item("item 50")


def test_inner_products_within_a_number_below_zero(index: Index, data: np.ndarray) -> None:
    query = features(1, seed=3)
    [all_of_them] = expected(query, data, ROWS, "ip")
    limit = all_of_them[10][1]
    assert limit < 0
    [hits] = index.search(query, ROWS, "ip", max_distance=limit)
    assert found([hits]) == [all_of_them[:11]]
    assert index.search(query, ROWS, "ip", max_distance=-math.inf) == [[]]
    with pytest.raises(ArgumentError, match="not a number of at least 0"):
        index.search(query, metric="cosine", max_distance=-0.1)
    with pytest.raises(ArgumentError, match=r"max_distance is nan, not a number\. Nothing"):
        index.search(query, metric="ip", max_distance=math.nan)


def test_a_cosine_that_a_rounding_put_below_zero_is_a_limit_like_any_other(tmp_path) -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((400, 24)).astype(np.float32)
    index = Index.create(tmp_path / "parallel.index", 24)
    index.add(map(str, range(400)), rows)
    hits = [index.search(row * np.float32(3), 1, "cosine")[0][0] for row in rows]
    least = min(hits, key=lambda hit: hit.distance)
    assert least.distance < 0
    again = index.search(
        rows[int(least.id)] * np.float32(3), metric="cosine", within=least.distance
    )
    assert again == [[least]]


@pytest.mark.parametrize("metric", ["cosine", "ip"])
def test_products_have_no_thresholds_and_labels(index: Index, metric: Any) -> None:
    words = f"kept for l2, l1, hamming, and metric is '{metric}'"
    for ask in (index.calibrate, index.threshold, index.learn, index.likeness):
        with pytest.raises(ArgumentError, match=words):
            ask(metric)
    with pytest.raises(ArgumentError, match=words):
        index.search(features(1), metric=metric, max_distance="auto")
    assert set(index.info()["thresholds"]) <= set(METRICS)


def test_ties_are_in_the_order_of_adding(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", 4, segment_rows=3) as index:
        rows = np.ones((8, 4), np.float32)
        index.add(list("hbgacfde"), rows)
        assert [hit.id for hit in index.search(rows[0], 6)[0]] == list("hbgacf")
        index.add(["b"], rows[:1], replace=True)
        assert [hit.id for hit in index.search(rows[0], 9, "hamming")[0]] == list("hgacfdeb")


def test_one_query_may_be_flat_and_codes_may_be_packed(index: Index, data: np.ndarray) -> None:
    flat = index.search(data[7], 3)
    assert len(flat) == 1 and flat[0][0].id == "item 7" and flat[0][0].distance == 0.0
    packed = np.packbits(data[:4] > 0, axis=-1)
    assert index.search(packed, 5, "hamming") == index.search(data[:4], 5, "hamming")
    assert index.search(packed[0], 5, "hamming") == index.search(data[:1], 5, "hamming")
    assert index.search(np.empty((0, DIM), np.float32)) == []


def test_max_distance_is_inclusive_and_exact(index: Index, data: np.ndarray) -> None:
    query = data[:1]
    all_hits = index.search(query, ROWS)[0]
    limit = all_hits[5].distance
    assert limit < all_hits[20].distance
    assert index.search(query, ROWS, max_distance=limit)[0] == [
        hit for hit in all_hits if hit.distance <= limit
    ]
    below = math.nextafter(limit, 0)
    assert index.search(query, ROWS, max_distance=below)[0] == [
        hit for hit in all_hits if hit.distance < limit
    ]
    assert index.search(query, 3, max_distance=limit)[0] == all_hits[:3]
    assert index.search(query, ROWS, max_distance=math.inf)[0] == all_hits
    assert [hit.id for hit in index.search(query, 9, "hamming", max_distance=0)[0]] == ["item 0"]


def test_types_of_features(tmp_path: Path, data: np.ndarray) -> None:
    """float16 is widened exactly, float64 rounded; order and strides do not matter."""
    forms: dict[str, np.ndarray] = {
        "half": data.astype(np.float16),
        "double": data.astype(np.float64) + 1e-12,
        "fortran": np.asfortranarray(data),
        "big": data.astype(">f4"),
        "strided": np.repeat(data, 2, axis=0)[::2],
    }
    for name, form in forms.items():
        with Index.create(tmp_path / name, DIM, segment_rows=32) as index:
            index.add([f"item {row}" for row in range(ROWS)], form)
            exact = form.astype(np.float32)
            assert (index.features([f"item {row}" for row in range(ROWS)]) == exact).all()
            hits = index.search(form[:3], 7)
            assert found(hits) == expected(exact[:3], exact, 7, "l2")


def test_codes_as_given(tmp_path: Path, data: np.ndarray) -> None:
    with Index.create(tmp_path / "index", DIM) as index:
        codes = np.packbits(data > 0.5, axis=-1)
        index.add([f"item {row}" for row in range(ROWS)], data, codes=codes)
        hits = index.search(codes[:2], 5, "hamming")
        distances, rows = reference.topk(codes[:2], codes, 5, metric="hamming")
        assert [[hit.distance for hit in line] for line in hits] == distances.tolist()
        assert [[hit.id for hit in line] for line in hits] == [
            [f"item {row}" for row in line] for line in rows
        ]


def test_an_empty_index_has_no_hits(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", DIM) as index:
        for metric in METRICS:
            assert index.search(features(3), metric=metric) == [[], [], []]
        assert len(index) == 0 and list(index) == [] and index.columns() == []
        index.add(["a"], features(1), [{"x": 1}])
        index.remove(["a"])
        assert index.search(features(2)) == [[], []]
        assert index.search(features(2), where={"x": 1}) == [[], []]
        assert index.columns() == []


def test_small_blocks_change_nothing(
    tmp_path: Path, data: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 4 * DIM * 7)
    with Index.create(tmp_path / "small", DIM, segment_rows=10) as index:
        index.add([f"item {row}" for row in range(ROWS)], data)
        for metric in METRICS:
            hits = index.search(data[:5], 8, metric)
            assert found(hits) == expected(data[:5], data, 8, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_within_finds_all_hits_at_a_distance(
    tmp_path: Path, data: np.ndarray, metric: Any, dtype: str
) -> None:
    """All of them without k, the nearest of them with it; removed and filtered ones are none."""
    stored = data.astype(dtype).astype(np.float32)
    queries = np.concatenate([features(4, seed=1), stored[40:42]])
    with Index.create(tmp_path / "index", DIM, segment_rows=16, dtype=dtype) as index:
        items = [described(row) for row in range(ROWS)]
        index.add([item.id for item in items], data, items)
        index.remove(["item 3", "item 40"])
        live = np.ones(ROWS, bool)
        live[[3, 40]] = False
        red = live & (np.arange(ROWS) % 3 == 0)
        for where, mask in ((None, live), ({"colour": "red"}, red)):
            every = expected(queries, stored, ROWS, metric, mask)
            for radius in (0, every[0][7][1], math.nextafter(every[0][7][1], 0), math.inf):
                wanted = [[hit for hit in line if hit[1] <= radius] for line in every]
                got = index.search(queries, None, metric, where, within=radius)
                assert found(got) == wanted
                got = index.search(queries, 5, metric, where, within=radius)
                assert found(got) == [line[:5] for line in wanted]
        kind = int if metric == "hamming" else float
        assert all(type(hit.distance) is kind for line in got for hit in line)
        answers, proof = index.search(queries, metric=metric, within=math.inf, explain=True)
        assert sum(map(len, answers)) == 88 * 6
        assert proof.scanned + proof.sketched == 88 * 6
        assert index.search(np.empty((0, DIM), np.float32), within=1.0) == []


def test_within_is_one_word_of_two(index: Index, data: np.ndarray) -> None:
    with pytest.raises(ArgumentError, match="max_distance and within are both given"):
        index.search(data[:1], within=1.0, max_distance=1.0)
    wrong: Any
    for wrong in (math.nan, -1.0, "near"):
        with pytest.raises(ArgumentError, match="within is"):
            index.search(data[:1], within=wrong)
    with pytest.raises(ArgumentError, match="k is 0"):
        index.search(data[:1], 0, within=1.0)
    assert len(index.search(data[:1])[0]) == 10
    threshold = index.threshold("l2")
    assert threshold is not None
    wanted = index.search(data[:1], ROWS, max_distance=threshold.distance)
    assert index.search(data[:1], within="auto") == wanted


def test_too_many_hits_within_a_distance_are_refused(
    index: Index, data: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hits, "MOST", 100)
    with pytest.raises(ArgumentError, match="180 pairs lie within the radius") as raised:
        index.search(data[:2], within=math.inf)
    assert raised.value.cure.endswith("or pass k, for the nearest alone")
    assert len(index.search(data[:1], within=math.inf)[0]) == ROWS


@pytest.mark.parametrize("metric", METRICS)
def test_within_counts_an_item_of_two_views_once(tmp_path: Path, metric: Any) -> None:
    rows = features(60).reshape(30, 2, DIM)
    queries = features(8, seed=3).reshape(4, 2, DIM)
    with Index.create(tmp_path / "index", DIM, views="whole,box", segment_rows=8) as index:
        index.add([str(row) for row in range(30)], rows)
        for asked in (queries, queries[:, 0]):
            every = index.search(asked, 30, metric)
            radius = every[0][12].distance
            wanted = [[hit for hit in line if hit.distance <= radius] for line in every]
            assert index.search(asked, metric=metric, within=radius) == wanted
            assert len(wanted[0]) > 12
