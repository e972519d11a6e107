"""What a process does once, when it first needs it: imports of large packages, compilation.

Large packages import themselves in circles (Numba, CuPy), which two threads must not begin at
once: Python then breaks the deadlock of its import locks by handing out half a module. And a
child that is forked from a process whose other thread imports or compiles finds locks held for
ever. So both are done under one lock, which is taken before any lock of Python's imports, and
which a fork waits for.
"""

from __future__ import annotations

# These have a lock of their own held over a fork. Were they first imported while a fork
# waits for ours, Python would release theirs without having taken it.
import concurrent.futures.thread  # noqa: F401
import logging  # noqa: F401
import random  # noqa: F401
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from importlib import import_module
from threading import RLock
from types import ModuleType
from typing import Any, TypeVar

from .system import at_fork

Made = TypeVar("Made")

#: Held by whoever imports or compiles. Ask for no other lock that a search may hold while you
#: hold it. Of the locks that are held over a fork this one is the last to be taken: files of the
#: ground floor are the first to be imported, and Python asks the last first.
LOCK = RLock()

_held: list[AbstractContextManager[Any]] = []
_taken: list[AbstractContextManager[Any]] = []


def held_over_forks(lock: AbstractContextManager[Any]) -> None:
    """Have a fork wait for another package's lock, too: one that may be asked for by whoever
    holds `LOCK`, and is therefore taken behind it."""
    _held.append(lock)


def _before() -> None:
    LOCK.acquire()
    for lock in _held:
        lock.__enter__()
        _taken.append(lock)


def _after() -> None:
    while _taken:
        _taken.pop().__exit__(None, None, None)
    LOCK.release()


at_fork(before=_before, after_in_parent=_after, after_in_child=_after)


def once(make: Callable[..., Made]) -> Callable[..., Made]:
    """Decorator: ``make`` runs once for each arguments, under the lock; what it made is kept.

    Unlike `functools.cache`, which lets two threads make the same. Arguments are hashable and by
    position. An error is not kept.
    """
    made: dict[tuple[Any, ...], Made] = {}

    @wraps(make)
    def kept(*arguments: Any) -> Made:
        try:
            return made[arguments]
        except KeyError:
            pass
        with LOCK:
            if arguments not in made:
                made[arguments] = make(*arguments)
            return made[arguments]

    return kept


def package(name: str) -> ModuleType:
    """A package of others, imported as a whole before any part of it is asked for.

    Raises:
        ImportError: it is not installed, or broken.
    """
    found = sys.modules.get(name)
    if found is not None and not getattr(getattr(found, "__spec__", None), "_initializing", False):
        return found
    with LOCK:
        return import_module(name)
