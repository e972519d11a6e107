"""The nearest pictures that a query may be matched with, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..search.dispatch import topk

#: Neighbours asked for beyond k. Few queries have more of their own group's among them.
_SPARE = 54


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

    The search asks for more than k rows, and those that are forbidden are dropped. A list that
    still holds k holds the k nearest: whatever it does not hold is farther than all of it.
    Queries with shorter lists are searched for again, all of one owner at a time, with its rows
    masked. (For all owners that is slower: a pass over the rows for each.)

    Args:
        rows: ``(n, d)``, features or packed codes, as `topk` takes them for `metric`.
        queries: ``(q,)`` row numbers.
        owners: int64 ``(n,)`` each.
        k: at least 1.
        mask: boolean ``(n,)``; rows where it is false exist for no query.

    Returns:
        int64 ``(q, k)`` for each rule; -1 where fewer than k rows are eligible.
    """
    live = np.ones(len(rows), bool) if mask is None else mask

    def search(places: NDArray[np.int64], wanted: int, allowed: NDArray[np.bool_] | None) -> Any:
        _, ids = topk(  # type: ignore[call-overload]
            rows[queries[places]], rows, wanted, metric=metric, mask=allowed, backend=backend,
            threads=threads,
        )  # fmt: skip
        return ids

    every = np.arange(len(queries))
    ids = search(every, k + _SPARE, mask)
    complete = ids.shape[1] < k + _SPARE  # all live rows are ranked: nothing is missing
    results = []
    for owner in owners:
        result = np.full((len(queries), k), -1, np.int64)
        allowed = owner[ids] != owner[queries][:, None]
        place = np.cumsum(allowed, axis=1) - 1
        at, column = np.nonzero(allowed & (place < k))
        result[at, place[at, column]] = ids[at, column]
        short = every[allowed.sum(axis=1) < k]
        for name in np.unique(owner[queries[short]]) if not complete else ():
            again = short[owner[queries[short]] == name]
            better = search(again, k, live & (owner != name))
            result[again, : better.shape[1]] = better
        results.append(result)
    return results
