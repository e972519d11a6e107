"""One index of many items: what opening, listing, filtering, adding and removing cost."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vsearch_fast.index import Index
from vsearch_fast.system import peak_memory

from .rows import Rows, Say, grow

DIM = 64

#: Rows of a segment file: few files for many short rows.
_SEGMENT_ROWS = 1 << 20


def _seconds(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Of the first run, and the median of those after it."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return {"first": seconds[0], "median": statistics.median(seconds[1:] or seconds)}


def measure(folder: Path, items: int, say: Say) -> dict[str, Any]:
    """The section."""
    began = time.perf_counter()
    grow(folder, items, DIM, step=1 << 16, segment_rows=_SEGMENT_ROWS, say=say)
    made = time.perf_counter() - began
    before = peak_memory() or 0
    say(f"{items:,} items")
    found: dict[str, dict[str, float]] = {}
    found["open"] = _seconds(lambda: Index.open(folder).close(), 7)
    middle = f"{items // 2:010}"
    query = Rows(DIM).queries(1)
    with Index.open(folder) as index:
        work: dict[str, Callable[[], object]] = {
            "len": lambda: len(index),
            "first page of 100": lambda: index.page(100),
            "get": lambda: index.get(middle),
            "page where, 1 of 1,000": lambda: index.page(100, where={"kind": "7"}),
            "search": lambda: index.search(query),
            "search where, 1 of 1,000": lambda: index.search(query, where={"kind": "8"}),
            "search where, 1 of 2": lambda: index.search(query, where={"new": True}),
            "columns": index.columns,
            "values": lambda: index.values("kind"),
            "boxed": index.boxed,
        }
        for name, each in work.items():
            found[name] = _seconds(each, 5)
        _, after = index.page(1)
        assert after is not None
        found["a page in the middle"] = _seconds(
            lambda: index.page(100, after=after + items // 2), 5
        )
    numbers = iter(range(1 << 30))
    with Index.open(folder, mode="rw") as index:

        def add() -> None:
            name = f"more {os.getpid()} {next(numbers)}"
            index.add([name], query, [{"kind": "7", "price": 1, "new": True}])

        found["add one"] = _seconds(add, 7)
        added = [f"more {os.getpid()} {number}" for number in range(7)]
        found["remove one"] = _seconds(lambda: index.remove([added.pop()]), 7)
        found["search after a change"] = _seconds(lambda: index.search(query), 1)
    grown = (peak_memory() or 0) - before
    return {
        "items": items, "dim": DIM, "made": made, "seconds": found, "grown_mb": grown / (1 << 20),
        "database": (folder / "index.sqlite").stat().st_size,
    }  # fmt: skip
