"""Reduced rows of an index that are damaged, interrupted, copied, or replaced beside a reader."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_data import NEVER, REDUCED, cut_as
from damage import flip_row
from index_beside import at_each, failing
from store_data import tampered

from vsearch_fast.errors import DamagedError, StoreError
from vsearch_fast.index import (
    Index,
    optimizing,
    reducing,
    segments,
    stored_reductions,
    stored_sketches,
    sums,
)
from vsearch_fast.index.store import Store
from vsearch_fast.search.tiling import Tiling

DIM, ROWS = 20, 230
SMALL = Tiling(
    chunk_rows=32, inline_bytes=0, sketch_rows=32, hopeless=NEVER, reduced_left=NEVER, **REDUCED
)
DATA = np.random.default_rng(0).integers(-3, 4, (ROWS + 70, DIM)).astype(np.float32)
QUERIES = DATA[[5, 150, 222]] + np.float32(0.25)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(stored_sketches, "BLOCK_ROWS", 32)
    with cut_as(SMALL):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "i", DIM, segment_rows=100) as index:
        index.add([f"{i}" for i in range(ROWS)], DATA[:ROWS])
        index.remove(["7", "120"])
    return tmp_path / "i"


def answers(index: Index) -> list[Any]:
    return [
        index.search(QUERIES, k, metric, strategy="sketch")
        for metric in ("l2", "l1")
        for k in (1, 9, 400)
    ]


def reduced(index: Index) -> dict[str, int]:
    return {metric: facts["rows"] for metric, facts in index.info()["reductions"].items()}


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "coarse": (lambda f: flip_row(f, "coarse-00001.npy", 40), r"coarse-00001.npy is damaged"),
    "fine": (lambda f: flip_row(f, "fine-00000.npy", 7), r"fine-00000.npy is damaged"),
    "l1": (lambda f: flip_row(f, "sumscoarse-00000.npy", 95), r"sumscoarse-00000.npy is damaged"),
    "missing": (lambda f: (f / "sumsfine-00001.npy").unlink(), r"sumsfine-00001.npy is missing"),
    "cut": (lambda f: os.truncate(f / "fine-00001.npy", 500), r"fine-00001.npy has 500 bytes of"),
    "data": (
        lambda f: tampered(f, "UPDATE reductions SET data = zeroblob(900) WHERE metric = 'l2'"),
        r"index.sqlite is damaged \(reduction 1: checksum\)",
    ),
    "line": (
        lambda f: tampered(f, "UPDATE reductions SET metric = 'l2' WHERE metric = 'l1'"),
        r"index.sqlite is damaged \(reduction 2: checksum\)",
    ),
    "gone": (
        lambda f: tampered(f, "DELETE FROM reductions WHERE metric = 'l2'"),
        r"index.sqlite is damaged \(reduction 1: it is missing\)",
    ),
    "runs": (
        lambda f: tampered(f, "UPDATE segments SET rows = 99 WHERE kind = 'coarse'"),
        r"index.sqlite is damaged \(what is said of coarse segment 0: checksum\)",
    ),
    "sums": (
        lambda f: tampered(f, "UPDATE checksums SET sums = zeroblob(8) WHERE kind = 'sumscoarse'"),
        r"index.sqlite is damaged \(the checksums of block 0 of sumscoarse segment",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_named_and_mended(folder: Path, name: str) -> None:
    with Index.open(folder) as index:
        right, rows = answers(index), reduced(index)
    assert rows == {"l2": 96 + 96 + 0, "l1": 96 + 96 + 0}
    damage, words = DAMAGES[name]
    damage(folder)
    with pytest.raises(DamagedError, match=words), Index.open(folder) as index:
        answers(index)
    with Index.open(folder, damaged=True) as index:
        found = index.verify()
        assert not found.sound
    with Index.open(folder, mode="rw", damaged=True) as index:
        done = index.repair()
        assert (done.before.sound, done.after.sound) == (False, True)
        assert (done.restored, done.embedded, done.dropped) == (0, (), ())
    with Index.open(folder, mode="rw") as index:
        assert (answers(index), reduced(index)) == (right, rows)
        index.add([f"{i}" for i in range(ROWS, ROWS + 70)], DATA[ROWS:])
        assert index.verify().sound
        assert reduced(index) == {"l2": 96 * 3, "l1": 96 * 3}


def test_a_damaged_vector_is_not_reduced(tmp_path: Path) -> None:
    """Nor learnt to be right."""
    folder = tmp_path / "i"
    with cut_as(Tiling()), Index.create(folder, DIM, segment_rows=100) as index:
        index.add([f"{i}" for i in range(ROWS)], DATA[:ROWS])
        assert index.optimize() == [] and reduced(index) == {}
    flip_row(folder, "vectors-00000.npy", 99)
    with Index.open(folder, mode="rw") as index:
        with pytest.raises(DamagedError, match=r"vectors-00000\.npy is damaged"):
            index.add(["x"], DATA[:1])
        assert len(index) == ROWS and reduced(index) == {}


STEPS = [
    (segments.SegmentFiles, "append"),
    (reducing, "sample"),
    (reducing, "reduced"),
    (stored_reductions, "add"),
    (stored_reductions, "forget"),
    (stored_reductions, "write_parts"),
    (stored_reductions, "drop_unused"),
    (sums, "write"),
    (os, "pwrite"),
    (os, "fsync"),
    (Store, "seal"),
]


@at_each(STEPS)
def test_a_failure_at_any_step_changes_nothing(
    folder: Path, place: Any, name: str, late: bool, error: BaseException
) -> None:
    with Index.open(folder, mode="rw") as index:
        right, rows = answers(index), reduced(index)
        before = {path.name: path.read_bytes() for path in folder.glob("*.npy")}
        with failing(place, name, late, error):
            index.optimize()
        assert (answers(index), reduced(index)) == (right, rows)
        assert {p.name: p.read_bytes() for p in folder.glob("*.npy")} == before
        assert index.verify().sound
        assert all(made.pays for made in index.optimize())
        assert (answers(index), index.verify().sound) == (right, True)


def test_readers_go_on_while_it_is_optimised(folder: Path, tmp_path: Path) -> None:
    with (
        Index.open(folder, mode="rw") as index,
        Index.open(folder) as reader,
        Index.open(folder) as other,
        reader.snapshot() as held,
    ):
        right = answers(reader)
        view = other._store.view(None, ("vectors", "sketches", "facts"), "", "l2")
        for _ in range(3):
            index.optimize()
            assert answers(reader) == answers(index) == answers(held) == right
        view.reading.reduced(0, 0, 96)
        with pytest.raises(StoreError, match="was compacted meanwhile"):
            other._store.settle(view, "Nothing was searched")
        assert answers(other) == right
        index.backup(tmp_path / "copy")
        index.compact()
        assert [[h.id for h in line] for line in answers(reader)[0]] == [
            [h.id for h in line] for line in right[0]
        ]
        assert answers(reader) == right
    with Index.open(tmp_path / "copy") as copy:
        assert answers(copy) == right
        assert reduced(copy) == {"l2": 192, "l1": 192}


def test_a_backup_begun_before_it_is_optimised(
    folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """Files that go while they are copied: it is begun anew."""
    from vsearch_fast.index import backing_up

    done: list[object] = []
    real = backing_up._copy_segment
    with Index.open(folder, mode="rw") as index:

        def copied(*arguments: Any) -> None:
            if not done:
                done.append(index.optimize())
            real(*arguments)

        monkeypatch.setattr(backing_up, "_copy_segment", copied)
        index.backup(tmp_path / "copy")
    with Index.open(folder) as index, Index.open(tmp_path / "copy") as copy:
        assert done and answers(copy) == answers(index)


def test_it_is_no_part_of_a_transaction(folder: Path) -> None:
    with (
        Index.open(folder, mode="rw") as index,
        pytest.raises(StoreError, match="in the midst of a transaction"),
        index.transaction(),
    ):
        index.optimize()
    with Index.open(folder) as index, pytest.raises(StoreError, match="for reading"):
        index.optimize()


def test_what_reductions_another_version_has_made_is_left_alone(folder: Path) -> None:
    """Rows of another layout are searched by their sketches, and not reduced any more until all
    are."""
    with Index.open(folder) as index:
        right = answers(index)
    with sqlite3.connect(folder / "index.sqlite") as sql:
        for id_, metric, rows, told, digest in sql.execute(
            "SELECT id, metric, rows, told, digest FROM reductions"
        ).fetchall():
            told = told.replace('"layout": 1', '"layout": 99')
            total = sums.line_sum(id_, metric, rows, told, digest)
            sql.execute("UPDATE reductions SET told = ?, sum = ? WHERE id = ?", (told, total, id_))
    sql.close()
    with Index.open(folder, mode="rw") as index:
        hits, proof = index.search(QUERIES, 9, "l2", strategy="sketch", explain=True)
        assert (hits, proof.reduced) == (right[1], 0)
        assert index.verify().sound
        index.add(["new"], DATA[:1])
        assert [made.reduced for made in index.optimize()] == [192, 192]
        assert optimizing.Optimized("l2", 231, 192, 48, (0.5,), 192).as_dict()["pays"]
