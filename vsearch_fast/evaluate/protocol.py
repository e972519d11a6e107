"""The measures, on arrays alone: who is eligible, what is a hit, and how sure a figure is.

A query q has eligible rows: all but its own, and under the rule "other groups" all but its
group's. Its neighbours are the eligible rows by (distance, row number). A `Relation` says how
right a match is, from 0 to 1.

========================  ==================================================================
share@k (P@k)             sum of the relation over the first k eligible neighbours, over k.
                          Where fewer than k rows are eligible, those missing are no hits: the
                          divisor stays k. A query without any eligible match counts as 0
found@k (item recall@k)   1 if the relation holds for one of the first k, else 0. A query
                          without any eligible match says nothing of a model and is left out
micro                     mean over queries
macro                     mean over categories of the mean over their queries; a category
                          without a query is left out
control                   the exact expectation of the measure when the k neighbours are drawn
                          at random, without replacement, from the same eligible rows
========================  ==================================================================

Intervals: 95% percentiles of a bootstrap over groups (Efron and Tibshirani, An Introduction
to the Bootstrap, 1993, chapter 13): the groups of the queries are drawn with replacement, all
queries of a drawn group come with it. Pictures of one group are alike, so intervals over
single pictures would be too narrow. All models share the draws, so the difference of two is
paired. The gallery stays as it is: the intervals tell what other queries would have given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Kind = Literal["share", "found"]
Average = Literal["micro", "macro"]

KS = (1, 5, 10)
DRAWS = 2000

#: Groups below which a bootstrap's percentiles are too narrow; `wilson` is not.
FEW = 10
#: A 95% interval that is wider tells little.
WIDE = 0.2
_Z = 1.959963984540054  # the normal distribution's 97.5% quantile


class Relation(Protocol):
    """How right it is to match two rows."""

    def block(self, queries: NDArray[np.int64]) -> NDArray[np.float32]:
        """``(m, n)``, 0 to 1: each of these query rows with every row."""

    def known(self, queries: NDArray[np.int64]) -> NDArray[np.bool_]:
        """``(m,)``: the queries that it says something of."""


@dataclass(frozen=True, slots=True, eq=False)
class Same:
    """Two rows match that have the same label; ``labels`` int64 ``(n,)``, -1 for unknown."""

    labels: NDArray[np.int64]

    def block(self, queries: NDArray[np.int64]) -> NDArray[np.float32]:
        own = self.labels[queries][:, None]
        return ((own == self.labels[None]) & (own >= 0)).astype(np.float32)

    def known(self, queries: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(self.labels[queries] >= 0, bool)


@dataclass(frozen=True, slots=True, eq=False)
class Jaccard:
    """Sets of positive attributes, bool ``(n, attributes)``: shared ones over all of the two.

    A query without any positive attribute is not known.
    """

    positive: NDArray[np.bool_]

    def block(self, queries: NDArray[np.int64]) -> NDArray[np.float32]:
        # Counts below 2**24 are exact in float32.
        rows = self.positive.astype(np.float32)
        shared = rows[queries] @ rows.T
        either = rows[queries].sum(1)[:, None] + rows.sum(1)[None] - shared
        return np.divide(shared, either, out=np.zeros_like(shared), where=either > 0)

    def known(self, queries: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(self.positive[queries].any(axis=1), bool)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What one relation says under one rule of eligibility, by query, whatever the model.

    Attributes:
        counted: bool ``(q,)``, the queries that the measure is taken over.
        matched: bool ``(q,)``, those that have an eligible match.
        control: float64 ``(q, len(ks))``, expectations at random.
        gains: for each list of neighbours int64 ``(q, K)`` given, float64 ``(q, len(ks))``.
    """

    counted: NDArray[np.bool_]
    matched: NDArray[np.bool_]
    control: Floats
    gains: list[Floats]


#: Queries whose relation to all rows is held at a time.
_BLOCK = 256


def judge(
    relation: Relation,
    kind: Kind,
    queries: NDArray[np.int64],
    owners: NDArray[np.int64],
    lists: list[NDArray[np.int64]],
    ks: tuple[int, ...] = KS,
    mask: NDArray[np.bool_] | None = None,
) -> Truth:
    """Judge lists of neighbours (`eligible_neighbours` with these owners and mask).

    Args:
        queries: ``(q,)`` row numbers.
        owners: int64 ``(n,)``; a row of the query's own owner is not eligible.
        lists: int64 ``(q, K)`` each, K at least max(ks), -1 where there is none.
    """
    counted = relation.known(queries)
    matched = np.zeros(len(queries), bool)
    control = np.zeros((len(queries), len(ks)))
    gains = [np.zeros((len(queries), len(ks))) for _ in lists]
    for start in range(0, len(queries), _BLOCK):
        part = slice(start, start + _BLOCK)
        rows = queries[part]
        values = relation.block(rows)
        eligible = owners[rows][:, None] != owners[None]
        if mask is not None:
            eligible &= mask
        values = np.where(eligible, values, 0)
        matched[part] = (values > 0).any(axis=1)
        control[part] = _at_random(values, eligible, kind, ks)
        for ranked, gain in zip(lists, gains, strict=True):
            near = ranked[part]
            here = np.take_along_axis(values, np.maximum(near, 0), axis=1).astype(np.float64)
            here[near < 0] = 0
            for column, k in enumerate(ks):
                first = here[:, :k]
                gain[part, column] = first.sum(1) / k if kind == "share" else first.max(1) > 0
    if kind == "found":
        counted &= matched
    return Truth(counted, matched, control, gains)


def _at_random(
    values: NDArray[np.float32], eligible: NDArray[np.bool_], kind: Kind, ks: tuple[int, ...]
) -> Floats:
    """Expectations ``(m, len(ks))`` for k eligible rows drawn without replacement."""
    there = eligible.sum(axis=1).astype(np.float64)
    out = np.zeros((len(values), len(ks)))
    for column, k in enumerate(ks):
        if kind == "share":
            mean = values.sum(axis=1, dtype=np.float64) / np.maximum(there, 1)
            out[:, column] = mean * np.minimum(there, k) / k
            continue
        misses = there - (values > 0).sum(axis=1)
        none = np.ones(len(values))
        for drawn in range(k):  # the chance that no draw so far was a hit
            left = np.maximum(there - drawn, 1)
            none *= np.where(there > drawn, np.maximum(misses - drawn, 0) / left, 1)
        out[:, column] = 1 - none
    return out


@dataclass(frozen=True, slots=True)
class Averages:
    """Means of several columns: ``point`` ``(m,)`` and ``draws`` ``(B, m)`` of the bootstrap.

    NaN where there is no query (in a draw: where none was drawn).
    """

    point: Floats
    draws: Floats

    def interval(self, column: int) -> tuple[float, float]:
        """The 95% interval of a column."""
        return _percentiles(self.draws[:, column])

    def difference(self, column: int, other: int) -> tuple[float, float, float]:
        """Column less other: the value and its paired 95% interval."""
        low, high = _percentiles(self.draws[:, column] - self.draws[:, other])
        return float(self.point[column] - self.point[other]), low, high


class Bootstrap:
    """The same draws of groups for every measure and model.

    Args:
        groups: int64 ``(q,)``, the group of each query.
        categories: int64 ``(q,)``.
        draws: how many resamples.
    """

    def __init__(
        self,
        groups: NDArray[np.int64],
        categories: NDArray[np.int64],
        *,
        seed: int,
        draws: int = DRAWS,
    ) -> None:
        names, self._groups = np.unique(groups, return_inverse=True)
        self._categories = categories
        count = len(names)
        rng = np.random.default_rng(seed)
        # How often each group was drawn; (draws, groups).
        self._times = rng.multinomial(count, np.full(count, 1 / max(1, count)), draws).astype(
            np.float64
        )

    def averages(self, values: Floats, counted: NDArray[np.bool_], average: Average) -> Averages:
        """Means of ``values`` ``(q, m)`` over the queries that are ``counted`` ``(q,)``."""
        if average == "micro":
            classes = [counted]
        else:
            classes = [
                counted & (self._categories == category)
                for category in np.unique(self._categories[counted])
            ]
        point = np.zeros(values.shape[1])
        draws = np.zeros((len(self._times), values.shape[1]))
        drawn = np.zeros(len(self._times))
        for members in classes:
            point += values[members].mean(axis=0) if members.any() else np.nan
            groups = self._groups[members]
            sums = np.zeros((self._times.shape[1], values.shape[1]))
            np.add.at(sums, groups, values[members])
            sizes = np.bincount(groups, minlength=self._times.shape[1])
            total = self._times @ sizes
            there = total > 0
            draws[there] += (self._times[there] @ sums) / total[there, None]
            drawn += there
        with np.errstate(invalid="ignore", divide="ignore"):
            return Averages(
                point / len(classes) if classes else np.full_like(point, np.nan),
                draws / drawn[:, None],
            )


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95% score interval of a share of ``count`` independent trials."""
    square = _Z * _Z / count
    middle = (share + square / 2) / (1 + square)
    half = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def share_interval(
    hits: NDArray[np.bool_], groups: NDArray[np.int64], *, seed: int = 0
) -> tuple[float, float]:
    """The 95% interval of the share of ``hits`` ``(n,)``, n at least 1, in these groups.

    By bootstrap over groups; of few groups, or where all draws are equal, Wilson's, as if a
    group's pictures were one.
    """
    count = len(np.unique(groups))
    if count >= FEW:
        draws = Bootstrap(groups, np.zeros_like(groups), seed=seed)
        values = hits.astype(np.float64)[:, None]
        low, high = draws.averages(values, np.ones(len(hits), bool), "micro").interval(0)
        if low < high:
            return low, high
    return wilson(float(hits.mean()), count)


def _percentiles(draws: Floats) -> tuple[float, float]:
    known = draws[np.isfinite(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
