"""``auto`` takes the strategy that the model of their costs calls the faster one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch_fast.kernels import reference
from vsearch_fast.search import Sketched, topk
from vsearch_fast.search.choosing import (
    building,
    reductions_pay,
    scanning,
    sketching,
    strategy_for,
)

SIZES = (st.integers(0, 10**8), st.integers(1, 10**4), st.integers(1, 10**5), st.integers(1, 10**4))


@pytest.mark.parametrize("rows", [256, 1000, 1500, 2000, 100_000])
@pytest.mark.parametrize("queries", [64, 256])
def test_batches_are_sketched(rows: int, queries: int) -> None:
    """Where scanning took 1.5 to 9 times as long, by measurement."""
    assert strategy_for(rows, queries, 4096, 10, sketched=True) == "sketch"
    if rows > 256:
        assert strategy_for(rows, queries, 4096, 10, sketched=False) == "sketch"


@pytest.mark.parametrize(
    ("rows", "queries", "dim", "k", "sketched"),
    [
        (256, 1, 4096, 10, True),  # a query alone, of few rows
        (100_000, 1, 4096, 10, False),  # sketches would be made for it alone
        (2000, 64, 127, 10, True),  # short rows
        (2000, 64, 4096, 251, True),  # an eighth of the rows
        (0, 5, 4096, 0, True),
    ],
)  # fmt: skip
def test_these_are_scanned(rows: int, queries: int, dim: int, k: int, sketched: bool) -> None:
    assert strategy_for(rows, queries, dim, k, sketched=sketched) == "scan"


@given(*SIZES)
def test_more_work_costs_more(rows: int, queries: int, dim: int, k: int) -> None:
    assert 0 < scanning(rows, queries, dim) < scanning(rows + 1, queries + 1, dim + 1)
    assert 0 < sketching(rows, queries, dim, k) < sketching(rows + 1, queries + 1, dim + 1, k + 1)
    assert 0 < building(rows, dim) < building(rows + 1, dim + 1)


@given(*SIZES)
def test_sketches_that_are_there_are_never_less_used(
    rows: int, queries: int, dim: int, k: int
) -> None:
    if strategy_for(rows, queries, dim, k, sketched=False) == "sketch":
        assert strategy_for(rows, queries, dim, k, sketched=True) == "sketch"


@pytest.mark.parametrize("metric", ["l2", "l1"])
@pytest.mark.parametrize(("rows", "queries"), [(40, 1), (300, 1), (1200, 70)])
def test_auto_does_so(metric: str, rows: int, queries: int) -> None:
    rng = np.random.default_rng(rows)
    database = rng.standard_normal((rows, 640)).astype(np.float32)
    asked = rng.standard_normal((queries, 640)).astype(np.float32)
    want = reference.topk(asked[:3], database, 4, metric)
    for given_rows, sketched in ((database, False), (Sketched(database), True)):
        distances, ids, proof = topk(asked, given_rows, 4, metric=metric, explain=True)  # type: ignore[call-overload]
        assert proof.strategy == strategy_for(rows, queries, 640, 4, sketched=sketched)
        assert np.array_equal(distances[:3], want[0]) and np.array_equal(ids[:3], want[1])


def test_reductions_are_learnt_where_they_save_more() -> None:
    """What learning them costs is the same however many pairs there are."""
    assert not reductions_pay(10_000**2 // 2, 10_000, 4096)
    assert reductions_pay(40_000**2 // 2, 40_000, 4096)
    assert not reductions_pay(40_000 * 256, 40_000, 4096)
