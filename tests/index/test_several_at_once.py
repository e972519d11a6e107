"""Index: threads and processes that read and write at the same time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from index_data import DIM, ROWS, features, found

from vsearch_fast.errors import LockedError
from vsearch_fast.index import Index, Item


def test_a_reader_sees_what_was_committed(index: Index, data: np.ndarray) -> None:
    with Index.open(index.path) as reader:
        assert len(reader.search(data[:1], 1000)[0]) == ROWS
        index.add(["far", "near"], np.stack([data[0] + 9, data[0]]))
        hits = reader.search(data[:1], 1000)[0]
        assert len(hits) == ROWS + 2 == len(reader)
        assert [hit.id for hit in hits[:2]] == ["item 0", "near"]
        index.remove(["item 0"])
        assert reader.search(data[:1], 1)[0][0].id == "near"
        index.update([Item("near", path="elsewhere")])
        assert reader.search(data[:1], 1)[0][0].path == "elsewhere"


@pytest.mark.parametrize("writer_is_another", [True, False])
def test_an_item_that_vanishes_during_a_search(
    index: Index, data: np.ndarray, monkeypatch: pytest.MonkeyPatch, writer_is_another: bool
) -> None:
    """The search is repeated in one transaction; it never returns half an answer."""
    from vsearch_fast.index import finder as module

    real = module.topk_segments
    reader = Index.open(index.path) if writer_is_another else index
    calls = []

    def meddling(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        calls.append(1)
        if len(calls) == 1:
            index.remove(["item 0"])
        return result

    monkeypatch.setattr(module, "topk_segments", meddling)
    hits = reader.search(data[:1], 3)[0]
    assert len(calls) == 2
    assert len(hits) == 3 and "item 0" not in [hit.id for hit in hits]
    index.add(["again"], data[:1])  # the repeated search's transaction has ended
    assert reader.search(data[:1], 1)[0][0].id == "again"
    reader.close()


def test_sixteen_threads_search_while_one_writes(index: Index, data: np.ndarray) -> None:
    """Every answer is that of some committed state."""
    queries = features(2, seed=5)
    states = {str(found(index.search(queries, 7)))}
    stop = threading.Event()

    def search(reader: Index) -> set[str]:
        seen = set()
        while not stop.is_set():
            seen.add(str(found(reader.search(queries, 7, threads=1))))
            reader.search(queries, 3, where={"colour": "red"}, threads=1)
        return seen

    with Index.open(index.path) as reader, ThreadPoolExecutor(16) as pool:
        tasks = [pool.submit(search, (reader, index)[n % 2]) for n in range(16)]
        for step in range(12):
            name = f"close {step}"
            index.add([name], queries[:1] + np.float32(1 / (step + 2)))
            states.add(str(found(index.search(queries, 7))))
            if step % 3 == 2:
                index.remove([name])
                states.add(str(found(index.search(queries, 7))))
        time.sleep(0.05)
        stop.set()
        seen = set().union(*(task.result() for task in tasks))
    assert seen <= states
    assert len(seen) > 1


def test_threads_that_add_take_turns(index: Index, data: np.ndarray) -> None:
    def add(number: int) -> None:
        for step in range(5):
            index.add([f"{number} {step}"], np.full((1, DIM), number * 5 + step, np.float32))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    assert len(index) == ROWS + 40
    for number in range(8):
        rows = index.features([f"{number} {step}" for step in range(5)])
        assert rows[:, 0].tolist() == [number * 5 + step for step in range(5)]


def test_close_waits_for_another_threads_add(tmp_path, monkeypatch):
    """Otherwise a second writer could take the row numbers of rows still being written."""
    index = Index.create(tmp_path / "i", 4)
    began, go_on = threading.Event(), threading.Event()
    flush = index._store.files.append

    def slow(*arguments):
        began.set()
        assert go_on.wait(30)
        return flush(*arguments)

    monkeypatch.setattr(index._store.files, "append", slow)
    adding = threading.Thread(target=index.add, args=(["a"], np.ones((1, 4), np.float32)))
    adding.start()
    assert began.wait(30)
    closing = threading.Thread(target=index.close)
    closing.start()
    closing.join(0.3)
    assert closing.is_alive()
    with pytest.raises(LockedError):
        Index.open(tmp_path / "i", mode="rw")
    go_on.set()
    adding.join(30)
    closing.join(30)
    with Index.open(tmp_path / "i", mode="rw") as again:
        assert again.features(["a"]).tolist() == [[1, 1, 1, 1]]


def test_a_search_beside_edits_of_others_makes_no_writer_wait(tmp_path, monkeypatch):
    """Items that are no hits may come and go during a search; it is not begun anew for them."""
    with Index.create(tmp_path / "i", 4) as writer:
        writer.add([f"{i}" for i in range(50)], np.arange(200, dtype=np.float32).reshape(50, 4))
        with Index.open(tmp_path / "i") as reader:
            searched = 0
            view = reader._store.view

            def counted(*arguments):
                nonlocal searched
                searched += 1
                found = view(*arguments)
                writer.remove([f"{49 - searched}"])
                return found

            monkeypatch.setattr(reader._store, "view", counted)
            hits = reader.search(np.zeros(4, np.float32), k=5)[0]
            assert [hit.id for hit in hits] == ["0", "1", "2", "3", "4"]
            assert searched == 1
