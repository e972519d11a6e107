"""Rows, items and the oracle's answers, for the tests of `Index`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vsearch_fast.index import Hit, Item
from vsearch_fast.kernels import reference
from vsearch_fast.search import Metric

DIM = 20
ROWS = 90
COLOURS = ["red", "green", "blue"]
METRICS: list[Metric] = ["l2", "l1", "hamming"]
SEARCHED: list[Metric] = [*METRICS, "cosine", "ip"]


def features(rows: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def described(row: int) -> Item:
    return Item(
        f"item {row}",
        path=f"img/{row}.jpg",
        box=(row, 0, row + 10, 20) if row % 2 else None,
        metadata={"colour": COLOURS[row % 3], "price": row / 4, "new": row % 5 == 0, "nr": row},
        stamp=f"{row}:1",
    )


def expected(
    queries: np.ndarray, data: np.ndarray, k: int, metric: str, live: np.ndarray | None = None
) -> list[list[tuple[str, float | int]]]:
    if metric == "hamming":
        queries, data = np.packbits(queries > 0, axis=-1), np.packbits(data > 0, axis=-1)
    distances, rows = reference.topk(queries, data, k, metric=metric, mask=live)
    return [
        [(f"item {row}", distance) for row, distance in zip(line, values, strict=True)]
        for line, values in zip(rows.tolist(), distances.tolist(), strict=True)
    ]


def found(hits: Sequence[Sequence[Hit]]) -> list[list[tuple[str, float | int]]]:
    return [[(hit.id, hit.distance) for hit in line] for line in hits]
