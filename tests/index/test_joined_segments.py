"""Small segments joined to large ones by `optimize`: what is asked gets the answer of before."""

from __future__ import annotations

import os
import signal
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_data import cut_as
from crash_joining import join_segments
from damage import flip_row
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from index_beside import SPAWN, at_each, failing
from joined_data import DIM, SMALL, answers, as_written, files, filled, rows_of
from old_index import make_format_1

from vsearch_fast.errors import ArgumentError, DamagedError, LockedError, StoreError
from vsearch_fast.index import (
    Index,
    Item,
    compacting,
    joining,
    reducing,
    schema,
    segments,
    stored_reductions,
    stored_sketches,
    sums,
)
from vsearch_fast.index.snapshot import State
from vsearch_fast.index.store import Store
from vsearch_fast.search.tiling import Tiling


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


@given(
    rows=st.integers(0, 100),
    before=st.sampled_from([3, 7, 16, 50]),
    wanted=st.sampled_from([3, 16, 33, 50, 64, 1000]),
    gone=st.sets(st.integers(0, 99), max_size=40),
    dtype=st.sampled_from(["float32", "float16"]),
    views=st.sampled_from([None, "whole,box"]),
    reductions=st.booleans(),
    mapped=st.sampled_from([1, 3, 1024]),
)
# None is left.
@example(0, 3, 16, set(), "float32", None, True, 1)
@example(7, 3, 16, set(range(7)), "float16", "whole,box", False, 3)
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nothing_changes_but_the_files(
    tmp_path_factory: pytest.TempPathFactory, rows: int, before: int, wanted: int, gone: set[int],
    dtype: str, views: str | None, reductions: bool, mapped: int,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("join") / "index"
    gone = {row for row in gone if row < rows}
    with pytest.MonkeyPatch.context() as patch, cut_as(SMALL if reductions else Tiling()):
        patch.setattr(compacting, "_COPY_BYTES", 900)
        patch.setattr(compacting, "_MAPPED", mapped)
        options = {"segment_rows": before, "dtype": dtype, "views": views}
        with filled(folder, rows, gone, **options) as index, Index.open(folder) as reader:
            if not rows:
                index.add(["only"], rows_of(1, 1, len(index.views)), [{"x": 0, "tags": []}])
                index.remove(["only"])
            right = answers(index) if len(index) else [0]
            done: list[tuple[int, int]] = []
            index.optimize(lambda *of: done.append(of), segment_rows=wanted)
            live = [row for row in range(rows) if row not in gone]
            if wanted != before:
                as_written(index, rows_of(rows, 0, len(index.views))[live], wanted)
                assert not live or (len(live), len(live)) in done
            assert [done <= whole for done, whole in done] == [True] * len(done)
            assert index.verify().sound
            for opened in (index, reader):
                assert (answers(opened) if len(opened) else [0]) == right
                assert opened.info()["segment_rows"] == wanted
            index.backup(folder.with_name("copy"))
            fresh = rows_of(40, 5, len(index.views))
            index.add([f"new {i}" for i in range(40)], fresh, [{"x": 1, "tags": ["3"]}] * 40)
            index.remove([next(iter(index)).id])
            later = answers(index)
            assert answers(reader) == later and index.verify().sound
        with Index.open(folder.with_name("copy"), checksums="always") as copy:
            assert (answers(copy) if len(copy) else [0]) == right
            assert copy.info()["segment_rows"] == wanted
        with Index.open(folder, mode="rw", checksums="always") as index:
            assert answers(index) == later
            index.compact()
            assert answers(index) == later and index.verify().sound
            assert index.info()["segment_rows"] == wanted


def meta_of(dim: int, views: tuple[str, ...] = ("whole",)) -> Any:
    kinds = (segments.Kind("vectors", "<f4", dim * len(views)),)
    return schema.Meta(dim, "", {}, "", kinds, 2, "", views=views)


def test_when_segments_are_joined() -> None:
    usual = schema.default_segment_rows(64)

    def wanted(rows: int, segment_rows: int, removed: int = 0) -> int:
        state = State(rows, removed, 0, 0, 0, segment_rows)
        return joining.segment_rows_for(meta_of(64), state)

    assert wanted(0, 16) == wanted(64, 16) == wanted(60, 16) == 16
    assert wanted(65, 16) == usual  # five files instead of one
    assert wanted(65, 16, removed=65) == usual
    assert wanted(10**9, usual) == usual and wanted(10**9, 2 * usual) == 2 * usual
    assert wanted(10 * usual, usual // 4) == usual // 4
    assert wanted(10 * usual, usual // 5) == usual
    assert wanted(10 * usual, usual // 4, removed=usual) == usual
    many = State(300, 0, 0, 0, 0, 16)
    assert joining.segment_rows_for(meta_of(32, ("whole", "box")), many) == usual
    assert joining.facts(meta_of(64), many) == {"segments": 19, "segment_rows": 16, "joined": 1}
    few = State(40, 0, 0, 0, 0, 16)
    assert joining.facts(meta_of(64), few) == {"segments": 3, "segment_rows": 16, "joined": 3}


def test_by_default_only_where_it_is_worth_it(index: Index) -> None:
    right, usual = answers(index), schema.default_segment_rows(DIM)
    assert (index.info()["segments"], index.info()["joined"]) == (10, 1)
    index.optimize()
    info = index.info()
    assert (info["segments"], info["joined"], info["segment_rows"]) == (1, 1, usual)
    assert (info["rows"], info["removed"], answers(index)) == (len(index), 0, right)
    generation = index._store.state().generation
    kinds = (*schema.KINDS, stored_sketches.SKETCHES, stored_sketches.FACTS)
    rows = {
        path: path.stat().st_mtime_ns for kind in kinds for path in index.path.glob(f"{kind}-*")
    }
    index.remove(["0"])
    index.optimize()  # reduces anew, and nothing else
    assert index._store.state().generation == generation == 1
    assert len(rows) == 4 and rows == {path: path.stat().st_mtime_ns for path in rows}


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, 2**31 + 1])
def test_a_size_that_cannot_be(index: Index, wrong: Any) -> None:
    before = files(index.path)
    with pytest.raises(ArgumentError, match=r"segment_rows is .*The index was not optimised"):
        index.optimize(segment_rows=wrong)
    assert files(index.path) == before


def test_rows_keep_their_numbers_where_none_was_removed(tmp_path: Path) -> None:
    """And what has been learnt stays as new as it was."""
    with filled(tmp_path / "i", 150, set()) as index:
        index.calibrate("l2", quantile=0.5)
        index.add(["late"], rows_of(1), [{"x": 0, "tags": []}])
        kept, found = index.info()["thresholds"], index._store.find(["7", "late"], "")
        index.optimize(segment_rows=100)
        assert index.info()["thresholds"] == kept
        assert index._store.find(["7", "late"], "") == found


def test_an_index_of_format_1(tmp_path: Path) -> None:
    rows, ids = rows_of(150), [f"{i}" for i in range(150)]
    metadata: list[dict[str, str | int]] = [{"x": i % 3, "tags": "3"} for i in range(150)]
    items = [Item(id_, metadata=of) for id_, of in zip(ids, metadata, strict=True)]
    make_format_1(tmp_path / "i", ids, rows, items, ["3", "100"])
    with Index.open(tmp_path / "i") as reader:
        right = answers(reader)
        with Index.open(tmp_path / "i", mode="rw") as index:
            index.optimize(segment_rows=64)
            assert index.info()["format"] == 2 and index.verify().sound
            assert answers(index) == answers(reader) == right
            as_written(index, np.delete(rows, [3, 100], 0), 64)


# What fails, and what is killed


STEPS = [
    (segments.SegmentFiles, "append"),
    (reducing, "sample"),
    (reducing, "reduced"),
    (compacting, "_renumber"),
    (stored_reductions, "add"),
    (stored_reductions, "write_parts"),
    (stored_sketches, "write_segment"),
    (sums, "write"),
    (os, "pwrite"),
    (os, "fsync"),
    (Store, "seal"),
]


@at_each(STEPS)
def test_a_failure_at_any_step_leaves_the_old_one(
    index: Index, place: Any, name: str, late: bool, error: BaseException
) -> None:
    right, before, facts = answers(index), files(index.path), index.info()
    with failing(place, name, late, error):
        index.optimize()
    assert (answers(index), files(index.path), index.info()) == (right, before, facts)
    with Index.open(index.path) as reader:
        assert answers(reader) == right
    index.optimize()
    assert answers(index) == right and index.info()["segments"] == 1


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_it_is_interrupted_from_the_keyboard(index: Index, calls: int) -> None:
    right, before, facts = answers(index), files(index.path), index.info()
    told: list[tuple[int, int]] = []

    def interrupted(done: int, whole: int) -> None:
        told.append((done, whole))
        if len(told) == calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.optimize(interrupted)
    assert (answers(index), files(index.path), index.info()) == (right, before, facts)
    index.optimize()
    assert answers(index) == right


@pytest.mark.parametrize("name", ["tidy", "drop_tail"])
def test_an_interrupt_after_the_commit_leaves_the_new_one(
    index: Index, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    right = answers(index)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store if name == "tidy" else segments.SegmentFiles, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            index.optimize(segment_rows=64)
    assert answers(index) == right
    index.close()
    with Index.open(index.path, mode="rw") as again:
        assert answers(again) == right
        live = [int(item.id) for item in again]
        as_written(again, rows_of(150)[live], 64)


def killed(folder: Path, step: int) -> int:
    """Join the segments in a process that is killed before a step; returns how many steps there
    were, 0 where it was killed."""
    pipe, theirs = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=join_segments, args=(theirs, folder, 64, step))
    process.start()
    theirs.close()
    said = []
    try:
        while True:
            said.append(pipe.recv())
    except EOFError:
        process.join()
    if process.exitcode == 0:
        return int(said[-1])
    assert process.exitcode == -signal.SIGKILL
    return 0


def kill_at(folder: Path, step: int) -> int:
    """What is left of it is one index or the other; returns rows a segment."""
    with filled(folder, 150, set(range(3, 100, 7))) as made:
        right = answers(made)
    assert not killed(folder, step)
    with Index.open(folder) as reader:  # which may have to roll back
        assert answers(reader) == right and reader.verify().sound
        left = reader.info()["segment_rows"]
    with Index.open(folder, mode="rw") as index:
        assert answers(index) == right
        if left == 64:
            as_written(index, rows_of(150)[[int(item.id) for item in index]], 64)
        else:
            names = {f"vectors-{i:05d}.npy" for i in range(10)}
            assert {path.name for path in folder.glob("vectors*")} == names
            assert not list(folder.glob("*-1-*.npy"))
        index.optimize(segment_rows=50)
        assert answers(index) == right and index.verify().sound
    return int(left)


@pytest.fixture
def steps(tmp_path: Path) -> int:
    filled(tmp_path / "whole", 150, set(range(3, 100, 7))).close()
    return killed(tmp_path / "whole", -1)


@pytest.mark.posix
def test_killed_at_chosen_steps(tmp_path: Path, steps: int) -> None:
    assert steps > 60
    chosen = sorted({3, steps // 8, *range(steps // 3, steps, steps // 8), steps - 2, steps})
    left = [kill_at(tmp_path / f"{step}", step) for step in chosen]
    assert left == sorted(left) and set(left) == {16, 64}


@pytest.mark.full
@pytest.mark.posix
def test_killed_at_every_step(tmp_path: Path, steps: int) -> None:
    left = [kill_at(tmp_path / f"{step}", step) for step in range(1, steps + 1)]
    assert left == sorted(left) and set(left) == {16, 64}


def test_a_damaged_row_is_not_joined(index: Index) -> None:
    flip_row(index.path, "vectors-00004.npy", 3)
    before = files(index.path)
    with pytest.raises(DamagedError, match=r"vectors-00004\.npy is damaged"):
        index.optimize()
    assert files(index.path) == before
    assert index.repair().after.sound
    index.optimize()
    assert index.info()["segments"] == 1 and index.verify().sound


def test_it_is_no_part_of_a_transaction(index: Index) -> None:
    with pytest.raises(StoreError, match="in the midst of a transaction"), index.transaction():
        index.optimize()
    with Index.open(index.path) as reader, pytest.raises(StoreError, match="for reading"):
        reader.optimize()
    with pytest.raises(LockedError):
        Index.open(index.path, mode="rw")
    assert index.info()["segment_rows"] == 16


def test_few_files_are_mapped_at_a_time(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index has been seen with more segments than a process may have maps."""
    alive, most, real = 0, 0, segments.map_array

    def unmapped() -> None:
        nonlocal alive
        alive -= 1

    def mapped(*arguments: Any) -> Any:
        nonlocal alive, most
        array = real(*arguments)
        weakref.finalize(array, unmapped)
        alive += 1
        most = max(most, alive)
        return array

    monkeypatch.setattr(compacting, "_MAPPED", 2)
    monkeypatch.setattr(segments, "map_array", mapped)
    index.optimize()
    assert 0 < most <= 2 * 2 * 2  # two kinds, and the two before until the next are there
    assert alive == 0
