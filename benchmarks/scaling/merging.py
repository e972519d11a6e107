"""What many shards cost beside their rows: their list, a query, the merging of answers."""

from __future__ import annotations

import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vsearch_fast.index import Index, sealing
from vsearch_fast.index.upgrading import new_identity
from vsearch_fast.search.cpu.buffers import merge
from vsearch_fast.shards import ShardedIndex
from vsearch_fast.shards import manifest as manifests
from vsearch_fast.shards.manifest import Likewise, Listed, Manifest

from .rows import Rows, Say, grow

DIM = 64
ROWS = 100

#: Names that a file may have: ext4 allows 65,000.
_LINKS = 30_000


def median(work: Callable[[], object], repeats: int = 5) -> float:
    """Seconds."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def answers(shards: int, queries: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances, orders and counts as shards would answer: sorted, (shards, queries, k)."""
    rng = np.random.default_rng(0)
    distances = np.sort(rng.random((shards, queries, k)), axis=2)
    orders = np.arange(shards * k).reshape(shards, 1, k).repeat(queries, axis=1)
    return distances, np.ascontiguousarray(orders), np.full((shards, queries), k)


def measure_merge(say: Say, shards: int = 1000) -> list[dict[str, Any]]:
    """Seconds for the exact merge of simulated answers, by k and queries."""
    found = []
    for k in (10, 100, 1000):
        for queries in (1, 16):
            say(f"merge: {shards:,} answers of {k} to {queries}")
            distances, orders, counts = answers(shards, queries, k)
            best = np.empty((queries, k))
            rows = np.empty((queries, k), np.int64)

            def work(
                parts: Any = (distances, orders, counts), best: Any = best, rows: Any = rows
            ) -> None:
                merge(parts[0], parts[1], parts[2], best, rows)

            work()  # compiled
            seconds = median(work)
            right = np.sort(distances.swapaxes(0, 1).reshape(queries, -1), axis=1)[:, :k]
            assert np.array_equal(best, right)
            found.append({"shards": shards, "k": k, "queries": queries, "seconds": seconds})
    return found


def measure_manifest(say: Say, shards: int = 100_000) -> dict[str, Any]:
    """Seconds to write a list of so many shards, read it, and open it: each shard is looked for."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"manifest: {shards:,} folders")
        with Index.create(folder / "first", DIM, model_id="scale") as index:
            likewise = Likewise.of(index)
        original = folder / "first" / "index.sqlite"
        for number in range(shards):
            place = folder / f"{number:05}.index"
            place.mkdir()
            if number % _LINKS == 0:
                original = Path(shutil.copy(original, place / "index.sqlite"))
            else:
                os.link(original, place / "index.sqlite")
        listed = tuple(Listed(f"{number:05}.index", 1000) for number in range(shards))
        whole = Manifest("", likewise, listed)
        result: dict[str, Any] = {"shards": shards}
        say("manifest: write, read, open")
        result["write"] = median(lambda: manifests.write(folder, whole, ""), 3)
        result["bytes"] = (folder / "shards.json").stat().st_size
        result["read"] = median(lambda: manifests.read(folder), 3)
        result["open"] = median(lambda: ShardedIndex.open(folder).close(), 3)
        return result


def many(folder: Path, shards: int) -> Path:
    """A sharded index of so many small shards: one that was made, and copies that have an identity
    of their own (their ids are the same: what a search costs knows nothing of that)."""
    first = folder / "00000.index"
    grow(first, ROWS, DIM, segment_rows=1024)
    with Index.open(first) as index:
        likewise = Likewise.of(index)
    for number in range(1, shards):
        place = folder / f"{number:05}.index"
        if not place.exists():
            shutil.copytree(first, place)
            sql = sqlite3.connect(place / "index.sqlite", isolation_level=None)
            sql.execute("PRAGMA synchronous = OFF")
            sql.execute("BEGIN")
            sql.execute("UPDATE meta SET value = ? WHERE key = 'identity'", (new_identity(),))
            sealing.seal(sql)
            sql.execute("COMMIT")
            sql.close()
    listed = tuple(Listed(f"{number:05}.index", ROWS) for number in range(shards))
    manifests.write(folder, Manifest("", likewise, listed), "")
    return folder


def measure_overhead(say: Say) -> list[dict[str, Any]]:
    """What a shard of a hundred rows costs: opened, by the first search, and by the others."""
    found = []
    query = Rows(DIM).queries(1)
    with tempfile.TemporaryDirectory() as name:
        with ShardedIndex.open(many(Path(name), 1)) as index:
            index.search(query)  # kernels are loaded
        for shards in (1, 10, 100, 1000):
            say(f"overhead: {shards:,} shards")
            folder = many(Path(name), shards)
            opened = median(lambda folder=folder: ShardedIndex.open(folder).close(), 3)  # type: ignore[misc]
            with ShardedIndex.open(folder) as index:
                began, used = time.perf_counter(), time.process_time()
                index.search(query)
                first, cpu = time.perf_counter() - began, time.process_time() - used
                again = median(lambda index=index: index.search(query))  # type: ignore[misc]
            found.append(
                {"shards": shards, "open": opened, "first": first, "first_cpu": cpu, "again": again}
            )
    return found
