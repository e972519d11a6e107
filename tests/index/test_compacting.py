"""Compaction: what is asked gets the answer of before, whoever reads meanwhile."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from index_beside import at_each, failing, same_answers_beside
from index_data import METRICS, features

from vsearch_fast.checks import Scalar
from vsearch_fast.errors import DamagedError, StoreError
from vsearch_fast.index import Index, Item, compacting, segments, stored_sketches, sums
from vsearch_fast.index.compacting import compact
from vsearch_fast.index.store import CompactedError, Store
from vsearch_fast.index.verifying import verify

DIM = 12


def rows_of(count: int, seed: int = 0) -> np.ndarray:
    """Few values, and so many equal distances."""
    return np.random.default_rng(seed).integers(-1, 2, (count, DIM)).astype(np.float32)


def answers(index: Index) -> list[Any]:
    queries = rows_of(3, 9)
    live = len(index)
    found: list[Any] = [live, list(index), index.columns()]
    for metric in METRICS:
        found.append(index.search(queries, 20, metric))
        found.append(index.search(queries, live + 1, metric, where={"x": [0, 1]}))
        found.append(index.search(queries, 9, metric, max_distance=2.0))
    pages, after = [], None
    while True:
        page, after = index.page(7, after=after, where={"x": [0, 2]})
        pages.append(page)
        if after is None:
            break
    found += [pages, index.values("x"), index.info()["thresholds"].keys()]
    found.append(index.features([item.id for item in list(index)[:30]]).tolist())
    thresholds = index.info()["thresholds"]
    found.append({name: (t["distance"], t["changes"]) for name, t in thresholds.items()})
    return found


def filled(folder: Path, rows: int, segment_rows: int, gone: set[int]) -> Index:
    index = Index.create(folder, DIM, segment_rows=segment_rows)
    ids = [f"{row}" for row in range(rows)]
    metadata: list[dict[str, Scalar]] = [{"x": row % 3, "y": f"{row}"} for row in range(rows)]
    index.add(ids, rows_of(rows), metadata)
    index.calibrate("l2", quantile=0.5)
    index.remove([f"{row}" for row in sorted(gone) if row < rows])
    return index


@given(
    rows=st.integers(2, 90),
    segment_rows=st.sampled_from([1, 7, 16, 100]),
    gone=st.sets(st.integers(0, 89)),
    replaced=st.sets(st.integers(0, 89), max_size=6),
    block=st.sampled_from([4, 1024]),
)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_answers_stay(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    segment_rows: int,
    gone: set[int],
    replaced: set[int],
    block: int,
) -> None:
    gone -= {0, 1}
    folder = tmp_path_factory.mktemp("compact") / "index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_sketches, "BLOCK_ROWS", block)
        patch.setattr(compacting, "_COPY_BYTES", 500)
        with filled(folder, rows, segment_rows, gone) as index:
            left = [row for row in sorted(replaced - gone) if row < rows]
            if left:
                index.add([f"{row}" for row in left], rows_of(len(left), 3), replace=True)
            before, removed = answers(index), index.info()["removed"]
            with Index.open(folder) as reader:
                assert answers(reader) == before
                done: list[tuple[int, int]] = []
                assert compact(index._store, lambda *of: done.append(of)) == removed
                info = index.info()
                assert (info["rows"], info["removed"]) == (before[0], 0)
                assert done[-1:] == ([(before[0], before[0])] if removed else [])
                assert answers(index) == before
                assert answers(reader) == before
                assert compact(index._store) == 0
            assert verify(index._store).sound
            names = {path.name.split("-")[-1] for path in folder.glob("vectors-*")}
            assert len(names) == len(list(folder.glob("vectors-*"))) == info["segments"]
            index.add(["later"], rows_of(1, 5), [{"x": 1}])
            index.remove([next(iter(index)).id])
            again = answers(index)
        with Index.open(folder, mode="rw") as index:
            assert answers(index) == again
            compact(index._store)
            assert answers(index) == again
            assert verify(index._store).sound


def test_everything_removed(tmp_path: Path) -> None:
    with filled(tmp_path / "i", 40, 16, set(range(40))) as index:
        assert compact(index._store) == 40
        assert (len(index), list(index)) == (0, [])
        assert index.search(rows_of(2), 5) == [[], []]
        assert list((tmp_path / "i").glob("*.npy")) == []
        index.add(["new"], rows_of(1))
        assert index.search(rows_of(1), 5)[0][0].id == "new"
        assert verify(index._store).sound


def test_it_takes_less_room(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", 256, segment_rows=512) as index:
        for step in range(8):
            ids = [f"{row}" for row in range(600)]
            index.add(ids, features(600, 256, step), [{"step": step}] * 600, replace=True)
        before = index.info()["bytes"]
        found = index.search(features(2, 256, 7), 5)
        assert compact(index._store) == 7 * 600
        assert index.info()["bytes"] < before / 4
        assert index.search(features(2, 256, 7), 5) == found


STEPS = [
    (segments.SegmentFiles, "append"),
    (compacting, "_renumber"),
    (sums, "write"),
    (stored_sketches, "write_segment"),
    (compacting, "renumbered"),
    (os, "pwrite"),
    (os, "fsync"),
    (Store, "seal"),
]


@at_each(STEPS)
def test_a_failure_at_any_step_leaves_the_old_one(
    tmp_path: Path, place: Any, name: str, late: bool, error: BaseException
) -> None:
    """Before the step is done, or after."""
    with filled(tmp_path / "i", 60, 16, set(range(5, 50, 3))) as index:
        before = answers(index)
        files = {path.name: path.read_bytes() for path in (tmp_path / "i").glob("*.npy")}
        with failing(place, name, late, error):
            compact(index._store)
        assert answers(index) == before
        assert files == {path.name: path.read_bytes() for path in (tmp_path / "i").glob("*.npy")}
        with Index.open(tmp_path / "i") as reader:
            assert answers(reader) == before
        assert compact(index._store) == 15
        assert answers(index) == before


@pytest.mark.parametrize("name", ["tidy", "drop_tail"])
def test_an_interrupt_after_the_commit_leaves_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Old files that were not removed are removed by the next writer."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with filled(tmp_path / "i", 60, 16, set(range(5, 50, 3))) as index:
        before = answers(index)
        place = Store if name == "tidy" else segments.SegmentFiles
        monkeypatch.setattr(place, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            compact(index._store)
        monkeypatch.undo()
        assert answers(index) == before
    with Index.open(tmp_path / "i", mode="rw") as index:
        assert answers(index) == before
        assert index.info()["rows"] == 45
        assert len(list((tmp_path / "i").glob("vectors-*"))) == 3


def test_a_damaged_row_is_not_copied(tmp_path: Path) -> None:
    with filled(tmp_path / "i", 60, 16, {3}) as index:
        file = tmp_path / "i" / "vectors-00001.npy"
        content = bytearray(file.read_bytes())
        content[-5] ^= 1
        file.write_bytes(content)
        with pytest.raises(DamagedError, match=r"vectors-00001.npy is damaged: of rows 16 to 31"):
            compact(index._store)
        assert index.info()["rows"] == 60


def test_it_is_no_part_of_a_transaction(tmp_path: Path) -> None:
    with filled(tmp_path / "i", 20, 16, {3}) as index:
        with (
            pytest.raises(StoreError, match="in the midst of a transaction"),
            index._store.change("x"),
        ):
            compact(index._store)
        assert index.info()["rows"] == 20
        with Index.open(tmp_path / "i") as reader, pytest.raises(StoreError, match="for reading"):
            compact(reader._store)


# Beside readers


def test_iterating_while_compaction_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsearch_fast.index.item_rows._PAGE", 8)
    gone = set(range(2, 60, 5))
    with filled(tmp_path / "i", 60, 16, gone) as index, Index.open(tmp_path / "i") as reader:
        met = []
        for item in reader:
            met.append(item.id)
            if len(met) == 20:
                assert compact(index._store) == len(gone)
                index.add(["late"], rows_of(1))
        assert met == [f"{row}" for row in range(60) if row not in gone] + ["late"]


@pytest.mark.parametrize("what", ["replaced", "removed", "updated"])
def test_iterating_while_items_change_and_compaction_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """An id that came again at the end is not taken for the place where it was."""
    monkeypatch.setattr("vsearch_fast.index.item_rows._PAGE", 8)
    with filled(tmp_path / "i", 60, 16, {2}) as index, Index.open(tmp_path / "i") as reader:
        met = []
        with pytest.raises(CompactedError, match=r"compacted while its items were read.*Begin"):
            for item in reader:
                met.append(item.id)
                if len(met) == 20:
                    ids = met[-16:] + [f"{row}" for row in range(21, 26)]
                    if what == "replaced":
                        index.add(ids, rows_of(len(ids)), replace=True)
                    elif what == "removed":
                        index.remove(ids)
                    else:
                        index.update([Item(id_) for id_ in ids])
                    compact(index._store)
        assert len(met) == 24


def test_pages_of_another_generation_are_refused(tmp_path: Path) -> None:
    with filled(tmp_path / "i", 60, 16, {2}) as index:
        page, after = index.page(10)
        compact(index._store)
        with pytest.raises(CompactedError, match="Begin again with the first page"):
            index.page(10, after=after)
        assert index.page(10)[0] == page


def answers_of_a_reader(reader: Index) -> list[Any]:
    query = rows_of(1, 9)
    return [
        reader.search(query, 7, threads=1),
        reader.search(query, 7, "hamming", where={"x": 1}, threads=1),
        [item.id for item in reader.page(9)[0]],
        reader.get("7").metadata,
        reader.features(["7", "11"]).tolist(),
    ]


@pytest.mark.parametrize("times", [1, 3])
def test_rows_are_read_although_they_are_compacted_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Between finding their numbers and reading them; the last attempt is one transaction."""
    with filled(tmp_path / "i", 60, 16, {1, 2, 3}) as index:
        right = index.features(["7", "11"]).tolist(), index.codes(["7"]).tolist()
        with Index.open(index.path, checksums="always") as reader:
            real, calls = reader._store.find_with_view, 0

            def meddling(*arguments: Any) -> Any:
                nonlocal calls
                found = real(*arguments)
                calls += 1
                if calls <= times:
                    index.remove([f"{20 + calls}"])
                    assert compact(index._store) > 0
                else:
                    opened = reader._store.database._reader
                    assert opened is not None and opened.in_transaction == (times == 3)
                return found

            monkeypatch.setattr(reader._store, "find_with_view", meddling)
            assert reader.features(["7", "11"]).tolist() == right[0]
            assert calls == times + 1
            calls = times
            monkeypatch.setattr(reader._store, "find_with_view", real)
            assert reader.codes(["7"]).tolist() == right[1]


def test_readers_in_threads_and_processes(tmp_path: Path) -> None:
    """Compaction after compaction: every answer is the one there is."""
    folder = tmp_path / "i"
    with filled(folder, 60, 16, {1, 2, 3}) as index:

        def compact_on() -> None:
            for step in range(15):
                index.add([f"far {step}"], rows_of(1) + np.float32(1000))
                index.remove([f"far {step}"])
                assert compact(index._store) > 0

        same_answers_beside(index, answers_of_a_reader, compact_on)
    sql = sqlite3.connect(folder / "index.sqlite")
    assert sql.execute("SELECT generation FROM state").fetchone() == (15,)
    sql.close()
