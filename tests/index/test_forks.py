"""Forks beside threads that read and write: no hang, nothing torn, or a refusal in words."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from index_data import features
from processes import forked
from store_data import block, make

from vsearch_fast.errors import StoreError
from vsearch_fast.index import Index, Item
from vsearch_fast.index.changes import Changes

pytestmark = pytest.mark.posix


DIM = 8
PAIR = features(1, DIM)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "i", DIM, segment_rows=64) as index:
        index.add([f"{row}" for row in range(200)], features(200, DIM), [{"x": 1}] * 200)
        index.search(PAIR, 3)  # kernels are there
        index.search(PAIR, 3, "hamming")
    return tmp_path / "i"


@contextmanager
def busy(*calls: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Threads that do these things again and again; what they raised."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def loop(call: Callable[[], object]) -> None:
        try:
            while not stop.is_set():
                call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=loop, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    try:
        yield errors
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)


def consistent(index: Index) -> str:
    """Pairs are added and removed together; an answer holds both of one or none."""
    ids = {item.id for item in index}
    left, right = ({id_[1:] for id_ in ids if id_[0] == side} for side in "<>")
    assert left == right, "a listing of two commits"
    assert len({id_ for id_ in ids if id_.isdigit()}) == 200
    hits = {hit.id for hit in index.search(PAIR, 300, threads=1)[0]}
    assert {id_[1:] for id_ in hits if id_[0] == "<"} == {id_[1:] for id_ in hits if id_[0] == ">"}
    assert len(index) % 2 == 0
    return "read"


def read_or_refused(index: Index | Path) -> str:
    try:
        return consistent(Index.open(index) if isinstance(index, Path) else index)
    except StoreError as error:
        assert "was being written to by a thread of the process that this one was forked" in str(
            error
        ), error
        assert "spawn" in error.cure
        return "refused"


def test_forks_beside_threads_that_read(folder: Path) -> None:
    with Index.open(folder) as reader:
        calls = (
            lambda: reader.search(PAIR, 5, threads=1),
            lambda: list(reader),
            lambda: len(reader),
            lambda: Index.open(folder).close(),
            lambda: reader.search(PAIR, 5, "hamming", where={"x": 1}, threads=1),
        )
        with busy(*calls) as errors:
            for number in range(25):
                if number % 2:
                    assert forked(lambda: read_or_refused(reader)) == "read"
                else:
                    found = forked(lambda: [len(Index.open(folder)), "7" in reader])
                    assert found == [200, True]
        assert errors == []


def test_forks_beside_a_writer_in_a_thread(folder: Path) -> None:
    """The fork waits for a short change, so that its child reads; a refusal is in words."""
    answers = []
    with Index.open(folder, mode="rw") as writer, Index.open(folder) as reader:
        numbers = iter(range(10**6))

        def write() -> None:
            number = next(numbers)
            pair = [f"<{number}", f">{number}"]
            writer.add(pair, np.concatenate([PAIR, PAIR]))
            if number % 3 == 0:
                writer.remove(pair)
            time.sleep(0.005)

        with busy(write, lambda: len(reader), lambda: list(writer)) as errors:
            for number in range(30):
                place = reader if number % 2 else folder
                answers.append(forked(partial(read_or_refused, place)))
        assert errors == []
        assert consistent(reader) == consistent(writer) == "read"
    assert set(answers) <= {"read", "refused"}
    assert "read" in answers


def test_a_fork_during_a_long_add(tmp_path: Path) -> None:
    store = make(tmp_path / "i")
    Changes(store).append([Item("a"), Item("b")], [block(0, 2)], replace=False)
    began, go_on = threading.Event(), threading.Event()

    def blocks() -> Iterator[dict[str, np.ndarray]]:
        yield block(2, 5)
        began.set()
        assert go_on.wait(60)
        yield block(7, 5)

    items = [Item(f"{row}") for row in range(10)]
    writer = threading.Thread(
        target=Changes(store).append, args=(items, blocks()), kwargs={"replace": False}
    )
    index = Index.open(tmp_path / "i")
    writer.start()
    assert began.wait(60)
    try:
        start = time.monotonic()
        found = forked(lambda: read_refused(index, tmp_path / "i"))
        assert time.monotonic() - start < 20  # it waits for no writer
        assert found == ["refused", "refused"]
        assert [item.id for item in index] == ["a", "b"]  # the parent reads on
    finally:
        go_on.set()
        writer.join()
    assert forked(lambda: [item.id for item in index]) == ["a", "b", *map(str, range(10))]
    assert "before this process was forked" in str(forked(lambda: str(_refusal(store))))
    index.close()
    store.close()


def read_refused(index: Index, folder: Path) -> list[str]:
    found = []
    for call in (lambda: list(index), lambda: Index.open(folder)):
        try:
            call()
            found.append("read")
        except StoreError as error:
            assert "was being written to by a thread" in str(error)
            found.append("refused")
    return found


def _refusal(store: object) -> StoreError:
    with pytest.raises(StoreError) as caught:
        Changes(store).remove(["a"])  # type: ignore[arg-type]
    return caught.value


def test_grandchildren_and_other_indexes(folder: Path, tmp_path: Path) -> None:
    with Index.open(folder) as reader:
        assert forked(lambda: forked(lambda: consistent(reader))) == "read"

        def own() -> int:
            with Index.create(tmp_path / "own", DIM) as index:
                index.add(["a"], features(1, DIM))
                return len(index)

        assert forked(own) == 1
        assert len(Index.open(tmp_path / "own")) == 1
