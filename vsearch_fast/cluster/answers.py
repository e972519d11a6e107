"""Answers of several groups made one: the k smallest pairs (distance, order), exactly.

A distance is the same whoever computes it, and no two rows have one order, so that what is merged
is what one index of all rows answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..index.hit_lists import Answers
from ..index.hits import Hit, first_of_each
from ..search.proof import Proof, Work
from .host import Part


class Answer(Answers):
    """The hits of each query, as `Index.search` returns them.

    Attributes:
        missing: the shards that it lacks, which must have been asked for (``allow_partial``);
            empty, as a rule.
    """

    def __init__(self, hits: Iterable[Sequence[Hit]] = (), missing: Iterable[str] = ()) -> None:
        super().__init__(hits)
        self.missing: tuple[str, ...] = tuple(missing)


def together(
    parts: Sequence[Part], queries: int, k: int | None, group_by: str | None = None
) -> list[list[Hit]]:
    """The nearest k hits of each query (None: all) of those of all parts.

    With `group_by` of each thing the nearest alone. A thing among the nearest k has its nearest
    picture in some part, where no more than k - 1 things are before it: so it is in that part's
    answer.
    """
    return [_nearest(parts, query, k, group_by) for query in range(queries)]


def _nearest(parts: Sequence[Part], query: int, k: int | None, group_by: str | None) -> list[Hit]:
    pairs = [
        (hit.distance, order, hit)
        for part in parts
        for hit, order in zip(part.hits[query], part.orders[query].tolist(), strict=True)
    ]
    pairs.sort(key=lambda pair: pair[:2])
    hits = [hit for _, _, hit in pairs]
    if group_by is not None:
        hits = [hits[place] for place in first_of_each(hits, group_by)]
    return hits[:k]


def limits_of(
    parts: Sequence[Part], queries: int, k: int, group_by: str | None = None
) -> NDArray[np.float64]:
    """For each query the distance of the k-th hit so far: rows beyond are no result; infinity
    where there are fewer."""
    limits = np.full(queries, np.inf)
    for query, hits in enumerate(together(parts, queries, k, group_by)):
        if len(hits) == k:
            limits[query] = hits[-1].distance
    return limits


def nearest_together(
    parts: Sequence[tuple[np.ndarray, NDArray[np.int64]]], k: int
) -> tuple[np.ndarray, NDArray[np.int64]]:
    """The k smallest pairs of distances and orders, both (q, ...) of each part, a query."""
    distances = np.concatenate([distances for distances, _ in parts], axis=1)
    orders = np.concatenate([orders for _, orders in parts], axis=1)
    order = np.lexsort((orders, distances), axis=1)[:, :k]
    return np.take_along_axis(distances, order, 1), np.take_along_axis(orders, order, 1)


def proofs_together(proofs: Sequence[Proof]) -> Proof:
    """What all did: counts are sums."""
    first = proofs[0]
    names = dict.fromkeys(name for proof in proofs for name in proof.strategy.split(" and "))
    levels = dict.fromkeys(proof.simd for proof in proofs)
    counts = {name: sum(getattr(p, name) for p in proofs) for name in Work.__dataclass_fields__}
    strategy = " and ".join(sorted(names, key=lambda name: name == "scan"))
    rows = sum(proof.rows for proof in proofs)
    return Proof(first.metric, strategy, ", ".join(levels), first.queries, rows, **counts)
