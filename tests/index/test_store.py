"""The index on disk: its format, the order of its writes, locks, damage, forks."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vsearch_fast import _segments as segments_module
from vsearch_fast import store as store_module
from vsearch_fast._items import Item, facet
from vsearch_fast._schema import APPLICATION_ID, FORMAT, create, default_segment_rows
from vsearch_fast._segments import Kind, SegmentFiles
from vsearch_fast._writelock import WriteLock
from vsearch_fast.errors import ArgumentError, LockedError, StoreError
from vsearch_fast.store import Store

DIM = 12


def make(folder: Path, segment_rows: int = 8) -> Store:
    create(folder, DIM, "model", {"layer": "fc1"}, segment_rows)
    return Store(folder, writable=True)


def block(start: int, count: int) -> dict[str, np.ndarray]:
    numbers = np.arange(start, start + count, dtype=np.float32)
    vectors = np.repeat(numbers[:, None], DIM, axis=1)
    return {"vectors": vectors, "codes": np.packbits(vectors > 3, axis=-1)}


def fill(store: Store, start: int, count: int, **metadata: str) -> None:
    items = [Item(f"id{row}", metadata=metadata) for row in range(start, start + count)]
    store.append(items, [block(start, count)], replace=False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = make(tmp_path / "index")
    yield opened
    opened.close()


def rows_of(store: Store, kind: str) -> np.ndarray:
    return np.concatenate(store.files.map(kind, store.state().rows))


# Format


def test_files_are_what_the_format_says(store: Store) -> None:
    fill(store, 0, 5)
    fill(store, 5, 14)
    store.remove(["id3"])
    names = sorted(path.name for path in store.folder.iterdir())
    expected = [f"{kind}-{n:05d}.npy" for kind in ("codes", "vectors") for n in range(3)]
    expected += [f"{kind}-{n:05d}.npy" for kind in ("facts", "sketches") for n in range(2)]
    assert names == sorted([*expected, "index.sqlite", "write.lock"])
    vectors = [np.load(store.folder / f"vectors-{n:05d}.npy", mmap_mode="r") for n in range(3)]
    assert all(array.shape == (8, DIM) and array.dtype == np.float32 for array in vectors)
    assert np.concatenate(vectors)[:19, 0].tolist() == list(range(19))
    codes = np.load(store.folder / "codes-00001.npy")
    assert codes.dtype == np.uint8 and codes.shape == (8, 2)
    assert codes[0].tolist() == [0xFF, 0xF0]
    with sqlite3.connect(store.folder / "index.sqlite") as sql:
        assert sql.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        assert sql.execute("PRAGMA user_version").fetchone()[0] == FORMAT
        assert sql.execute("SELECT rows, removed, edits FROM state").fetchall() == [(19, 1, 1)]
        assert sql.execute("SELECT number, row FROM tombstones").fetchall() == [(1, 3)]
        lines = sql.execute("SELECT kind, segment, rows FROM segments").fetchall()
        held = {"codes": (8, 8, 3), "facts": (8, 8), "sketches": (8, 8), "vectors": (8, 8, 3)}
        assert lines == [(k, n, r) for k, rows in held.items() for n, r in enumerate(rows)]
    sql.close()


def test_segments_are_sparse(tmp_path: Path) -> None:
    store = make(tmp_path / "index", segment_rows=1 << 20)
    fill(store, 0, 3)
    file = store.folder / "vectors-00000.npy"
    assert file.stat().st_size > 40 << 20
    assert file.stat().st_blocks * 512 < 1 << 20
    assert store.bytes_on_disk() < 2 << 20
    store.close()


def test_default_segment_is_about_256_mib_and_never_under_1024_rows() -> None:
    assert default_segment_rows(4096) == 16384
    assert default_segment_rows(64) * 64 * 4 == 256 << 20
    assert default_segment_rows(1_000_000) == 1024


def test_a_kind_of_segment_that_this_version_does_not_know_is_left_alone(store: Store) -> None:
    fill(store, 0, 5)
    store.close()
    later = store.folder / "sketch-00000.npy"
    later.write_bytes(b"later")
    with sqlite3.connect(store.folder / "index.sqlite") as sql:
        sql.execute("INSERT INTO kinds VALUES ('sketch', '|u1', 64)")
        sql.execute("INSERT INTO segments VALUES ('sketch', 0, 5, '{\"lo\": 0}')")
    sql.close()
    again = Store(store.folder, writable=True)
    fill(again, 5, 9)
    assert rows_of(again, "vectors")[:, 0].tolist() == list(range(14))
    assert later.read_bytes() == b"later"
    again.close()


# Writing


def test_rows_are_flushed_before_the_commit_that_makes_them_exist(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 0, 5)
    names: dict[int, str] = {}
    events: list[tuple[str, str]] = []
    real_open, real_pwrite, real_fsync = os.open, os.pwrite, os.fsync

    def opened(path: str | Path, *arguments: int) -> int:
        descriptor = real_open(path, *arguments)
        names[descriptor] = Path(path).name
        return descriptor

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        events.append(("write", names[descriptor]))
        return real_pwrite(descriptor, data, offset)

    def fsync(descriptor: int) -> None:
        events.append(("sync", names[descriptor]))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "fsync", fsync)
    assert store._connection is not None
    store._connection.set_trace_callback(lambda text: events.append(("sql", text.split()[0])))
    fill(store, 5, 14)
    store._connection.set_trace_callback(None)
    begin = events.index(("sql", "INSERT"))
    files = {name for what, name in events if what == "write"}
    expected = {f"{kind}-{n:05d}.npy" for kind in ("codes", "vectors") for n in range(3)}
    expected |= {f"{kind}-{n:05d}.npy" for kind in ("facts", "sketches") for n in range(2)}
    assert files == expected
    assert all(what == "sql" for what, _ in events[begin:])
    for name in files:
        last_write = max(i for i, event in enumerate(events) if event == ("write", name))
        assert last_write < events.index(("sync", name), last_write) < begin
    assert events.index(("sync", "index")) < begin  # the folder: two files are new


def test_synchronous_setting_survives_a_power_cut(store: Store) -> None:
    with store.transaction("") as sql:
        assert sql.execute("PRAGMA synchronous").fetchone()[0] == 3  # EXTRA
        assert sql.execute("PRAGMA journal_mode").fetchone()[0] == "delete"


def test_short_writes_are_carried_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    calls = []

    def dribble(descriptor: int, data: memoryview, offset: int) -> int:
        calls.append(len(data))
        return real(descriptor, data[:7], offset)

    monkeypatch.setattr(os, "pwrite", dribble)
    fill(store, 0, 20)
    assert len(calls) > 100
    assert (rows_of(store, "vectors") == block(0, 20)["vectors"]).all()
    assert (rows_of(store, "codes") == block(0, 20)["codes"]).all()


@pytest.mark.parametrize("after", [0, 1, 3, 5, 8])
def test_a_failed_write_loses_nothing_and_can_be_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    fill(store, 0, 5)
    before = sorted(path.name for path in store.folder.iterdir())
    real = os.pwrite
    calls = []

    def full(descriptor: int, data: memoryview, offset: int) -> int:
        calls.append(offset)
        if len(calls) > after:
            raise OSError(28, "No space left on device")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError, match="disk is full") as caught:
        fill(store, 5, 20)
    assert "None of the rows was added" in caught.value.consequence
    assert "Free some space" in caught.value.cure
    monkeypatch.undo()
    assert sorted(path.name for path in store.folder.iterdir()) == before
    assert store.state().rows == 5
    fill(store, 5, 20)
    assert (rows_of(store, "vectors") == block(0, 25)["vectors"]).all()


@pytest.mark.parametrize(
    ("number", "words"),
    [(122, "quota"), (27, "ulimit"), (30, "permission"), (13, "permission"), (5, "Check the disk")],
)
def test_every_write_error_has_its_cure(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(StoreError, match=words) as caught:
        fill(store, 0, 5)
    assert "vectors-00000.npy" in caught.value.cause


def test_a_full_disk_at_the_commit_loses_nothing(store: Store) -> None:
    fill(store, 0, 5)
    with store.transaction("") as sql:
        pages = sql.execute("PRAGMA page_count").fetchone()[0]
        sql.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StoreError, match="disk is full"):
        fill(store, 5, 2000)
    assert store.state().rows == 5
    assert not (store.folder / "vectors-00001.npy").exists()
    with store.transaction("") as sql:
        sql.execute("PRAGMA max_page_count = 1000000")
    fill(store, 5, 2000)
    assert (rows_of(store, "vectors") == block(0, 2005)["vectors"]).all()


def test_an_error_among_the_blocks_adds_nothing(store: Store) -> None:
    fill(store, 0, 5)

    def blocks() -> Iterator[dict[str, np.ndarray]]:
        yield block(5, 10)
        raise ArgumentError("bad row")

    items = [Item(f"id{row}") for row in range(5, 25)]
    with pytest.raises(ArgumentError, match="bad row"):
        store.append(items, blocks(), replace=False)
    assert store.state().rows == 5
    assert not (store.folder / "vectors-00001.npy").exists()


def test_blocks_may_cross_segments_and_a_long_add_keeps_few_files_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(tmp_path / "index", segment_rows=4)
    held = set()
    most = 0
    real_open, real_close = os.open, os.close

    def opened(*arguments: object) -> int:
        nonlocal most
        descriptor = real_open(*arguments)  # type: ignore[arg-type]
        held.add(descriptor)
        most = max(most, len(held))
        return descriptor

    def closed(descriptor: int) -> None:
        held.discard(descriptor)
        real_close(descriptor)

    monkeypatch.setattr(segments_module.os, "open", opened)
    monkeypatch.setattr(segments_module.os, "close", closed)
    items = [Item(f"id{row}") for row in range(101)]
    store.append(items, [block(0, 3), block(3, 90), block(93, 8)], replace=False)
    assert most <= 3 and not held  # one of each kind, and the folder
    assert (rows_of(store, "vectors") == block(0, 101)["vectors"]).all()
    assert (rows_of(store, "codes") == block(0, 101)["codes"]).all()
    store.close()


def test_the_next_writer_drops_an_uncommitted_tail(store: Store) -> None:
    fill(store, 0, 5)
    store.files.append(5, [block(90, 30)], "")  # written and flushed, never committed
    assert (store.folder / "vectors-00004.npy").exists()
    store.close()
    reader = Store(store.folder, writable=False)
    assert (rows_of(reader, "vectors") == block(0, 5)["vectors"]).all()
    assert (store.folder / "vectors-00004.npy").exists()
    reader.close()
    again = Store(store.folder, writable=True)
    assert not (store.folder / "vectors-00001.npy").exists()
    assert (store.folder / "vectors-00000.npy").exists()
    fill(again, 5, 10)
    assert (rows_of(again, "vectors") == block(0, 15)["vectors"]).all()
    again.close()


def test_maps_are_reused_as_rows_arrive(store: Store) -> None:
    fill(store, 0, 5)
    reader = Store(store.folder, writable=False)
    (first,) = reader.files.map("vectors", 5)
    fill(store, 5, 5)
    again, more = reader.files.map("vectors", reader.state().rows)
    assert np.shares_memory(first, again)
    assert not again.flags.writeable
    assert (len(again), len(more)) == (8, 2)
    reader.close()


def test_masks_are_kept_until_something_is_committed(store: Store) -> None:
    fill(store, 0, 5, colour="red")
    fill(store, 5, 5, colour="blue")
    reader = Store(store.folder, writable=False)
    where = {"colour": [facet("red")]}
    snapshot, mask = reader.snapshot(where)
    assert mask is not None and mask.tolist() == [True] * 5 + [False] * 5
    assert reader.snapshot(where) == (snapshot, mask) and reader.snapshot(where)[1] is mask
    assert reader.snapshot(None)[1] is None
    store.remove(["id1", "id7"])
    fresh, mask = reader.snapshot(where)
    assert fresh is not snapshot
    assert mask is not None and np.flatnonzero(mask).tolist() == [0, 2, 3, 4]
    live = reader.snapshot(None)[1]
    assert live is not None and np.flatnonzero(~live).tolist() == [1, 7]
    for name in map(str, range(40)):
        reader.snapshot({"colour": [facet(name)]})
    assert len(fresh.filters) <= store_module._KEPT_FILTERS
    reader.close()


# One writer


def test_a_second_writer_is_refused_and_named(store: Store) -> None:
    with pytest.raises(LockedError, match=f"this process \\({os.getpid()}\\)"):
        Store(store.folder, writable=True)
    code = "import sys; from pathlib import Path; from vsearch_fast.store import Store\n"
    code += "Store(Path(sys.argv[1]), writable=True)"
    other = subprocess.run(
        [sys.executable, "-c", code, str(store.folder)], capture_output=True, text=True, check=False
    )
    assert (
        f"LockedError: {store.folder} is being written to by process {os.getpid()}" in other.stderr
    )
    store.close()
    Store(store.folder, writable=True).close()


def test_a_writer_that_is_forgotten_unlocks(tmp_path: Path) -> None:
    lock = WriteLock(tmp_path)
    with pytest.raises(LockedError):
        WriteLock(tmp_path)
    lock.release()
    lock.release()
    second: WriteLock | None = WriteLock(tmp_path)
    assert second is not None
    with pytest.warns(ResourceWarning):
        second = None
    WriteLock(tmp_path).release()


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """The writer is killed while a child that it forked lives on."""
    code = textwrap.dedent(
        """
        import os, sys, time
        from pathlib import Path
        from vsearch_fast._writelock import WriteLock
        lock = WriteLock(Path(sys.argv[1]))
        if os.fork() == 0:
            print("child", flush=True)
            time.sleep(60)
        os.waitpid(-1, 0)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as writer:
        try:
            assert writer.stdout is not None and writer.stdout.readline() == "child\n"
            with pytest.raises(LockedError, match=str(writer.pid)):
                WriteLock(tmp_path)
            writer.kill()
            writer.wait()
            WriteLock(tmp_path).release()
        finally:
            os.killpg(writer.pid, 9)


# Forks


def _read_in_child(store: Store, answers: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    try:
        answers.put((store.state().rows, store.find(["id2"], "")[0][0]))
    except StoreError as error:
        answers.put(str(error))


def test_a_child_reads_on_and_refuses_to_write(store: Store) -> None:
    fill(store, 0, 5)
    reader = Store(store.folder, writable=False)
    reader.state()
    fork = multiprocessing.get_context("fork")
    results = []
    for opened in (reader, store):
        answers = fork.Queue()
        child = fork.Process(target=_read_in_child, args=(opened, answers))
        child.start()
        results.append(answers.get(timeout=60))
        child.join()
        assert child.exitcode == 0
    assert results[0] == (5, 2)
    assert "before this process was forked" in results[1]
    fill(store, 5, 5)
    assert reader.state().rows == 10
    reader.close()


# What is no index, and damage


def test_closed(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.state()


def test_opened_for_reading(store: Store) -> None:
    reader = Store(store.folder, writable=False)
    for change in (
        lambda: fill(reader, 0, 1),
        lambda: reader.remove(["id0"]),
        lambda: reader.update([Item("id0")]),
    ):
        with pytest.raises(StoreError, match=r'opened for reading.*mode="rw"'):
            change()
    with (
        pytest.raises(StoreError, match="cannot be opened or written"),
        reader.transaction("x") as sql,
    ):
        sql.execute("DELETE FROM items")  # SQLite itself refuses, too
    reader.close()


@pytest.mark.parametrize("writable", [False, True])
def test_what_is_no_index(tmp_path: Path, writable: bool) -> None:
    def refused(folder: Path, words: str) -> None:
        with pytest.raises(StoreError, match=words):
            Store(folder, writable=writable)

    refused(tmp_path / "nothing", "does not exist")
    refused(tmp_path, "is not an index")
    file = tmp_path / "file"
    file.write_text("x")
    refused(file, "is a file")
    other = tmp_path / "other"
    other.mkdir()
    sqlite3.connect(other / "index.sqlite").execute("CREATE TABLE t (x)").connection.close()
    refused(other, "of some other program")
    (other / "index.sqlite").write_bytes(b"This is no database. " * 1000)
    refused(other, "index.sqlite is damaged")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "index.sqlite.new").touch()
    refused(unfinished, "interrupted.*Create it again")
    make(unfinished).close()
    assert Store(unfinished, writable=writable).state().rows == 0


@pytest.mark.parametrize(("version", "cure"), [(FORMAT + 1, "Upgrade"), (0, "Index the pictures")])
def test_another_format(store: Store, version: int, cure: str) -> None:
    store.close()
    sql = sqlite3.connect(store.folder / "index.sqlite")
    sql.execute(f"PRAGMA user_version = {version}")
    sql.close()
    with pytest.raises(StoreError, match=f"index format {version}.*{cure}"):
        Store(store.folder, writable=False)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM meta WHERE key = 'dim'",
        "UPDATE meta SET value = '{' WHERE key = 'model'",
        "DELETE FROM kinds WHERE name = 'codes'",
        "DROP TABLE state",
        "DROP TABLE meta",
    ],
)
def test_incomplete_tables(store: Store, statement: str) -> None:
    store.close()
    with sqlite3.connect(store.folder / "index.sqlite") as sql:
        sql.execute(statement)
    sql.close()
    with pytest.raises(StoreError, match=r"index.sqlite is damaged.*Restore"):
        Store(store.folder, writable=False)


def test_segments_that_are_missing_short_or_foreign(store: Store) -> None:
    fill(store, 0, 20)
    store.close()
    file = store.folder / "codes-00001.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(StoreError, match=f"codes-00001.npy has {len(whole) - 1} bytes of"):
        Store(store.folder, writable=False)
    file.unlink()
    with pytest.raises(StoreError, match=r"codes-00001.npy is missing"):
        Store(store.folder, writable=True)
    file.write_bytes(whole.replace(b"NUMPY", b"OTHER"))
    opened = Store(store.folder, writable=True)  # the refused open has released the lock
    with pytest.raises(StoreError, match=r"codes-00001.npy does not begin as a segment"):
        opened.files.map("codes", 20)
    opened.close()


def test_a_torn_database_is_reported(store: Store) -> None:
    fill(store, 0, 500)
    store.close()
    file = store.folder / "index.sqlite"
    content = bytearray(file.read_bytes())
    content[3 * 4096 :] = os.urandom(len(content) - 3 * 4096)
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"index.sqlite is damaged"):
        opened = Store(store.folder, writable=False)
        list(opened.iterate())


# Creating


def test_create_refuses_what_is_there(store: Store, tmp_path: Path) -> None:
    create(tmp_path / "new", 4, "", {}, 8)
    with pytest.raises(StoreError, match="holds an index already"):
        create(tmp_path / "new", 4, "", {}, 8)
    other = tmp_path / "other"
    other.mkdir()
    (other / "photo.jpg").touch()
    with pytest.raises(StoreError, match=r"holds other files \(photo.jpg\)"):
        create(other, 4, "", {}, 8)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="The index was not created"):
        create(tmp_path / "file", 4, "", {}, 8)
    with pytest.raises(LockedError):
        create(store.folder, 4, "", {}, 8)


def test_header_is_numpys(tmp_path: Path) -> None:
    files = SegmentFiles(tmp_path, [Kind("a", "<f2", 3)], 5)
    files.append(0, [{"a": np.arange(15, dtype="<f2").reshape(5, 3)}], "")
    assert np.load(tmp_path / "a-00000.npy").tolist() == np.arange(15.0).reshape(5, 3).tolist()
    assert len(files.kinds["a"].header(5)) % 64 == 0  # rows are aligned in the map
