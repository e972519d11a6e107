"""The NumPy definition of every result; all other kernels are tested for equality with it.

Nothing here is fast and nothing here is clever: each function is the formula.

``hamming(q, x)``  number of differing bits of packed uint8 rows, int32.

``l1(q, x)``       sum of ``|x_i - q_i|``, float64.

``l2(q, x)``       square root of the sum of ``(x_i - q_i)**2``, float64.

``ip(q, x)``       the inner product, negated: ``0 - sum of q_i * x_i``, float64. So the largest
                   products come first, as the smallest distances do; distances may be negative.

``cosine(q, x)``   ``1 - sum of q_i * x_i / sqrt(sum of q_i**2 * sum of x_i**2)``, float64; 1 if
                   either row is all zeros, since it has no direction.

Floating-point sums depend on their order, so the order is part of the definition:
elements are widened exactly to float64, each term is rounded on its own (no fused
multiply-add), 32 lanes add the terms in sequence (lane j takes elements j, j+32,
j+64, ...), and a tree adds the lanes: j with j+16, then +8, +4, +2, +1. All other
operations are rounded once, in the order written.

What follows for the two inner products, of finite float32 numbers:

- A term ``q_i * x_i`` is exact in float64: 24 and 24 bits make 48, and a product that is not 0 lies
  between 2**-298 and 2**256. A sum of d terms overflows for no d below 2**767.
- ``sum of x_i**2`` is 0 only for a row of zeros, and otherwise at least 2**-298. The product of two
  such sums lies between 2**-596 and d**2 * 2**512: it neither underflows nor overflows.
- A sum is never -0: a lane begins at +0, and only -0 and -0 add up to -0. Nor is ``0 - dot``.
- The root of the square of a float64 is that number. So the cosine distance of two rows with
  equal numbers is exactly 0, also where one is the other times a power of two, and that of x and
  -x is exactly 2. For others that are parallel, roundings may lead up to (d/16 + 40) * 2**-53
  below 0 or above 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..words import METRICS, Metric

__all__ = [
    "BLOCK",
    "DISTANCE",
    "LANES",
    "METRICS",
    "Metric",
    "cosine",
    "hamming",
    "ip",
    "l1",
    "l2",
    "lane_sum",
    "pack_bits",
    "range_search",
    "self_join",
    "topk",
]

LANES = 32
BLOCK = 64


def pack_bits(features: ArrayLike) -> NDArray[np.uint8]:
    """Sign bits of features, strictly greater than zero, packed eight to a byte.

    Strictly, because after a ReLU ``>= 0`` would set every bit. Shape ``(..., d)`` to
    ``(..., ceil(d / 8))``; the first element is the highest bit of the first byte.
    """
    return np.packbits(np.asarray(features) > 0, axis=-1)


def lane_sum(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum ``(n, d)`` terms, none of them NaN, along the last axis, in the fixed order."""
    n, d = terms.shape
    lanes = np.zeros((n, LANES))
    for start in range(0, d, LANES):
        block = terms[:, start : start + LANES]
        lanes[:, : block.shape[1]] += block
    width = LANES
    while width > 1:
        width //= 2
        lanes = lanes[:, :width] + lanes[:, width:]
    return lanes[:, 0]


def hamming(query: NDArray[np.uint8], rows: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Differing bits of one packed query ``(b,)`` and each of ``(n, b)`` packed rows."""
    return np.bitwise_count(rows ^ query).sum(axis=1, dtype=np.int32)


def l1(query: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Manhattan distance of one query ``(d,)`` and each of ``(n, d)`` rows."""
    return lane_sum(np.abs(rows.astype(np.float64) - query.astype(np.float64)))


def l2(query: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Euclidean distance of one query ``(d,)`` and each of ``(n, d)`` rows."""
    difference = rows.astype(np.float64) - query.astype(np.float64)
    return np.sqrt(lane_sum(difference * difference))


def ip(query: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Negated inner product of one query ``(d,)`` and each of ``(n, d)`` rows."""
    return 0.0 - lane_sum(rows.astype(np.float64) * query.astype(np.float64))


def cosine(query: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 less the cosine of the angle of one query ``(d,)`` and each of ``(n, d)`` rows."""
    q, x = query.astype(np.float64), rows.astype(np.float64)
    squares = lane_sum((q * q)[None]) * lane_sum(x * x)
    directed = squares > 0
    distances = np.ones(len(rows))
    distances[directed] -= lane_sum(x * q)[directed] / np.sqrt(squares[directed])
    return distances


DISTANCE: dict[str, Callable[[NDArray, NDArray], NDArray]] = {
    "hamming": hamming,
    "l1": l1,
    "l2": l2,
    "cosine": cosine,
    "ip": ip,
}


def topk(
    queries: NDArray,
    database: NDArray,
    k: int,
    metric: str,
    mask: NDArray[np.bool_] | None = None,
) -> tuple[NDArray, NDArray[np.int64]]:
    """The smallest ``min(k, live rows)`` pairs (distance, row number), in that order.

    ``queries`` is ``(q, d)`` and ``database`` ``(n, d)``: packed uint8 for ``hamming``,
    floats otherwise (float64 is rounded to float32 first). ``mask`` ``(n,)`` leaves the
    rows that it is true for. Returns distances (int32 or float64) and int64 row numbers,
    each ``(q, min(k, live rows))``.
    """
    ids, every = _distances(queries, database, metric, mask)
    best = min(k, len(ids))
    distances = np.empty((len(queries), best), _dtype(metric))
    neighbours = np.empty((len(queries), best), np.int64)
    for i, d in enumerate(every):
        order = np.lexsort((ids, d))[:best]
        distances[i], neighbours[i] = d[order], ids[order]
    return distances, neighbours


def range_search(
    queries: NDArray,
    database: NDArray,
    radius: ArrayLike,
    metric: str,
    mask: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray, NDArray[np.int64]]:
    """All pairs of a query and a live row whose distance is at most the radius.

    ``radius`` is a number, or one a query ``(q,)``; the rest as for `topk`. Returns offsets
    ``(q + 1,)``, distances and row numbers: those of query i stand from ``offsets[i]`` to
    ``offsets[i + 1]``, in the order (distance, row number).
    """
    ids, every = _distances(queries, database, metric, mask)
    radii = np.broadcast_to(np.asarray(radius, np.float64), (len(queries),))
    offsets = np.zeros(len(queries) + 1, np.int64)
    distances: list[NDArray] = [np.empty(0, _dtype(metric))]
    neighbours: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    for i, d in enumerate(every):
        order = np.lexsort((ids, d))
        order = order[d[order] <= radii[i]]
        distances.append(d[order])
        neighbours.append(ids[order])
        offsets[i + 1] = offsets[i] + len(order)
    return offsets, np.concatenate(distances), np.concatenate(neighbours)


def self_join(
    database: NDArray, radius: float, metric: str, mask: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray]:
    """All pairs i < j of live rows whose distance is at most the radius: i, j, distances, in the
    order (i, j)."""
    ids, every = _distances(database, database, metric, mask)
    first: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    second: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    distances: list[NDArray] = [np.empty(0, _dtype(metric))]
    for i, d in enumerate(every):
        near = (d <= radius) & (ids > i)
        if mask is None or mask[i]:
            first.append(np.full(np.count_nonzero(near), i))
            second.append(ids[near])
            distances.append(d[near])
    return np.concatenate(first), np.concatenate(second), np.concatenate(distances)


def _dtype(metric: str) -> type[np.int32 | np.float64]:
    return np.int32 if metric == "hamming" else np.float64


def _distances(
    queries: NDArray, database: NDArray, metric: str, mask: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], Iterator[NDArray]]:
    """Numbers of the live rows, and for each query the distances of these."""
    if metric != "hamming":
        queries, database = (
            a.astype(np.float32) if a.dtype.itemsize == 8 else a for a in (queries, database)
        )
    ids = np.arange(len(database)) if mask is None else np.flatnonzero(mask)
    rows = database[ids]
    # In blocks only so that float64 copies of the rows stay in cache: about 3 times as fast.
    blocks = [rows[start : start + BLOCK] for start in range(0, max(1, len(rows)), BLOCK)]
    return ids, (
        np.concatenate([DISTANCE[metric](query, block) for block in blocks]) for query in queries
    )
