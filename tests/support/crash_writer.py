"""The process that `index/test_crash.py` kills: it adds batches to an index and reports each."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from vsearch_fast.index import Index
from vsearch_fast.kernels.layout import FACTS, width_of
from vsearch_fast.search.sketches import choose_run, sketch_block

DIM = 24
SEGMENT_ROWS = 16


def batch_of(batch: int) -> tuple[list[str], np.ndarray, list[dict[str, str | int]], list[str]]:
    """Ids, features, metadata and the ids that are removed afterwards, from the number alone.
    The batch replaces one row of the batch before."""
    random_numbers = np.random.default_rng(batch)
    count = int(random_numbers.integers(1, 40))
    ids = [f"{batch}/{number}" for number in range(count)]
    if batch:
        ids.append(f"{batch - 1}/0")
    rows = random_numbers.standard_normal((len(ids), DIM)).astype(np.float32)
    metadata: list[dict[str, str | int]] = [{"batch": batch, "kind": "x"} for _ in ids]
    return ids, rows, metadata, ids[2:5] if batch % 2 else []


def die_at(step: int) -> Callable[[], int]:
    """Kill this process right before its n-th step: every pwrite, fsync, ftruncate, rename,
    unlink and open of the index's own, and every SQL statement. Returns the count of steps."""
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            count()
            return call(*arguments, **options)

        return wrapper

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        count()
        connection = connect(*arguments, **options)
        connection.set_trace_callback(count)
        return connection

    for name in ("pwrite", "fsync", "ftruncate", "rename", "unlink", "open"):
        setattr(os, name, counted(getattr(os, name)))
    connect, sqlite3.connect = sqlite3.connect, traced  # type: ignore[assignment]
    return lambda: steps


def _load_kernels() -> None:
    """Compile what an addition needs, or read it from the cache."""
    rows = np.zeros((SEGMENT_ROWS, DIM), np.float32)
    data = np.zeros((SEGMENT_ROWS, width_of(DIM)), np.uint8)
    run = choose_run(rows)
    sketch_block(rows, run.lo, run.step, data, np.zeros((SEGMENT_ROWS, FACTS)))


def write_batches(pipe: Connection, folder: Path, first: int, batches: int, kill_at: int) -> None:
    """What the writer does: open or create the index, then add batches and report each."""
    _load_kernels()  # before the kills are timed
    steps = die_at(kill_at) if kill_at else lambda: 0
    with Index.create(folder, DIM, segment_rows=SEGMENT_ROWS, exist_ok=True) as index:
        pipe.send("open")
        for batch in range(first, first + batches):
            ids, rows, items, gone = batch_of(batch)
            index.add(ids, rows, items, replace=True)
            pipe.send(f"added {batch}")
            if gone:
                index.remove(gone)
                pipe.send(f"removed {batch}")
    pipe.send(f"done {steps()}")
