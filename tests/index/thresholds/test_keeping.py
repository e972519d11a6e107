"""Thresholds are kept, and taken again when the index has changed."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_data import tampered
from threshold_data import DIM, METRICS, defined, fill, rows_of

from vsearch_fast.errors import LockedError, StoreError
from vsearch_fast.index import Index, Item, Threshold
from vsearch_fast.index import thresholds as no_match
from vsearch_fast.index.changes import Changes


def test_it_is_stored_as_it_is(index: Index) -> None:
    made = {metric: index.calibrate(metric, quantile=0.9) for metric in METRICS}
    state = index._store.state()
    with Index.open(index.path) as reader:
        assert {metric: reader.threshold(metric) for metric in METRICS} == made
        facts = reader.info()["thresholds"]
        assert json.loads(json.dumps(facts)) == facts
        assert facts["l1"]["distance"] == made["l1"].distance
        assert facts["l1"]["changes"] == 0
    assert index._store.state() == state  # masks of the rows stay as they are
    index.describe({"layer": "fc1"})
    assert index.threshold("l1") == made["l1"]


def test_it_is_taken_again_when_a_tenth_has_changed(index: Index) -> None:
    first = index.calibrate(quantile=0.5, sample=40)
    index.remove(["0-0", "0-1", "0-2"])
    index.add([f"n{row}" for row in range(3)], 9 * rows_of(3, 5))
    assert index.threshold() == first
    assert index.info()["thresholds"]["l2"]["changes"] == 6
    index.add(["one more"], 9 * rows_of(1, 6))
    again = index.threshold()
    assert again is not None and again != first
    assert (again.quantile, again.sample, again.live, again.rows) == (0.5, 40, 61, 64)
    assert again == index.calibrate(quantile=0.5, sample=40)
    with Index.open(index.path) as reader:
        assert reader.threshold() == again


def test_one_opened_for_reading_keeps_it_to_itself(index: Index) -> None:
    with Index.open(index.path) as reader, Index.open(index.path) as other:
        own = reader.calibrate(quantile=0.5)
        assert reader.threshold() == own
        assert reader.info()["thresholds"]["l2"]["quantile"] == 0.5
        assert other.info()["thresholds"] == {}
        with pytest.raises(LockedError):
            reader.save_thresholds()
        stored = index.calibrate(quantile=0.7)  # the last word
        assert reader.threshold() == other.threshold() == stored
        assert reader.save_thresholds() == 0
        index.close()
        own = reader.calibrate("l1")
        assert reader.save_thresholds() == 1
        assert reader.save_thresholds() == 0
        assert other.info()["thresholds"]["l1"]["distance"] == own.distance
    with Index.open(index.path, mode="rw") as writer:  # the lock was let go
        assert writer.threshold("l1") == own


def test_a_failed_write_loses_neither_search_nor_the_old_one(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("The disk is full")

    first = index.calibrate()
    index.remove([f"0-{row}" for row in range(20)])
    monkeypatch.setattr(Changes, "write_note", full)
    with pytest.raises(StoreError, match="full"):
        index.calibrate()
    index.search(rows_of(1), max_distance="auto")
    again = index.threshold()
    assert again is not None and again.live == 40
    with Index.open(index.path) as reader:
        assert reader.info()["thresholds"]["l2"]["distance"] == first.distance
    monkeypatch.undo()
    assert index.save_thresholds() == 1
    with Index.open(index.path) as reader:
        assert reader.threshold() == again


def test_an_unfinished_transaction_leaves_the_old_one(index: Index) -> None:
    first = index.calibrate()
    with pytest.raises(KeyboardInterrupt), index._store.change(""):
        with index._store.statements("") as sql:
            sql.execute("UPDATE meta SET value = '{}' WHERE key = 'threshold l2'")
        raise KeyboardInterrupt
    assert index.threshold() == first


@pytest.mark.parametrize("text", ["{}", "[1]", "nonsense", '{"metric": "l1", "distance": 1}'])
def test_a_threshold_of_another_make_is_taken_again(index: Index, text: str) -> None:
    """Also: an index of before, or of another version, opens as ever."""
    first = index.calibrate()
    index.close()
    tampered(
        index.path,
        f"UPDATE meta SET value = '{text}' WHERE key = 'threshold l2'",
        "INSERT INTO meta VALUES ('of a later version', '1')",
    )
    with Index.open(index.path) as reader:
        assert reader.info()["thresholds"] == {}
        assert reader.threshold() == first


def test_threads_take_it_once(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    real = no_match.sampled
    started = threading.Barrier(8)

    def counted(*arguments: Any) -> np.ndarray:
        taken.append(1)
        return real(*arguments)

    monkeypatch.setattr(no_match, "sampled", counted)

    def search() -> Threshold | None:
        started.wait()
        index.search(rows_of(1), max_distance="auto", threads=1)
        return index.threshold()

    with ThreadPoolExecutor(8) as pool:
        assert len({task.result() for task in [pool.submit(search) for _ in range(8)]}) == 1
    assert taken == [1]


def test_rows_removed_meanwhile_do_no_harm(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threshold is that of the moment at which its making began."""
    wanted = defined(rows_of(60), "l2")
    real = no_match.sampled

    def meddling(*arguments: Any) -> np.ndarray:
        chosen = real(*arguments)
        index.remove([f"0-{row}" for row in range(50)])
        index.add(["late"], rows_of(1))
        return chosen

    monkeypatch.setattr(no_match, "sampled", meddling)
    with Index.open(index.path) as reader:
        found = reader.calibrate()
    assert (found.distance, found.live) == (wanted, 60)


def test_groups_follow_updates(tmp_path: Path) -> None:
    data = rows_of(20)
    with Index.create(tmp_path / "i", DIM) as index:
        ids = fill(index, data, ["a"] * 20)
        groups = [str(row % 3) for row in range(20)]
        index.update([Item(i, metadata={"sender": g}) for i, g in zip(ids, groups, strict=True)])
        assert index.calibrate(group="sender").distance == defined(data, "l2", groups=groups)
