"""The gate around SQLite: a fork waits until nobody is inside."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import forked

from vsearch_fast.disk import forking
from vsearch_fast.disk.sqlite import connect
from vsearch_fast.errors import StoreError

pytestmark = pytest.mark.posix


@pytest.fixture
def somebody_inside() -> Iterator[threading.Event]:
    """A thread that is inside until the event is set."""
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with forking.inside():
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=stay)
    thread.start()
    assert entered.wait(60)
    yield leave
    leave.set()
    thread.join()


def test_a_fork_waits(somebody_inside: threading.Event) -> None:
    threading.Timer(0.4, somebody_inside.set).start()
    start = time.monotonic()
    assert forked(lambda: forking.unsafe((0, 0))) is False
    assert time.monotonic() - start > 0.35


def test_nobody_enters_while_a_fork_waits(somebody_inside: threading.Event) -> None:
    late = threading.Event()

    def enter() -> None:
        time.sleep(0.2)
        with forking.inside():
            late.set()

    thread = threading.Thread(target=enter)
    thread.start()
    seen: list[bool] = []

    def leave() -> None:
        seen.append(late.is_set())
        somebody_inside.set()

    threading.Timer(0.6, leave).start()
    assert forked(lambda: late.is_set()) is False
    thread.join(60)
    assert seen == [False] and late.is_set()


def test_inside_is_reentrant_while_a_fork_waits() -> None:
    entered = threading.Event()

    def twice() -> None:
        with forking.inside():
            entered.set()
            time.sleep(0.3)
            with forking.inside():
                time.sleep(0.1)

    thread = threading.Thread(target=twice)
    thread.start()
    assert entered.wait(60)
    assert forked(lambda: forking.unsafe((0, 0))) is False
    thread.join(60)
    assert not thread.is_alive()


def test_after_a_wait_in_vain_the_child_opens_nothing(
    somebody_inside: threading.Event, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(forking, "FORK_WAITS", 0.2)
    file = tmp_path / "a.sqlite"
    file.touch()

    def told() -> str:
        with pytest.raises(StoreError, match="was being written to"):
            connect(file, writable=False)
        return "told"

    assert forked(told) == "told"
    somebody_inside.set()
    connect(file, writable=False).close()  # the parent goes on


def test_a_child_of_one_that_is_inside_itself_opens_nothing() -> None:
    with forking.inside():
        assert forked(lambda: forking.unsafe((0, 0))) is True
        with forking.inside():
            pass
    assert forked(lambda: forking.unsafe((0, 0))) is False


def test_files_that_are_written(tmp_path: Path) -> None:
    with forking.written((1, 2)), forking.written((1, 2)):
        assert not forking.unsafe((1, 2))  # for the parent
        assert forked(lambda: [forking.unsafe((1, 2)), forking.unsafe((1, 3))]) == [True, False]
        # Its own children inherit that.
        assert forked(lambda: forked(lambda: forking.unsafe((1, 2)))) is True
    assert forked(lambda: forking.unsafe((1, 2))) is False


def test_many_threads_go_in_and_out_beside_forks() -> None:
    stop = threading.Event()
    counts = [0] * 4

    def work(number: int) -> None:
        while not stop.is_set():
            with forking.inside():
                counts[number] += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                with forking.inside():
                    os._exit(3)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert all(counts)
