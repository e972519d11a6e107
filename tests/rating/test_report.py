"""What judgements say, against small cases reckoned by hand."""

from __future__ import annotations

import csv
import io
import json
import math
from fractions import Fraction
from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rating_data import study

from vsearch_fast.evaluate.protocol import wilson
from vsearch_fast.rating import Judgement, summarise
from vsearch_fast.rating import text as texts
from vsearch_fast.rating.chart import draw
from vsearch_fast.rating.report import alpha, figure, kappa, sign_test


def match(rater, query, picture, answer):
    return Judgement(rater, 0, f"match {query} {picture}", answer, None, "")


def better(rater, query, answer, sides=(0, 1)):
    first, second = sorted(sides)
    return Judgement(rater, 0, f"better {query} {first} {second}", answer, sides, "")


def test_shares_count_a_match_for_each_system_that_found_it():
    made = study([[[1], [1]], [[2], [3]], [[4], [5]]], mode="match")
    found = summarise(
        made,
        [
            match("a", 0, 1, "same"), match("a", 1, 2, "similar"), match("a", 1, 3, "different"),
            match("a", 2, 4, "unsure"), match("b", 0, 1, "different"), match("b", 2, 5, "same"),
        ],
    )  # fmt: skip
    first, second = found.systems
    assert first.same.value == pytest.approx(1 / 3)  # same, different; similar
    assert first.relevant.value == pytest.approx(2 / 3)
    assert (first.relevant.queries, first.relevant.judgements, first.unsure) == (2, 3, 1)
    assert second.same.value == second.relevant.value == 2 / 4
    assert found.raters == {"a": 4, "b": 2}
    assert found.pairs == [] and found.better_alpha is None


def test_only_judged_places_of_a_row_count():
    made = study([[[1, 2], [2, 1]]], mode="match", judged=1)
    found = summarise(made, [match("a", 0, 1, "same"), match("a", 0, 2, "different")])
    assert [s.same.value for s in found.systems] == [1, 0]


def test_win_rates_follow_the_systems_not_the_sides():
    made = study([[[1], [2]], [[1], [2]], [[1], [1]], [[1], [2]]], mode="better")
    found = summarise(
        made,
        [
            better("a", 0, "left", (0, 1)), better("b", 0, "left", (1, 0)),
            better("c", 0, "right", (1, 0)), better("a", 1, "equal"), better("b", 1, "unsure"),
            better("a", 3, "right", (0, 1)),
        ],
    )  # fmt: skip
    [pair] = found.pairs
    assert (pair.wins, pair.losses, pair.ties, pair.unsure) == (2, 2, 1, 1)
    assert pair.rate.value == 2.5 / 5
    assert (pair.won, pair.lost, pair.undecided) == (1, 1, 1)
    assert pair.p == 1
    assert pair.identical == 1 / 4
    assert pair.overall.value == pytest.approx(0.75 * 0.5 + 0.125)
    assert found.systems == [] and found.match_alpha is None


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_sign_test_is_the_exact_binomial_one(won, lost):
    total = won + lost
    if not total:
        assert sign_test(won, lost) is None
        return
    smaller = sum(comb(total, k) for k in range(min(won, lost) + 1))
    exact = min(Fraction(1), Fraction(2 * smaller, 2**total))
    assert sign_test(won, lost) == pytest.approx(float(exact), rel=1e-9)


def _alpha_by_definition(units, distance):
    """1 - observed / expected disagreement over pairable values (Krippendorff 2004)."""
    pairable = [values for values in units if len(values) > 1]
    flat = [value for values in pairable for value in values]
    n = len(flat)
    observed = sum(
        sum(distance(a, b) for i, a in enumerate(v) for j, b in enumerate(v) if i != j)
        / (len(v) - 1)
        for v in pairable
    )
    expected = sum(
        distance(a, b) for i, a in enumerate(flat) for j, b in enumerate(flat) if i != j
    ) / (n - 1)
    return 1 - observed / expected


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcd"), st.sampled_from([0.0, 1.0, 2.0]), max_size=4),
        max_size=12,
    ),
    st.sampled_from(["ordinal", "nominal"]),
)
def test_alpha_is_krippendorffs(units, level):
    answers = [(rater, (n,), v) for n, of in enumerate(units) for rater, v in of.items()]
    got = alpha(answers, level)
    common = [list(of.values()) for of in units if len(of) > 1]
    flat = [value for values in common for value in values]
    assert got.units == len(common)
    if len(set(flat)) < 2:
        assert got.value is None
        assert got.why
        return

    def ordinal(a, b):
        low, high = min(a, b), max(a, b)
        between = sum(flat.count(v) for v in set(flat) if low <= v <= high)
        return (between - (flat.count(a) + flat.count(b)) / 2) ** 2

    def nominal(a, b):
        return a != b

    distance = nominal if level == "nominal" else ordinal
    assert got.value == pytest.approx(_alpha_by_definition(common, distance), abs=1e-9)


def test_one_rater_has_nobody_to_agree_with():
    made = study([[[1], [2]]], mode="both")
    found = summarise(made, [match("a", 0, 1, "same"), better("a", 0, "left")])
    for each in (found.match_alpha, found.better_alpha):
        assert each is not None
        assert each.value is None
        assert each.why == "no two raters answered the same question"


def test_kappa_by_hand():
    # Observed 35 / 50; by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    assert kappa([[15, 10], [5, 20]]) == pytest.approx((0.7 - 0.5) / 0.5)
    assert kappa([[0, 0], [0, 9]]) is None
    assert kappa([[0, 0], [0, 0]]) is None


def test_agreement_with_the_category():
    kinds = {1000: "x", 1001: "x", 1002: "y", 1: "x", 2: "x", 3: "z", 4: None, 5: "y", 6: "x"}
    made = study([[[1], [3]], [[2], [4]], [[6], [5]]], categories=kinds)
    found = summarise(
        made,
        [
            match("a", 0, 1, "same"), match("a", 0, 3, "similar"), match("a", 1, 2, "different"),
            match("a", 1, 4, "same"), match("a", 2, 6, "different"), match("a", 2, 5, "unsure"),
            better("a", 0, "left", (0, 1)), better("a", 2, "left", (0, 1)),
            better("a", 1, "equal"),
        ],
    )  # fmt: skip
    assert found.category_match is not None and found.category_choice is not None
    assert found.category_match.table == ((1, 1), (1, 1))
    assert found.category_match.agreement.value == 0.5
    assert found.category_match.kappa == 0
    first, second = found.systems
    assert first.category_p1 == pytest.approx(2 / 3)
    assert second.category_p1 == pytest.approx(1 / 3)
    assert first.category.value == pytest.approx(2 / 3)  # over the judged ones
    assert first.relevant_of_those.value == pytest.approx(1 / 3)
    assert second.category.value == 0  # picture 3; 4 has no category, 5 was not judged
    assert found.category_choice.agreement.judgements == 2
    assert found.category_choice.agreement.value == 0.5


@given(
    st.lists(st.tuples(st.integers(0, 25), st.sampled_from([0.0, 0.5, 1.0])), max_size=80),
    st.integers(0, 3),
)
def test_figures_and_their_intervals(pairs, seed):
    queries, values = [q for q, _ in pairs], [v for _, v in pairs]
    got = figure(values, queries, seed=seed)
    assert got == figure(values, queries, seed=seed) or not pairs
    if not pairs:
        assert math.isnan(got.value) and got.interval == ""
        return
    assert 0 <= got.low <= got.value <= got.high <= 1
    assert got.low < got.high  # never certain
    assert got.queries == len(set(queries))
    assert got.value == pytest.approx(np.mean(values))
    assert got.interval == "Wilson" or got.queries >= 10


def test_the_bootstrap_draws_queries_not_judgements():
    # Ten raters who all say the same of a query add nothing to what is known of other queries.
    values = [float(q < 10) for q in range(20)]
    one = figure(values, range(20))
    ten = figure(np.repeat(values, 10), np.repeat(range(20), 10))
    assert (one.low, one.high) == (ten.low, ten.high)
    # The binomial distribution's 2.5% and 97.5% quantiles of 20 draws.
    assert (one.low, one.high) == (pytest.approx(0.3, abs=0.051), pytest.approx(0.7, abs=0.051))


def test_wilson_by_hand():
    # Brown, Cai and DasGupta (2001) give the formula; 0 of 10: z2 / (n + z2).
    assert wilson(0, 10) == (0, pytest.approx(3.841459 / 13.841459))
    assert wilson(1, 10) == (pytest.approx(10 / 13.841459), 1)
    low, high = wilson(0.5, 10)
    assert low == pytest.approx(1 - high)
    assert low == pytest.approx(0.236593, abs=1e-6)


# As people and programs read it


def big():
    rng = np.random.default_rng(5)
    kinds = {n: f"k{n % 3}" for n in range(1030)}
    made = study([[[q, 40 + q], [60 + q, q]] for q in range(30)], categories=kinds, judged=2)
    judged = []
    for rater, (query, rows) in product("ab", enumerate(made.rows)):
        for picture in sorted({p for row in rows for p in row}):
            likes = rng.random() < (0.8 if picture < 60 else 0.4)
            judged.append(match(rater, query, picture, "similar" if likes else "different"))
        judged.append(better(rater, query, "left" if rng.random() < 0.7 else "right"))
    return made, judged


def test_table_csv_and_json_tell_the_same():
    made, judged = big()
    found = summarise(made, judged)
    told = json.loads(texts.as_json(made, found))
    lines = list(csv.DictReader(io.StringIO(texts.as_csv(made, found))))
    table = texts.table(made, found)
    rate = told["pairs"][0]["rate"]
    [line] = [line for line in lines if line["measure"] == "win rate"]
    assert float(line["value"]) == pytest.approx(rate["value"], rel=1e-5)
    assert f"{rate['value']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}]" in table
    assert f"(ordinal) {told['match_alpha']['value']:.3f}" in table
    assert told["systems"][0]["system"] == "s0"
    assert rate["interval"] == "bootstrap"
    assert {line["system"] for line in lines} == {"s0", "s1", ""}


@pytest.mark.parametrize("mode", ["match", "better", "both"])
def test_a_report_of_nothing_and_of_one_judgement(mode, tmp_path):
    made = study([[[1], [2]], [[], []]], mode=mode)
    first = match("a", 0, 1, "unsure") if mode == "match" else better("a", 0, "unsure")
    for judged in ([], [first]):
        found = summarise(made, judged)
        json.loads(texts.as_json(made, found), parse_constant=pytest.fail)
        assert "nan" not in texts.as_csv(made, found) + texts.table(made, found)
        draw(made, found, tmp_path / "chart.png")


def test_the_chart_is_drawn(tmp_path):
    made, judged = big()
    draw(made, summarise(made, judged), tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes()[:4] == b"\x89PNG"


def test_all_pairs_of_several_systems_are_compared():
    made = study([[[1], [2], [3]]], mode="better")
    assert [(p.first, p.second) for p in summarise(made, []).pairs] == list(
        combinations(range(3), 2)
    )
