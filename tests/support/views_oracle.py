"""What a search among items of several views is to find, by its definition."""

from __future__ import annotations

import numpy as np

from vsearch_fast.kernels import reference


def nearest(
    queries: np.ndarray, items: np.ndarray, k: int, metric: str, live: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest items of each query: distances and item numbers, (q, min(k, live items)).

    Every distance between a view of the query and one of the item is computed; the smallest is the
    item's, and items are ordered by distance and number.

    Args:
        queries: (q, v, dim); items: (n, w, dim), float32.
        live: bool (n,), or None for all.
    """
    count, asked = queries.shape[:2]
    views = items.shape[1]
    queries, rows = queries.reshape(-1, items.shape[2]), items.reshape(-1, items.shape[2])
    if metric == "hamming":
        queries, rows = reference.pack_bits(queries), reference.pack_bits(rows)
    every = reference.DISTANCE[metric]
    table = np.stack([every(query, rows) for query in queries])
    table = table.reshape(count, asked, len(items), views).min(axis=(1, 3))
    numbers = np.arange(len(items)) if live is None else np.flatnonzero(live)
    chosen = [numbers[np.argsort(line[numbers], kind="stable")[:k]] for line in table]
    found = np.array(chosen, np.int64).reshape(count, -1)
    return np.take_along_axis(table, found, 1), found
