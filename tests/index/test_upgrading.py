"""An index of format 1 is read as it is, and gets its checksums with the first change."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_data import METRICS, ROWS, described, expected, features, found
from old_index import make_format_1
from processes import SUPPORT

from vsearch_fast.errors import DamagedError, DuplicateIdError, ReplacedError, StoreError
from vsearch_fast.index import Index, Item
from vsearch_fast.index import store as store_module
from vsearch_fast.index.changes import Changes
from vsearch_fast.index.compacting import compact
from vsearch_fast.index.verifying import verify

REMOVED = [f"item {row}" for row in range(0, ROWS, 9)]
LIVE = np.arange(ROWS) % 9 != 0


@pytest.fixture
def data() -> np.ndarray:
    return features(ROWS)


@pytest.fixture
def old(tmp_path: Path, data: np.ndarray) -> Path:
    items = [described(row) for row in range(ROWS)]
    make_format_1(tmp_path / "old", [item.id for item in items], data, items, REMOVED)
    return tmp_path / "old"


def formats(folder: Path) -> tuple[int, int, bool]:
    """Of the file, of the index that is opened, and whether it is sound."""
    sql = sqlite3.connect(folder / "index.sqlite")
    version = sql.execute("PRAGMA user_version").fetchone()[0]
    sql.close()
    with Index.open(folder) as index:
        info = index.info()
        assert info["checksums"] == (info["format"] == 2)
        return version, info["format"], verify(index._store).sound


def is_whole(index: Index, data: np.ndarray) -> None:
    queries = features(3, seed=4)
    for metric in METRICS:
        hits = index.search(queries, 9, metric)
        assert found(hits) == expected(queries, data, 9, metric, LIVE)
    red = LIVE & (np.arange(ROWS) % 3 == 0)
    hits = index.search(queries, 9, where={"colour": "red"})
    assert found(hits) == expected(queries, data, 9, "l2", red)
    assert [item for item in index if not item.id.startswith("new")] == [
        described(row) for row in range(ROWS) if LIVE[row]
    ]


def test_reading_changes_nothing(old: Path, data: np.ndarray) -> None:
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    with Index.open(old) as index:
        is_whole(index, data)
        assert index.info()["created"] == "2026-05-04T03:02:01+00:00"
        assert index.model == {"layer": "fc1"}
        assert index.values("colour") is not None
        assert index.threshold() is not None
    Index.open(old, mode="rw").close()
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before
    assert formats(old) == (1, 1, True)


def added_and_removed(index: Index) -> None:
    index.add(["new"], features(1) + 9)
    index.remove(["new"])


CHANGES: dict[str, Callable[[Index], Any]] = {
    "add": lambda index: index.add(["new"], features(1) + 9),
    "add many": lambda index: index.add([f"new {i}" for i in range(50)], features(50) + 9),
    "remove": added_and_removed,
    "update": lambda index: index.update([index.get("item 1")]),
    "describe": lambda index: index.describe({"layer": "fc1"}),
    "calibrate": lambda index: index.calibrate("l1"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_upgrades(old: Path, data: np.ndarray, name: str) -> None:
    with Index.open(old) as reader, Index.open(old, mode="rw") as index:
        is_whole(reader, data)
        CHANGES[name](index)
        is_whole(index, data)
        is_whole(reader, data)
        assert index.info()["format"] == reader.info()["format"] == 2
    assert formats(old) == (2, 2, True)
    with Index.open(old, mode="rw") as index:
        index.add(["new x"], features(1) + 8, [{"colour": "red"}])
        is_whole(index, data)
    assert formats(old) == (2, 2, True)
    file = old / "codes-00002.npy"
    content = bytearray(file.read_bytes())
    content[-4] ^= 1
    file.write_bytes(content)
    with Index.open(old) as index, pytest.raises(DamagedError, match="rows 32 to 47"):
        index.search(features(1), 3, "hamming")


def test_replacing_and_removing_as_the_first_change(old: Path) -> None:
    with Index.open(old, mode="rw") as index:
        index.add(["item 1", "item 2"], features(2), [{"colour": "pink"}] * 2, replace=True)
        index.remove(["item 4"])
        assert len(index.search(features(1), 99, where={"colour": "pink"})[0]) == 2
        assert "item 4" not in index
    assert formats(old) == (2, 2, True)


def test_compacting_as_the_first_change(old: Path, data: np.ndarray) -> None:
    with Index.open(old, mode="rw") as index:
        assert compact(index._store) == len(REMOVED)
        assert index.info()["rows"] == LIVE.sum()
        is_whole_by_id(index, data)
    assert formats(old) == (2, 2, True)


def is_whole_by_id(index: Index, data: np.ndarray) -> None:
    queries = features(3, seed=4)
    for metric in METRICS:
        assert found(index.search(queries, 9, metric)) == expected(queries, data, 9, metric, LIVE)


def test_a_refused_change_leaves_format_1(old: Path, data: np.ndarray) -> None:
    """Rolled back: what this process believes of the format, too."""
    before = {path.name: path.read_bytes() for path in old.glob("*.npy")}
    with Index.open(old, mode="rw") as index:
        for _ in range(2):
            with pytest.raises(DuplicateIdError):
                index.add(["item 1"], features(1))
            is_whole(index, data)
            assert index.info()["format"] == 1
        assert {path.name: path.read_bytes() for path in old.glob("*.npy")} == before
        assert formats(old) == (1, 1, True)
        index.add(["new"], features(1) + 9)
        is_whole(index, data)
    assert formats(old) == (2, 2, True)


def test_readers_in_threads_beside_the_upgrade(
    old: Path, data: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same object: until it is committed, they read format 1."""
    upgraded, go_on = threading.Event(), threading.Event()
    real = store_module.upgrade

    def slow(*arguments: Any) -> None:
        real(*arguments)
        upgraded.set()
        assert go_on.wait(60)

    monkeypatch.setattr(store_module, "upgrade", slow)
    with Index.open(old, mode="rw") as index:
        writer = threading.Thread(target=index.add, args=(["new"], features(1) + 9))
        writer.start()
        assert upgraded.wait(60)
        try:
            is_whole(index, data)
            with Index.open(old) as reader:
                is_whole(reader, data)
            assert len(index) == LIVE.sum()
        finally:
            go_on.set()
            writer.join()
        is_whole(index, data)
        assert len(index) == LIVE.sum() + 1


def test_a_full_disk_during_the_upgrade(
    old: Path, data: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Index.open(old, mode="rw") as index:
        with index._store.change("", upgraded=False), index._store.statements("") as sql:
            pages = sql.execute("PRAGMA page_count").fetchone()[0]
            sql.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(StoreError, match="disk is full"):
            index.add([f"new {i}" for i in range(50)], features(50) + 9)
        is_whole(index, data)
    assert formats(old) == (1, 1, True)


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from crash_writer import die_at
from vsearch_fast.index import Index, Item
from vsearch_fast.errors import StoreError
steps = die_at(int(sys.argv[3]))
with Index.open(sys.argv[1], mode="rw") as index:
    index.update([Item("item 1", path="moved")])
print(steps())
"""


@pytest.mark.posix
def test_a_killed_upgrade(old: Path, data: np.ndarray, tmp_path: Path) -> None:
    """Before any of its steps: the whole of format 1, or the whole of format 2."""

    def upgraded(folder: Path, step: int) -> subprocess.CompletedProcess[str]:
        code = [sys.executable, "-c", KILLED, str(folder), str(SUPPORT), str(step)]
        return subprocess.run(code, capture_output=True, text=True, check=False)

    shutil.copytree(old, tmp_path / "whole")
    done = upgraded(tmp_path / "whole", -1)
    assert done.returncode == 0, done.stderr
    total = int(done.stdout)
    assert total > 40
    seen = set()
    for step in (8, total // 2, total - 8, *range(total - 4, total)):
        folder = Path(shutil.copytree(old, tmp_path / f"{step}"))
        assert upgraded(folder, step).returncode == -signal.SIGKILL
        with Index.open(folder) as index:
            moved = index.get("item 1").path == "moved"
            assert {item.id for item in index} == {f"item {r}" for r in np.flatnonzero(LIVE)}
            is_whole_by_id(index, data)
        assert formats(folder) == ((2, 2, True) if moved else (1, 1, True))
        seen.add(moved)
        with Index.open(folder, mode="rw") as index:
            index.add(["new"], features(1))
        assert formats(folder) == (2, 2, True)
    assert False in seen


def test_damage_of_format_1_is_told_in_words(old: Path) -> None:
    """It has no sums: what cannot be is found, what can be is not."""
    sql = sqlite3.connect(old / "index.sqlite", isolation_level=None)
    sql.execute("UPDATE facets SET row = 99999 WHERE row = 1")
    sql.close()
    with Index.open(old) as index, pytest.raises(DamagedError, match="a row that is not there"):
        index.search(features(1), where={"colour": "green"})
    sql = sqlite3.connect(old / "index.sqlite", isolation_level=None)
    sql.execute("UPDATE tombstones SET row = 99999 WHERE number = 1")
    sql.close()
    with Index.open(old) as index, pytest.raises(DamagedError, match="the removed rows"):
        index.search(features(1))


def test_an_upgraded_index_at_the_place_is_another_one(old: Path, data: np.ndarray) -> None:
    shutil.copytree(old, old.with_name("copy"))
    with Index.open(old.with_name("copy"), mode="rw") as index:
        index.describe({})
    with Index.open(old) as reader:
        is_whole(reader, data)
        os.replace(old.with_name("copy") / "index.sqlite", old / "index.sqlite")
        with pytest.raises(ReplacedError):
            len(reader)


def test_notes_and_items_of_old_indexes(old: Path) -> None:
    with Index.open(old, mode="rw") as index:
        Changes(index._store).write_note("note", "text")
        assert index._store.note("note") == "text"
        index.update([Item("item 1", metadata={"new column": 1})])
        assert "new column" in index.columns()
    assert formats(old) == (2, 2, True)
