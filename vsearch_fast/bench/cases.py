"""The table of cases that the command, its tests and the pytest suite share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..words import METRICS, Metric

KINDS = ("relu", "gaussian", "clusters", "features")
DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class Case:
    """One search problem: ``queries`` x ``rows`` pairs of ``dim`` features.

    ``data`` is one of `KINDS`, made by `data.Data`.
    """

    metric: Metric
    rows: int = 10_000
    queries: int = 8
    dim: int = 4096
    k: int = 10
    data: str = "relu"
    seed: int = 0
    dtype: str = "float32"  # of stored rows, unless they are codes

    @property
    def pairs(self) -> int:
        return self.rows * self.queries

    @property
    def row_bytes(self) -> int:
        """Bytes of a stored row: float32 or float16, or packed bits."""
        if self.metric == "hamming":
            return -(-self.dim // 8)
        return (2 if self.dtype == "float16" else 4) * self.dim

    @property
    def steps(self) -> int:
        """Steps of one pair: bytes of packed bits, or features (see `roofs`)."""
        return self.row_bytes if self.metric == "hamming" else self.dim

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


#: (metric, rows, queries) of a full run, and of a quick one: batches, and a query alone.
BARS = (
    ("hamming", 1_000_000, 256),
    ("hamming", 1_000_000, 1),
    ("l1", 100_000, 64),
    ("l1", 100_000, 1),
    ("l2", 100_000, 256),
    ("l2", 100_000, 1),
    ("cosine", 100_000, 256),
    ("cosine", 100_000, 1),
    ("ip", 100_000, 256),
    ("ip", 100_000, 1),
)
QUICK = (
    ("hamming", 100_000, 64),
    ("hamming", 100_000, 1),
    ("l1", 10_000, 16),
    ("l1", 10_000, 1),
    ("l2", 10_000, 64),
    ("l2", 10_000, 1),
    ("cosine", 10_000, 64),
    ("cosine", 10_000, 1),
    ("ip", 10_000, 64),
    ("ip", 10_000, 1),
)
#: Small databases, where the work that does not grow with the rows tells: (rows, queries).
SMALL = tuple((rows, queries) for rows in (256, 1000, 2000, 4000) for queries in (1, 64, 256))

#: Small enough for the definition and every peer, in a batch and alone.
SUITE = tuple(
    Case(metric, rows=rows, queries=queries)
    for metric in METRICS
    for rows, queries in ((2_000, 8), (2_000, 1))
)


def small_table(
    metrics: tuple[str, ...], *, dim: int, k: int, data: tuple[str, ...], quick: bool = False
) -> list[Case]:
    """Cases of small databases for all but Hamming, which have two strategies to choose from."""
    sizes = SMALL[1::3] if quick else SMALL
    return [
        Case(metric, rows, queries, dim, k, kind)  # type: ignore[arg-type]
        for kind in data
        for metric in dict.fromkeys(metrics)
        if metric != "hamming"
        for rows, queries in sizes
    ]


def width_of(metric: str, kind: str, dim: int, bits: int | None) -> int:
    """`Case.dim` where codes of ``features`` have a number of bits of their own, or None."""
    return bits if bits and metric == "hamming" and kind == "features" else dim


def table_of(
    metrics: tuple[str, ...],
    *,
    rows: int | None = None,
    queries: int | None = None,
    dim: int = 4096,
    k: int = 10,
    data: tuple[str, ...] = ("relu",),
    bits: int | None = None,
    quick: bool = False,
) -> list[Case]:
    """The cases of a run: those of the table, or one a metric where rows or queries are given.

    Codes of ``features`` have ``bits``, where a rule of their model makes them, or else ``dim``.
    Ordered so that neighbours share a database. Hamming distance has one row for ``relu`` and
    ``gaussian``: the signs of both are fair coins.
    """
    table = QUICK if quick else BARS
    cases: list[Case] = []
    for kind in data:
        for metric in dict.fromkeys(metrics):
            if metric == "hamming" and kind == "gaussian" and "relu" in data:
                continue
            sizes = [(r, q) for m, r, q in table if m == metric]
            if rows is not None or queries is not None:
                sizes = [(rows or sizes[0][0], queries or sizes[0][1])]
            width = width_of(metric, kind, dim, bits)
            cases += [Case(metric, r, q, width, k, kind) for r, q in sizes]  # type: ignore[arg-type]
    return cases
