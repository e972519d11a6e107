"""What the system withholds or undoes: a stopped writer, cut files, too few files or too little
memory, a flush that fails. It is told as it is, and soon."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from index_data import METRICS, features
from processes import in_a_process
from store_data import block, make

from vsearch_fast.disk import database as database_module
from vsearch_fast.disk.folder import Folder
from vsearch_fast.errors import ArgumentError, DamagedError, ReplacedError, StoreError
from vsearch_fast.index import Index, Item
from vsearch_fast.index.changes import Changes
from vsearch_fast.index.store import Store
from vsearch_fast.index.verifying import verify

pytestmark = pytest.mark.posix


DIM = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "i", DIM, segment_rows=64) as index:
        index.add([f"{row}" for row in range(200)], features(200, DIM))
    return tmp_path / "i"


# A stopped writer

STOPPED = """
import os, signal, sqlite3, sys
sql = sqlite3.connect(sys.argv[1] + "/index.sqlite", isolation_level=None)
sql.execute("BEGIN EXCLUSIVE")
with open(sys.argv[1] + "/write.lock", "w") as file:
    file.write(f"{os.getpid()}\\n")
print("locked", flush=True)
if sys.argv[2] == "stops":
    os.kill(os.getpid(), signal.SIGSTOP)
else:
    sys.stdin.read()
sql.execute("COMMIT")
"""


@contextlib.contextmanager
def commits(folder: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """A process in the midst of a commit."""
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(folder), how],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None and process.stdout.readline() == "locked\n"
            if how == "stops":
                os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def test_a_stopped_writer_is_told_after_seconds(folder: Path) -> None:
    with Index.open(folder) as reader, commits(folder, "stops") as writer:
        for call in (lambda: reader.search(features(1, DIM), 3), lambda: Index.open(folder)):
            start = time.monotonic()
            with pytest.raises(StoreError, match=f"Process {writer.pid} was stopped while") as told:
                call()
            assert time.monotonic() - start < 6  # a second or two where nobody else works
            assert f"kill -CONT {writer.pid}" in told.value.cure
        writer.send_signal(signal.SIGCONT)
        assert writer.wait(60) == 0
        assert len(reader) == 200


def test_a_writer_that_works_is_waited_for(folder: Path) -> None:
    with Index.open(folder) as reader, commits(folder, "waits") as writer:
        assert writer.stdin is not None
        threading.Timer(2.5, writer.stdin.close).start()
        start = time.monotonic()
        assert len(reader) == 200
        assert time.monotonic() - start > 2


def test_the_wait_has_an_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 1.5)
    with (
        Index.open(folder) as reader,
        commits(folder, "waits"),
        pytest.raises(StoreError, match="in use by another process"),
    ):
        len(reader)


# Files that are cut, and restored


@pytest.mark.parametrize("kind", ["vectors", "codes", "sketches", "facts"])
def test_a_file_cut_between_searches_is_told(folder: Path, kind: str) -> None:
    with Index.open(folder) as reader:
        for metric in METRICS:
            reader.search(features(1, DIM), 3, metric)
        file = folder / f"{kind}-00001.npy"
        whole = file.read_bytes()
        os.truncate(file, len(whole) - 40)
        metric = "hamming" if kind == "codes" else "l2"
        with pytest.raises(DamagedError, match=rf"{kind}-00001.npy has .*: it was cut short"):
            reader.search(features(1, DIM), 3, metric)
        restored = folder / "restored"
        restored.write_bytes(whole)
        os.replace(restored, file)
        assert len(reader.search(features(1, DIM), 300, metric)[0]) == 200


def test_a_restored_file_is_checked_again(folder: Path) -> None:
    """Put in by rename: mapped anew, and hashed anew."""
    with Index.open(folder) as reader:
        before = reader.search(features(1, DIM), 3, "hamming")
        file = folder / "codes-00001.npy"
        content = bytearray(file.read_bytes())
        for flipped in (True, False):
            content[150] ^= 1
            (folder / "restored").write_bytes(content)
            os.replace(folder / "restored", file)
            if flipped:
                with pytest.raises(DamagedError, match=r"codes-00001.npy is damaged: of rows 64"):
                    reader.search(features(1, DIM), 3, "hamming")
            else:
                assert reader.search(features(1, DIM), 3, "hamming") == before


def test_what_was_removed_is_told(folder: Path) -> None:
    with Index.open(folder) as reader:
        (folder / "facts-00000.npy").rename(folder / "away")
        for call in (reader.info, lambda: reader.search(features(1, DIM))):
            with pytest.raises(DamagedError, match=r"facts-00000.npy is missing"):
                call()
        (folder / "away").rename(folder / "facts-00000.npy")
        assert reader.info()["rows"] == 200
        folder.rename(folder.with_name("away"))
        gone: list[Callable[[], object]] = [reader.info, lambda: len(reader)]
        for ask in [*gone, lambda: reader.search(features(1, DIM))]:
            with pytest.raises(ReplacedError, match="was removed since it was opened"):
                ask()


# Limits


def test_hundreds_of_segments_and_few_descriptors(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", DIM, segment_rows=2) as index:
        index.add([f"{row}" for row in range(400)], features(400, DIM))
    code = f"""
        import resource
        import numpy as np
        from vsearch_fast.index import Index
        from vsearch_fast.index.verifying import verify
        from vsearch_fast.kernels import reference
        rows = np.random.default_rng(0).standard_normal((400, {DIM})).astype(np.float32)
        Index.open({str(tmp_path / "i")!r}).search(rows[:1], 3, "l1")  # libraries are loaded
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        with Index.open({str(tmp_path / "i")!r}, mode="rw") as index:
            for metric in ("l2", "l1", "hamming"):
                assert index.search(rows[7], 1, metric)[0][0].id == "7"
            index.add([f"n{{i}}" for i in range(100)], rows[:100])
            index.remove(["7"])
            assert index.search(rows[7], 1)[0][0].id == "n7"
            assert verify(index._store).sound
            print(index.info()["segments"])
    """
    assert in_a_process(textwrap.dedent(code)) == "250"


def test_what_cannot_be_listed_is_left_for_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of an addition is in nobody's way; no descriptor may be left to find it with."""

    def fails(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with Index.open(folder) as index:
        items = len(index)
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "names", fails)
        with Index.open(folder, mode="rw") as index:
            patch.setattr("vsearch_fast.index.segments.pwrite_all", fails)
            with pytest.raises(StoreError, match="Too many open files"):
                index.add(["new"], np.ones((1, index.dim), np.float32))
            assert len(index) == items


def test_no_address_space(tmp_path: Path) -> None:
    """Said to be that, and no damage."""
    with Index.create(tmp_path / "i", 4096, segment_rows=1 << 17) as index:  # 2 GiB, sparse
        index.add(["a"], features(1, 4096))
    code = f"""
        import resource
        from pathlib import Path
        import numpy as np
        from vsearch_fast.index import Index
        from vsearch_fast.errors import DamagedError, StoreError
        with Index.open({str(tmp_path / "i")!r}) as index:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
            for call in (lambda: index.features(["a"]), lambda: index.search(np.zeros(4096))):
                try:
                    call()
                except StoreError as error:
                    assert not isinstance(error, DamagedError)
                    print(error)
    """
    told = in_a_process(textwrap.dedent(code)).splitlines()
    assert len(told) == 2
    for line in told:
        assert "vectors-00000.npy cannot be mapped: this process has no address space" in line
        assert "it is not damaged" in line and "ulimit -v" in line


class Failing:
    """A connection whose COMMIT reports an error: before it is done, or after."""

    def __init__(self, sql: sqlite3.Connection, done: bool, error: BaseException) -> None:
        self._sql, self._done, self._error = sql, done, error

    def __getattr__(self, name: str) -> object:
        return getattr(self._sql, name)

    def execute(self, statement: str, *arguments: object) -> sqlite3.Cursor:
        if statement == "COMMIT":
            if self._done:
                self._sql.execute(statement)
            raise self._error
        return self._sql.execute(statement, *arguments)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = make(tmp_path / "s")
    Changes(opened).append([Item(f"id{row}") for row in range(5)], [block(0, 5)], replace=False)
    yield opened
    opened.close()


def fail_commit(store: Store, done: bool, error: BaseException) -> None:
    writer = store.database._writer
    assert writer is not None
    store.database._writer = Failing(writer, done, error)  # type: ignore[assignment]


def append(store: Store, first: int, count: int) -> None:
    items = [Item(f"id{row}") for row in range(first, first + count)]
    Changes(store).append(items, [block(first, count)], replace=False)


def is_sound(store: Store, rows: int) -> None:
    assert store.state().rows == rows
    view = store.view(None, ("vectors",), "")
    found = np.concatenate(view.reading.arrays("vectors"))
    assert (found == block(0, rows)["vectors"]).all()
    assert verify(store).sound


@pytest.mark.parametrize("change", ["append", "remove", "note", "update"])
def test_a_last_flush_that_failed_is_told_as_done(store: Store, change: str) -> None:
    fail_commit(store, True, sqlite3.OperationalError("disk I/O error"))
    calls = {
        "append": lambda: append(store, 5, 20),
        "remove": lambda: Changes(store).remove(["id1"]),
        "note": lambda: Changes(store).write_note("a", "b"),
        "update": lambda: Changes(store).update([Item("id1", path="x")]),
    }
    with pytest.raises(StoreError, match=r"The last flush of .* failed") as told:
        calls[change]()
    assert "The change was made, and all see it" in told.value.consequence
    reader = Store(store.folder, writable=False)
    for opened in (store, reader):
        assert opened.state().rows == (25 if change == "append" else 5)
        assert opened.state().removed == (change == "remove")
        assert opened.note("a") == ("b" if change == "note" else None)
        assert verify(opened).sound
    reader.close()
    append(store, store.state().rows, 3)  # the next change is a change


def test_a_commit_that_failed_is_told_as_not_done(store: Store) -> None:
    fail_commit(store, False, sqlite3.OperationalError("disk I/O error"))
    with pytest.raises(StoreError, match="None of the rows was added"):
        append(store, 5, 20)
    is_sound(store, 5)
    assert not (store.folder / "vectors-00001.npy").exists()
    append(store, 5, 20)
    is_sound(store, 25)


def test_a_commit_that_failed_without_the_lock_removes_nothing(store: Store) -> None:
    """By then the files may be another writer's."""

    def blocks() -> Iterator[dict[str, np.ndarray]]:
        yield block(5, 20)
        (store.folder / "write.lock").unlink()

    fail_commit(store, False, sqlite3.OperationalError("disk I/O error"))
    items = [Item(f"id{row}") for row in range(5, 25)]
    with pytest.raises(StoreError, match="None of the rows was added"):
        Changes(store).append(items, blocks(), replace=False)
    assert (store.folder / "vectors-00002.npy").exists()
    again = Store(store.folder, writable=True)  # which removes what is nobody's
    assert not (store.folder / "vectors-00001.npy").exists()
    is_sound(again, 5)
    again.close()


@pytest.mark.parametrize("done", [False, True])
def test_an_interrupt_at_the_commit(store: Store, done: bool) -> None:
    """Ctrl-C when all is written: what was committed keeps its files."""
    fail_commit(store, done, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        append(store, 5, 20)
    store.database._writer = store.database._writer._sql  # type: ignore[union-attr]
    rows = 25 if done else 5
    is_sound(store, rows)
    append(store, rows, 20)
    is_sound(store, rows + 20)


def test_a_transaction_that_an_interrupt_left_open(store: Store) -> None:
    writer = store.database._writer
    assert writer is not None
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM items")
    append(store, 5, 20)
    is_sound(store, 25)


# Changes in changes


def test_a_part_that_failed_is_undone_alone(store: Store) -> None:
    with store.change("Nothing was changed"):
        append(store, 5, 10)
        with pytest.raises(ArgumentError), store.change("The part was not done"):
            append(store, 15, 30)
            Changes(store).remove(["id7", "id20"])
            raise ArgumentError("no")
        with store.change(""), store.change(""):
            append(store, 15, 4)
        Changes(store).write_note("a", "b")
    is_sound(store, 19)
    assert store.note("a") == "b"
    assert {id_ for id_ in ("id7", "id18", "id19") if store.contains(id_)} == {"id7", "id18"}


def test_all_parts_are_undone_with_the_whole(store: Store) -> None:
    before = sorted(path.name for path in store.folder.iterdir())
    with pytest.raises(ArgumentError), store.change(""):
        append(store, 5, 30)
        Changes(store).remove(["id1", "id30"])
        with store.change(""):
            append(store, 35, 30)
        reader = Store(store.folder, writable=False)
        assert reader.state().rows == store.state().rows == 5
        reader.close()
        raise ArgumentError("no")
    assert sorted(path.name for path in store.folder.iterdir()) == before
    is_sound(store, 5)
    append(store, 5, 30)
    is_sound(store, 35)


def test_a_part_that_rolled_all_back_fails_the_whole(store: Store) -> None:
    """SQLite undoes a whole transaction on a full disk; nothing is then half made."""
    with pytest.raises(StoreError, match="that this is a part of has failed"), store.change("x"):
        append(store, 5, 10)
        with contextlib.suppress(sqlite3.Error), store.statements("") as sql:
            sql.execute("ROLLBACK")
        append(store, 15, 10)
    is_sound(store, 5)
    append(store, 5, 10)
    is_sound(store, 15)


def test_threads_read_on_during_a_long_add(folder: Path) -> None:
    """Of the same object."""
    began, go_on = threading.Event(), threading.Event()
    with Index.open(folder, mode="rw") as index:
        real = index._store.files.append

        def slow(*arguments: object) -> None:
            real(*arguments)  # type: ignore[arg-type]
            began.set()
            assert go_on.wait(60)

        index._store.files.append = slow  # type: ignore[method-assign, assignment]
        new = features(300, DIM, 3)
        writer = threading.Thread(target=index.add, args=([f"n{i}" for i in range(300)], new))
        writer.start()
        try:
            assert began.wait(60)
            start = time.monotonic()
            for metric in METRICS:
                assert len(index.search(new[:2], 999, metric)[0]) == 200
            assert len(index) == 200 and "n1" not in index
            assert len(list(index)) == 200
            assert len(index.page(300)[0]) == 200
            assert index.info()["rows"] == 200
            assert time.monotonic() - start < 20
        finally:
            go_on.set()
            writer.join()
        assert len(index) == 500
        assert index.search(new[7], 1)[0][0].id == "n7"
