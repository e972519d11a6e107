"""What the judgements say: shares, win rates, agreement, and how sure each figure is.

"Can't say" is no opinion: such answers are counted and enter nothing else.

================  ==========================================================================
share             of a system: judgements of matches that it found, "same item", and "same item"
                  or "similar", over all of them. A match that several systems found counts for
                  each of them
win rate          of a system against another: (wins + half the "equally good") over all
                  judgements of the two rows. Queries for which both rows are identical were not
                  shown. `Pair.overall` counts them as ties, in their share of all the study's
                  queries, which is known exactly: (1 - identical) · rate + identical / 2
sign test         each query votes once, for the system that won more of its judgements; queries
                  without a majority are dropped. Exact, two-sided binomial test of one half
                  (Conover, Practical Nonparametric Statistics, 1999, section 3.4). Not corrected
                  for the number of pairs
alpha             Krippendorff's alpha between raters (Content Analysis, 2004, chapter 11), by the
                  package krippendorff, over questions that two or more raters answered: ordinal
                  for different < similar < same item, nominal for a win, a loss and a tie
category          the automatic measure: query and match have the same category
kappa             Cohen's kappa between "same item or similar" and the same category
================  ==========================================================================

Intervals are 95% and answer: what would other queries have given? Judgements of one query are
alike, whoever gave them, so whole queries are drawn with replacement (`evaluate.protocol`,
`Bootstrap`), all systems sharing the draws. With fewer than `FEW` queries, or where all draws are
equal (as for a share of 0 or 1), percentiles of a bootstrap are too narrow: there Wilson's score
interval (1927) is given, with the number of queries for its n, as if a query's judgements were
one. Each figure says which of the two it has.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..evaluate.protocol import FEW, Bootstrap, wilson
from .ratings import Judgement
from .study import Study

Level = Literal["ordinal", "nominal"]

_WORTH = {"different": 0.0, "similar": 1.0, "same": 2.0}


@dataclass(frozen=True, slots=True)
class Figure:
    """A share between 0 and 1 with its 95% interval.

    Attributes:
        value, low, high: NaN without any judgement.
        interval: "bootstrap", "Wilson" or "" (none).
        queries, judgements: what it was taken from.
    """

    value: float
    low: float
    high: float
    interval: str
    queries: int
    judgements: int


@dataclass(frozen=True, slots=True)
class SystemShares:
    """What people said of a system's matches.

    Attributes:
        system: its number.
        same, relevant: "same item"; "same item" or "similar".
        unsure: judgements "can't say".
        category: share of matches of the query's category, over the same judgements as
            `relevant` of those whose two pictures have a category: the automatic measure.
        relevant_of_those: people's share over just these.
        category_p1: the automatic P@1 over all queries of the study that have a category;
            NaN where none has.
    """

    system: int
    same: Figure
    relevant: Figure
    unsure: int
    category: Figure
    relevant_of_those: Figure
    category_p1: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two systems, compared: the first one's chances.

    Attributes:
        first, second: their numbers.
        wins, losses, ties, unsure: judgements.
        rate: win rate where the rows differ.
        identical: share of the study's queries for which they do not.
        overall: win rate with those counted as ties.
        won, lost, undecided: queries, by majority.
        p: of the sign test, or None where no query has a majority.
    """

    first: int
    second: int
    wins: int
    losses: int
    ties: int
    unsure: int
    rate: Figure
    identical: float
    overall: Figure
    won: int
    lost: int
    undecided: int
    p: float | None


@dataclass(frozen=True, slots=True)
class Alpha:
    """Agreement between raters.

    Attributes:
        value: Krippendorff's alpha, or None, and then `why` says why.
        level: "ordinal" or "nominal".
        raters, units: those who answered questions in common, and how many these are.
    """

    value: float | None
    level: Level
    raters: int
    units: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class CategoryMatch:
    """ "Same item or similar" against the same category, over single judgements.

    Attributes:
        table: counts, ``table[people][category]``, 1 for yes.
        agreement: share of judgements where both say the same.
        kappa: Cohen's, or None where it is not defined (no judgement, or all in one cell).
    """

    table: tuple[tuple[int, int], tuple[int, int]]
    agreement: Figure
    kappa: float | None


@dataclass(frozen=True, slots=True)
class CategoryChoice:
    """The row that people chose against the row with more results of the query's category.

    Attributes:
        agreement: over judgements with a winner, where one row has more.
        level: judgements with a winner where both rows have as many.
    """

    agreement: Figure
    level: int


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. ``raters`` is judgements by nickname; lists are empty and values None where
    the study's mode does not ask for them."""

    judgements: int
    raters: dict[str, int] = field(default_factory=dict)
    systems: list[SystemShares] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    match_alpha: Alpha | None = None
    better_alpha: Alpha | None = None
    category_match: CategoryMatch | None = None
    category_choice: CategoryChoice | None = None


@dataclass(frozen=True, slots=True)
class _Match:
    """A judgement of one match."""

    rater: str
    query: int
    picture: int
    answer: str


@dataclass(frozen=True, slots=True)
class _Choice:
    """A judgement of two rows; ``score`` of the pair's first system: 1, 1/2, 0, None: unsure."""

    rater: str
    query: int
    pair: tuple[int, int]
    score: float | None


def summarise(study: Study, judgements: Sequence[Judgement]) -> Report:
    """Everything that these judgements say of this study."""
    matches, choices = _parsed(judgements)
    raters: dict[str, int] = defaultdict(int)
    for each in judgements:
        raters[each.nickname] += 1
    result = Report(len(judgements), dict(sorted(raters.items())))
    if study.settings.mode == "better":
        systems, match_alpha, category_match = [], None, None
    else:
        systems = _systems(study, matches)
        match_alpha = alpha(
            ((m.rater, (m.query, m.picture), _WORTH[m.answer]) for m in _sure(matches)), "ordinal"
        )
        category_match = _category_match(study, matches)
    if study.settings.mode == "match":
        return Report(
            result.judgements, result.raters, systems, [], match_alpha,
            category_match=category_match,
        )  # fmt: skip
    scored = ((c.rater, (c.query, *c.pair), c.score) for c in choices if c.score is not None)
    return Report(
        result.judgements, result.raters, systems,
        [_pair(study, pair, choices) for pair in study.pairs],
        match_alpha, alpha(scored, "nominal"), category_match, _category_choice(study, choices),
    )  # fmt: skip


def figure(
    values: Sequence[float] | NDArray, queries: Sequence[int] | NDArray, *, seed: int = 0,
    every: Sequence[int] | NDArray | None = None,
) -> Figure:  # fmt: skip
    """The mean of ``values`` (each 0 to 1) with its interval.

    Args:
        values: ``(n,)``.
        queries: ``(n,)``, the query of each.
        seed: of the bootstrap.
        every: queries that are drawn from, at least those of the values; figures that share
            them share the draws.
    """
    numbers = np.asarray(values, np.float64)
    of = np.asarray(queries, np.int64)
    count = len(np.unique(of))
    if not count:
        return Figure(math.nan, math.nan, math.nan, "", 0, 0)
    value = float(numbers.mean())
    low, high = value, value
    if count >= FEW:
        # Queries without a value here are drawn too, and add nothing.
        groups = np.concatenate([of, np.setdiff1d(of if every is None else every, of)])
        counted = np.arange(len(groups)) < len(of)
        filled = np.zeros((len(groups), 1))
        filled[: len(of), 0] = numbers
        draws = Bootstrap(groups, np.zeros_like(groups), seed=seed)
        low, high = draws.averages(filled, counted, "micro").interval(0)
    if low < high:
        return Figure(value, low, high, "bootstrap", count, len(numbers))
    return Figure(value, *wilson(value, count), "Wilson", count, len(numbers))


def sign_test(won: int, lost: int) -> float | None:
    """The p value of the exact two-sided sign test; None without any vote."""
    if not won + lost:
        return None
    from scipy.stats import binomtest

    return float(binomtest(won, won + lost, 0.5).pvalue)


def alpha(answers: Iterable[tuple[str, tuple[int, ...], float]], level: Level) -> Alpha:
    """Krippendorff's alpha.

    Args:
        answers: rater, question, value; a rater answers a question once.
        level: "ordinal" or "nominal".
    """
    units: dict[tuple[int, ...], dict[str, float]] = defaultdict(dict)
    for rater, unit, value in answers:
        units[unit][rater] = value
    common = {unit: of for unit, of in units.items() if len(of) > 1}
    raters = sorted({rater for of in common.values() for rater in of})
    if not common:
        return Alpha(None, level, len(raters), 0, "no two raters answered the same question")
    table = np.full((len(raters), len(common)), np.nan)
    for column, of in enumerate(common.values()):
        for rater, value in of.items():
            table[raters.index(rater), column] = value
    known = np.unique(table[np.isfinite(table)])
    if len(known) < 2:
        why = "all answers in common are the same one, so that chance cannot be told from agreement"
        return Alpha(None, level, len(raters), len(common), why)
    import krippendorff

    value = float(
        krippendorff.alpha(
            reliability_data=table, value_domain=known.tolist(), level_of_measurement=level
        )
    )
    return Alpha(value, level, len(raters), len(common))


def kappa(table: Sequence[Sequence[int]]) -> float | None:
    """Cohen's kappa of a 2x2 table of counts; None where agreement by chance is certain."""
    counts = np.asarray(table, np.float64)
    total = counts.sum()
    if not total:
        return None
    shares = counts / total
    chance = float(shares.sum(axis=1) @ shares.sum(axis=0))
    return None if chance == 1 else float((np.trace(shares) - chance) / (1 - chance))


def _parsed(judgements: Iterable[Judgement]) -> tuple[list[_Match], list[_Choice]]:
    matches, choices = [], []
    for each in judgements:
        kind, *numbers = each.task.split()
        if kind == "match":
            query, picture = map(int, numbers)
            matches.append(_Match(each.nickname, query, picture, each.answer))
            continue
        query, first, second = map(int, numbers)
        score: float | None = None
        if each.answer == "equal":
            score = 0.5
        elif each.answer != "unsure":
            assert each.sides is not None
            winner = each.sides[0 if each.answer == "left" else 1]
            score = float(winner == first)
        choices.append(_Choice(each.nickname, query, (first, second), score))
    return matches, choices


def _sure(matches: Iterable[_Match]) -> list[_Match]:
    return [each for each in matches if each.answer != "unsure"]


def _category(study: Study, query: int) -> str | None:
    return study.pictures[study.queries[query]].category


def _same_category(study: Study, query: int, picture: int) -> bool | None:
    """None where one of the two has no category."""
    mine, its = _category(study, query), study.pictures[picture].category
    return None if mine is None or its is None else mine == its


def _systems(study: Study, matches: Sequence[_Match]) -> list[SystemShares]:
    every = np.unique([each.query for each in _sure(matches)]).astype(np.int64)

    def share(of: Sequence[_Match], holds: Callable[[_Match], bool]) -> Figure:
        values, queries = [holds(each) for each in of], [each.query for each in of]
        return figure(values, queries, seed=study.settings.seed, every=every)

    def relevant(each: _Match) -> bool:
        return each.answer in ("same", "similar")

    result = []
    for system in range(len(study.systems)):
        own = [each for each in matches if system in study.finders(each.query, each.picture)]
        sure = _sure(own)
        known = [e for e in sure if _same_category(study, e.query, e.picture) is not None]
        firsts = [
            _same_category(study, query, rows[system][0]) is True if rows[system] else False
            for query, rows in enumerate(study.rows)
            if _category(study, query) is not None
        ]
        result.append(
            SystemShares(
                system,
                share(sure, lambda each: each.answer == "same"),
                share(sure, relevant),
                len(own) - len(sure),
                share(known, lambda e: _same_category(study, e.query, e.picture) is True),
                share(known, relevant),
                float(np.mean(firsts)) if firsts else math.nan,
            )
        )
    return result


def _pair(study: Study, pair: tuple[int, int], choices: Sequence[_Choice]) -> Pair:
    own = [each for each in choices if each.pair == pair]
    sure = [(each.query, each.score) for each in own if each.score is not None]
    queries, scores = [query for query, _ in sure], [score for _, score in sure]
    every = sorted({each.query for each in choices})
    rate = figure(scores, queries, seed=study.settings.seed, every=every)
    same = [study.identical(query, pair) for query in range(len(study.queries))]
    identical = float(np.mean(same))

    def with_ties(value: float) -> float:
        return 0.5 if identical == 1 else (1 - identical) * value + identical / 2

    balance: dict[int, float] = defaultdict(float)
    for query, score in sure:
        balance[query] += score - 0.5
    won = sum(value > 0 for value in balance.values())
    lost = sum(value < 0 for value in balance.values())
    return Pair(
        *pair,
        wins=scores.count(1), losses=scores.count(0), ties=scores.count(0.5),
        unsure=len(own) - len(sure),
        rate=rate,
        identical=identical,
        overall=Figure(
            with_ties(rate.value), with_ties(rate.low), with_ties(rate.high), rate.interval,
            rate.queries + sum(same), rate.judgements,
        ),
        won=won, lost=lost, undecided=len(balance) - won - lost,
        p=sign_test(won, lost),
    )  # fmt: skip


def _category_match(study: Study, matches: Sequence[_Match]) -> CategoryMatch:
    table = [[0, 0], [0, 0]]
    agree, queries = [], []
    for each in _sure(matches):
        same = _same_category(study, each.query, each.picture)
        if same is None:
            continue
        relevant = each.answer != "different"
        table[relevant][same] += 1
        agree.append(relevant == same)
        queries.append(each.query)
    return CategoryMatch(
        ((table[0][0], table[0][1]), (table[1][0], table[1][1])),
        figure(agree, queries, seed=study.settings.seed),
        kappa(table),
    )


def _category_choice(study: Study, choices: Sequence[_Choice]) -> CategoryChoice:
    agree, queries, level = [], [], 0
    for each in choices:
        if each.score in (None, 0.5) or _category(study, each.query) is None:
            continue
        first, second = (
            sum(
                _same_category(study, each.query, picture) is True
                for picture in study.rows[each.query][system]
            )
            for system in each.pair
        )
        if first == second:
            level += 1
            continue
        agree.append((first > second) == (each.score == 1))
        queries.append(each.query)
    return CategoryChoice(figure(agree, queries, seed=study.settings.seed), level)
