"""Thresholds beyond which a query has no match are equal to their definition in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from threshold_data import DIM, METRICS, defined, fill, rows_of

from vsearch_fast.errors import ArgumentError
from vsearch_fast.index import Index
from vsearch_fast.index import thresholds as no_match


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(2, 45),
    values=st.sampled_from([0, 1, 2]),
    seed=st.integers(0, 999),
    # Binary fractions: of others NumPy and this module may round a place apart.
    quantile=st.integers(1, 16).map(lambda n: n / 16),
    groups=st.one_of(st.none(), st.integers(1, 6)),
    removed=st.floats(0, 0.6),
    dtype=st.sampled_from(["float32", "float16"]),
)
def test_it_is_the_quantile_of_the_nearest_others(
    tmp_path_factory: pytest.TempPathFactory,
    count: int, values: int, seed: int, quantile: float, groups: int | None,
    removed: float, dtype: str,
) -> None:  # fmt: skip
    data = rows_of(count, seed, values)
    rng = np.random.default_rng(seed)
    names = None
    if groups is not None:
        choice: list[object] = ["", None, "a", "b", 3, True]
        names = [choice[number] for number in rng.integers(0, groups, count)]
    with Index.create(
        tmp_path_factory.mktemp("i") / "i", DIM, segment_rows=7, dtype=dtype
    ) as index:
        ids = fill(index, data, names)
        live = rng.random(count) >= removed
        index.remove([id_ for id_, lives in zip(ids, live, strict=True) if not lives])
        own = None if names is None else [None if name == "" else name for name in names]
        stored = data.astype(dtype).astype(np.float32)
        column = None if names is None or not any(n != "" for n in names) else "sender"
        for metric in METRICS:
            wanted = defined(stored, metric, quantile, own, live)
            if wanted is None:
                with pytest.raises(ArgumentError, match="none has another"):
                    index.calibrate(metric, quantile=quantile, group=column)
                continue
            found = index.calibrate(metric, quantile=quantile, group=column)
            assert found.distance == wanted
            assert type(found.distance) is (int if metric == "hamming" else float)
            assert found.live == live.sum()
            assert found == index.threshold(metric)


@pytest.mark.parametrize("metric", METRICS)
def test_members_of_large_groups_find_the_nearest_of_another(
    tmp_path: Path, metric: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their own group fills the first neighbours, so that they are searched for again."""
    monkeypatch.setattr(no_match, "_BLOCK", 25)
    data = rows_of(80, 3)
    data[:30] = data[0] + 0.001 * data[:30]
    groups = ["crowd"] * 30 + ["pair"] * 2 + [str(n) for n in range(48)]
    with Index.create(tmp_path / "i", DIM) as index:
        fill(index, data, groups)
        found = index.calibrate(metric, group="sender", quantile=0.3)
        assert found.distance == defined(data, metric, 0.3, groups)
        assert found.measured == 80
        assert index.calibrate(metric).distance == defined(data, metric)
        assert "of another sender" in str(found)


def test_copies_are_each_others_nearest(tmp_path: Path) -> None:
    data = np.repeat(rows_of(3), [1, 2, 4], axis=0)
    with Index.create(tmp_path / "i", DIM) as index:
        fill(index, data)
        assert index.calibrate(quantile=6 / 7).distance == 0.0
        wanted = defined(data, "l2")
        assert wanted is not None
        assert index.calibrate().distance == wanted > 0


@given(
    rows=st.integers(0, 300),
    count=st.one_of(st.none(), st.integers(1, 300)),
    gone=st.sets(st.integers(0, 299)),
)
def test_a_sample_is_always_the_same(rows: int, count: int | None, gone: set[int]) -> None:
    live = np.array([row not in gone for row in range(rows)], bool)
    order = sorted(np.flatnonzero(live), key=lambda row: int(no_match.mixed(np.array([row]))[0]))
    wanted = sorted(order[:count])
    assert no_match.sampled(rows, live, count).tolist() == wanted
    if live.all():
        assert no_match.sampled(rows, None, count).tolist() == wanted


def test_a_sample_of_many_rows_is_drawn_in_blocks() -> None:
    rows = (1 << 21) + 7
    every = np.arange(rows)
    wanted = np.sort(np.argsort(no_match.mixed(every))[:50])
    assert np.array_equal(no_match.sampled(rows, None, 50), wanted)
    assert len(np.unique(no_match.mixed(every))) == rows
    # The numbers are fixed for ever: SplitMix64's first from the seed 0.
    assert no_match.mixed(np.array([0])).tolist() == [0xE220A8397B1DCDAF]


def test_a_sample_is_measured_among_all(index: Index) -> None:
    data = rows_of(60)
    found = index.calibrate(sample=20)
    assert (found.measured, found.sample, found.live) == (20, 20, 60)
    assert found.distance == defined(data, "l2", measured=no_match.sampled(60, None, 20))
    assert index.calibrate(sample=None).distance == defined(data, "l2")


def test_the_place_of_a_quantile() -> None:
    assert [no_match.place(0.95, n) for n in (1, 19, 20, 21, 100)] == [1, 19, 19, 20, 95]
    assert no_match.place(0.07, 100) == 7  # 0.07 * 100 is above 7 in binary
    assert no_match.place(1.0, 5) == 5
    for count in range(1, 400):
        wanted = np.quantile(np.arange(1, count + 1), 0.95, method="inverted_cdf")
        assert no_match.place(0.95, count) == wanted
