"""One pool of threads for all searches of the process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event

# A forked child has the object but none of its threads.
_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget_pool)


def available_threads() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(work: Callable[[int], None], workers: int, stop: Event) -> None:
    """``work(worker)`` for each of so many, the first of them here and the others in the pool.

    The first error of any is raised here, once all have ended; ``stop`` tells the others.
    """
    global _pool
    if workers == 1:
        work(0)
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(max(64, os.cpu_count() or 1), thread_name_prefix="vsearch")

    def guarded(worker: int) -> None:
        try:
            work(worker)
        except BaseException:  # Ctrl-C as well
            stop.set()
            raise

    others: list[Future[None]] = []
    try:
        # At the interpreter's end a pool starts no more: the caller does what is left.
        with contextlib.suppress(RuntimeError):
            for worker in range(1, workers):
                others.append(_pool.submit(guarded, worker))  # noqa: PERF401
        for worker in (0, *range(1 + len(others), workers)):
            guarded(worker)
        wait(others)
    except BaseException:
        stop.set()
        raise
    for task in others:
        task.result()
