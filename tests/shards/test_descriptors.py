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
from vsearch_fast.shards.merging import merge

pytestmark = pytest.mark.posix


DIM = 12


@pytest.fixture(params=[0, 400], ids=["alone", "beside 400 others"])
def few_descriptors(request: pytest.FixtureRequest) -> Iterator[None]:
    """A limit of open files that leaves 20, to a process that has many or few others open."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(request.param)]
    last = max(map(int, os.listdir("/proc/self/fd")))
    while (other := os.open(os.devnull, os.O_RDONLY)) <= last:  # no number is free below it
        others.append(other)
    os.close(other)
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 21, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for other in others:
        os.close(other)


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


@pytest.mark.usefixtures("few_descriptors")
def test_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
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
        with many.snapshot() as held:
            assert held.search(rows[:5], 60) == index.search(rows[:5], 60)
        merge([folder], tmp_path / "all")
        with Index.open(tmp_path / "all") as merged:
            assert list(merged) == list(index)


def shards_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the first shard alone keep its descriptors."""
    monkeypatch.setattr("vsearch_fast.shards.pool._may_stay_open", lambda _: 1)


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


def test_shards_make_room_for_what_was_opened_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [64]
    monkeypatch.setattr("vsearch_fast.shards.pool.may_still_open", lambda: room[0])
    _, folder = sharded(tmp_path, features(9, DIM), [2, 4, 6])
    before = descriptors()
    with ShardedIndex.open(folder) as many:
        shards = many._store.shards
        for number in range(3):
            with shards.use(number):
                pass
        assert shards.held() == range(4)
        assert descriptors() == before + 3 * 2
        room[0] = 2  # beside those of the four
        with shards.use(3):
            assert shards.held() == range(1)
        assert descriptors() == before + 2
        assert len(many.search(features(1, DIM), 9)[0]) == 9
        assert descriptors() == before + 2


def test_how_many_keep_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is left, not by the limit, of which other files of the process have their part."""
    import resource

    from vsearch_fast.shards import pool

    def limit(count: int) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (count, count))

    limit(resource.RLIM_INFINITY)
    assert pool._may_stay_open(0) == 1 << 17
    others = descriptors()  # the one by which they are counted included
    limit(1 << 16)
    assert pool._may_stay_open(0) == ((1 << 16) - others) // 8
    assert pool._may_stay_open(100) == ((1 << 16) - others + 200) // 8
    limit(4)  # lowered below what is open
    assert pool._may_stay_open(0) == 1
