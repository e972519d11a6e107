"""Transactions, snapshots, backups and pickles of an index."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from damage import flip_row
from index_data import DIM, METRICS, ROWS, described, features
from processes import in_a_process

from vsearch_fast.errors import DamagedError, DuplicateIdError, StoreError
from vsearch_fast.index import Index
from vsearch_fast.index import backing_up as backing_up_module

DATA = features(ROWS)
QUERIES = features(3, seed=1)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "index", DIM, segment_rows=32) as made:
        made.add([f"item {i}" for i in range(80)], DATA[:80], [described(i) for i in range(80)])
        yield made


def answers(index: Index) -> list[object]:
    found = [index.search(QUERIES, 9, metric) for metric in METRICS]
    return [*found, list(index), index.page(30), index.values("colour"), len(index)]


# Transactions


def test_all_changes_of_a_transaction_come_at_its_end(index: Index) -> None:
    with Index.open(index.path) as reader:
        before = answers(reader)
        with index.transaction() as same:
            assert same is index
            index.remove(["item 3"])
            index.add(["item 3"], DATA[3:4])
            index.add(["item 80", "item 81"], DATA[80:82])
            index.update([described(5)])
            index.calibrate("l2", sample=10)
            # Reading sees what was committed: by this object, too.
            assert answers(reader) == before == answers(index)
        assert answers(reader) == answers(index) != before
        assert len(index) == 82
        assert index.features(["item 81"]).tolist() == DATA[81:82].tolist()
    assert index.verify().sound


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_transaction_that_fails_changes_nothing(index: Index, error: type) -> None:
    before, files = answers(index), sorted(os.listdir(index.path))
    with pytest.raises(error), index.transaction():
        index.remove(["item 3"])
        index.add([f"new {i}" for i in range(60)], features(60, seed=4))
        raise error
    assert answers(index) == before
    assert sorted(os.listdir(index.path)) == files  # new segments were given back
    assert index.verify().sound
    index.add(["new 1"], DATA[:1])
    assert index.verify().sound


def test_a_part_that_fails_and_is_caught_is_undone_alone(index: Index) -> None:
    with index.transaction():
        index.add(["a"], DATA[:1])
        with pytest.raises(DuplicateIdError):
            index.add(["b", "item 1"], DATA[:2])
        with pytest.raises(DuplicateIdError), index.transaction():
            index.add(["c"], DATA[:1])
            index.add(["c"], DATA[:1])
        index.add(["d"], DATA[3:4])
    assert [name in index for name in "abcd"] == [True, False, False, True]
    assert index.features(["d"]).tolist() == DATA[3:4].tolist()
    assert index.verify().sound


def test_what_is_said_of_the_model_is_what_was_committed(index: Index) -> None:
    index.describe({"name": "first", "decoder": "libjpeg-turbo"})

    def attributes() -> dict[str, object]:
        return {name: getattr(index, name) for name in
                ("model", "model_id", "dim", "dtype", "path", "decoder", "device")}  # fmt: skip

    before = attributes()
    with pytest.raises(RuntimeError), index.transaction():
        index.describe({"name": "second", "decoder": "nvimgcodec"})
        assert attributes() == before == attributes() | {"model": index.info()["model"]}
        raise RuntimeError
    assert attributes() == before
    with index.transaction():
        index.describe({"name": "third"})
        with pytest.raises(RuntimeError), index.transaction():
            index.describe({"name": "fourth"})
            raise RuntimeError
    assert index.model == index.info()["model"] == {"name": "third"}
    with Index.open(index.path) as reader:
        assert reader.model == {"name": "third"}


def test_an_index_for_reading_has_no_transaction(index: Index) -> None:
    with (
        Index.open(index.path) as reader,
        pytest.raises(StoreError, match="opened for reading"),
        reader.transaction(),
    ):
        pass


def test_compaction_is_no_part_of_a_transaction(index: Index) -> None:
    index.remove(["item 1"])
    with index.transaction(), pytest.raises(StoreError, match="in the midst of a transaction"):
        index.compact()
    assert index.compact() == 1


def test_other_threads_read_while_one_is_in_a_transaction(index: Index) -> None:
    before = answers(index)
    found: list[object] = []
    with index.transaction():
        index.add(["a"], DATA[:1])
        thread = threading.Thread(target=lambda: found.append(answers(index)))
        thread.start()
        thread.join(20)
        assert found == [before]


# Snapshots


def test_a_snapshot_stays_as_it_was(index: Index) -> None:
    with index.snapshot() as held:
        before = answers(index)
        assert answers(held) == before
        index.remove([f"item {i}" for i in range(0, 60, 2)])
        index.add(["item 1", "x"], DATA[5:7], replace=True)
        assert answers(held) == before
        index.compact()
        index.add([f"y {i}" for i in range(40)], features(40, seed=5))
        assert answers(held) == before
        assert held.features(["item 2"]).tolist() == DATA[2:3].tolist()
        first, after = held.page(30)
        assert [item.id for item in first] == [f"item {i}" for i in range(30)]
        second, _ = held.page(30, after=after)
        assert [item.id for item in second] == [f"item {i}" for i in range(30, 60)]
        with pytest.raises(StoreError, match="opened for reading"):
            held.remove(["item 2"])
    with pytest.raises(StoreError, match="was closed"):
        held.search(QUERIES)
    assert index.verify().sound


def test_a_snapshot_of_a_reader_and_of_an_empty_index(tmp_path: Path) -> None:
    with (
        Index.create(tmp_path / "i", DIM) as index,
        Index.open(index.path) as reader,
        reader.snapshot() as held,
    ):
        index.add(["a"], DATA[:1])
        assert len(held) == 0 and held.search(QUERIES) == [[], [], []]
        assert len(reader) == 1


# Backups


@pytest.mark.parametrize("copy", [False, True])
def test_a_backup_is_the_index_and_none_of_its_future(
    index: Index, tmp_path: Path, copy: bool
) -> None:
    seen: list[tuple[int, int]] = []
    made = index.backup(
        tmp_path / "b", copy=copy, progress=lambda done, all_: seen.append((done, all_))
    )
    assert made.sound and made.rows == 80 and seen[-1] == (10, 10)
    before = answers(index)
    index.remove(["item 1"])
    index.add(["x", "y"], DATA[80:82])
    with Index.open(tmp_path / "b") as backup:
        assert answers(backup) == before
        assert backup.verify().sound
    # Each may be written to, and neither knows of the other's rows.
    with Index.open(tmp_path / "b", mode="rw") as backup:
        backup.add([f"own {i}" for i in range(40)], features(40, seed=7))
        backup.remove(["item 7"])
        backup.compact()
        assert backup.verify().sound
    assert index.verify().sound and "item 7" in index and "own 1" not in index
    assert index.features(["y"]).tolist() == DATA[81:82].tolist()


def test_a_backup_takes_no_more_room_than_the_index(index: Index, tmp_path: Path) -> None:
    with Index.create(tmp_path / "wide", 4096) as wide:
        wide.add(["a"], np.ones((1, 4096), np.float32))
        wide.backup(tmp_path / "b", copy=True)
        with Index.open(tmp_path / "b") as backup:
            assert backup.info()["bytes"] <= wide.info()["bytes"] + 65536


def test_a_backup_is_made_while_a_writer_writes(index: Index, tmp_path: Path) -> None:
    stop = threading.Event()
    added: list[int] = []

    def write() -> None:
        number = 0
        while not stop.is_set():
            index.add([f"w {number}", f"v {number}"], features(2, seed=number))
            if number % 3 == 0:
                index.remove([f"w {number}"])
            if number % 7 == 0:
                index.compact()
            added.append(number)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with Index.open(index.path) as reader:
            for number in range(8):
                with contextlib.suppress(StoreError):  # compacted time and again
                    assert reader.backup(tmp_path / f"b{number}").sound
    finally:
        stop.set()
        writer.join()
    backups = sorted(tmp_path.glob("b*"))
    assert backups and added
    for folder in backups:
        with Index.open(folder) as backup:
            ids = {item.id for item in backup}
            for number in range(len(added)):  # both of an addition, or neither
                if f"v {number}" not in ids:
                    assert f"w {number}" not in ids
            answers(backup)


def test_a_damaged_index_is_not_backed_up(index: Index, tmp_path: Path) -> None:
    flip_row(index.path, "codes-00001.npy", 3)
    with pytest.raises(DamagedError, match=r"codes-00001\.npy"):
        index.backup(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]


def test_a_backup_replaces_nothing(index: Index, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").touch()
    for target in (tmp_path / "b", index.path, tmp_path / "b" / "mine"):
        with pytest.raises(StoreError, match="is there already"):
            index.backup(target)
    (tmp_path / "b" / "mine").unlink()
    assert index.backup(tmp_path / "b").sound


def test_a_full_disk_leaves_no_half_backup(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "b"))

    monkeypatch.setattr(backing_up_module, "_copied", full)
    with pytest.raises(StoreError, match="The disk is full"):
        index.backup(tmp_path / "b", copy=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]


def test_a_copy_that_does_not_fit_together_is_refused(index: Index, tmp_path: Path) -> None:
    """The database of later, with the codes of before: row 80 has no codes in the copy."""
    copy = tmp_path / "copy"
    shutil.copytree(index.path, copy)
    index.add(["item 80", "item 81"], DATA[80:82])
    shutil.copyfile(index.path / "index.sqlite", copy / "index.sqlite")
    with Index.open(copy) as opened:
        for metric in METRICS:
            with pytest.raises(DamagedError, match="not as they were written"):
                opened.search(DATA[80:81], 3, metric)


# Pickles


def test_an_index_for_reading_goes_to_other_processes(index: Index, tmp_path: Path) -> None:
    with Index.open(index.path, checksums="always") as reader:
        (tmp_path / "pickle").write_bytes(pickle.dumps(reader))
        with pickle.loads(pickle.dumps(reader)) as again:
            assert answers(again) == answers(reader)
    code = f"import pickle; print(len(pickle.load(open({str(tmp_path / 'pickle')!r}, 'rb'))))"
    assert in_a_process(code) == "80"
    with pytest.raises(StoreError, match="open for writing"):
        pickle.dumps(index)
