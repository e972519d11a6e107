"""Threads: one pool for all searches of the process, and work done ahead of its consumer."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Lock
from typing import TypeVar

# A forked child has the object but none of its threads.
_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget_pool)


def run(work: Callable[[int], None], workers: int, stop: Event) -> None:
    """``work(worker)`` once for each of so many, the first of them here and the others in the pool.

    The first error of any is raised here; ``stop`` tells the others.
    """
    global _pool
    if workers == 1:
        work(0)
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(max(64, os.cpu_count() or 1), thread_name_prefix="vsearch")
    # A pool that cannot start a thread refuses what it may still do later, and one at the
    # interpreter's end refuses all: whoever comes first does the work of a worker.
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

    try:
        with contextlib.suppress(RuntimeError):
            for worker in range(1, workers):
                _pool.submit(once, worker)
        for worker in range(workers):
            once(worker)
            if errors:
                raise errors[0]
        for end in ended:
            end.wait()
    except BaseException:
        stop.set()
        raise
    finally:
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
