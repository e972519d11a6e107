"""The index on disk: what is no index, and damage."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from store_data import fill, make, tampered

from vsearch_fast.errors import DamagedError, StoreError
from vsearch_fast.index.changes import Changes
from vsearch_fast.index.items import Item
from vsearch_fast.index.schema import READ
from vsearch_fast.index.store import Store


def test_closed(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.state()


def test_opened_for_reading(store: Store) -> None:
    reader = Store(store.folder, writable=False)
    for change in (
        lambda: fill(reader, 0, 1),
        lambda: Changes(reader).remove(["id0"]),
        lambda: Changes(reader).update([Item("id0")]),
    ):
        with pytest.raises(StoreError, match=r'opened for reading.*mode="rw"'):
            change()
    with (
        pytest.raises(StoreError, match="cannot be opened or written"),
        reader.reading("x") as sql,
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


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize(
    "left", [["write.lock"], [""], ["-journal"], ["", "-journal", "write.lock"]]
)
def test_what_an_interrupted_creation_leaves(
    tmp_path: Path, left: list[str], writable: bool
) -> None:
    for name in left:
        (tmp_path / (name if name == "write.lock" else f"index.sqlite.new{name}")).touch()
    with pytest.raises(StoreError, match=r"interrupted.*Create it again"):
        Store(tmp_path, writable=writable)
    make(tmp_path).close()
    assert Store(tmp_path, writable=writable).state().rows == 0


@pytest.mark.parametrize("writable", [False, True])
def test_rows_without_their_database(store: Store, writable: bool) -> None:
    fill(store, 0, 3)
    store.close()
    (store.folder / "index.sqlite").unlink()
    for lock in ([], ["write.lock"]):
        for name in lock:
            (store.folder / name).touch()
        with pytest.raises(StoreError, match=r"rows and no index\.sqlite.*Restore"):
            Store(store.folder, writable=writable)


@pytest.mark.parametrize(
    ("version", "cure"), [(READ[-1] + 1, "Upgrade"), (0, "Index the pictures")]
)
def test_another_format(store: Store, version: int, cure: str) -> None:
    store.close()
    sql = sqlite3.connect(store.folder / "index.sqlite")
    sql.execute(f"PRAGMA user_version = {version}")
    sql.close()
    with pytest.raises(StoreError, match=f"index format {version}.*{cure}"):
        Store(store.folder, writable=False)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM meta WHERE key = 'dim'", "'dim'"),
        ("UPDATE meta SET value = '{' WHERE key = 'model'", "Expecting property name"),
        ("DELETE FROM kinds WHERE name = 'codes'", "'codes'"),
    ],
)
def test_incomplete_tables(store: Store, statement: str, words: str) -> None:
    store.close()
    tampered(store.folder, statement)
    with pytest.raises(DamagedError, match=rf"index.sqlite is damaged .*{words}.*Restore"):
        Store(store.folder, writable=False)


@pytest.mark.parametrize("table", ["meta", "state", "kinds", "columns", "segments"])
def test_missing_tables(store: Store, table: str) -> None:
    store.close()
    tampered(store.folder, f"DROP TABLE {table}", sealed=False)
    with pytest.raises(DamagedError, match=r"index.sqlite is damaged.*Restore"):
        Store(store.folder, writable=False)


def test_an_empty_state(store: Store) -> None:
    store.close()
    tampered(store.folder, "DELETE FROM state")
    with pytest.raises(DamagedError, match=r"index.sqlite is damaged .the line of table state"):
        Store(store.folder, writable=False)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE meta SET value = '13' WHERE key = 'dim'",
        "INSERT INTO meta VALUES ('threshold l2', '{}')",
        "UPDATE state SET edits = 7",
        "UPDATE kinds SET width = 13 WHERE name = 'vectors'",
        "INSERT INTO columns VALUES (1, 'colour')",
        "DELETE FROM meta WHERE key = 'seal'",
    ],
)
def test_small_tables_that_nobody_has_sealed(store: Store, statement: str) -> None:
    store.close()
    tampered(store.folder, statement, sealed=False)
    with pytest.raises(DamagedError, match="meta, state, kinds or columns are not as they were"):
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
        opened.view(None, ("codes",), "")
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
