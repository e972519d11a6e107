"""Thresholds by their definition, and rows to take them of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vsearch_fast.index import Index
from vsearch_fast.kernels import reference
from vsearch_fast.search import Metric

METRICS: tuple[Metric, ...] = ("l2", "l1", "hamming")
DIM = 12


def rows_of(count: int, seed: int = 0, values: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if values:  # many equal rows and distances
        return rng.integers(-values, values, (count, DIM)).astype(np.float32)
    return rng.standard_normal((count, DIM)).astype(np.float32)


def defined(
    data: np.ndarray,
    metric: str,
    quantile: float = 0.95,
    groups: Sequence[object] | None = None,
    live: np.ndarray | None = None,
    measured: np.ndarray | None = None,
) -> float | int | None:
    """The threshold by its definition: all distances, a mask, NumPy's quantile."""
    count = len(data)
    live = np.ones(count, bool) if live is None else live
    if metric == "hamming":
        data = np.packbits(data > 0, axis=-1)
    distances, ids = reference.topk(data, data, count, metric=metric)
    table = np.empty(distances.shape)
    np.put_along_axis(table, ids, distances, axis=1)
    others = ~np.eye(count, dtype=bool) & live
    if groups is not None:
        names = [(n, None) if g is None else (g,) for n, g in enumerate(groups)]
        others &= np.array([[a != b for b in names] for a in names], bool).reshape(count, count)
    chosen = np.flatnonzero(live) if measured is None else measured
    nearest = np.where(others, table, np.inf)[chosen].min(axis=1, initial=np.inf)
    nearest = nearest[nearest < np.inf]
    if not len(nearest):
        return None
    return np.quantile(nearest, quantile, method="inverted_cdf").item()


def fill(index: Index, data: np.ndarray, groups: Sequence[object] | None = None) -> list[str]:
    ids = [f"{len(index)}-{row}" for row in range(len(data))]
    metadata: list[dict[str, Any]] = [{} for _ in ids]
    if groups is not None:
        # Rows of the group "" lack the column; those of None hold a null.
        metadata = [{} if group == "" else {"sender": group} for group in groups]
    index.add(ids, data, metadata)
    return ids
