"""Chances that fall with distance are equal to their definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from likeness_data import falling_defined

from vsearch_fast.index.isotonic import Curve, falling

PAIRS = st.lists(
    st.tuples(st.integers(0, 9), st.booleans(), st.sampled_from([0.25, 1.0, 1.7])),
    min_size=1, max_size=40,
)  # fmt: skip


def columns(pairs: list[tuple[int, bool, float]]) -> tuple[np.ndarray, ...]:
    return tuple(np.array(column, np.float64) for column in zip(*pairs, strict=True))


@given(PAIRS)
def test_it_is_the_definition(pairs: list[tuple[int, bool, float]]) -> None:
    distances, outcomes, weights = columns(pairs)
    places, chances = falling_defined(distances, outcomes, weights)
    np.testing.assert_allclose(
        falling(distances, outcomes, weights).at(places), chances, atol=1e-12
    )


@given(PAIRS, st.integers(0, 999))
def test_it_falls_within_bounds_whatever_the_order(
    pairs: list[tuple[int, bool, float]], seed: int
) -> None:
    distances, outcomes, weights = columns(pairs)
    curve = falling(distances, outcomes, weights)
    everywhere = curve.at(np.linspace(-5, 15, 201))
    assert (np.diff(everywhere) <= 0).all()
    assert everywhere.min() >= 0 and everywhere.max() <= 1
    order = np.random.default_rng(seed).permutation(len(pairs))
    assert falling(distances[order], outcomes[order], weights[order]) == curve


@given(PAIRS)
def test_no_other_falling_chances_have_a_smaller_error(
    pairs: list[tuple[int, bool, float]],
) -> None:
    distances, outcomes, weights = columns(pairs)

    def error(chances: np.ndarray) -> float:
        return float((weights * (outcomes - chances) ** 2).sum())

    best = error(falling(distances, outcomes, weights).at(distances))
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = np.sort(rng.random(10))[::-1][distances.astype(int)]
        assert best <= error(other) + 1e-12


def test_between_runs_it_is_a_line_and_beyond_them_level() -> None:
    curve = falling(np.array([1.0, 2, 4, 5]), np.array([1.0, 1, 0, 0]), np.ones(4))
    assert curve == Curve((1.0, 2.0, 4.0, 5.0), (1.0, 1.0, 0.0, 0.0))
    assert curve.at(np.array([0.0, 1.5, 3.0, 3.5, 9.0])).tolist() == [1, 1, 0.5, 0.25, 0]
