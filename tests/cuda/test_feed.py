"""Rows that pass through a device: what waits for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from emulated import EmulatedDevice, OnDevice
from ordering import Mark

from vsearch_fast.search.gpu.feed import feed


@dataclass(frozen=True)
class Noted:
    """A mark of the device, and what it stands for."""

    mark: Mark
    what: Any


class Marking(EmulatedDevice):
    """Counts what is started on its two streams, and notes what every transfer waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.started = 0  # launches and other work so far
        self.sends: list[tuple[str, int]] = []  # (content, work that had to be done)
        self.waited: list[str | int] = []

    def work(self) -> None:
        self.started += 1

    def mark(self) -> Any:
        return Noted(super().mark(), self.started)

    def send(self, target: OnDevice, host: np.ndarray, after: Any) -> Any:
        sent = super().send(target, host, after.mark)
        self.sends.append((str(host[0]), after.what))
        return Noted(sent, f"sent {host[0]}")

    def work_after(self, mark: Any) -> None:
        super().work_after(mark.mark)
        self.waited.append(mark.what)

    def wait_for(self, mark: Any) -> None:
        super().wait_for(mark.mark)
        self.waited.append(mark.what)


def fill(part: int, pinned: Any) -> int:
    pinned["rows"][:] = part
    return len(pinned["rows"])


def fed(device: Marking, parts: list[int]) -> list[int]:
    seen = []
    for part, arrays in feed(device, parts, {"rows": ((4,), np.int32)}, fill):
        assert (device.download(arrays["rows"]) == part).all()
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
