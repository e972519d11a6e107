"""What is done with an index of many items reads no more of it than with one of few."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_data import features

from vsearch_fast.disk import database
from vsearch_fast.index import Index, Item
from vsearch_fast.shards import ShardedIndex

FEW, MANY = 2_000, 40_000
DIM = 8

#: Instructions of SQLite's machine between two counts.
STEPS = 10


def items(start: int, stop: int) -> list[Item]:
    """Each kind has ten items, however many there are."""
    return [
        Item(f"{n:06}", f"{n}.jpg", None, {"kind": n // 10, "new": n % 2 == 0})
        for n in range(start, stop)
    ]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    made = {}
    for rows in (FEW, MANY):
        made[rows] = tmp_path_factory.mktemp("large") / f"{rows}"
        with Index.create(made[rows], DIM, segment_rows=1 << 16) as index:
            described = items(0, rows)
            index.add([item.id for item in described], features(rows, DIM), described)
            index.remove([item.id for item in described[5:200:7]])
    return made


class Counter:
    """Instructions that SQLite has run, by all connections that were opened since."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.steps = 0
        connect = database.connect

        def counted(*arguments: Any, **options: Any) -> sqlite3.Connection:
            sql = connect(*arguments, **options)
            sql.set_progress_handler(self.count, STEPS)
            return sql

        patch.setattr(database, "connect", counted)

    def count(self) -> int:
        self.steps += STEPS
        return 0

    def of(self, work: Callable[[], Any]) -> int:
        before = self.steps
        work()
        return self.steps - before


def reading(index: Index) -> dict[str, Callable[[], object]]:
    rows = len(index)
    query = features(1, DIM)
    index.search(query)  # the first time, rows are compared with their checksums
    _, after = index.page(1)
    assert after is not None
    return {
        "len": lambda: len(index),
        "page": lambda: index.page(20),
        "page within": lambda: index.page(20, after=after + rows // 2),
        "page of a filter": lambda: index.page(5, where={"kind": rows // 20}),
        "get": lambda: index.get(f"{rows // 2:06}"),
        "contains": lambda: "nothing" in index,
        "search": lambda: index.search(query),
        "search in a filter": lambda: index.search(query, where={"kind": rows // 20}),
        "columns": index.columns,
        "features": lambda: index.features([f"{rows // 3:06}"]),
        "first by id": lambda: next(index.by_id()),
    }


def test_reading(places: dict[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(monkeypatch)
    steps: dict[int, dict[str, int]] = {}
    for rows, place in places.items():
        steps[rows] = {"open": counter.of(partial(opened, place))}
        with Index.open(place) as index:
            steps[rows] |= {name: counter.of(work) for name, work in reading(index).items()}
            assert counter.of(partial(list, index)) > rows  # the instrument counts
    compare(steps)


def opened(place: Path, **options: Any) -> None:
    Index.open(place, **options).close()


def compare(steps: dict[int, dict[str, int]]) -> None:
    for name, few in steps[FEW].items():
        assert steps[MANY][name] <= few * 1.2 + 300, name


def changing(index: Index) -> dict[str, Callable[[], object]]:
    new = Item("new", metadata={"kind": 3, "new": True})
    row = np.ones((1, DIM), np.float32)
    index.search(row)
    return {
        "add": lambda: index.add(["new"], row, [new]),
        "update": lambda: index.update(Item("new", metadata={"kind": 4})),
        "replace": lambda: index.add(["new"], row, [new], replace=True),
        "search after a change": lambda: index.search(row),
        "remove": lambda: index.remove(["new"]),
        "describe": lambda: index.describe({"a": "b"}),
    }


def test_changes(places: dict[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(monkeypatch)
    steps: dict[int, dict[str, int]] = {}
    for rows, place in places.items():
        writing = counter.of(partial(opened, place, mode="rw"))
        with Index.open(place, mode="rw") as index:
            steps[rows] = {name: counter.of(work) for name, work in changing(index).items()}
        steps[rows]["open to write"] = writing
    compare(steps)


def test_boxes_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And again from the beginning after a change of what was there."""
    counter = Counter(monkeypatch)
    with Index.create(tmp_path / "i", DIM) as index, Index.open(tmp_path / "i") as reader:
        boxed = 0

        def add(start: int, stop: int) -> None:
            nonlocal boxed
            described = [
                Item(f"{n}", box=(0, 0, 1, 1) if n % 3 == 0 else None) for n in range(start, stop)
            ]
            index.add([item.id for item in described], features(stop - start, DIM), described)
            boxed += sum(item.box is not None for item in described)

        add(0, 3000)
        whole = counter.of(lambda: reader.boxed())
        assert reader.boxed() == boxed == 1000
        add(3000, 3010)
        assert counter.of(lambda: reader.boxed()) < whole / 10
        assert reader.boxed() == index.boxed() == boxed
        index.remove(["0"])
        assert reader.boxed() == index.boxed() == boxed - 1
        index.update(Item("1", box=(0, 0, 2, 2)))
        assert reader.boxed() == index.boxed() == boxed
        index.add(["2"], features(1, DIM), [Item("2", box=(0, 0, 2, 2))], replace=True)
        assert reader.boxed() == index.boxed() == boxed + 1
        index.compact()
        held = index.boxed()
        assert reader.boxed() == held == boxed + 1
        with pytest.raises(RuntimeError), index.transaction():
            add(4000, 4010)
            raise RuntimeError
        assert reader.boxed() == index.boxed() == held


@pytest.mark.posix
def test_more_segments_than_files_may_be_open(tmp_path: Path) -> None:
    """Maps of files need no descriptors."""
    import resource

    rows = features(600, DIM)
    with Index.create(tmp_path / "i", DIM, segment_rows=1) as index:
        index.add([f"{n}" for n in range(len(rows))], rows)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(map(int, os.listdir("/proc/self/fd"))) + 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        with Index.open(tmp_path / "i", mode="rw") as index:
            for metric in ("l2", "hamming"):
                [hits] = index.search(rows[599], 2, metric)
                assert hits[0].distance == 0
            assert np.array_equal(index.features(["7", "500"]), rows[[7, 500]])
            index.add(["more"], rows[:1])
            index.remove(["5"])
            assert index.compact() == 1 and index.verify().sound
        with ShardedIndex.create(tmp_path / "s", [tmp_path / "i"]) as many:
            assert [hit.id for hit in many.search(rows[7], 1)[0]] == ["7"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
