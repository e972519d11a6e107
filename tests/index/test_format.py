"""The index on disk: its files, and how they are made."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from store_data import DIM, fill, make, rows_of, tampered

from vsearch_fast.disk.folder import Folder
from vsearch_fast.errors import LockedError, StoreError
from vsearch_fast.index.changes import Changes
from vsearch_fast.index.schema import APPLICATION_ID, FORMAT, create, default_segment_rows
from vsearch_fast.index.segments import Kind, SegmentFiles
from vsearch_fast.index.store import Store
from vsearch_fast.index.sums import RunningSums


def test_files_are_what_the_format_says(store: Store) -> None:
    fill(store, 0, 5)
    fill(store, 5, 14)
    Changes(store).remove(["id3"])
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
    tampered(
        store.folder,
        "INSERT INTO kinds VALUES ('sketch', '|u1', 64)",
        "INSERT INTO segments VALUES ('sketch', 0, 5, '{\"lo\": 0}', 0)",
    )
    again = Store(store.folder, writable=True)
    fill(again, 5, 9)
    assert rows_of(again, "vectors")[:, 0].tolist() == list(range(14))
    assert later.read_bytes() == b"later"
    again.close()


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
    kind = Kind("a", "<f2", 3)
    files = SegmentFiles(Folder(tmp_path), [kind], 5)
    sums = {"a": RunningSums(kind, 5, 0, np.empty(0, np.uint64), np.empty((0, 3), "<f2"))}
    files.append(0, [{"a": np.arange(15, dtype="<f2").reshape(5, 3)}], sums, "")
    assert np.load(tmp_path / "a-00000.npy").tolist() == np.arange(15.0).reshape(5, 3).tolist()
    assert len(files.kinds["a"].header(5)) % 64 == 0  # rows are aligned in the map
