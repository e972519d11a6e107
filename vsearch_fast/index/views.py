"""Views of an item: the whole picture alone, or the whole and the part that shows the item.

An index of two views keeps both features of a picture in one line of its segments, one behind the
other: (rows, 2 * dim) on disk is (2 * rows, dim) to a search, without a copy, so that item r has
the *lines* 2r and 2r + 1. A query may have several views, too. The distance of a query from an item
is the smallest of those between a view of the one and a view of the other.

**Why it is exact.** A search asks for the k·V nearest lines of each view of a query, V being the
views of an item, in the order (distance, line). Among these are at least k different items (or all
that live), each with its nearest line before its others; and for lines of two items equal
distances are ordered as their items are. So the first k different items are the nearest k of that
view. An item that is among the k nearest over all views of the query is among the k nearest of the
view at which it is nearest: whatever is before it there is before it over all views. What is merged
therefore has every item of the answer, with its right distance; any other item has a distance that
is not below its right one, and stays behind them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import ArgumentError

WHOLE, BOX = "whole", "box"

#: What an index may hold of a picture: one view (the whole, or the box of an item that has one),
#: or both.
SINGLE: tuple[str, ...] = (WHOLE,)
BOTH: tuple[str, ...] = (WHOLE, BOX)


def checked_views(value: Iterable[str] | str, consequence: str) -> tuple[str, ...]:
    """SINGLE or BOTH, given as names or as one text with commas; ArgumentError for all else."""
    names = value.split(",") if isinstance(value, str) else value
    try:
        found = tuple(str(name).strip() for name in names)
    except TypeError:
        found = ()
    if found not in (SINGLE, BOTH):
        raise ArgumentError(
            f"views is {value!r}",
            consequence,
            'Use "whole" or "whole,box"',
        )
    return found


def as_rows(array: np.ndarray, views: int) -> np.ndarray:
    """Lines (n * views, width) as rows (n, views * width), one item's views behind each other."""
    return array.reshape(len(array) // views, views * array.shape[1])


def as_lines(array: np.ndarray, views: int) -> np.ndarray:
    """Rows (n, views * width) as lines (n * views, width), without a copy."""
    return array.reshape(len(array) * views, array.shape[1] // views)


def flat(array: np.ndarray) -> tuple[np.ndarray, int | None]:
    """Queries (q, v, width) as (q * v, width) and v; what has another shape as it is, and None."""
    if array.ndim == 3 and array.shape[1]:
        return array.reshape(-1, array.shape[2]), array.shape[1]
    return array, None


def unflat(array: np.ndarray, views: int | None) -> np.ndarray:
    """What `flat` made flat."""
    return array if views is None else array.reshape(-1, views, array.shape[1])


def nearest_items(
    distances: np.ndarray, found: np.ndarray, asked: int, views: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest items of each query, of the nearest lines of each of its views.

    Args:
        distances, found: (q * asked, min(k * views, lines that live)), as `topk` returns them.
        asked: views of a query.
        views: views of an item, one behind the other: all live, or none.
        k: items a query.

    Returns:
        Distances and row numbers of items, both (q, min(k, items that live)), ordered by these two;
        -1 at the end of queries of which lines are beyond a limit (-1, too).
    """
    count, width = len(found) // asked, asked * found.shape[1]
    kept = min(k, found.shape[1] // views)  # each view has met so many at least
    distances, rows = distances.reshape(count, width), found.reshape(count, width) // views
    # Lines beyond a limit are -1, and so is their item: behind all others, at their distance.
    nearest = np.repeat(distances.max(axis=1, initial=0)[:, None], kept, axis=1)
    items = np.full((count, kept), -1, np.int64)
    for query, (values, numbers) in enumerate(zip(distances, rows, strict=True)):
        order = np.lexsort((numbers, values))
        first = np.sort(np.unique(numbers[order], return_index=True)[1])[:kept]
        nearest[query, : len(first)] = values[order][first]
        items[query, : len(first)] = numbers[order][first]
    return nearest, items


def items_once(distances: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (distance, item) of all views of a query, in the order of both, each item once: at its
    nearest."""
    order = np.lexsort((items, distances))
    first = np.sort(np.unique(items[order], return_index=True)[1])
    return distances[order][first], items[order][first]


def padded(arrays: Iterable[Any]) -> np.ndarray:
    """Queries of one or more views each, (width,) or (v, width), as one array (q, v, width), of
    one view each (q, width): the last view of those that have fewer is there again, which changes
    no answer."""
    each = [array.reshape(-1, array.shape[-1]) for array in arrays]
    most = max(map(len, each))
    if most == 1:
        return np.concatenate(each)
    return np.stack([np.pad(a, ((0, most - len(a)), (0, 0)), mode="edge") for a in each])
