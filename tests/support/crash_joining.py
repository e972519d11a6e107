"""The process that `index/test_joined_segments.py` kills: it joins the segments of an index."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from crash_writer import die_at

from vsearch_fast.index import Index


def join_segments(pipe: Connection, folder: Path, segment_rows: int, kill_at: int) -> None:
    """Open the index and join its segments, and be killed right before a step (`die_at`), where
    that is not 0; tell how many steps there were."""
    steps: Callable[[], int] = die_at(kill_at) if kill_at else lambda: 0
    with Index.open(folder, mode="rw") as index:
        index.optimize(segment_rows=segment_rows)
        pipe.send("joined")
    pipe.send(steps())
