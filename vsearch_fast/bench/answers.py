"""What the right answer is, and how many of an answer's ids are wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..kernels import reference
from ..search.dispatch import topk
from .cases import Case
from .contenders import Answer

#: Pairs that the definition computes for a check: two to five seconds.
_PAIRS = {
    "hamming": 8_000_000, "l1": 200_000, "l2": 200_000, "cosine": 200_000, "ip": 200_000,
}  # fmt: skip


def same(a: Answer, b: Answer) -> bool:
    """Whether two answers agree in type and to the bit."""
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def right_answer(
    queries: NDArray, database: NDArray, case: Case, threads: int, most_pairs: int | None = None
) -> tuple[Answer, int, bool]:
    """(answer, queries checked, whether the check held).

    The answer has every distance computed from the stored rows (``strategy="scan"``). As many
    queries as ``most_pairs`` allow, at least one, spread over all, are checked against the
    definition in NumPy, to the bit.
    """
    distances, ids = topk(
        queries, database, case.k, metric=case.metric, strategy="scan", threads=threads
    )
    most = max(1, (most_pairs or _PAIRS[case.metric]) // max(1, len(database)))
    checked = np.unique(np.linspace(0, len(queries) - 1, min(most, len(queries))).astype(int))
    defined = reference.topk(queries[checked], database, case.k, case.metric)
    return (distances, ids), len(checked), same((distances[checked], ids[checked]), defined)


def exact_distances(ids: NDArray, queries: NDArray, database: NDArray, metric: str) -> NDArray:
    """Float64 distances of the named rows by the definition; infinite for what names none.

    An id that is no row number, or that was named before for the same query, names none.
    """
    out = np.full(ids.shape, np.inf)
    for i, row in enumerate(ids):
        first = np.zeros(len(row), bool)
        first[np.unique(row, return_index=True)[1]] = True
        valid = first & (row >= 0) & (row < len(database))
        out[i, valid] = reference.DISTANCE[metric](queries[i], database[row[valid]])
    return out


def mistakes(
    answer: Answer, right: Answer, queries: NDArray, database: NDArray, metric: str
) -> tuple[int, float]:
    """(wrong ids, largest relative error of a reported distance).

    An id is wrong if its row is farther than the k-th nearest truly is: whichever of equally
    far rows is returned, and in whatever order, is no mistake. A missing, repeated or
    impossible id is one. The error is over ids that name a row.
    """
    ids = np.asarray(answer[1]).astype(np.int64, copy=False)
    shape = right[1].shape
    if ids.ndim != 2 or len(ids) != shape[0]:
        return right[1].size, np.inf
    ids = ids[:, : shape[1]]
    distances = exact_distances(ids, queries, database, metric)
    farthest = right[0][:, -1:]
    missing = shape[0] * (shape[1] - ids.shape[1])
    wrong = int(np.count_nonzero(distances > farthest)) + missing
    named = np.isfinite(distances)
    reported = np.asarray(answer[0], np.float64)[:, : ids.shape[1]]
    error = np.abs(reported - distances)[named] / np.maximum(np.abs(distances[named]), 1e-30)
    return wrong, float(error.max(initial=0.0))
