"""Range search on emulated devices equals its definition to the bit, however work is cut."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from contract_data import (
    COVERAGE,
    DEVICE_METRICS,
    FLOAT_DATA,
    LAYOUTS,
    MASKS,
    QUERIES,
    assert_same,
    codes,
    floats,
    mask_of,
    read_only,
    sketches_for,
)
from emulated import TILES, EmulatedDevice
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vsearch_fast import Index, Resident, Sketched
from vsearch_fast.errors import ArgumentError, DeviceError
from vsearch_fast.kernels import reference
from vsearch_fast.search import pack_bits, range_search, tiling
from vsearch_fast.search.gpu import devices as cuda
from vsearch_fast.search.gpu import ranging
from vsearch_fast.search.gpu.lists import Lists
from vsearch_fast.search.gpu.resident_rows import ResidentRows
from vsearch_fast.search.ranges import range_segments
from vsearch_fast.search.tiling import Tiling
from vsearch_fast.words import LEAST

CUTS = {
    "usual": Tiling(),
    "small": Tiling(device_list=16, device_block_bytes=900, sketch_rows=7),
    "batches": Tiling(device_list=32, device_bytes=9000, device_block_bytes=3000),
}

CASES = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(DEVICE_METRICS),
        "strategy": st.sampled_from(("auto", "sketch", "scan")),
        "data": st.sampled_from(tuple(FLOAT_DATA)),
        "kind": st.sampled_from(QUERIES),
        "layout": st.sampled_from(tuple(LAYOUTS)),
        "radius": st.sampled_from(("at", "below", "zero", "least", "infinite")),
        "rows": st.integers(0, 90),
        "queries": st.integers(0, 12),
        "dim": st.sampled_from((1, 7, 33, 64, 130)),
        "mask": st.sampled_from(MASKS),
        "coverage": st.sampled_from(COVERAGE),
        "parts": st.integers(1, 3),
        "cut": st.sampled_from(tuple(CUTS)),
        "tiles": st.sampled_from(tuple(TILES)),
        "devices": st.sampled_from((((9, 0),), ((8, 0),), ((7, 5), (9, 0)))),
        "seed": st.integers(0, 2**32 - 1),
    }
)


def radii_of(case: dict, rng: np.random.Generator, every: np.ndarray) -> np.ndarray | float:
    """A radius a query, at a distance or just below it; or one for all."""
    least = LEAST[case["metric"]]
    if case["radius"] in ("least", "infinite"):
        return least if case["radius"] == "least" else np.inf
    if case["radius"] == "zero" or every.size == 0:
        return 0.0
    at = every[np.arange(len(every)), rng.integers(every.shape[1], size=len(every))]
    at = at.astype(np.float64)
    return at if case["radius"] == "at" else np.maximum(np.nextafter(at, -np.inf), least)


def check(case: dict, with_devices, monkeypatch) -> None:
    rng = np.random.default_rng(case["seed"])
    metric, n = case["metric"], case["rows"]
    if metric == "hamming":
        database, queries = codes(case["data"], rng, n, case["queries"], case["dim"])
    else:
        database, queries = floats(
            case["data"], case["kind"], rng, n, case["queries"], case["dim"]
        )  # fmt: skip
    mask = mask_of(case["mask"], rng, n)
    radii = radii_of(case, rng, reference.topk(queries, database, max(1, n), metric)[0])
    want = reference.range_search(queries, database, radii, metric, mask)
    laid_out = read_only(LAYOUTS[case["layout"]](database))
    borders = np.sort(rng.integers(0, n + 1, case["parts"] - 1))
    segments = [read_only(LAYOUTS[case["layout"]](part)) for part in np.split(database, borders)]
    masks = None if mask is None else np.split(mask, borders)
    devices = with_devices(
        *(EmulatedDevice(capability, case["tiles"]) for capability in case["devices"])
    )
    monkeypatch.setattr(tiling, "TILING", CUTS[case["cut"]])
    how = {"metric": metric, "strategy": case["strategy"], "backend": "cuda"}
    bases: list[np.ndarray | Sketched | Resident] = [laid_out, Resident(laid_out)]
    sketches = None
    if metric != "hamming":
        sketches = sketches_for(segments, case["coverage"], rng)
        bases.append(Resident(Sketched(laid_out), vectors=False))
    live = n if mask is None else int(mask.sum())
    for base in bases:
        *found, proof = range_search(queries, base, radii, mask=mask, explain=True, **how)
        assert_same(found, want)
        assert proof.scanned + proof.sketched + proof.reduced == live * len(queries)
        if live and len(queries):
            assert proof.simd.startswith("cuda sm_")
    there = ResidentRows(
        devices, "codes" if metric == "hamming" else "floats", max(1, case["dim"]),
        segments[0].dtype == np.float16, True,
    )  # fmt: skip
    there.extend(segments[:1], [None])  # and the rest passes through
    got = range_segments(
        queries, segments, radii, masks=masks, sketches=sketches, resident=there, **how
    )[:3]  # fmt: skip
    assert_same(got, want)


FIXTURES = [HealthCheck.function_scoped_fixture]


@settings(max_examples=50, suppress_health_check=FIXTURES)
@given(CASES)
def test_equals_the_definition(with_devices, monkeypatch, case):
    check(case, with_devices, monkeypatch)


@pytest.mark.full
@settings(max_examples=1500, suppress_health_check=FIXTURES)
@given(CASES)
def test_equals_the_definition_at_length(with_devices, monkeypatch, case):
    check(case, with_devices, monkeypatch)


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((400, 40)).astype(np.float32)


@pytest.mark.parametrize("metric", DEVICE_METRICS)
def test_rounds_that_overflow_are_begun_again(metric, rows, with_devices, monkeypatch):
    """Whole rounds lie within, others nothing of: rounds shrink to what fits, and grow."""
    with_devices(EmulatedDevice())
    monkeypatch.setattr(tiling, "TILING", Tiling(device_list=32))
    rewound = []
    rewind = Lists.rewind

    def noted(lists):
        rewound.append(1)
        rewind(lists)

    monkeypatch.setattr(Lists, "rewind", noted)
    rows[100:300] = rows[0]
    some = pack_bits(rows) if metric == "hamming" else rows
    own = reference.DISTANCE[metric](some[0], some[:1])[0]
    want = reference.range_search(some[:2], some, float(own), metric)
    assert want[0][1] >= 201
    for base in (some, Resident(some)):
        got = range_search(some[:2], base, float(own), metric=metric, backend="cuda")
        assert_same(got, want)
    assert rewound


def test_little_is_computed_and_sent(rows, with_devices):
    """Of well separated rows those that sketches leave; one download of pairs, of few."""
    [device] = with_devices(EmulatedDevice())
    there = Resident(rows)
    radius = float(np.sort(reference.l2(rows[0], rows))[20])
    *got, proof = range_search(rows[:3], there, radius, metric="l2", explain=True)
    assert_same(got, reference.range_search(rows[:3], rows, radius, "l2"))
    assert proof.simd.startswith("cuda")
    assert proof.strategy == "sketch"
    assert len(got[1]) <= proof.undecided < 400
    assert "drop_listed" in device.launched


@pytest.mark.parametrize("metric", ["hamming", "ip"])
@pytest.mark.parametrize("devices", [1, 2])
def test_a_result_beyond_the_limit_is_counted_and_refused(
    metric, devices, rows, with_devices, monkeypatch
):
    with_devices(*(EmulatedDevice() for _ in range(devices)))
    monkeypatch.setattr(tiling, "TILING", Tiling(device_list=128))
    monkeypatch.setattr(ranging, "QUERIES", 2)
    some = pack_bits(rows) if metric == "hamming" else rows
    for base in (some, Resident(some)):
        with pytest.raises(ArgumentError, match=r"^2,000 pairs lie within .* limit is 1,999"):
            range_search(some[:5], base, np.inf, metric=metric, limit=1999, backend="cuda")
        got = range_search(some[:5], base, np.inf, metric=metric, limit=2000, backend="cuda")
        assert len(got[1]) == 2000


@pytest.mark.parametrize("metric", ["l1", "l2", "cosine", "ip"])
@pytest.mark.parametrize("strategy", ["scan", "sketch"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_the_first_row_that_is_not_finite_is_named(metric, strategy, value, with_devices):
    with_devices(EmulatedDevice(), EmulatedDevice())
    database = np.random.default_rng(0).standard_normal((60, 9))
    database[[20, 41], 3] = value
    how = {"metric": metric, "strategy": strategy, "backend": "cuda"}
    mask = np.ones(60, bool)
    for row in (20, 41):
        for base in (database, Resident(database)):
            with pytest.raises(ArgumentError, match=rf"^row {row} of the database holds NaN or"):
                range_search(database[:2], base, 0.0, mask=mask, **how)
        mask[row] = False
    with np.errstate(over="ignore"):
        want = reference.range_search(database[:2], database, 1.5, metric, mask)
    assert_same(range_search(database[:2], Resident(database), 1.5, mask=mask, **how), want)


def test_where_a_search_goes(rows, with_devices, monkeypatch):
    """As of `topk`: a resident database to its device, small work to the processor."""
    with_devices(EmulatedDevice())
    want = reference.range_search(rows[:2], rows, 8.0, "l2")
    for base, backend, on_device in (
        (rows, "auto", False), (rows, "cpu", False), (Resident(rows), "cpu", False),
        (Resident(rows), "auto", True), (rows, "cuda", True),
    ):  # fmt: skip
        how: Any = {"metric": "l2", "backend": backend}
        *got, proof = range_search(rows[:2], base, 8.0, explain=True, **how)
        assert_same(got, want)
        assert proof.simd.startswith("cuda") == on_device
    with pytest.raises(ArgumentError, match="backend is 'tpu'"):
        range_search(rows[:2], rows, 8.0, metric="l2", backend="tpu")  # type: ignore[call-overload]


def test_a_device_that_fails(rows, with_devices, monkeypatch):
    """The processor searches instead, with a warning, but where the device was asked for."""

    class Failing(EmulatedDevice):
        def launch(self, kernel, *arguments):
            if kernel == "drop_listed":
                raise DeviceError("The device is gone", "Nothing was searched", cuda.CURE)
            super().launch(kernel, *arguments)

    with_devices(Failing())
    there = Resident(rows)
    with pytest.warns(RuntimeWarning, match=r"The device is gone.*used the processor"):
        got = range_search(rows[:2], there, 8.0, metric="l2")
    assert_same(got, reference.range_search(rows[:2], rows, 8.0, "l2"))
    with pytest.raises(DeviceError, match="The device is gone"):
        range_search(rows[:2], there, 8.0, metric="l2", backend="cuda")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_index_on_a_device(tmp_path, with_devices, dtype):
    """All hits within a distance, of added and removed rows and by filters, as on the processor."""
    with_devices(EmulatedDevice(), EmulatedDevice())
    features = np.random.default_rng(0).standard_normal((130, 48)).astype(dtype)
    near = {"l2": 9.0, "l1": 50.0, "hamming": 20, "cosine": 0.9, "ip": -3.0}
    with Index.create(tmp_path / "index", 48, dtype=dtype, segment_rows=40) as index:
        items = [{"even": i % 2 == 0} for i in range(130)]
        index.add([f"a{i}" for i in range(70)], features[:70], items[:70])
        index.to("cuda")
        for step in range(3):
            for metric in DEVICE_METRICS:
                for where in (None, {"even": True}):
                    how: Any = {"metric": metric, "within": near[metric], "where": where}
                    found, proof = index.search(features[::20], explain=True, **how)
                    assert proof.simd.startswith("cuda")
                    expected, proof = index.search(
                        features[::20], backend="cpu", explain=True, **how
                    )
                    assert not proof.simd.startswith("cuda")
                    assert found == expected
                    assert sum(map(len, found)) > 2
            if step == 0:
                index.add([f"b{i}" for i in range(60)], features[70:], items[70:])
            elif step == 1:
                index.remove([f"a{i}" for i in range(5, 50)])
        index.compact()  # rows have other numbers now
        found = index.search(features[::20], metric="l2", within=9.0)
        assert found == index.search(features[::20], metric="l2", within=9.0, backend="cpu")
        held = [weakref.ref(rows) for rows in index._finder._residents.values()]
        assert held
    gc.collect()
    assert not any(rows() for rows in held)  # closed: the devices' memory is free
    assert index.device == "cpu"
