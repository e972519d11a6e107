"""What waits before a cluster goes together, and everybody gets what was asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from vsearch_fast.cluster.line import Line


def test_what_waits_goes_together() -> None:
    line: Line[int, int] = Line(2, 10)
    gate, begun = threading.Event(), threading.Semaphore(0)
    batches: list[list[int]] = []
    under_way = [0, 0]  # now, at most
    lock = threading.Lock()

    def work(some: Sequence[int]) -> list[int]:
        with lock:
            batches.append(list(some))
            under_way[0] += 1
            under_way[1] = max(under_way)
        begun.release()
        assert gate.wait(30)
        with lock:
            under_way[0] -= 1
        return [value * value for value in some]

    found: dict[int, int] = {}

    def ask(value: int) -> None:
        found[value] = line.run(value % 2, value, 2, work)

    threads = [threading.Thread(target=ask, args=(value,)) for value in range(42)]
    for thread in threads[:2]:
        thread.start()
    for _ in range(2):
        assert begun.acquire(timeout=30)
    for thread in threads[2:]:
        thread.start()
    while len(line) < 40:
        time.sleep(0.001)
    gate.set()
    for thread in threads:
        thread.join()
    assert found == {value: value * value for value in range(42)}
    assert under_way == [0, 2] and line.most == 2 and len(line) == 0
    assert all(len({value % 2 for value in batch}) == 1 for batch in batches)
    assert max(map(len, batches)) == 5  # of size 2 each
    assert line.batches == len(batches) <= 2 + 12  # one may begin while another gathers


def test_an_error_is_everybodys_of_the_batch_and_nobody_elses() -> None:
    line: Line[int, int] = Line(1, 100)
    gate, first = threading.Event(), threading.Event()

    def work(some: Sequence[int]) -> list[int]:
        first.set()
        assert gate.wait(30)
        if 7 in some:
            raise ValueError("seven")
        return list(some)

    found: dict[int, Any] = {}

    def ask(value: int) -> None:
        try:
            found[value] = line.run("a" if value else "b", value, 1, work)
        except ValueError as error:
            found[value] = str(error)

    threads = [threading.Thread(target=ask, args=(value,)) for value in (0, 1, 7)]
    threads[0].start()
    assert first.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(line) < 2:
        time.sleep(0.001)
    gate.set()
    for thread in threads:
        thread.join()
    assert found == {0: 0, 1: "seven", 7: "seven"}
    assert line.run("a", 3, 1, work) == 3


def test_what_goes_alone() -> None:
    line: Line[int, list[int]] = Line(1, 100)
    assert line.run(None, 5, 1000, lambda some: [list(some)]) == [5]
    with pytest.raises(ValueError, match="argument"):  # not as many as were asked
        line.run("a", 5, 1, lambda some: [])
