"""A cache bounded by the size of what it holds: the least recently used goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SizedCache(Generic[Key, Value]):
    """Safe to use from several threads. `size` says what a value takes, of `limit` in all; a
    value that is larger than that is not kept."""

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self._limit = limit
        self._size = size
        self._used = 0
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """The value, which is now the most recently used, or None."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Key, value: Value) -> None:
        """Keep a value, and drop what has not been used for longest."""
        size = self._size(value)
        with self._lock:
            old = self._values.pop(key, None)
            if old is not None:
                self._used -= self._size(old)
            if size > self._limit:
                return
            self._values[key] = value
            self._used += size
            while self._used > self._limit:
                _, dropped = self._values.popitem(last=False)
                self._used -= self._size(dropped)

    @property
    def used(self) -> int:
        """Sum of the sizes of what is kept."""
        return self._used
