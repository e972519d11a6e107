"""Searches up to a threshold, and thresholds that cannot be taken."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threshold_data import DIM, METRICS, defined, fill, rows_of

from vsearch_fast.errors import ArgumentError
from vsearch_fast.index import Index


@pytest.mark.parametrize("metric", METRICS)
def test_auto_leaves_out_what_is_farther(index: Index, metric: Any) -> None:
    queries = np.concatenate([rows_of(4), rows_of(3, 9), 50 * rows_of(2, 8) + 50])
    hits = index.search(queries, 60, metric, max_distance="auto")
    threshold = index.threshold(metric)
    assert threshold is not None
    assert hits == index.search(queries, 60, metric, max_distance=threshold.distance)
    assert all(hits[:4])
    if metric != "hamming":
        assert hits[-2:] == [[], []]
    filtered, proof = index.search(
        queries, 5, metric, where={}, max_distance="auto", backend="cpu", explain=True
    )
    assert filtered == [line[:5] for line in hits]
    assert proof.queries == 9


def test_a_filter_does_not_change_it(tmp_path: Path) -> None:
    data = rows_of(40)
    with Index.create(tmp_path / "i", DIM) as index:
        fill(index, data, ["a", "b"] * 20)
        limit = defined(data, "l2")
        [hits] = index.search(data[0], 40, where={"sender": "b"}, max_distance="auto")
        assert hits == index.search(data[0], 40, where={"sender": "b"}, max_distance=limit)[0]


def test_few_rows(tmp_path: Path) -> None:
    query = np.ones(DIM, np.float32)
    with Index.create(tmp_path / "i", DIM) as index:
        assert index.threshold() is None
        assert index.search(query, max_distance="auto") == [[]]
        with pytest.raises(ArgumentError, match="holds 0 items"):
            index.calibrate()
        index.add(["a"], query[None])
        with pytest.raises(ArgumentError, match=r"holds 1 item:.*Add items, or name a distance"):
            index.search(query, max_distance="auto")
        index.add(["b"], query[None])
        assert [hit.id for hit in index.search(query, max_distance="auto")[0]] == ["a", "b"]
        found = index.threshold()
        assert found is not None and (found.distance, found.measured) == (0.0, 2)
        assert index.search(2 * query, max_distance="auto") == [[]]
        index.remove(["a", "b"])
        assert index.threshold() is None
        assert index.search(query, max_distance="auto") == [[]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"metric": "cosine"}, "metric is 'cosine'"),
        ({"quantile": 0}, "quantile is 0"),
        ({"quantile": 1.5}, "quantile is 1.5"),
        ({"quantile": math.nan}, "quantile is nan"),
        ({"quantile": True}, "quantile is True"),
        ({"sample": 0}, "sample is 0"),
        ({"sample": 2.5}, "sample is 2.5"),
        ({"group": "sender"}, "no metadata column 'sender'"),
    ],
)
def test_calibrate_refuses(index: Index, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        index.calibrate(**arguments)
    assert index.info()["thresholds"] == {}


def test_one_group_is_too_few(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", DIM) as index:
        fill(index, rows_of(30), ["me"] * 30)
        with pytest.raises(ArgumentError, match=r"30 items, all of one sender.*leave the group"):
            index.calibrate(group="sender")


def test_wrong_queries_cost_no_calibration(index: Index) -> None:
    with pytest.raises(ArgumentError, match="the shape"):
        index.search(np.ones((1, DIM + 1), np.float32), max_distance="auto")
    with pytest.raises(ArgumentError, match='"auto" for the index'):
        index.search(np.ones(DIM, np.float32), max_distance="Auto")  # type: ignore[call-overload]
    assert index.info()["thresholds"] == {}
