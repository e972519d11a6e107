"""Readers that are open while segments are joined: they go on, and see the files there are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract_data import cut_as
from index_beside import same_answers_beside
from joined_data import SMALL, answers, filled, rows_of

from vsearch_fast.errors import CompactedError
from vsearch_fast.index import Index, backing_up, stored_sketches, verifying


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks, pages and shares of a few rows."""
    monkeypatch.setattr(stored_sketches, "BLOCK_ROWS", 32)
    with cut_as(SMALL):
        yield


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with filled(tmp_path / "i", 150, set(range(3, 100, 7))) as made:
        yield made


def test_readers_of_the_same_process(index: Index, tmp_path: Path) -> None:
    with (
        Index.open(index.path) as reader,
        Index.open(index.path, checksums="always") as other,
        reader.snapshot() as held,
    ):
        right, told = answers(reader), held.info()
        page, after = reader.page(10)
        for segment_rows in (64, 50, 1000, 7):
            view = other._store.view(None, ("vectors", "sketches", "facts"), "", "l2")
            view.reading.rows(0, 0, 5)
            index.optimize(segment_rows=segment_rows)
            assert reader.info()["segment_rows"] == segment_rows
            assert answers(reader) == answers(index) == answers(held) == right
            with pytest.raises(CompactedError, match="was compacted meanwhile"):
                other._store.settle(view, "Nothing was searched")
            assert answers(other) == right
            assert reader.verify().sound and held.info() == told
        with pytest.raises(CompactedError, match="Begin again with the first page"):
            reader.page(10, after=after)
        assert reader.page(10)[0] == page


def test_another_threads_addition_waits(index: Index) -> None:
    right = [item.id for item in index]
    thread = threading.Thread(
        target=index.add, args=(["late"], rows_of(1, 3), [{"x": 1, "tags": ["3"]}])
    )

    def begun(done: int, whole: int) -> None:
        if thread.ident is None:
            thread.start()
        assert len(index) == len(right)

    index.optimize(begun, segment_rows=64)
    thread.join()
    assert [item.id for item in index] == [*right, "late"]
    assert index.info()["segment_rows"] == 64 and index.verify().sound
    assert index.search(rows_of(1, 3), 1, where={"tags": "3"})[0][0].distance == 0


def test_iterating_while_segments_are_joined(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsearch_fast.index.item_rows._PAGE", 8)
    ids = [item.id for item in index]
    with Index.open(index.path) as reader:
        met = []
        for item in reader:
            met.append(item.id)
            if len(met) in (20, 60):
                index.optimize(segment_rows=len(met))
    assert met == ids


@pytest.mark.parametrize("name", ["verify", "backup"])
def test_what_was_begun_before_it_is_begun_anew(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    place, step = {"verify": (verifying, "_segment"), "backup": (backing_up, "_copy_segment")}[name]
    real = getattr(place, step)
    done: list[object] = []
    right = answers(index)

    def meddling(*arguments: Any) -> Any:
        if len(done) < 2:
            done.append(index.optimize(segment_rows=(64, 25)[len(done)]))
        return real(*arguments)

    with Index.open(index.path) as reader, monkeypatch.context() as patch:
        patch.setattr(place, step, meddling)
        if name == "verify":
            assert reader.verify().sound
        else:
            reader.backup(tmp_path / "copy")
            with Index.open(tmp_path / "copy") as copy:
                assert answers(copy) == right and copy.info()["segment_rows"] == 25
    assert len(done) == 2


def test_readers_in_threads_and_processes(index: Index) -> None:
    """Joined and cut time and again: every answer is the one there is."""

    def join_and_cut() -> None:
        for segment_rows in (64, 9, 1000, 30, 16) * 2:
            index.optimize(segment_rows=segment_rows)

    same_answers_beside(index, answers, join_and_cut, SMALL)
    assert index._store.state().generation == 10
