"""The same rows in 1, 2, 4 and 8 shards, each searched by a process of one thread; and one process
with as many threads."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from vsearch_fast.index import Index
from vsearch_fast.shards import ShardedIndex
from vsearch_fast.system import processors

from .rows import Rows, Say, grow

DIM = 1024
K = 10
COUNTS = (1, 2, 4, 8)


def answering(folder: str, line: Connection) -> None:
    """A process: answers each message (queries, metric) by ids and distances, until None comes."""
    with Index.open(folder) as index:
        while (asked := line.recv()) is not None:
            queries, metric = asked
            hits = index.search(queries, K, metric, threads=1)
            line.send([[(hit.distance, hit.id) for hit in each] for each in hits])


class Processes:
    """A process a shard."""

    def __init__(self, shards: list[Path]) -> None:
        context = multiprocessing.get_context("spawn")
        self._lines, self._processes = [], []
        for shard in shards:
            here, there = context.Pipe()
            process = context.Process(target=answering, args=(str(shard), there), daemon=True)
            process.start()
            self._lines.append(here)
            self._processes.append(process)

    def search(self, queries: np.ndarray, metric: str) -> list[list[tuple[float, str]]]:
        """The nearest of all shards. Ids are numbers in the order of the rows: they break ties."""
        for line in self._lines:
            line.send((queries, metric))
        parts = [line.recv() for line in self._lines]
        return [
            sorted(pair for part in parts for pair in part[query])[:K]
            for query in range(len(queries))
        ]

    def close(self) -> None:
        for line, process in zip(self._lines, self._processes, strict=True):
            line.send(None)
            process.join()


def cut(folder: Path, rows: int, shards: int, say: Say) -> list[Path]:
    """The first `rows` rows in so many indexes, which are made where they are not there."""
    each = rows // shards
    places = [folder / f"{rows}-in-{shards}-{number}.index" for number in range(shards)]
    for number, place in enumerate(places):
        grow(place, each, DIM, first=number * each, say=say, segment_rows=1 << 15)
    return places


def measure(folder: Path, rows: int, queries: int, repeats: int, say: Say) -> dict[str, Any]:
    """The section: median seconds by metric, of so many queries at once, by shards."""
    cores = processors()
    places = {count: cut(folder, rows, count, say) for count in COUNTS}
    asked = Rows(DIM).queries(queries)
    result: dict[str, Any] = {
        "rows": rows, "dim": DIM, "queries": queries, "cores": cores, "metrics": {},
    }  # fmt: skip
    all_of_them = {count: Processes(places[count]) for count in COUNTS}
    try:
        with (
            Index.open(places[1][0]) as one,
            ShardedIndex.create(folder / "all", places[8]) as many,
        ):
            for metric in ("l2", "hamming"):
                say(f"shards: {metric}")
                expected = [
                    [(hit.distance, hit.id) for hit in hits]
                    for hits in one.search(asked, K, metric)
                ]
                ways: dict[str, Any] = {
                    f"{count} processes": lambda count=count, metric=metric: all_of_them[
                        count
                    ].search(asked, metric)
                    for count in COUNTS
                }
                ways["1 thread"] = lambda metric=metric: one.search(asked, K, metric, threads=1)
                ways["all threads"] = lambda metric=metric: one.search(
                    asked, K, metric, threads=cores
                )
                ways["8 shards in one process"] = lambda metric=metric: many.search(
                    asked, K, metric, threads=cores
                )
                for name, way in ways.items():
                    found = way()
                    if name.endswith("processes"):
                        assert found == expected, name
                result["metrics"][metric] = _medians(ways, repeats)
    finally:
        for each in all_of_them.values():
            each.close()
    return result


def _medians(ways: dict[str, Any], repeats: int) -> dict[str, float]:
    """Seconds; the ways take turns, so that what disturbs the machine disturbs all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in seconds.items()}
