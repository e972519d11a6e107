"""What is queued on a device's streams as a partial order, and accesses that it leaves unordered.

A device does the work of one stream in its order. Beside that only what was said orders work: a
stream that waits for an event, the host that waits for an event or for a stream, and the host's own
order, since work cannot begin before it was queued. All of these are clocks (Mattern, "Virtual
time and global states of distributed systems", 1989): how far each actor has come, as far as
another knows. Two accesses to the same bytes, one of which writes, must be ordered; else `Order`
says which two are not.

Memory that is given back goes to a pool, from which any later array may be taken: a new array
begins as if all that has ever been done with memory in the pool had been done with it. The pool's
lock orders the threads that give and take, and no stream.

Pinned memory is written by the host, which nothing here sees: it must hold the same from the moment
that a transfer is queued to the moment that the host has waited for it.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
import zlib
from bisect import bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

#: The two streams of a device, beside its hosts' threads.
WORK, TRANSFERS = "the work's stream", "the transfers' stream"

Clock = dict[object, int]


def _join(clock: Clock, other: Clock) -> None:
    for actor, time in other.items():
        if clock.get(actor, 0) < time:
            clock[actor] = time


@dataclass(frozen=True)
class Access:
    """Bytes ``start`` to ``stop`` of memory, by the ``time``-th operation of a stream."""

    start: int
    stop: int
    writes: bool
    stream: str
    time: int
    what: str

    def before(self, clock: Clock) -> bool:
        return clock.get(self.stream, 0) >= self.time


@dataclass(frozen=True)
class Mark:
    """An event: what had been queued, and all that this was behind."""

    clock: Clock


@dataclass
class _Memory:
    """One array's bytes, and the accesses that later ones may have to be behind."""

    start: int
    stop: int
    accesses: list[Access] = field(default_factory=list)


@dataclass
class _Sending:
    """Pinned memory that a transfer reads: not a reference, which would keep it."""

    start: int
    stop: int
    content: int
    stream: str
    time: int
    what: str


class Unordered(AssertionError):
    """Two accesses that nothing orders, or the host's to what it did not wait for."""


class Order:
    """The work of one device."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._raised = 0  # so many of them
        self._streams: dict[str, Clock] = {WORK: {}, TRANSFERS: {}}
        self._hosts: weakref.WeakKeyDictionary[threading.Thread, Clock] = (
            weakref.WeakKeyDictionary()
        )
        self._pool: dict[str, Access] = {}  # by stream, its last access to memory given back
        self._pool_clock: Clock = {}
        self._starts: list[int] = []
        self._memory: dict[int, _Memory] = {}
        self._sending: list[_Sending] = []
        self._lock = threading.RLock()  # what is freed is freed in the midst of anything

    # Memory

    def allocated(self, start: int, size: int) -> None:
        """A new array, perhaps of memory that was in use before."""
        with self._lock:
            _join(self._host(), self._pool_clock)
            stop = start + size
            before = [
                Access(start, stop, True, last.stream, last.time, f"{last.what}, whose memory was"
                       " given back")
                for last in self._pool.values()
            ]  # fmt: skip
            insort(self._starts, start)
            self._memory[start] = _Memory(start, stop, before)

    def freed(self, start: int) -> None:
        with self._lock:
            self._starts.remove(start)
            for access in self._memory.pop(start).accesses:
                last = self._pool.get(access.stream)
                if last is None or last.time < access.time:
                    what = access.what.removesuffix(", whose memory was given back")
                    self._pool[access.stream] = Access(0, 0, True, access.stream, access.time, what)
            _join(self._pool_clock, self._host())

    def pinned_freed(self, start: int, stop: int) -> None:
        """Pinned memory that goes to a pool of its own, from which others write to it."""
        with self._lock:
            clock = self._host()
            for one in self._sending[:]:
                if start <= one.start < stop:
                    self._sending.remove(one)
                    if clock.get(one.stream, 0) < one.time:
                        self.faults.append(
                            f"pinned memory was given back while {one.what} may still read it"
                        )

    # Work

    def does(self, stream: str, what: str, accesses: Iterable[tuple[np.ndarray, bool]]) -> None:
        """Queue an operation that reads and writes (array, whether it writes it)."""
        with self._lock:
            clock = self._streams[stream]
            _join(clock, self._host())
            # A stream is in its own order; what one operation both reads and writes is its affair.
            time = clock[stream] = clock.get(stream, 0) + 1
            for array, writes in accesses:
                if array.size:
                    start, stop = np.lib.array_utils.byte_bounds(array)
                    self._access(Access(start, stop, writes, stream, time, what), clock)
            self._complain()

    def reads_pinned(self, stream: str, what: str, host: np.ndarray) -> None:
        """The operation that was queued last also reads memory that the host may write."""
        with self._lock:
            time = self._streams[stream][stream]
            start, stop = np.lib.array_utils.byte_bounds(host)
            self._sending.append(_Sending(start, stop, _content(start, stop), stream, time, what))

    def _access(self, new: Access, clock: Clock) -> None:
        place = bisect_right(self._starts, new.start) - 1
        memory = self._memory[self._starts[place]] if place >= 0 else None
        if memory is None or new.stop > memory.stop:
            self.faults.append(f"{new.what} is given an array that is not the device's")
            return
        kept = []
        for old in memory.accesses:
            apart = old.stop <= new.start or new.stop <= old.start
            ordered = old.before(clock)
            if not apart and not ordered and (old.writes or new.writes):
                self.faults.append(
                    f"{new.what} ({'writes' if new.writes else 'reads'}, {new.stream}) is not"
                    f" ordered behind {old.what} ({'writes' if old.writes else 'reads'},"
                    f" {old.stream})"
                )
            covered = new.start <= old.start and old.stop <= new.stop
            if not (covered and ordered and (new.writes or not old.writes)):
                kept.append(old)
        memory.accesses = [*kept, new]

    def mark(self, stream: str) -> Mark:
        with self._lock:
            clock = self._streams[stream]
            _join(clock, self._host())
            return Mark(dict(clock))

    def waits(self, stream: str, mark: Mark) -> None:
        """What is queued from now on is behind a mark."""
        with self._lock:
            _join(self._streams[stream], mark.clock)

    # The host

    def _host(self) -> Clock:
        """What the calling thread knows to be done."""
        return self._hosts.setdefault(threading.current_thread(), {})

    def host_waits(self, mark: Mark | None = None) -> None:
        """The calling thread waits for a mark, or for all of the work's stream."""
        with self._lock:
            clock = self._host()
            _join(clock, self._streams[WORK] if mark is None else mark.clock)
            for one in self._sending[:]:
                if clock.get(one.stream, 0) >= one.time:
                    self._sending.remove(one)
                    if _content(one.start, one.stop) != one.content:
                        self.faults.append(
                            f"pinned memory was written before {one.what} was waited for"
                        )
            self._complain()

    def _complain(self) -> None:
        """Raise what has not been raised yet, and was found when memory was freed, perhaps."""
        new = self.faults[self._raised :]
        self._raised = len(self.faults)
        if new:
            raise Unordered("; ".join(dict.fromkeys(new)))

    def take_faults(self) -> list[str]:
        """All that was found since this was asked, raised or not."""
        with self._lock:
            found, self.faults, self._raised = self.faults, [], 0
            return found


def _content(start: int, stop: int) -> int:
    return zlib.crc32((ctypes.c_char * (stop - start)).from_address(start))
