"""Work done ahead of its consumer, in threads, in order, a bounded distance ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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
