"""Cosine and inner product: the definition by hand, what it promises, and the kernels of a scan."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from contract_data import FLOAT_DATA
from hypothesis import given
from hypothesis import strategies as st

from vsearch_fast.kernels import dots, reference
from vsearch_fast.search import topk

PRODUCTS = ("cosine", "ip")


def test_the_definition_by_hand():
    rows = np.array([[0, 0, 0], [3, -4, 0], [-3, 4, 0], [4, 3, 0], [0, 0, 7]], np.float32)
    query = np.array([3, -4, 0], np.float32)
    assert reference.ip(query, rows).tolist() == [0, -25, 25, 0, 0]
    assert reference.cosine(query, rows).tolist() == [1, 0, 2, 1, 1]
    assert reference.cosine(rows[0], rows).tolist() == [1] * 5
    distances, ids = reference.topk(query[None], rows, 3, "ip")
    assert distances.tolist() == [[-25, 0, 0]]
    assert ids.tolist() == [[1, 0, 3]]


@pytest.mark.parametrize("metric", PRODUCTS)
def test_no_zero_is_negative(metric):
    rows = np.array([[0, -0.0], [-1, 1], [1, 1], [-0.0, -0.0]], np.float32)
    for query in rows:
        distances = reference.DISTANCE[metric](query, rows)
        assert not np.signbit(distances[distances == 0]).any()
        found, _ = topk(query, rows, 4, metric=metric)
        assert np.array_equal(np.signbit(found), found < 0)


@given(st.integers(0, 2**32), st.integers(1, 70), st.integers(-100, 100))
def test_the_cosine_of_equal_rows_is_0_and_of_opposite_ones_2(seed, dim, exponent):
    row = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    if not row.any():
        return
    scaled = np.ldexp(row, exponent)
    if not np.array_equal(np.ldexp(scaled, -exponent), row):
        return  # it became subnormal
    rows = np.array([row, -row, scaled, -scaled])
    assert reference.cosine(row, rows).tolist() == [0, 2, 0, 2]


@pytest.mark.parametrize("value", [1e-45, 3.4e38])
def test_sums_neither_underflow_nor_overflow(value):
    """The smallest and the largest float32, in long rows."""
    row = np.full(5000, value, np.float32)
    assert reference.cosine(row, np.array([row, -row])).tolist() == [0, 2]
    one = np.zeros_like(row)
    one[-1] = value
    want = 1 - 1 / math.sqrt(5000)
    assert reference.cosine(row, one[None])[0] == pytest.approx(want, rel=1e-12)
    assert -reference.ip(one, one[None])[0] == float(np.float32(value)) ** 2 > 0
    assert np.isfinite(reference.ip(row, row[None])).all()


@given(
    st.sampled_from(sorted(FLOAT_DATA)), st.integers(0, 2**32), st.integers(1, 130),
)  # fmt: skip
def test_how_far_the_definition_lies_from_the_truth(name, seed, dim):
    """Within what the bounds of sketches allow for (`layout.rounding`); in exact fractions."""
    rng = np.random.default_rng(seed)
    rows = FLOAT_DATA[name](rng, (3, dim)).astype(np.float32)
    gamma = (dim / 32 + 16) * 2.0**-53
    query = rows[0]
    exact = [[Fraction(float(v)) for v in row] for row in rows]
    for row, ip, cosine in zip(
        exact, reference.ip(query, rows), reference.cosine(query, rows), strict=True
    ):
        dot = sum(a * b for a, b in zip(exact[0], row, strict=True))
        own, other = (sum(v * v for v in r) for r in (exact[0], row))
        size = math.sqrt(own) * math.sqrt(other)
        assert abs(float(dot + Fraction(float(ip)))) <= gamma * size
        if size:
            true = float(dot) / size  # off by a few roundings itself
            assert abs(1 - true - cosine) <= 3 * gamma + 2.0**-50
        else:
            assert cosine == 1


def test_squares_of_rows():
    rng = np.random.default_rng(3)
    for count in range(1, 10):
        rows = rng.standard_normal((count, 75)).astype(np.float32)
        squares = np.full(count, np.nan)
        dots.squares_of(rows.ctypes.data, rows.strides[0], 4 * 75, squares)
        wide = rows.astype(np.float64)
        assert np.array_equal(squares, reference.lane_sum(wide * wide))


@pytest.mark.parametrize("metric", PRODUCTS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("queries", [1, 3])
def test_a_row_that_is_not_finite_is_named(metric, bad, queries):
    """Also where the query is 0 there, and where the product would be the nearest of all."""
    rows = np.ones((9, 40), np.float32)
    rows[6, 5] = bad
    for value in (0, 1, -1):
        asked = np.full((queries, 40), value, np.float32)
        with pytest.raises(ValueError, match="row 6 of the database holds NaN or infinity"):
            topk(asked, rows, 2, metric=metric, strategy="scan")
        live = np.arange(9) != 6
        found = topk(asked, rows, 2, metric=metric, strategy="scan", mask=live)
        assert found[1].tolist() == [[0, 1]] * queries
