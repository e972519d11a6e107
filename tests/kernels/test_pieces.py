"""The pieces below `topk`: the oracle by hand, selection, the kernel cache."""

from __future__ import annotations

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core import config

from vsearch_fast.kernels import cache, reference, select

# As Python can call them.
_keep_smallest = numba.njit(select.keep_smallest.py_func)
_sort_pairs = numba.njit(select.sort_pairs.py_func)


def test_oracle_by_hand():
    rows = np.array([[0, 0, 0], [3, -4, 0], [1, 1, 1]], np.float32)
    query = np.zeros(3, np.float32)
    assert reference.l1(query, rows).tolist() == [0, 7, 3]
    assert reference.l2(query, rows).tolist() == [0, 5, np.sqrt(3)]
    codes = np.array([[0b1010_0000], [0b1111_0000]], np.uint8)
    assert reference.hamming(np.array([0], np.uint8), codes).tolist() == [2, 4]
    distances, ids = reference.topk(query[None], rows, 5, "l1", np.array([True, False, True]))
    assert distances.tolist() == [[0, 3]]
    assert ids.tolist() == [[0, 2]]


def test_lane_sum_is_in_the_defined_order():
    """Against the definition in plain Python floats, on data whose sum depends on the order."""
    rng = np.random.default_rng(0)
    terms = rng.random((5, 100)) * 10.0 ** rng.integers(-12, 12, (5, 100))
    for row, got in zip(terms, reference.lane_sum(terms), strict=True):
        lanes = [0.0] * 32
        for i, term in enumerate(row):
            lanes[i % 32] += float(term)
        for step in (16, 8, 4, 2, 1):
            lanes = [lanes[j] + lanes[j + step] for j in range(step)]
        assert got == lanes[0]
    assert (reference.lane_sum(terms) != terms.sum(axis=1)).any()


pairs = st.lists(st.integers(0, 5), min_size=1, max_size=200).flatmap(
    lambda d: st.tuples(st.just(d), st.permutations(range(len(d))), st.integers(1, len(d)))
)


@given(pairs)
def test_keep_smallest_and_sort(problem):
    """Any order of the input, thousands of ties: the k smallest by (distance, id)."""
    values, order, k = problem
    distances, ids = np.array(values, np.int32), np.array(order, np.int64)
    want = sorted(zip(values, order, strict=True))[:k]
    _keep_smallest(distances, ids, len(distances), k)
    _sort_pairs(distances, ids, k)
    assert list(zip(distances[:k].tolist(), ids[:k].tolist(), strict=True)) == want


def median_of_three_killer(count):
    """An order in which the median of three is the second smallest, again and again (Musser,
    Introspective Sorting and Selection Algorithms, 1997)."""
    half = count // 2
    order = np.empty(count, np.int32)
    for i in range(1, half + 1):
        order[i - 1] = i if i % 2 else half + i - 1
        order[half + i - 1] = 2 * i
    return order


def test_no_order_makes_selection_quadratic():
    """20,000 pairs in an adversarial order: quadratic selection would take a minute."""
    values = median_of_three_killer(20_000)
    for k in (1, 9_999, 19_999):
        distances, ids = values.copy(), np.arange(len(values))
        _keep_smallest(distances, ids, len(distances), k)
        assert sorted(distances[:k]) == sorted(values)[:k]


def test_numba_without_its_compiler_is_named():
    code = "import vsearch_fast.kernels.lanes"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Unset NUMBA_DISABLE_JIT" in done.stderr


@pytest.mark.parametrize("variable", ["VSEARCH_CACHE_DIR", "XDG_CACHE_HOME"])
def test_cache_root_can_be_moved(monkeypatch, tmp_path, variable):
    monkeypatch.delenv("VSEARCH_CACHE_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert tmp_path in (cache.cache_root(), cache.cache_root().parent)
