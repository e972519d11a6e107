"""The table of cases and contenders that the command and the pytest suites share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ..kernels import reference
from ..search import pack_bits, topk

Answer = tuple[NDArray, NDArray[np.int64]]
Data = tuple[NDArray, NDArray]


@dataclass(frozen=True)
class Case:
    """One search problem: ``queries`` x ``rows`` pairs of ``dim`` features."""

    metric: str
    rows: int = 10_000
    queries: int = 8
    dim: int = 4096
    k: int = 10
    seed: int = 0

    @property
    def pairs(self) -> int:
        return self.rows * self.queries

    @property
    def row_bytes(self) -> int:
        """Bytes of a stored row: float32, or packed bits."""
        return -(-self.dim // 8) if self.metric == "hamming" else 4 * self.dim

    def data(self) -> Data:
        """(queries, database): ReLU of normal noise, half of it zero as features of VGG-16 are."""
        rng = np.random.default_rng(self.seed)
        if self.metric == "hamming":
            # The sign bits of such noise are fair coins, drawn as bytes; whole bytes, so
            # that padding bits stay zero.
            whole, rest = divmod(self.dim, 8)
            shape = (self.rows + self.queries, whole)
            codes = rng.integers(0, 256, shape, np.uint8)
            if rest:
                codes = np.hstack([codes, pack_bits(rng.standard_normal((len(codes), rest)))])
            return codes[self.rows :], codes[: self.rows]
        features = rng.standard_normal((self.rows + self.queries, self.dim), np.float32)
        np.maximum(features, 0, out=features)
        return features[self.rows :], features[: self.rows]

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


@dataclass(frozen=True)
class Contender:
    """One way to answer a case; ``search(queries, database, case)`` is what is timed."""

    name: str
    search: Callable[[NDArray, NDArray, Case], Answer]


OURS = Contender("vsearch_fast", lambda q, x, case: topk(q, x, case.k, metric=case.metric))
REFERENCE = Contender(
    "numpy reference", lambda q, x, case: reference.topk(q, x, case.k, case.metric)
)
CONTENDERS = (OURS, REFERENCE)

# Small enough for the reference, in a batch and alone.
SUITE = tuple(
    Case(metric, rows=rows, queries=queries)
    for metric in reference.METRICS
    for rows, queries in ((2_000, 8), (2_000, 1))
)
