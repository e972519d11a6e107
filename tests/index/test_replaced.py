"""Another index, or another lock, at the place of the one that was opened: nothing is mixed."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from index_data import METRICS, features
from processes import forked

from vsearch_fast.disk import database as database_module
from vsearch_fast.disk.lock import FILE_NAME
from vsearch_fast.errors import LockedError, ReplacedError, StoreError
from vsearch_fast.index import Index

DIM = 8
SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(["vsearch_fast.index"])


def made(folder: Path, name: str, rows: int = 40, seed: int = 0) -> Path:
    """An index of items "NAME 0", "NAME 1", ..."""
    with Index.create(folder, DIM, segment_rows=16) as index:
        index.add([f"{name} {row}" for row in range(rows)], features(rows, DIM, seed))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def removed_and_made_anew(folder: Path) -> None:
    shutil.rmtree(folder)
    made(folder, "new", seed=1)


def renamed_and_made_anew(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    made(folder, "new", seed=1)


def database_alone(folder: Path) -> None:
    """By an index of other rows; the segment files are replaced, too, but have the same names."""
    other = made(folder.with_name("other"), "new", seed=1)
    for path in other.iterdir():
        if path.name != FILE_NAME:
            os.replace(path, folder / path.name)


def copied_over(folder: Path) -> None:
    """File by file, into the same inodes: `cp -r other/. folder`. SQLite looks at its count of
    commits alone to tell whether it knows a file already, and so the other has one more."""
    other = made(folder.with_name("other"), "new", seed=1)
    with Index.open(other, mode="rw") as index:
        index.describe({"of": "another"})
    for path in other.iterdir():
        if path.name != FILE_NAME:
            shutil.copyfile(path, folder / path.name)


REPLACEMENTS = [removed_and_made_anew, renamed_and_made_anew, database_alone, copied_over]


@pytest.mark.parametrize("replace", REPLACEMENTS)
@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.add(["late"], features(1, DIM)),
        lambda index: index.add([f"late {i}" for i in range(99)], features(99, DIM)),
        lambda index: index.remove(["old 1"]),
        lambda index: index.describe({"a": 1}),
        lambda index: index.calibrate("hamming"),
    ],
)
def test_a_stale_writer_leaves_the_new_index_alone(
    tmp_path: Path, replace: Callable[[Path], None], change: Callable[[Index], object]
) -> None:
    folder = made(tmp_path / "index", "old")
    with Index.open(folder, mode="rw") as stale:
        replace(folder)
        before = content(folder)
        with pytest.raises((ReplacedError, LockedError)) as caught:
            change(stale)
        assert "the index again" in caught.value.cure
        assert content(folder) == before
    assert content(folder) == before
    with Index.open(folder, mode="rw") as index:
        assert [item.id for item in index] == [f"new {row}" for row in range(40)]
        assert (index.features(["new 7"]) == features(40, DIM, 1)[7]).all()
        index.add(["more"], features(1, DIM))


def test_a_stale_writer_beside_an_open_one(tmp_path: Path) -> None:
    folder = made(tmp_path / "index", "old", rows=1000)
    stale = Index.open(folder, mode="rw")
    shutil.rmtree(folder)
    with Index.create(folder, DIM, segment_rows=16) as fresh:
        for step in range(5):
            fresh.add([f"{step}"], np.full((1, DIM), step, np.float32))
            with pytest.raises(ReplacedError, match="was replaced since it was opened"):
                stale.add(["x"], features(1, DIM))
        stale.close()
        assert fresh.features([f"{step}" for step in range(5)])[:, 0].tolist() == [*range(5)]
        assert len(list(folder.glob("*.npy"))) == 2


@pytest.mark.posix
@pytest.mark.parametrize("replace", REPLACEMENTS)
@pytest.mark.parametrize("child", [False, True])
@pytest.mark.parametrize("warm", METRICS)
def test_a_reader_is_told_and_mixes_nothing(
    tmp_path: Path, replace: Callable[[Path], None], child: bool, warm: str
) -> None:
    """Whatever was mapped before: nothing, or what one of the metrics reads."""
    folder = made(tmp_path / "index", "old")
    query = features(40, DIM)[3]

    def told(index: Index) -> str:
        for metric in METRICS:
            with pytest.raises(ReplacedError, match="the index again"):
                index.search(query, 3, metric)
        for call in (lambda: len(index), index.info, lambda: list(index), lambda: "a" in index):
            with pytest.raises(ReplacedError):
                call()
        return "told"

    with Index.open(folder) as reader:
        assert reader.search(query, 1, warm)[0][0].distance == 0  # type: ignore[call-overload]
        replace(folder)
        assert (forked(lambda: told(reader)) if child else told(reader)) == "told"
    with Index.open(folder) as again:
        assert again.search(features(40, DIM, 1)[3], 1)[0][0].id == "new 3"


@pytest.mark.posix
@pytest.mark.parametrize("child", [False, True])
def test_a_link_that_is_turned_changes_nothing_for_who_has_opened_it(
    tmp_path: Path, child: bool
) -> None:
    """C4: search by one metric, turn the link, search by another."""
    first, second = made(tmp_path / "v1", "old"), made(tmp_path / "v2", "new", seed=1)
    link = tmp_path / "cur"
    link.symlink_to(first)
    query = features(40, DIM, 1)[3]

    def answers(index: Index) -> list[str]:
        return [hit.id for metric in METRICS for hit in index.search(query, 40, metric)[0]]

    with Index.open(link) as reader, Index.open(first) as right:
        reader.search(query, 1)
        link.unlink()
        link.symlink_to(second)
        found = forked(lambda: answers(reader)) if child else answers(reader)
        assert found == answers(right)
    with Index.open(link) as reader:
        assert reader.search(query, 1)[0][0].id == "new 3"


@pytest.mark.posix
def test_a_link_turned_under_a_writer(tmp_path: Path) -> None:
    first, second = made(tmp_path / "v1", "old"), made(tmp_path / "v2", "new", seed=1)
    link = tmp_path / "cur"
    link.symlink_to(first)
    before = content(second)
    with Index.open(link, mode="rw") as writer:
        link.unlink()
        link.symlink_to(second)
        writer.add(["late"], features(1, DIM))
        assert content(second) == before
    with Index.open(first) as index:
        assert "late" in index


def test_a_folder_that_is_moved_while_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the file and SQLite's opening of its name."""
    folder = made(tmp_path / "index", "old")
    other = made(tmp_path / "other", "new", seed=1)
    real = database_module.connect

    def moved(*arguments: object, **options: object) -> object:
        folder.rename(tmp_path / "away")
        other.rename(folder)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(database_module, "connect", moved)
    with pytest.raises(ReplacedError, match="was replaced"):
        Index.open(folder)
    monkeypatch.undo()
    with Index.open(folder) as index:
        assert "new 1" in index


# The lock's file


def test_a_lock_that_was_removed_admits_one_writer_only(tmp_path: Path) -> None:
    folder = made(tmp_path / "index", "old")
    first = Index.open(folder, mode="rw")
    first.add(["a"], np.ones((1, DIM)))
    (folder / FILE_NAME).unlink()
    with pytest.raises(LockedError, match=r"write.lock was removed or replaced"):
        first.add(["b"], np.ones((1, DIM)))
    with Index.open(folder, mode="rw") as second:
        for step in range(20):
            second.add([f"second {step}"], np.full((1, DIM), step, np.float32))
            with pytest.raises(LockedError, match="open the index again"):
                first.add([f"first {step}"], np.full((1, DIM), -step, np.float32))
        first.close()  # lets go of its own lock, not of the second's
        with pytest.raises(LockedError):
            Index.open(folder, mode="rw")
        ids = [f"second {step}" for step in range(20)]
        assert second.features(ids)[:, 0].tolist() == [*range(20)]
        assert len(second) == 61


def _add_at_full_speed(folder: Path, name: str, adds: int, results: object) -> None:
    """Open, remove the lock's file, add; when refused begin anew."""
    done = refused = 0
    while done < adds:
        try:
            index = Index.open(folder, mode="rw")
        except StoreError:
            (folder / FILE_NAME).unlink(missing_ok=True)
            continue
        with index:
            for _ in range(10):
                value = np.full((1, DIM), int(name) * 10_000 + done, np.float32)
                try:
                    index.add([f"{name} {done}"], value)
                except LockedError:
                    refused += 1
                    break
                done += 1
                if done % 3 == 0:
                    (folder / FILE_NAME).unlink(missing_ok=True)
    results.put((name, refused))  # type: ignore[attr-defined]


def test_writers_that_remove_each_others_lock_mix_no_rows(tmp_path: Path) -> None:
    """C3, from two processes at full speed: a row holds its own id's vector, always."""
    folder = tmp_path / "index"
    Index.create(folder, DIM, segment_rows=64).close()
    results, adds = SPAWN.Queue(), 150
    writers = [
        SPAWN.Process(target=_add_at_full_speed, args=(folder, name, adds, results))
        for name in ("1", "2")
    ]
    for writer in writers:
        writer.start()
    reports = dict(results.get(timeout=300) for _ in writers)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert set(reports) == {"1", "2"}
    with Index.open(folder, mode="rw") as index:
        items = [item.id for item in index]
        assert len(items) == len(set(items)) == 2 * adds
        names = [item.split() for item in items]
        expected = [int(name) * 10_000 + int(number) for name, number in names]
        assert index.features(items)[:, 0].tolist() == expected
        found = index.search(np.zeros((1, DIM), np.float32), 2 * adds)[0]
        assert len(found) == 2 * adds


def test_writers_in_two_threads_of_one_process(tmp_path: Path) -> None:
    """Two objects, the lock's file removed between them."""
    folder = made(tmp_path / "index", "old")
    told: list[str] = []

    def write(name: str) -> None:
        for step in range(30):
            try:
                with Index.open(folder, mode="rw") as index:
                    index.add([f"{name} {step}"], np.full((1, DIM), step, np.float32))
            except LockedError as error:
                told.append(str(error))
                (folder / FILE_NAME).unlink(missing_ok=True)

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Index.open(folder) as index:
        added = [item.id for item in index if not item.id.startswith("old")]
        assert len(added) + len(told) == 60
        values = [int(name.split()[1]) for name in added]
        assert index.features(added)[:, 0].tolist() == values
