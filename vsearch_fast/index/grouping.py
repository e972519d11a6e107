"""Rows put into groups by the pairs of them that belong together.

*Connected*: two rows are in one group where a chain of pairs leads from one to the other. Pairs
may come in blocks and are forgotten: a number a row is all that is kept.

*Complete*: every two rows of a group are a pair. Groups grow from single rows: the two that are the
nearest, by the farthest pair between them, are joined first, and only where all of their rows are
pairs. So pairs are taken by distance, then by their rows, and two groups become one at the moment
when the last pair between them is there.

Both depend on the pairs alone, not on the order in which they came.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Connected:
    """Groups of rows that chains of pairs connect.

    Args:
        rows: how many there are.
    """

    def __init__(self, rows: int) -> None:
        # Each row's parent, itself where it is the first of its group; never a later row.
        self._parents = np.arange(rows, dtype=np.int64)

    def add(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> None:
        """Rows that belong together, pair by pair."""
        while len(i):
            i, j = self._first(i), self._first(j)
            apart = i != j
            i, j = np.minimum(i, j)[apart], np.maximum(i, j)[apart]
            # Of several that a group could be joined to, it is the first; the others are met again.
            np.minimum.at(self._parents, j, i)

    def _first(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first row of each one's group; the way there is made shorter."""
        found = self._parents[rows]
        while True:
            further = self._parents[found]
            if np.array_equal(further, found):
                break
            found = further
        self._parents[rows] = found
        return found

    def labels(self) -> NDArray[np.int64]:
        """For each row the first one of its group, int64 (rows,)."""
        return self._first(np.arange(len(self._parents)))


def complete(
    labels: NDArray[np.int64],
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    distances: NDArray,
) -> NDArray[np.int64]:
    """Groups in which every two rows are a pair, but for rows that are taken for one already.

    Args:
        labels: int64 (rows,): for each row the first one of those that are taken for one with it.
        i, j, distances: pairs, each once, in any order. Pairs within a label say nothing.

    Returns:
        For each row the first one of its group, int64 (rows,).
    """
    order = np.lexsort((j, i, distances))
    i, j = labels[i[order]], labels[j[order]]
    sizes: dict[int, int] = dict(
        zip(*(each.tolist() for each in np.unique(labels, return_counts=True)), strict=True)
    )
    parents: dict[int, int] = {}
    # Pairs there are between two groups, from either side.
    between: dict[int, dict[int, int]] = {}

    def group_of(row: int) -> int:
        way = []
        while row in parents:
            way.append(row)
            row = parents[row]
        for passed in way:
            parents[passed] = row
        return row

    for one, two in zip(i.tolist(), j.tolist(), strict=True):
        a, b = group_of(one), group_of(two)
        if a == b:
            continue
        count = between.setdefault(a, {}).get(b, 0) + 1
        between[a][b] = count
        between.setdefault(b, {})[a] = count
        if count < sizes[a] * sizes[b]:
            continue
        # No third group is full with both: it would have been joined to one of them before.
        a, b = min(a, b), max(a, b)
        parents[b] = a
        sizes[a] += sizes.pop(b)
        del between[a][b]
        for other, more in between.pop(b).items():
            if other != a:
                del between[other][b]
                joined = between[a].get(other, 0) + more
                between[a][other] = between[other][a] = joined
    return np.array([group_of(label) for label in labels.tolist()], np.int64).reshape(len(labels))


def members(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The rows of each group of two or more, ascending, by the first row of each."""
    several = np.flatnonzero(np.bincount(labels)[labels] > 1)
    rows = several[np.argsort(labels[several], kind="stable")]
    borders = np.flatnonzero(np.diff(labels[rows])) + 1
    return np.split(rows, borders) if len(rows) else []
