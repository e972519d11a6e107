"""Limits that are known from elsewhere: rows beyond them are no result, and all others are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from contract_data import cut_as
from hypothesis import given, settings
from hypothesis import strategies as st
from index_data import SEARCHED

from vsearch_fast.errors import ArgumentError
from vsearch_fast.kernels import reference
from vsearch_fast.search import Sketched, pack_bits, topk_segments
from vsearch_fast.search.tiling import Tiling


def rows_of(count: int, dim: int, seed: int) -> np.ndarray:
    """Of which many are equal, so that many distances are."""
    rng = np.random.default_rng(seed)
    return rng.integers(-2, 3, (count, dim)).astype(np.float32) + np.float32(0.25)


def expected(
    queries: np.ndarray, rows: np.ndarray, k: int, metric: str, limits: np.ndarray, mask: Any
) -> list[list[tuple[float, int]]]:
    distances, ids = reference.topk(queries, rows, k, metric=metric, mask=mask)
    return [
        [(d, i) for d, i in zip(line.tolist(), own.tolist(), strict=True) if d <= limit]
        for line, own, limit in zip(distances, ids, limits.tolist(), strict=True)
    ]


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "seed": draw(st.integers(0, 99)), "count": draw(st.integers(1, 300)),
        "queries": draw(st.integers(1, 9)), "k": draw(st.integers(1, 80)),
        "dim": draw(st.sampled_from([8, 40])), "metric": draw(st.sampled_from(SEARCHED)),
        "strategy": draw(st.sampled_from(["scan", "sketch", "auto"])),
        "rank": draw(st.integers(0, 90)), "masked": draw(st.booleans()),
        "threads": draw(st.sampled_from([1, 3])),
    }  # fmt: skip


@settings(max_examples=60)
@given(cases())
def test_what_is_within_is_found_and_nothing_else(case: dict[str, Any]) -> None:
    rows = rows_of(case["count"], case["dim"], case["seed"])
    queries = rows_of(case["queries"], case["dim"], case["seed"] + 1)
    rng = np.random.default_rng(case["seed"])
    mask = rng.random(len(rows)) < 0.7 if case["masked"] else None
    sketches = [Sketched(rows).sketch]
    if case["metric"] == "hamming":
        rows, queries, sketches = pack_bits(rows), pack_bits(queries), None  # type: ignore[assignment]
    every, _ = reference.topk(queries, rows, len(rows), metric=case["metric"])
    # A distance that occurs, just below one, none at all, and one that all are above.
    limits = every[:, min(case["rank"], len(rows) - 1)].astype(np.float64)
    limits[1::4] = np.nextafter(limits[1::4], -np.inf)
    limits[2::4] = np.inf
    limits[3::4] = every[3::4, 0] - 1.0
    tiled = Tiling(inline_bytes=0, chunk_rows=32, whole_rows=0, tile_bytes=1 << 10)
    with cut_as(tiled):
        distances, ids, _ = topk_segments(
            queries, [rows], case["k"], metric=case["metric"], strategy=case["strategy"],
            masks=None if mask is None else [mask], sketches=sketches, limits=limits,
            threads=case["threads"], backend="cpu",
        )  # fmt: skip
    assert ids.shape == (len(queries), min(case["k"], len(rows) if mask is None else mask.sum()))
    found = [
        [(d, i) for d, i in zip(line.tolist(), own.tolist(), strict=True) if i >= 0]
        for line, own in zip(distances, ids, strict=True)
    ]
    assert found == expected(queries, rows, case["k"], case["metric"], limits, mask)
    for line, own in zip(distances, ids, strict=True):  # no rows stand behind those that are
        assert (np.diff((own < 0).astype(int)) >= 0).all()
        assert (line[own < 0] >= line.max()).all()


@pytest.mark.parametrize("metric", ["l2", "l1"])
def test_fewer_rows_are_read_within_a_limit(metric: Any) -> None:
    rng = np.random.default_rng(5)
    rows = np.maximum(rng.standard_normal((20_000, 64)), 0).astype(np.float32)
    queries = np.maximum(rng.standard_normal((4, 64)), 0).astype(np.float32)
    sketched = Sketched(rows)

    def searched(limits: Any) -> Any:
        return topk_segments(
            queries, [rows], 10, metric=metric, sketches=[sketched.sketch], strategy="sketch",
            limits=limits, backend="cpu", threads=1,
        )  # fmt: skip

    distances, ids, before = searched(None)
    again, same, _ = searched(distances[:, -1])
    assert np.array_equal(again, distances) and np.array_equal(same, ids)
    _, none, after = searched(np.zeros(4))
    assert (none == -1).all()
    assert after.candidates < before.candidates / 4


def test_guessed_limits_and_given_ones(monkeypatch: Any) -> None:
    """A large k begins at a guess; a query whose limit is lower is not searched again."""
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((6000, 32)).astype(np.float32)
    queries = rng.standard_normal((3, 32)).astype(np.float32)
    sketch = Sketched(rows).sketch
    k = 400
    every, _ = reference.topk(queries, rows, k, metric="l2")
    limits = every[:, 100].copy()
    limits[1] = np.inf
    with cut_as(Tiling(small_k=8, sample_rows=128, sample_stride=2)):
        distances, ids, proof = topk_segments(
            queries, [rows], k, metric="l2", sketches=[sketch], strategy="sketch", limits=limits,
            backend="cpu",
        )  # fmt: skip
    assert (ids >= 0).sum(axis=1).tolist() == [101, k, 101]
    assert np.array_equal(distances[:, :101], every[:, :101])
    assert proof.repeated <= 1


@pytest.mark.parametrize("limits", [[0.0], [np.nan, 0.0], 1.0])
def test_wrong_limits(limits: Any) -> None:
    rows = rows_of(5, 8, 0)
    with pytest.raises(ArgumentError, match="one number a query"):
        topk_segments(rows[:2], [rows], 1, metric="l2", limits=np.array(limits))
