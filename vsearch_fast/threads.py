"""Threads: one pool for all searches of the process, and work done ahead of its consumer."""

from __future__ import annotations

import atexit
import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from threading import Event, Lock, Thread, current_thread
from typing import TypeVar

from .arithmetic import usual_arithmetic
from .loading import LOCK
from .system import at_fork


class _Pool:
    """Threads that do what they are handed, started as they are needed.

    Daemons, unlike those of `concurrent.futures`: a process that ends does not wait for the
    searches that its own daemon threads began (`_leave`), and until then even the threads that
    Python joins at the end may search.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads = self._wanted = 0
        self._changing = Lock()

    def submit(self, work: Callable[[], None]) -> None:
        """Have a thread do ``work``, which must not raise. RuntimeError: no thread can start."""
        with self._changing:
            self._wanted += 1
            self._work.put(work)
            if self._wanted <= self._threads or self._threads == self._most:
                return
            Thread(
                target=self._do, name=f"vsearch_{self._threads}", daemon=True
            ).start()  # fmt: skip
            self._threads += 1

    def _do(self) -> None:
        with usual_arithmetic():  # for good: it would be that of the thread that started this one
            while True:
                work = self._work.get()
                work()
                del work  # it must not hold on to the buffers
                with self._changing:
                    self._wanted -= 1


_pool = _Pool(max(64, os.cpu_count() or 1))
_stops: set[Event] = set()
_left: set[Event] = set()
_ended = False


def _forget() -> None:
    """A forked child has the objects but none of the threads, and none of their runs."""
    global _pool, _stops
    _pool, _stops = _Pool(max(64, os.cpu_count() or 1)), set()


def _leave() -> None:
    """At the interpreter's end, what daemons have under way is left undone, and soon.

    A thread that is cut off within a kernel does no harm; within the compiler, whose own memory
    is taken down at the end, it might.
    """
    global _ended
    _ended = True
    _left.update(_stops)
    for stop in _left:
        stop.set()
    patience = time.monotonic() + 1
    while _stops and time.monotonic() < patience:
        time.sleep(0.005)
    if LOCK.acquire(timeout=10):  # what is compiled under it stops at its next step
        LOCK.release()


at_fork(after_in_child=_forget)
atexit.register(_leave)


def refuse_at_end() -> None:
    """RuntimeError in a daemon thread of an interpreter that ends: it begins nothing long."""
    if _ended and current_thread().daemon:
        raise RuntimeError("The interpreter ends")


def run(work: Callable[[int], None], workers: int, stop: Event) -> None:
    """``work(worker)`` once for each of so many, the first of them here and the others in the pool.

    The first error of any is raised here; ``stop`` tells the others.

    Raises:
        RuntimeError: the interpreter ended meanwhile, and the calling thread is a daemon.
    """
    if workers == 1:
        work(0)
        return
    # A pool that cannot start a thread may still do later what it was handed: whoever comes first
    # does the work of a worker.
    claims = [Lock() for _ in range(workers)]
    ended = [Event() for _ in range(workers)]
    errors: list[BaseException] = []

    def once(worker: int) -> None:
        if not claims[worker].acquire(blocking=False):
            return
        try:
            work(worker)
        except BaseException as error:  # Ctrl-C as well
            errors.append(error)
            stop.set()
        finally:
            ended[worker].set()

    _stops.add(stop)
    try:
        with contextlib.suppress(RuntimeError):
            for worker in range(1, workers):
                _pool.submit(partial(once, worker))
        for worker in range(workers):
            once(worker)
            if errors:
                raise errors[0]
        for end in ended:
            end.wait()
        if stop in _left:
            raise RuntimeError("The interpreter ends")
    except BaseException:
        stop.set()
        raise
    finally:
        _stops.discard(stop)
        # What the pool has yet to take up, and will find done, must not hold on to the buffers.
        work = _done
    if errors:
        raise errors[0]


def _done(worker: int) -> None:
    """The work of a run that has ended."""


Item = TypeVar("Item")
Result = TypeVar("Result")


def run_ahead(
    step: Callable[[Item], Result], items: Iterable[Item], *, threads: int, depth: int
) -> Generator[Result, None, None]:
    """Yield ``step(item)`` for each item, in order, computed in `threads` threads.

    When a result is handed out, up to `depth` later items are already taken from `items`
    and under way or done, and never more: memory stays bounded over an endless iterable.
    `items` is advanced in the consumer's thread, so that a generator over a database cursor
    or another object tied to its thread keeps working; what it does there is not
    overlapped with the consumer.

    An exception in `step` is raised at its item's turn, one from `items` at once. However
    the generator ends (its items, an exception, ``close()``, Ctrl-C in the consumer), work
    not begun is dropped and the threads are gone when it returns, after at most one item
    each.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="vsearch-ahead")
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(step, item))
            # The window is filled before anything is handed out: were finished results
            # handed out at once, a consumer that then computes for long would leave the
            # threads nothing to do.
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
