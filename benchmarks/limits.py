"""What the limits of shards that have answered save those that are asked after them.

    python benchmarks/limits.py                     8 shards of 10,000 rows of 512
    python benchmarks/limits.py --shards 16 --ahead 2 --json limits.json

The same shards are searched in three ways that take turns, one thread, one process, one after the
other, as by actors that share a machine:

- *alone*: each by itself, all for the k nearest: what groups that are asked at once do;
- *ahead*: some by themselves, the others with the k-th distances of these as their limits;
- *one*: all as one database, each row bounded by all before it: the least there is to do.

Answers are compared, to the bit. Rows have few directions that matter, as features have, and are in
random order. Figures are the medians of the rounds: milliseconds a batch, rows read in float32 a
query (candidates), and megabytes read.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from vsearch_fast.bench.machine import command_line
from vsearch_fast.search import Sketched, topk_segments

Found = tuple[np.ndarray, np.ndarray, list[Any]]


def _rows(count: int, dim: int, seed: int) -> np.ndarray:
    """float32 (count, dim), of 40 directions and some noise."""
    turn = np.random.default_rng(1).standard_normal((40, dim), np.float32)
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 40), np.float32) @ turn
    rows += rng.standard_normal(rows.shape, np.float32)
    return np.maximum(rows, 0, out=rows)


class _Shards:
    """Shards of some rows, and the ways to search them."""

    def __init__(self, rows: np.ndarray, shards: int, metric: Literal["l1", "l2"], k: int) -> None:
        self.parts = [Sketched(np.ascontiguousarray(p)) for p in np.array_split(rows, shards)]
        self.starts = np.cumsum([0, *(len(part.array) for part in self.parts)])
        self.metric, self.k = metric, k

    def _search(self, queries: np.ndarray, numbers: slice, limits: np.ndarray | None) -> Found:
        parts = self.parts[numbers]
        distances, ids, proof = topk_segments(
            queries, [part.array for part in parts], self.k, metric=self.metric,
            sketches=[part.sketch for part in parts], strategy="sketch", threads=1,
            backend="cpu", limits=limits,
        )  # fmt: skip
        ids = np.where(ids < 0, np.iinfo(np.int64).max, ids + self.starts[numbers.start])
        return distances, ids, [proof]

    def _merged(self, found: list[Found]) -> Found:
        distances = np.concatenate([each[0] for each in found], axis=1)
        ids = np.concatenate([each[1] for each in found], axis=1)
        order = np.lexsort((ids, distances), axis=1)[:, : self.k]
        return (
            np.take_along_axis(distances, order, 1),
            np.take_along_axis(ids, order, 1),
            [proof for each in found for proof in each[2]],
        )

    def one(self, queries: np.ndarray) -> Found:
        return self._search(queries, slice(0, len(self.parts)), None)

    def ahead(self, queries: np.ndarray, first: int) -> Found:
        found: list[Found] = []
        limits = None
        for number in range(len(self.parts)):
            if number == first and first:
                limits = self._merged(found)[0][:, -1]
            found.append(self._search(queries, slice(number, number + 1), limits))
        return self._merged(found)


@click.command()
@click.option("--shards", type=click.IntRange(2), default=8, show_default=True)
@click.option("--rows", type=click.IntRange(100), default=10_000, show_default=True,
              help="Of a shard.")  # fmt: skip
@click.option("--dim", type=click.IntRange(8), default=512, show_default=True)
@click.option("-k", type=click.IntRange(1), default=10, show_default=True)
@click.option("--ahead", type=click.IntRange(1), default=1, show_default=True,
              help="Shards that are asked before the others.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE")
def command(
    shards: int, rows: int, dim: int, k: int, ahead: int, rounds: int, json_file: Path | None
) -> None:
    """What the limits of shards that have answered save those that are asked after them."""
    results = []
    database = _rows(shards * rows, dim, 2)
    metrics: tuple[Literal["l1", "l2"], ...] = ("l2", "l1")
    for metric in metrics:
        held = _Shards(database, shards, metric, k)
        ways: dict[str, Callable[[np.ndarray], Found]] = {
            "alone": lambda queries, held=held: held.ahead(queries, 0),  # type: ignore[misc]
            "ahead": lambda queries, held=held: held.ahead(queries, ahead),  # type: ignore[misc]
            "one": held.one,
        }
        for count in (1, 32):
            queries = _rows(count, dim, 3)
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            proofs: dict[str, list[Any]] = {}
            expected = held.one(queries)
            for _ in range(rounds):
                for way, search in ways.items():
                    began = time.perf_counter()
                    distances, ids, proofs[way] = search(queries)
                    seconds[way].append(time.perf_counter() - began)
                    assert np.array_equal(distances, expected[0])
                    assert np.array_equal(ids, expected[1])
            for way in ways:
                result = {
                    "metric": metric, "queries": count, "way": way,
                    "ms": 1e3 * statistics.median(seconds[way]),
                    "candidates": sum(p.candidates for p in proofs[way]) / count,
                    "megabytes": sum(p.bytes_read for p in proofs[way]) / 1e6,
                }  # fmt: skip
                results.append(result)
                click.echo(
                    f"{metric} {count:3} queries  {way:6} {result['ms']:9.1f} ms"
                    f" {result['candidates']:9.1f} candidates a query"
                    f" {result['megabytes']:9.2f} MB read"
                )
    if json_file is not None:
        told = {"command": command_line(), "results": results}
        json_file.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    command()
