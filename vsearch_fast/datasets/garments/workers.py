"""Rendering in several processes, for callers of any kind.

``multiprocessing`` would import the caller's main module in each child (which breaks
scripts without a ``__main__`` guard) or fork it (which breaks callers that hold threads).
So a child here is a plain interpreter that reads jobs from its standard input and writes
results to its standard output, both pickled; it ends when its input does, also when the
parent was killed. Threads do not help: rendering is many short array operations.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ...errors import DatasetError

Job = tuple[Any, ...]
Result = TypeVar("Result")


def spread(work: Callable[..., Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """``work(*job)`` for every job, by ``workers`` processes, in the order of finishing.

    ``work`` is a function of an importable module; 1 worker is this process itself.
    Raises DatasetError when a process ends before its work is done.
    """
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield work(*job)
        return
    todo: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        todo.put(job)
    done: queue.SimpleQueue[Result | BaseException] = queue.SimpleQueue()
    stop = threading.Event()
    threads = [
        threading.Thread(target=_drive, args=(work, todo, done, stop), daemon=True)
        for _ in range(min(workers, len(jobs)))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in jobs:
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _drive(
    work: Callable[..., Result],
    todo: queue.SimpleQueue[Job],
    done: queue.SimpleQueue[Result | BaseException],
    stop: threading.Event,
) -> None:
    """One child: hand it a job, wait for its result, and so on."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    # Each process is one of many: libraries inside it must not start a thread a core.
    environment.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
    try:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        ) as child:
            assert child.stdin is not None and child.stdout is not None
            with child.stdin:
                while not stop.is_set():
                    try:
                        job = todo.get_nowait()
                    except queue.Empty:
                        break
                    pickle.dump((work, job), child.stdin)
                    child.stdin.flush()
                    done.put(pickle.load(child.stdout))
    except (EOFError, OSError) as error:
        done.put(
            DatasetError(
                f"A rendering process ended before its work was done ({error!r})",
                "What was finished is kept",
                "Run the same call again to go on, if memory was short with workers=1",
            )
        )


def serve() -> None:
    """The child's side: do each job that comes in and write its result."""
    # Ctrl-C reaches the whole group; the parent decides, and closes the input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError):
        while True:
            work, job = pickle.load(sys.stdin.buffer)
            pickle.dump(work(*job), sys.stdout.buffer)
            sys.stdout.buffer.flush()
