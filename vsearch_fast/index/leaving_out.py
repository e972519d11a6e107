"""The nearest rows of rows of an index, some others left out: itself, its item, its group."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

#: (row numbers, mask of the rows that live, k) -> distances and row numbers, both
#: (rows, min(k, live rows)), nearest first.
Nearest = Callable[[np.ndarray, np.ndarray | None, int], tuple[np.ndarray, np.ndarray]]


def nearest_others(
    nearest: Nearest,
    rows: np.ndarray,
    live: np.ndarray | None,
    owners: Sequence[np.ndarray | None],
    k: int,
    *,
    spare: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The k nearest rows that are not of a row's own owner, for each way to own.

    One search finds k + `spare` neighbours for all ways; a row of which too few of them are left
    is searched for again without its owner's rows, all rows of an owner together.

    Args:
        rows: row numbers, int64 (m,), all live.
        live: bool (rows of the index,), or None when all live.
        owners: int64 (rows of the index,) each, equal where rows are left out together; None: each
            row is left out of its own neighbours alone.
        spare: neighbours asked for beyond k, at least 1.

    Returns:
        For each way distances and row numbers, (m, k), nearest first; where there are fewer than
        k others, distances are infinite and row numbers -1 at the end.
    """
    distances, found = nearest(rows, live, k + spare)
    every = found.shape[1] < k + spare  # whatever lives is among them
    results = []
    for owner in owners:
        if owner is None:
            allowed = found != rows[:, None]
        else:
            allowed = owner[found] != owner[rows, None]
        near = np.full((len(rows), k), np.inf)
        numbers = np.full((len(rows), k), -1, np.int64)
        place = np.cumsum(allowed, axis=1) - 1
        at, column = np.nonzero(allowed & (place < k))
        near[at, place[at, column]] = distances[at, column]
        numbers[at, place[at, column]] = found[at, column]
        short = np.flatnonzero(allowed.sum(axis=1) < k)
        if owner is not None and not every:
            for name in np.unique(owner[rows[short]]):
                again = short[owner[rows[short]] == name]
                others = owner != name
                if live is not None:
                    others &= live
                better, which = nearest(rows[again], others, k)
                near[again, : better.shape[1]] = better
                numbers[again, : which.shape[1]] = which
        results.append((near, numbers))
    return results
