"""What a fork may meet: no thread inside SQLite, and files that a child must not open.

A fork copies the whole process but for its other threads. Two things of SQLite do not survive
that:

- Its mutexes (and the C library's under them): one that another thread held stays locked in the
  child for ever, and the child's first `connect` waits for it.
- What it believes about locks on files: POSIX locks are not inherited, but SQLite's notes of
  them are. A child whose parent was in a transaction believes that it holds the lock too, takes
  none, and reads a file that is being written.

So whoever uses SQLite does it `inside` this gate, and a fork waits until nobody is: statements and
transactions of readers take milliseconds. It waits for a writer's transaction, too, but not for
long: that may last minutes, with SQLite idle while rows are written. Its file is noted (`written`),
and a child of a fork that has waited in vain is refused in words when it would open it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator

from ..system import at_fork

#: Seconds that a fork waits for threads inside SQLite. A child of one that has waited in vain
#: may open nothing.
FORK_WAITS = 40.0

#: Seconds that a fork waits for transactions that write.
WRITER_WAITS = 2.0


class _Gate:
    def __init__(self) -> None:
        self.condition = threading.Condition(threading.Lock())
        self.inside: Counter[int] = Counter()  # by thread: how deep
        self.forking = 0  # forks that wait, or are under way
        self.closed = False  # also to threads that are in a transaction which writes
        self.written: Counter[tuple[int, int]] = Counter()
        self.writing: Counter[int] = Counter()  # by thread: transactions that write


_gate = _Gate()

#: Of this process, as a child: whether it may open nothing, and the files that it may not open.
_closed_to_child = False
_written_at_fork: frozenset[tuple[int, int]] = frozenset()


@contextlib.contextmanager
def inside() -> Iterator[None]:
    """Around every use of SQLite. Reentrant."""
    gate, me = _gate, threading.get_ident()
    with gate.condition:
        while not gate.inside[me] and (gate.closed or (gate.forking and not gate.writing[me])):
            gate.condition.wait()
        gate.inside[me] += 1
    try:
        yield
    finally:
        with gate.condition:
            gate.inside[me] -= 1
            if not gate.inside[me]:
                del gate.inside[me]
                gate.condition.notify_all()


@contextlib.contextmanager
def written(identity: tuple[int, int]) -> Iterator[None]:
    """Around a transaction that writes the file of this device and inode."""
    gate, me = _gate, threading.get_ident()
    with gate.condition:
        while gate.forking and not gate.writing[me] and not gate.inside[me]:
            gate.condition.wait()
        gate.written[identity] += 1
        gate.writing[me] += 1
    try:
        yield
    finally:
        with gate.condition:
            gate.written -= Counter([identity])  # which drops what is at zero
            gate.writing -= Counter([me])
            gate.condition.notify_all()


def unsafe(identity: tuple[int, int]) -> bool:
    """Whether this process is the child of one that wrote to this file when it was forked."""
    return _closed_to_child or identity in _written_at_fork


def _before() -> None:
    gate, me = _gate, threading.get_ident()
    gate.condition.acquire()  # and held until the fork is done
    gate.forking += 1
    begun = time.monotonic()

    def others(*counters: Counter[int]) -> bool:
        return any(count and thread != me for of in counters for thread, count in of.items())

    while others(gate.inside, gate.writing):
        left = begun + WRITER_WAITS - time.monotonic()
        if left <= 0:
            break
        gate.condition.wait(left)
    gate.closed = True
    while others(gate.inside):
        left = begun + FORK_WAITS - time.monotonic()
        if left <= 0:
            break
        gate.condition.wait(left)


def _after_in_parent() -> None:
    gate = _gate
    gate.forking -= 1
    gate.closed = False
    gate.condition.notify_all()
    gate.condition.release()


def _after_in_child() -> None:
    global _gate, _closed_to_child, _written_at_fork
    old = _gate
    _closed_to_child = _closed_to_child or any(old.inside.values())
    _written_at_fork |= frozenset(old.written)
    _gate = _Gate()


at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
