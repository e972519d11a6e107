"""The line before a cluster: few searches are under way at a time, and what waits goes together.

A thread that may not begin at once waits. When its turn comes, it takes along whatever waits for
the same kind of search, sends all of it as one, and hands out the answers. So the more wait, the
larger the batches: memory is bounded by what the callers hold themselves, and nobody is refused.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Given = TypeVar("Given")


class _Waiting(Generic[Asked, Given]):
    """Somebody in the line."""

    def __init__(self, key: Hashable, asked: Asked, size: int) -> None:
        self.key, self.asked, self.size = key, asked, size
        self.turn = threading.Event()
        self.given: Given | None = None
        self.error: BaseException | None = None
        self.done = False


class Line(Generic[Asked, Given]):
    """Safe to use from many threads.

    Args:
        at_once: batches that are under way at a time.
        largest: size of a batch, unless one alone is larger.

    Attributes:
        batches, most: batches that were begun, and how many were under way at once at most.
    """

    def __init__(self, at_once: int, largest: int) -> None:
        self._at_once, self._largest = at_once, largest
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting[Asked, Given]] = deque()
        self._running = 0
        self.batches = self.most = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def run(
        self,
        key: Hashable,
        asked: Asked,
        size: int,
        work: Callable[[Sequence[Asked]], Sequence[Given]],
    ) -> Given:
        """What `work` gives for this, called with it and others of the same key.

        Args:
            key: what may go together; None for what goes alone.
            asked: what is asked.
            size: how much of a batch that is.
            work: returns as many as it is given, in order; an error is everybody's.
        """
        own: _Waiting[Asked, Given] = _Waiting(key, asked, size)
        with self._lock:
            free = self._running < self._at_once
            if free:
                self._running += 1
            else:
                self._waiting.append(own)
        if not free:
            try:
                own.turn.wait()
            except BaseException:  # Ctrl-C: the place is given up, or the turn passed on
                with self._lock:
                    if own in self._waiting:
                        self._waiting.remove(own)
                        raise
                if not own.done:
                    self._next()
                raise
            if own.done:
                return self._given(own)
        try:
            self._work(self._batch(own), work)
        finally:
            self._next()
        return self._given(own)

    def _batch(self, own: _Waiting[Asked, Given]) -> list[_Waiting[Asked, Given]]:
        """This one, and those that may go with it."""
        with self._lock:
            self.batches += 1
            self.most = max(self.most, self._running)
            batch, size = [own], own.size
            for other in list(self._waiting) if own.key is not None else ():
                if other.key == own.key and size + other.size <= self._largest:
                    self._waiting.remove(other)
                    batch.append(other)
                    size += other.size
            return batch

    def _work(
        self,
        batch: Sequence[_Waiting[Asked, Given]],
        work: Callable[[Sequence[Asked]], Sequence[Given]],
    ) -> None:
        try:
            for each, given in zip(batch, work([each.asked for each in batch]), strict=True):
                each.given = given
        except BaseException as error:
            for each in batch:
                each.error = error
        for each in batch:
            each.done = True
            each.turn.set()

    def _next(self) -> None:
        """Let the next one begin in the place of one that has ended."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().turn.set()
            else:
                self._running -= 1

    @staticmethod
    def _given(own: _Waiting[Asked, Given]) -> Given:
        if own.error is not None:
            raise own.error
        return own.given  # type: ignore[return-value]
