"""ExactNeighbors: scikit-learn's own checks, and its answers beside NearestNeighbors'."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")

from sklearn.neighbors import NearestNeighbors  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

import vsearch_fast as vs  # noqa: E402
from vsearch_fast.errors import ArgumentError, MissingDependencyError  # noqa: E402
from vsearch_fast.neighbors import ExactNeighbors  # noqa: E402

METRICS = {"l2": "euclidean", "l1": "manhattan", "cosine": "cosine", "cityblock": "cityblock"}


@parametrize_with_checks([ExactNeighbors(), ExactNeighbors(metric="hamming", n_neighbors=2)])
def test_scikit_learn_takes_it_for_one_of_its_own(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((80, 12)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
def test_neighbours_are_scikit_learns(metric: str, rows: np.ndarray) -> None:
    queries = rows[:9] + np.float32(0.01)
    mine = ExactNeighbors(n_neighbors=4, radius=3.1, metric=metric).fit(rows)
    theirs = NearestNeighbors(
        n_neighbors=4, radius=3.1, metric=METRICS[metric], algorithm="brute"
    ).fit(rows.astype(np.float64))
    for asked in (queries, None):
        wide = None if asked is None else asked.astype(np.float64)
        for found, expected in zip(mine.kneighbors(asked), theirs.kneighbors(wide), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert (mine.kneighbors(asked, 2, False) == theirs.kneighbors(wide, 2, False)).all()
        for name in ("kneighbors_graph", "radius_neighbors_graph"):
            for mode in ("connectivity", "distance"):
                graph = getattr(mine, name)(asked, mode=mode)
                expected = getattr(theirs, name)(wide, mode=mode)
                assert graph.shape == expected.shape
                np.testing.assert_allclose(
                    graph.toarray(), expected.toarray(), rtol=1e-5, atol=1e-6
                )
        distances, ids = mine.radius_neighbors(asked)
        expected = theirs.radius_neighbors(wide, return_distance=False)
        assert [set(each) for each in ids] == [set(each) for each in expected]
        assert all((np.diff(each) >= 0).all() for each in distances)


def test_bits_and_products(rows: np.ndarray) -> None:
    bits = rows > 0
    expected = (bits[:, None] != bits[None]).sum(2)
    distances, ids = ExactNeighbors(n_neighbors=3, metric="hamming").fit(rows).kneighbors(rows)
    assert (distances == np.sort(expected, 1)[:, :3]).all()
    assert (ids == np.argsort(expected, 1, kind="stable")[:, :3]).all()
    _, ids = ExactNeighbors(n_neighbors=1, metric="ip").fit(rows).kneighbors(rows)
    assert (ids[:, 0] == (rows.astype(np.float64) @ rows.T).argmax(1)).all()


def test_rows_that_are_equal_are_neighbours_and_none_is_its_own() -> None:
    rows = np.zeros((6, 3), np.float32)
    ids = ExactNeighbors(n_neighbors=2).fit(rows).kneighbors(return_distance=False)
    assert not np.any(ids == np.arange(6)[:, None])
    near = ExactNeighbors(radius=0).fit(rows).radius_neighbors(return_distance=False)
    assert [sorted(each) for each in near] == [[n for n in range(6) if n != m] for m in range(6)]


def test_wrong_words(rows: np.ndarray) -> None:
    with pytest.raises(ArgumentError, match="metric is 'chebyshev'"):
        ExactNeighbors(metric="chebyshev").fit(rows)
    fitted = ExactNeighbors().fit(rows)
    with pytest.raises(ValueError, match="Expected n_neighbors <= n_samples_fit"):
        fitted.kneighbors(rows, 81)
    with pytest.raises(ValueError, match="Expected n_neighbors > 0"):
        fitted.kneighbors(rows, 0)
    with pytest.raises(ArgumentError, match="mode is 'x'"):
        fitted.kneighbors_graph(rows, mode="x")  # type: ignore[arg-type]


def test_without_scikit_learn_an_error_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "vsearch_fast.neighbors")
    with pytest.raises(MissingDependencyError, match="scikit-learn, whose estimators"):
        _ = vs.ExactNeighbors
