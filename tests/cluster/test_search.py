"""Answers of a cluster are those of the sharded index in one process, to the bit."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_data import COLOURS, SEARCHED, described, features
from on_nodes import DIM, connect, rows_with_ties, spread
from ray_nodes import DISK
from sharded_data import sharded

from vsearch_fast.cluster.index import ClusterIndex
from vsearch_fast.errors import ArgumentError, ClusterError, StoreError, UnknownIdError
from vsearch_fast.index import Index, Item
from vsearch_fast.shards import ShardedIndex

Pair = tuple[ClusterIndex, ShardedIndex]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five shards, one of them empty."""
    removed = ["item 3", "item 33", "item 79"]
    folder = tmp_path_factory.mktemp("shards")
    return sharded(folder, rows_with_ties(), [7, 20, 20, 45], removed=removed)[1]


@pytest.fixture(scope="module", params=[{}, {"groups": 3, "ahead": 1}], ids=["at once", "ahead"])
def pair(request: Any, address: str, many: Path) -> Iterator[Pair]:
    with (
        connect(address, many, **request.param) as connected,
        ShardedIndex.open(many) as here,
    ):
        yield connected, here


@pytest.mark.parametrize("metric", SEARCHED)
@pytest.mark.parametrize("where", [None, {"colour": ["red", "blue"]}, {"new": True}])
def test_answers_are_those_of_one_process(pair: Pair, metric: Any, where: Any) -> None:
    connected, here = pair
    queries = np.concatenate([rows_with_ties()[[0, 3, 9, 64]], features(3, DIM, 7)])
    for k in (1, 5, 30, 500):
        found, proof = connected.search(queries, k, metric, where, explain=True)
        expected, told = here.search(queries, k, metric, where, explain=True)
        assert found == expected
        assert found.missing == ()
        assert (proof.metric, proof.queries, proof.rows) == (metric, 7, told.rows)
    every = here.search(queries, 500, metric, where)
    distances = sorted(hit.distance for hits in every for hit in hits)
    radius = distances[len(distances) // 2]
    for more in ({"within": radius}, {"max_distance": radius, "k": 9}):
        asked: Any = {"metric": metric, "where": where, **more}
        assert connected.search(queries, **asked) == here.search(queries, **asked)
    assert connected.search(queries[0], 3, metric) == here.search(queries[0], 3, metric)
    assert connected.search(queries[:0], 3, metric) == []


def test_equal_distances_are_in_the_order_of_the_shards(pair: Pair) -> None:
    connected, _ = pair
    for metric in SEARCHED:
        [hits] = connected.search(rows_with_ties()[4], 3, metric)
        if metric != "ip":
            assert [hit.id for hit in hits] == ["item 4", "item 34", "item 64"]


def test_reading(pair: Pair) -> None:
    connected, here = pair
    assert len(connected) == len(here)
    assert list(connected) == list(here)
    assert connected.columns() == here.columns()
    assert connected.values("colour") == here.values("colour")
    assert connected.values("nr", 3) is None
    assert connected.boxed() == here.boxed()
    assert "item 5" in connected and "item 3" not in connected
    assert connected.get("item 50") == here.get("item 50")
    ids = ["item 70", "item 0", "item 22", "item 0"]
    assert np.array_equal(connected.features(ids), here.features(ids))
    assert np.array_equal(connected.codes(ids), here.codes(ids))
    assert connected.features([]).shape == (0, DIM)
    facts = connected.info()
    assert facts == here.info() | {"thresholds": facts["thresholds"], "likeness": facts["likeness"]}
    for where in (None, {"colour": "red"}):
        after, pages = None, []
        while True:
            page, after = connected.page(7, after=after, where=where)
            pages += page
            if after is None:
                break
        assert pages == here.page(500, where=where)[0]


def test_what_is_learnt_is_the_same(pair: Pair) -> None:
    connected, here = pair
    for metric in ("l2", "l1", "hamming"):
        assert connected.threshold(metric) == here.threshold(metric)
        assert connected.learn(metric, item="nr", category="colour") == here.learn(
            metric, item="nr", category="colour"
        )
    assert connected.calibrate("l2", group="colour") == here.calibrate("l2", group="colour")
    rows = features(5, DIM, 9)
    assert connected.search(rows, max_distance="auto") == here.search(rows, max_distance="auto")


def test_wrong_arguments_are_refused_in_the_same_words(pair: Pair) -> None:
    connected, here = pair
    rows = features(2, DIM)
    bad = rows.copy()
    bad[1, 3] = np.nan
    for queries, options in (
        (rows[:, :5], {}), (bad, {}), (rows, {"k": 0}), (rows, {"metric": "l3"}),
        (rows, {"where": {"size": 1}}), (rows.astype(int), {}), (rows, {"within": -1.0}),
    ):  # fmt: skip
        with pytest.raises((ArgumentError, TypeError)) as expected:
            here.search(queries, **options)
        with pytest.raises((ArgumentError, TypeError)) as told:
            connected.search(queries, **options)
        assert str(told.value) == str(expected.value)
    for ids in (["item 3"], ["nothing"]):
        with pytest.raises(UnknownIdError):
            connected.features(ids)
    with pytest.raises(ArgumentError, match="timeout"):
        connected.search(rows, timeout=0)
    with pytest.raises(StoreError, match="done where its files are"):
        connected.compact()


def test_a_column_that_some_shards_lack(address: str, tmp_path: Path) -> None:
    rows = features(6, DIM)
    plain = [described(row) for row in range(6)]
    items = [*plain[:3], *(Item(item.id, metadata={"kind": "x"}) for item in plain[3:])]
    one, many = sharded(tmp_path, rows, [3], items=items)
    with Index.open(one) as index, connect(address, many) as connected:
        for where in (
            {"kind": "x"}, {"colour": COLOURS}, {"kind": "x", "colour": "red"},
            "kind = x or colour = red", "kind is null", "not (kind = x and colour = red)",
        ):  # fmt: skip
            assert connected.search(rows, 6, where=where) == index.search(rows, 6, where=where)


def test_one_hit_a_thing(pair: Pair) -> None:
    connected, here = pair
    rows = features(5, DIM, 11)
    for k in (1, 2, 9):
        for where in (None, "colour != red"):
            found = connected.search(rows, k, "l1", where, group_by="colour")
            assert found == here.search(rows, k, "l1", where, group_by="colour")
    near = here.search(rows)[0][-1].distance
    found = connected.search(rows, within=near, group_by="colour")
    assert found == here.search(rows, within=near, group_by="colour")
    with pytest.raises(ArgumentError, match="no metadata column 'size'"):
        connected.search(rows, group_by="size")


def test_two_views_of_an_item_and_one_index(address: str, tmp_path: Path) -> None:
    """An index that is not sharded is one shard; limits are of items, not of views."""
    rows = features(60, DIM).reshape(30, 2, DIM)
    rows[20] = rows[4]
    one, many = sharded(tmp_path, rows, [7, 20], views="whole,box", removed=["item 3"])
    queries = features(6, DIM, 3).reshape(3, 2, DIM)
    with (
        Index.open(one) as index,
        connect(address, many, groups=3, ahead=1) as connected,
        connect(address, one) as single,
    ):
        assert len(single.shards) == 1
        for metric in SEARCHED:
            for asked in (queries, queries[:, 0]):
                expected = index.search(asked, 9, metric)
                assert connected.search(asked, 9, metric) == expected
                assert single.search(asked, 9, metric) == expected
        ids = ["item 25", "item 1"]
        assert np.array_equal(connected.features(ids), index.features(ids))


def test_shards_are_searched_where_their_files_are(
    address: str, disk: list[Path], tmp_path: Path
) -> None:
    """Each node has some of the shards on its own disk, and a list of all."""
    whole, rows = tmp_path / "whole", rows_with_ties()
    place = spread(whole, disk, ["ad", "bc"])
    with (
        ShardedIndex.open(whole) as here_,
        connect(address, place) as connected,
    ):
        by_shard = connected.nodes
        assert by_shard["a"] == by_shard["d"] != by_shard["b"] == by_shard["c"]
        for metric in SEARCHED:
            queries = rows[[0, 33, 61]]
            assert connected.search(queries, 25, metric) == here_.search(queries, 25, metric)
        assert list(connected) == list(here_)
    # With the files of one shard gone, nothing is connected, unless they are nowhere needed.
    shutil.rmtree(disk[1] / Path(place).name / "c")
    with pytest.raises(ClusterError, match=r"No node of the cluster has c, a shard of 4.*20 items"):
        connect(address, place)


def test_copies_are_compared_and_found_again(address: str, many: Path, disk: list[Path]) -> None:
    target = f"${DISK}/copies"
    queries = rows_with_ties()[[0, 33]]
    with (
        ShardedIndex.open(many) as here,
        connect(address, many, copy_to=target, groups=1, replicas=2) as connected,
    ):
        assert all(len(nodes) == 2 for nodes in connected.nodes.values())
        for metric in SEARCHED:
            assert connected.search(queries, 90, metric) == here.search(queries, 90, metric)
        with pytest.raises(ClusterError, match=r"Copies of .* are searched here"):
            connected.add(["new"], queries[:1])
    held = [sorted(path.name for path in (d / "copies").iterdir()) for d in disk]
    assert held[0] == held[1]
    assert len(held[0]) == 5
    assert not list(many.glob(".*"))
    before = {path: path.stat().st_ino for d in disk for path in (d / "copies").iterdir()}
    damaged = next(path for path in before if path.name.startswith("45-4"))
    with (damaged / "vectors-00000.npy").open("r+b") as file:
        file.seek(200)
        file.write(b"\xff" * 8)
    with connect(address, many, copy_to=target, groups=1, replicas=2) as connected:
        assert connected.search(queries, 4)[0][0].id == "item 0"
    after = {path: path.stat().st_ino for d in disk for path in (d / "copies").iterdir()}
    assert {path for path in before if before[path] != after[path]} == {damaged}
    with pytest.raises(ClusterError, match=r"2 of the nodes .* and 3 replicas"):
        connect(address, many, groups=1, replicas=3)


def test_a_thousand_queries_wait(address: str, many: Path) -> None:
    """Few searches are under way at a time; the others wait, and then go together."""
    rows = features(1000, DIM, 5)
    with ShardedIndex.open(many) as here, connect(address, many) as connected:
        expected = here.search(rows, 4)
        found: list[Any] = [None] * 1000
        began = threading.Barrier(1000)

        def ask(number: int) -> None:
            began.wait()
            metric: Any = "l2" if number % 10 else "hamming"
            found[number] = connected.search(rows[number], 4, metric)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(1000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        line = connected._line
        assert line.most <= 4
        assert line.batches < 500
        assert len(line) == 0
        by_bits = here.search(rows[::10], 4, "hamming")
        for number in range(1000):
            own = expected[number] if number % 10 else by_bits[number // 10]
            assert found[number] == [own]
