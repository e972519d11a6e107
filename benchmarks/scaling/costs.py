"""What the cost model is fitted to: searches of indexes of several sizes, in several shards, by
several queries; and the embedding of pictures."""

from __future__ import annotations

import contextlib
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from vsearch_fast.disk.files import room_of
from vsearch_fast.embedder import Embedder
from vsearch_fast.index import Index
from vsearch_fast.models import model_path
from vsearch_fast.shards import ShardedIndex
from vsearch_fast.words import Metric

from .rows import Rows, Say, grow

DIM = 4096
K = 10

#: Rows of a shard, shards and queries at once. The last two are predicted, and not fitted to.
CONFIGURATIONS = (
    (4096, 1, 1), (4096, 1, 16), (4096, 4, 1), (4096, 4, 16), (8192, 1, 1), (8192, 4, 1),
    (8192, 4, 4), (8192, 4, 16), (32768, 1, 1), (32768, 1, 16), (32768, 2, 1), (32768, 2, 4),
)  # fmt: skip
HELD_OUT = ((16384, 2, 8), (32768, 2, 2))


def measure(folder: Path, repeats: int, say: Say) -> list[dict[str, Any]]:
    """The section: median seconds of a search of warm files, by one thread. They are the
    processor's: with nothing to wait for that is the time, whatever else the machine does beside.
    The configurations take turns."""
    places: dict[int, list[Path]] = {}
    for rows, shards, _ in (*CONFIGURATIONS, *HELD_OUT):
        known = places.setdefault(rows, [])
        while len(known) < shards:
            number = len(known)
            known.append(folder / f"{rows}-{number}.index")
            grow(known[-1], rows, DIM, first=number << 32, say=say, segment_rows=rows)
    every = (*CONFIGURATIONS, *HELD_OUT)
    seconds: dict[tuple[int, int, int], dict[Metric, list[float]]] = {
        each: {"l2": [], "hamming": []} for each in every
    }
    with contextlib.ExitStack() as opened:
        indexes = {
            (rows, shards): opened.enter_context(
                ShardedIndex.create(folder / f"{rows}-{shards}.shards", places[rows][:shards])
            )
            for rows, shards in dict.fromkeys((rows, shards) for rows, shards, _ in every)
        }
        drawn = Rows(DIM).queries(max(queries for *_, queries in every))
        for turn in range(repeats + 1):
            say(f"costs: round {turn} of {repeats}")
            for rows, shards, queries in every:
                asked = drawn[:queries]
                for metric, each in seconds[rows, shards, queries].items():
                    began = time.process_time()
                    indexes[rows, shards].search(asked, K, metric, threads=1)
                    if turn:  # the first reads the files
                        each.append(time.process_time() - began)
    return [
        {
            "rows": rows, "shards": shards, "queries": queries,
            "held_out": (rows, shards, queries) in HELD_OUT,
            "seconds": {name: statistics.median(each) for name, each in found.items()},
        }
        for (rows, shards, queries), found in seconds.items()
    ]  # fmt: skip


def space(folder: Path) -> dict[str, float]:
    """Bytes a row on the disk, by what holds them, of the largest index that was measured."""
    rows = max(rows for rows, *_ in CONFIGURATIONS)
    place = folder / f"{rows}-0.index"
    with Index.open(place) as index:
        kinds: dict[str, float] = {}
        for file in place.iterdir():
            kind = file.name.split("-")[0].split(".")[0]
            kinds[kind] = kinds.get(kind, 0) + room_of(file.stat()) / len(index)
    return kinds


def embedding(say: Say, pictures: int = 64) -> dict[str, Any]:
    """Pictures a second of the package's networks, by all cores."""
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, 256, (256, 256, 3), np.uint8) for _ in range(pictures)]
    rates = {}
    for name in ("anything", "slim-clothing"):
        say(f"embedding: {name}")
        embedder = Embedder(model_path(name))
        embedder.embed(drawn[:8])
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            embedder.embed(drawn)
            seconds.append(time.perf_counter() - began)
        rates[name] = pictures / statistics.median(seconds)
    return {"pictures": pictures, "rates": rates}
