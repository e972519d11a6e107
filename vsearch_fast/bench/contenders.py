"""Who takes part: vsearch_fast and NumPy; the other libraries are in `peers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from ..kernels import reference
from ..search.dispatch import topk
from ..search.grouped import Grouped
from ..search.proof import Proof
from ..search.sketches import Sketched
from ..words import METRICS
from .cases import Case

Answer = tuple[NDArray, NDArray]
"""(distances, ids), each (queries, k): nearest first, distances not squared, products negated."""
Search = Callable[[NDArray], Answer]
Prepare = Callable[[NDArray, Case, int], Search]


def _any_size(case: Case) -> bool:
    return True


@dataclass(frozen=True)
class Contender:
    """One way to search.

    ``prepare(database, case, threads)`` does what is done once for a database (an index, norms,
    packing) and is not timed; the function that it returns, called with the queries, is.

    Attributes:
        name: in the table.
        key: what ``--peers`` calls it.
        metrics: that it has.
        module, package: what it imports, and what pip installs it by; empty for our own.
        fits: whether it can run the case in sensible time and memory.
        limit: what ``fits`` asks for, in words.
        halves: whether it takes rows of float16 as they are.
    """

    name: str
    key: str
    metrics: tuple[str, ...]
    prepare: Prepare
    module: str = ""
    package: str = ""
    fits: Callable[[Case], bool] = _any_size
    limit: str = ""
    halves: bool = False

    @property
    def installed(self) -> bool:
        return not self.module or find_spec(self.module) is not None


class OurSearch:
    """`topk` on a database that is made ready as an index makes it: floats are sketched, and codes
    have sums of groups of their bits, where these pay."""

    def __init__(self, database: NDArray | Sketched | Grouped, case: Case, threads: int) -> None:
        if not isinstance(database, Sketched | Grouped):
            kind = Grouped if case.metric == "hamming" else Sketched
            database = kind(database, threads=threads)
        self.database = database
        self.case = case
        self.threads = threads

    def __call__(self, queries: NDArray) -> Answer:
        case = self.case
        return topk(queries, self.database, case.k, metric=case.metric, threads=self.threads)

    def proof(self, queries: NDArray) -> Proof:
        """How the answer was proved; the same search once more."""
        case = self.case
        return topk(
            queries, self.database, case.k, metric=case.metric, threads=self.threads, explain=True
        )[2]


def _scan(database: NDArray, case: Case, threads: int) -> Search:
    """`topk` that compares all rows whole."""
    return lambda queries: topk(
        queries, database, case.k, metric=case.metric, strategy="scan", threads=threads
    )


def nearest(distances: NDArray, k: int, first: int = 0) -> Answer:
    """The k smallest of each row of a matrix, nearest first; column 0 has the id ``first``."""
    k = min(k, distances.shape[1])
    ids = np.argpartition(distances, k - 1, axis=1)[:, :k]
    found = np.take_along_axis(distances, ids, 1)
    order = np.lexsort((ids, found), axis=1)
    return np.take_along_axis(found, order, 1), np.take_along_axis(ids, order, 1) + first


def merged(parts: Sequence[Answer], k: int) -> Answer:
    """The k nearest among the answers for parts of a database."""
    distances = np.concatenate([d for d, _ in parts], axis=1)
    ids = np.concatenate([i for _, i in parts], axis=1)
    order = np.lexsort((ids, distances), axis=1)[:, :k]
    return np.take_along_axis(distances, order, 1), np.take_along_axis(ids, order, 1)


def _definition(database: NDArray, case: Case, threads: int) -> Search:
    return lambda queries: reference.topk(queries, database, case.k, case.metric)


def _matrix_product(database: NDArray, case: Case, threads: int) -> Search:
    """L2 as it is commonly written: norms less twice the product, by BLAS."""
    norms = np.einsum("ij,ij->i", database, database)

    def search(queries: NDArray) -> Answer:
        squares = queries @ database.T
        squares *= -2
        squares += norms
        found, ids = nearest(squares, case.k)
        found = found + np.einsum("ij,ij->i", queries, queries)[:, None]
        return np.sqrt(np.maximum(found, 0)), ids

    return search


def unit_rows(rows: NDArray) -> NDArray:
    """Rows of length 1, as peers that know inner products alone are given them for the cosine."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-30))


def _product(database: NDArray, case: Case, threads: int) -> Search:
    """Inner products by BLAS, of the cosine between rows of length 1."""
    cosine = case.metric == "cosine"
    rows = unit_rows(database) if cosine else database

    def search(queries: NDArray) -> Answer:
        distances = (unit_rows(queries) if cosine else queries) @ rows.T
        np.subtract(np.float32(cosine), distances, out=distances)
        return nearest(distances, case.k)

    return search


def _few_pairs(case: Case) -> bool:
    return case.pairs <= (4_000_000 if case.metric == "hamming" else 120_000)


OURS = Contender("vsearch_fast", "vsearch_fast", METRICS, OurSearch, halves=True)
#: Beside ours where codes have structure.
SCAN = Contender("vsearch_fast, scanned", "vsearch_fast", ("hamming",), _scan)
DEFINITION = Contender(
    "NumPy, the definition", "numpy", METRICS, _definition,
    fits=_few_pairs, limit="4,000,000 pairs by Hamming, 120,000 by other distances",
    halves=True,
)  # fmt: skip
MATRIX_PRODUCT = Contender("NumPy, norms and BLAS", "numpy", ("l2",), _matrix_product)
PRODUCT = Contender("NumPy, BLAS", "numpy", ("cosine", "ip"), _product)
