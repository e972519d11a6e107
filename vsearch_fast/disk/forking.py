"""What a fork may meet: no thread inside SQLite, and files that a child must not open.

A fork copies the whole process but for its other threads. Two things of SQLite do not survive
that:

- Its mutexes (and the C library's under them): one that another thread held stays locked in the
  child for ever, and the child's first `connect` waits for it.
- What it believes about locks on files: POSIX locks are not inherited, but SQLite's notes of
  them are. A child whose parent was in a transaction believes that it holds the lock too, takes
  none, and reads a file that is being written.

So whoever uses SQLite does it `inside` this gate, and a fork waits until nobody is: statements and
transactions of readers take milliseconds. A writer's transaction may last minutes, with SQLite
idle meanwhile; it is `outside` for so long, and its file is noted (`written`): a child that would
open it is refused in words.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator

#: Seconds that a fork waits for threads inside SQLite. A child of one that has waited in vain
#: may open nothing.
FORK_WAITS = 40.0


class _Gate:
    def __init__(self) -> None:
        self.condition = threading.Condition(threading.Lock())
        self.inside: Counter[int] = Counter()  # by thread: how deep
        self.forking = 0
        self.written: Counter[tuple[int, int]] = Counter()


_gate = _Gate()

#: Of this process, as a child: whether it may open nothing, and the files that it may not open.
_closed_to_child = False
_written_at_fork: frozenset[tuple[int, int]] = frozenset()


@contextlib.contextmanager
def inside() -> Iterator[None]:
    """Around every use of SQLite. Reentrant."""
    gate, me = _gate, threading.get_ident()
    with gate.condition:
        while gate.forking and not gate.inside[me]:
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
    gate = _gate
    with gate.condition:
        gate.written[identity] += 1
    try:
        yield
    finally:
        with gate.condition:
            gate.written[identity] -= 1
            if not gate.written[identity]:
                del gate.written[identity]


def unsafe(identity: tuple[int, int]) -> bool:
    """Whether this process is the child of one that wrote to this file when it was forked."""
    return _closed_to_child or identity in _written_at_fork


def _before() -> None:
    gate, me = _gate, threading.get_ident()
    gate.condition.acquire()  # and held until the fork is done
    gate.forking += 1
    end = time.monotonic() + FORK_WAITS
    while any(thread != me for thread in gate.inside):
        left = end - time.monotonic()
        if left <= 0:
            break
        gate.condition.wait(left)


def _after_in_parent() -> None:
    gate = _gate
    gate.forking -= 1
    gate.condition.notify_all()
    gate.condition.release()


def _after_in_child() -> None:
    global _gate, _closed_to_child, _written_at_fork
    old = _gate
    _closed_to_child = _closed_to_child or bool(old.inside)
    _written_at_fork |= frozenset(old.written)
    _gate = _Gate()


os.register_at_fork(
    before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
)
