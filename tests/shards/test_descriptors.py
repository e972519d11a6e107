"""Many shards: opened at once, and searched with few descriptors."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from index_data import described, features
from sharded_data import filled, sharded

from vsearch_fast.errors import ArgumentError, ReplacedError
from vsearch_fast.index import Answers, Index
from vsearch_fast.shards import ShardedIndex
from vsearch_fast.shards import manifest as manifests
from vsearch_fast.shards.manifest import Likewise, Listed, Manifest

pytestmark = pytest.mark.posix


DIM = 12


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """A limit of open files little above what this process has open."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(map(int, os.listdir("/proc/self/fd"))) + 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_thousand_shards_open_in_an_instant(tmp_path: Path) -> None:
    made = filled(tmp_path / "0", features(3, DIM), [described(row) for row in range(3)])
    for number in range(1, 1000):
        place = tmp_path / str(number)
        place.mkdir()
        os.link(made / "index.sqlite", place / "index.sqlite")
    with Index.open(made) as index:
        likewise = Likewise.of(index)
    listed = tuple(Listed(str(number), 3) for number in range(1000))
    manifests.write(tmp_path, Manifest("", likewise, listed), "")
    before = descriptors()
    began = time.process_time()  # of this process alone, on however busy a machine
    with ShardedIndex.open(tmp_path) as many:
        assert time.process_time() - began < 2
        assert descriptors() - before < 20
        assert len(many.shards) == 1000


def test_more_shards_than_files_may_be_open(tmp_path: Path, few_descriptors: int) -> None:
    rows = features(45, DIM)
    one, folder = sharded(tmp_path, rows, list(range(1, 45)), removed=["item 7"])
    with Index.open(one) as index, ShardedIndex.open(folder) as many:
        for where in (None, {"colour": "red"}):
            for _ in range(2):
                assert many.search(rows[:5], 60, where=where) == index.search(
                    rows[:5], 60, where=where
                )
        assert list(many) == list(index)
        assert np.array_equal(many.features(["item 44"]), rows[44:])
        assert many.calibrate(group="colour") == index.calibrate(group="colour")
        assert many.values("colour") == index.values("colour")
        assert [verified.sound for verified in many.verify_each()] == [True] * 45
        with pytest.raises(ArgumentError, match="no metadata column"):
            many.search(rows[0], where={"size": 1})


def shards_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the first shard alone keep its descriptors."""
    monkeypatch.setattr("vsearch_fast.shards.pool._may_stay_open", lambda: 1)


def test_descriptors_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards_of_one(monkeypatch)
    _, folder = sharded(tmp_path, features(9, DIM), [2, 4, 6])
    before = descriptors()
    with ShardedIndex.open(folder) as many:
        for _ in range(3):
            many.search(features(1, DIM))
            assert descriptors() == before + 2
    assert descriptors() == before


def test_threads_search_what_rests_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards_of_one(monkeypatch)
    rows = features(20, DIM)
    one, folder = sharded(tmp_path, rows, [5, 10, 15])
    with Index.open(one) as index, ShardedIndex.open(folder) as many:
        expected = [index.search(row) for row in rows]

        def search(_: int) -> list[Answers]:
            return [many.search(row) for row in rows]

        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(search, range(4))) == [expected] * 4


def test_a_shard_that_is_replaced_while_it_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards_of_one(monkeypatch)
    rows = features(6, DIM)
    _, folder = sharded(tmp_path, rows, [3])
    with ShardedIndex.open(folder) as many:
        many.search(rows)
        place = many.shards[1]
        shutil.copytree(place, tmp_path / "copy")
        shutil.rmtree(place)
        (tmp_path / "copy").rename(place)
        with pytest.raises(ReplacedError, match="was replaced since it was opened"):
            many.search(rows)


def test_a_change_beside_a_reading_of_what_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no transaction can be held, what has changed since it was seen is refused."""
    shards_of_one(monkeypatch)
    rows = features(6, DIM)
    _, folder = sharded(tmp_path, rows, [3])
    with ShardedIndex.open(folder) as many:
        store = many._store
        with store.reading("Nothing was read"):
            view = store.view(None, ("vectors",), "Nothing was read")
            with Index.open(many.shards[1], mode="rw") as shard:
                shard.remove(["item 4"])
                shard.compact()
            for work in (
                lambda: store.groups("colour", 6, "Nothing was read"),
                lambda: store.items([4], view.snapshot.state, unchanged=False),
                lambda: store.items([1], view.snapshot.state, unchanged=True),
            ):
                with pytest.raises(Exception, match="was changed time and again"):
                    work()
        assert len(store.groups("colour", 5, "Nothing was read")) == 5


def test_the_limit_of_open_files_may_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    from vsearch_fast.shards import pool

    for limit, kept in ((resource.RLIM_INFINITY, 1 << 17), (1024, 128), (4, 1)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert pool._may_stay_open() == kept
