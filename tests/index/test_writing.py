"""The index on disk: the order of its writes, and writes that fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from store_data import block, fill, make, rows_of

from vsearch_fast.errors import ArgumentError, StoreError
from vsearch_fast.index import item_reading
from vsearch_fast.index import segments as segments_module
from vsearch_fast.index.changes import Changes
from vsearch_fast.index.conditions import Among
from vsearch_fast.index.items import Item
from vsearch_fast.index.store import Store


def test_rows_are_flushed_before_the_commit_that_makes_them_exist(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 0, 5)
    names: dict[int, str] = {}
    events: list[tuple[str, str]] = []
    real_open, real_pwrite, real_fsync = os.open, os.pwrite, os.fsync

    def opened(path: str | Path, *arguments: int, **more: int) -> int:
        descriptor = real_open(path, *arguments, **more)
        names[descriptor] = Path(path).name
        return descriptor

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        events.append(("write", names[descriptor]))
        return real_pwrite(descriptor, data, offset)

    def fsync(descriptor: int) -> None:
        events.append(("sync", names.get(descriptor, "folder")))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "fsync", fsync)
    assert store.database._writer is not None
    store.database._writer.set_trace_callback(lambda text: events.append(("sql", text.split()[0])))
    fill(store, 5, 14)
    store.database._writer.set_trace_callback(None)
    assert events[0] == ("sql", "BEGIN")  # SQLite's lock, too, comes before the first byte
    begin = events.index(("sql", "INSERT"))
    files = {name for what, name in events if what == "write"}
    expected = {f"{kind}-{n:05d}.npy" for kind in ("codes", "vectors") for n in range(3)}
    expected |= {f"{kind}-{n:05d}.npy" for kind in ("facts", "sketches") for n in range(2)}
    assert files == expected
    assert all(what == "sql" for what, _ in events[begin:])
    for name in files:
        last_write = max(i for i, event in enumerate(events) if event == ("write", name))
        assert last_write < events.index(("sync", name), last_write) < begin
    assert events.index(("sync", "folder")) < begin  # the folder: two files are new


def test_synchronous_setting_survives_a_power_cut(store: Store) -> None:
    with store.change(""), store.statements("") as sql:
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
    with store.change(""), store.statements("") as sql:
        pages = sql.execute("PRAGMA page_count").fetchone()[0]
        sql.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StoreError, match="disk is full"):
        fill(store, 5, 2000)
    assert store.state().rows == 5
    assert not (store.folder / "vectors-00001.npy").exists()
    with store.change(""), store.statements("") as sql:
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
        Changes(store).append(items, blocks(), replace=False)
    assert store.state().rows == 5
    assert not (store.folder / "vectors-00001.npy").exists()


@pytest.mark.posix
def test_blocks_may_cross_segments_and_a_long_add_keeps_few_files_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(tmp_path / "index", segment_rows=4)
    real_open = os.open

    def descriptors() -> set[str]:
        return set(os.listdir("/proc/self/fd"))

    before, most = descriptors(), 0

    def opened(*arguments: object, **more: object) -> int:
        nonlocal most
        descriptor = real_open(*arguments, **more)  # type: ignore[arg-type]
        most = max(most, len(descriptors() - before))
        return descriptor

    monkeypatch.setattr(segments_module.os, "open", opened)
    items = [Item(f"id{row}") for row in range(101)]
    Changes(store).append(items, [block(0, 3), block(3, 90), block(93, 8)], replace=False)
    # One of each kind, one that is read to be sketched, SQLite's journal, and /proc's own.
    assert 2 <= most <= 5
    assert descriptors() <= before
    assert (rows_of(store, "vectors") == block(0, 101)["vectors"]).all()
    assert (rows_of(store, "codes") == block(0, 101)["codes"]).all()
    store.close()


def test_the_next_writer_drops_an_uncommitted_tail(store: Store, tmp_path: Path) -> None:
    fill(store, 0, 5)
    left = tmp_path / "left"

    def tail() -> Iterator[dict[str, np.ndarray]]:
        yield block(90, 30)
        shutil.copytree(store.folder, left)  # written, and never committed
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Changes(store).append([Item(f"x{i}") for i in range(30)], tail(), replace=False)
    assert not (store.folder / "vectors-00001.npy").exists()  # given back
    reader = Store(left, writable=False)
    assert (rows_of(reader, "vectors") == block(0, 5)["vectors"]).all()
    assert (left / "vectors-00004.npy").exists()
    reader.close()
    again = Store(left, writable=True)
    assert not (left / "vectors-00001.npy").exists()
    assert (left / "vectors-00000.npy").exists()
    fill(again, 5, 10)
    assert (rows_of(again, "vectors") == block(0, 15)["vectors"]).all()
    again.close()


def test_maps_are_reused_as_rows_arrive(store: Store) -> None:
    fill(store, 0, 5)
    reader = Store(store.folder, writable=False)
    (first,) = reader.view(None, ("vectors",), "").reading.arrays("vectors")
    fill(store, 5, 5)
    again, more = reader.view(None, ("vectors",), "").reading.arrays("vectors")
    assert np.shares_memory(first, again)
    assert not again.flags.writeable
    assert (len(again), len(more)) == (8, 2)
    reader.close()


def test_masks_are_kept_until_something_is_committed(store: Store) -> None:
    fill(store, 0, 5, colour="red")
    fill(store, 5, 5, colour="blue")
    reader = Store(store.folder, writable=False)
    where = Among.of("colour", ["red"])
    view = reader.view(where, ("codes",), "")
    snapshot, mask = view.snapshot, view.mask
    assert mask is not None and mask.tolist() == [True] * 5 + [False] * 5
    again = reader.view(where, ("codes",), "")
    assert again.snapshot is snapshot and again.mask is mask
    assert reader.view(None, ("codes",), "").mask is None
    Changes(store).remove(["id1", "id7"])
    view = reader.view(where, ("codes",), "")
    fresh, mask = view.snapshot, view.mask
    assert fresh is not snapshot
    assert mask is not None and np.flatnonzero(mask).tolist() == [0, 2, 3, 4]
    live = reader.view(None, ("codes",), "").mask
    assert live is not None and np.flatnonzero(~live).tolist() == [1, 7]
    for name in map(str, range(40)):
        reader.view(Among.of("colour", [name]), ("codes",), "")
    assert len(fresh.filters) <= item_reading._KEPT_FILTERS
    reader.close()
