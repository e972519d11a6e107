"""One pool of threads for all searches of the process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock

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
    if errors:
        raise errors[0]
