"""Rows that pass through a device: what waits for what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emulated import EmulatedDevice

from vsearch_fast.search.gpu.feed import feed


class Marking(EmulatedDevice):
    """Counts what is started on its two streams, and notes what every transfer waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.started = 0  # launches and other work so far
        self.sends: list[tuple[str, int | None]] = []  # (content, work that had to be done)
        self.waited: list[str] = []

    def work(self) -> None:
        self.started += 1

    def mark(self) -> int:
        return self.started

    def send(self, target: np.ndarray, host: np.ndarray, after: int | None) -> str:
        super().send(target, host, after)
        self.sends.append((str(host[0]), after))
        return f"sent {host[0]}"

    def work_after(self, mark: Any) -> None:
        self.waited.append(mark)

    wait_for = work_after


def fill(part: int, pinned: Any) -> int:
    pinned["rows"][:] = part
    return len(pinned["rows"])


def fed(device: Marking, parts: list[int]) -> list[int]:
    seen = []
    for part, arrays in feed(device, parts, {"rows": ((4,), np.int32)}, fill):
        assert (arrays["rows"] == part).all()
        seen.append(part)
        device.work()
    return seen


@pytest.mark.parametrize("count", [1, 2, 5])
def test_no_transfer_overtakes_the_work_on_its_memory(count):
    """The first ones neither: a pool hands out memory that work before still reads."""
    device = Marking()
    for _ in range(7):
        device.work()
    assert fed(device, list(range(count))) == list(range(count))
    # Part n goes where part n - 2 was, whose work was started as number 7 + n - 1.
    assert sorted(device.sends) == [(str(n), 7 + max(0, n - 1)) for n in range(count)]


def test_work_waits_for_its_transfer_and_the_memory_for_both():
    device = Marking()
    fed(device, [10, 11, 12])
    assert [mark for mark in device.waited if mark == "sent 12"] == ["sent 12"] * 2
    for part in (10, 11):  # by the work, then by what overwrites the pinned memory or the end
        assert device.waited.count(f"sent {part}") == 2


def test_what_fill_raises_is_raised_and_transfers_are_waited_for():
    device = Marking()

    def broken(part: int, pinned: Any) -> int:
        if part == 2:
            raise ArithmeticError("row 2")
        return fill(part, pinned)

    with pytest.raises(ArithmeticError, match="row 2"):
        for _ in feed(device, [0, 1, 2, 3], {"rows": ((4,), np.int32)}, broken):
            device.work()
    assert device.waited[-1] == "sent 1"
    assert [content for content, _ in device.sends] == ["0", "1"]


def test_nothing_to_feed():
    assert list(feed(Marking(), [], {}, fill)) == []
