"""The nearest pictures that a query may be matched with, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..search import topk

#: Neighbours asked for beyond k at first; most queries own fewer pictures than that.
_SPARE = 22
#: How much longer the list of a query becomes that was not full.
_GROWTH = 4


def eligible_neighbours(
    rows: NDArray,
    queries: NDArray[np.int64],
    owners: Sequence[NDArray[np.int64]],
    k: int,
    *,
    metric: str,
    mask: NDArray[np.bool_] | None = None,
    backend: str = "auto",
    threads: int | None = None,
) -> list[NDArray[np.int64]]:
    """For each rule of eligibility the first k rows of each query, in the order of `topk`.

    A rule is a number for each row, its owner: a query is never matched with a row of its own
    owner (itself among them). All rules share one search.

    It asks for more than k rows and drops those that are forbidden. A list that still holds k
    holds the k nearest: whatever it does not hold is farther than all of it. Queries with
    shorter lists are asked again for longer ones, at most for k more than their owner has
    rows, and then nothing can be missing.

    Args:
        rows: ``(n, d)``, features or packed codes, as `topk` takes them for `metric`.
        queries: ``(q,)`` row numbers.
        owners: int64 ``(n,)`` each.
        k: at least 1.
        mask: boolean ``(n,)``; rows where it is false exist for no query.

    Returns:
        int64 ``(q, k)`` for each rule; -1 where fewer than k rows are eligible.
    """
    found = [np.full((len(queries), k), -1, np.int64) for _ in owners]
    needed = np.zeros(len(queries), np.int64)
    for owner in owners:
        needed = np.maximum(needed, k + _rows_of_owner(owner)[queries])
    open_queries = np.arange(len(queries))
    asked = k + _SPARE
    while len(open_queries):
        wanted = min(asked, int(needed[open_queries].max()))
        _, ids = topk(
            rows[queries[open_queries]], rows, wanted, metric=metric, mask=mask, backend=backend,
            threads=threads,
        )  # fmt: skip
        short = np.zeros(len(open_queries), bool)
        for owner, result in zip(owners, found, strict=True):
            allowed = owner[ids] != owner[queries[open_queries]][:, None]
            place = np.cumsum(allowed, axis=1) - 1
            at, column = np.nonzero(allowed & (place < k))
            result[open_queries[at], place[at, column]] = ids[at, column]
            short |= allowed.sum(axis=1) < k
        # Where every row was ranked, or every forbidden one could be, there is no more.
        open_queries = open_queries[
            short & (needed[open_queries] > wanted) & (ids.shape[1] == wanted)
        ]
        asked = wanted * _GROWTH
    return found


def _rows_of_owner(owner: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many rows the owner of each row has."""
    _, inverse, counts = np.unique(owner, return_inverse=True, return_counts=True)
    return counts[inverse]
