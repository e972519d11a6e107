"""Search on emulated CUDA devices equals the oracle, whatever the data and the cut of the work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_data import (
    COVERAGE,
    DEVICE_METRICS,
    DIFFERENCES,
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
from vsearch_fast.errors import ArgumentError
from vsearch_fast.kernels import reference
from vsearch_fast.search import pack_bits, tiling, topk, topk_segments
from vsearch_fast.search.gpu import rounds as gpu_search
from vsearch_fast.search.gpu.resident_rows import ResidentRows
from vsearch_fast.search.tiling import Tiling

CUTS = {
    "usual": Tiling(),
    "small": Tiling(device_list=64, device_rows=8, device_block_bytes=900, sketch_rows=7),
    "batches": Tiling(device_list=32, device_rows=3, device_bytes=9000, device_block_bytes=1),
    "no room for vectors": Tiling(device_list=128, device_rows=20, sketch_rows=16),
}

CASES = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(DEVICE_METRICS),
        "strategy": st.sampled_from(("auto", "sketch", "scan")),
        "data": st.sampled_from(tuple(FLOAT_DATA)),
        "kind": st.sampled_from(QUERIES),
        "layout": st.sampled_from(tuple(LAYOUTS)),
        "rows": st.integers(20, 160) | st.integers(0, 20),
        "queries": st.integers(3, 30) | st.integers(0, 3),
        "dim": st.sampled_from((8, 1, 7, 32, 33, 64, 100, 130)),
        "k": st.sampled_from((1, 2, 10, "n - 1", "n + 5")),
        "mask": st.sampled_from((None, "half", "all", None, *MASKS)),
        "coverage": st.sampled_from(COVERAGE),
        "parts": st.integers(1, 4),
        "cut": st.sampled_from(tuple(CUTS)),
        "tiles": st.sampled_from(tuple(TILES)),
        "devices": st.sampled_from(
            (((9, 0),), ((8, 0),), ((7, 5),), ((9, 0), (9, 0)), ((8, 0), (9, 0), (10, 0)))
        ),
        "seed": st.integers(0, 2**32 - 1),
    }
)


def check(case: dict, with_devices, monkeypatch) -> None:
    """One array, as it is, with a sketch and resident, and its segments: all equal the oracle."""
    rng = np.random.default_rng(case["seed"])
    metric, n = case["metric"], case["rows"]
    if metric == "hamming":
        database, queries = codes(case["data"], rng, n, case["queries"], case["dim"])
    else:
        database, queries = floats(
            case["data"], case["kind"], rng, n, case["queries"], case["dim"]
        )  # fmt: skip
    mask = mask_of(case["mask"], rng, n)
    k = {"n - 1": max(1, n - 1), "n + 5": n + 5}.get(case["k"], case["k"])
    want = reference.topk(queries, database, k, metric, mask)
    laid_out = read_only(LAYOUTS[case["layout"]](database))
    borders = np.sort(rng.integers(0, n + 1, case["parts"] - 1))
    segments = [read_only(LAYOUTS[case["layout"]](part)) for part in np.split(database, borders)]
    masks = None if mask is None else np.split(mask, borders)
    memory = 40_000 if case["cut"] == "no room for vectors" else 1 << 30
    devices = with_devices(
        *(EmulatedDevice(capability, case["tiles"], memory) for capability in case["devices"])
    )
    monkeypatch.setattr(tiling, "TILING", CUTS[case["cut"]])
    how = {"metric": metric, "strategy": case["strategy"], "backend": "cuda"}
    bases: list[np.ndarray | Sketched | Resident] = [laid_out, Resident(laid_out)]
    sketches = None
    if metric != "hamming":
        sketches = sketches_for(segments, case["coverage"], rng)
        if case["coverage"] == "all":
            made = Sketched(laid_out)
            bases += [made, Resident(made), Resident(laid_out, vectors=False)]
    for base in bases:
        *both, proof = topk(queries, base, k, mask=mask, explain=True, **how)
        assert_same(both, want)
        pairs = len(queries) * want[0].shape[1] and proof.queries * proof.rows
        assert proof.scanned + proof.sketched + proof.reduced in (pairs, 0)
        if pairs:
            assert proof.simd.startswith("cuda sm_")
            if metric != "hamming":
                assert proof.undecided >= 0
    first = [segment[: rng.integers(0, len(segment) + 1)] for segment in segments]
    there = ResidentRows(
        devices, "codes" if metric == "hamming" else "floats", max(1, case["dim"]),
        segments[0].dtype == np.float16, True,
    )  # fmt: skip
    there.extend(first[:1], [None])  # and the rest passes through
    got = topk_segments(
        queries, segments, k, masks=masks, sketches=sketches, resident=there, **how
    )[:2]  # fmt: skip
    assert_same(got, want)
    there.extend(segments, sketches or [None] * len(segments))
    got = topk_segments(
        queries, segments, k, masks=masks, sketches=sketches, resident=there, **how
    )[:2]  # fmt: skip
    assert_same(got, want)


FIXTURES = [HealthCheck.function_scoped_fixture]


@settings(max_examples=100, suppress_health_check=FIXTURES)
@given(CASES)
def test_equals_the_oracle(with_devices, monkeypatch, case):
    check(case, with_devices, monkeypatch)


@pytest.mark.full
@settings(max_examples=5000, suppress_health_check=FIXTURES)
@given(CASES)
def test_equals_the_oracle_at_length(with_devices, monkeypatch, case):
    check(case, with_devices, monkeypatch)


@pytest.mark.parametrize("metric", DEVICE_METRICS)
def test_all_features_at_full_width(metric, with_devices):
    """4096 numbers, as VGG-16 gives them."""
    rng = np.random.default_rng(2)
    rows: np.ndarray = np.maximum(rng.standard_normal((60, 4096), np.float32), 0)
    queries: np.ndarray = rows[:11] + rng.standard_normal((11, 4096), np.float32) / 8
    if metric == "hamming":
        rows, queries = pack_bits(rows - 0.2), pack_bits(queries - 0.2)
    with_devices(EmulatedDevice((9, 0)))
    want = reference.topk(queries, rows, 5, metric)
    for base in (rows, Resident(rows)):
        assert_same(topk(queries, base, 5, metric=metric, backend="cuda"), want)


# Rounds


@pytest.fixture
def rewound(monkeypatch):
    """Counts rounds that were forgotten, and lists that were decided early."""
    counted = {"again": 0, "decide": 0}
    resume, decide = gpu_search.Lists.resume, gpu_search._Batch._decide

    def counting_resume(self, due):
        counted["again"] += due < self.ended
        resume(self, due)

    def counting_decide(self, block):
        counted["decide"] += block is not None
        decide(self, block)

    monkeypatch.setattr(gpu_search.Lists, "resume", counting_resume)
    monkeypatch.setattr(gpu_search._Batch, "_decide", counting_decide)
    return counted


@pytest.mark.parametrize("metric", DEVICE_METRICS)
def test_rows_that_come_ever_nearer_overflow_lists(metric, with_devices, monkeypatch, rewound):
    """Each row is nearer than all before: every one passes the limits of its round."""
    with_devices(EmulatedDevice())
    monkeypatch.setattr(tiling, "TILING", Tiling(device_list=32, device_rows=4))
    far = np.arange(400, 0, -1, dtype=np.float32)
    rows: np.ndarray = np.zeros((400, 64), np.float32)
    rows[:, :] = far[:, None]
    queries: np.ndarray = np.zeros((3, 64), np.float32)
    if metric == "hamming":
        rows = pack_bits(np.arange(512) < far[:, None])
        queries = np.zeros((3, 64), np.uint8)
    for base in (rows, Resident(rows)):
        got = topk(queries, base, 3, metric=metric, backend="cuda")
        assert_same(got, reference.topk(queries, rows, 3, metric))
    assert rewound["again"] > 0


@pytest.mark.parametrize("metric", DEVICE_METRICS)
@pytest.mark.parametrize("vectors", [True, False])
def test_equal_rows_are_decided_in_portions(metric, vectors, with_devices, monkeypatch, rewound):
    """All distances are ties: no bound excludes any row, and the lowest ids win."""
    with_devices(EmulatedDevice())
    monkeypatch.setattr(tiling, "TILING", Tiling(device_list=32, device_rows=4))
    rows: np.ndarray = np.full((300, 40), 0.3, np.float32)
    queries: np.ndarray = np.full((2, 40), 0.7, np.float32)
    if metric == "hamming":
        rows, queries = pack_bits(rows), pack_bits(queries - 1)
    base = Resident(rows, vectors=vectors)
    got = topk(queries, base, 4, metric=metric, backend="cuda")
    assert_same(got, reference.topk(queries, rows, 4, metric))
    assert got[1].tolist() == [[0, 1, 2, 3]] * 2
    if metric != "hamming":
        assert rewound["decide"] > 0


def counted(monkeypatch, device, *names: str) -> dict[str, int]:
    """How often these of a device's functions are called from now on."""
    counts = dict.fromkeys(names, 0)

    def counting(name):
        function = getattr(device, name)

        def called(*given, **named):
            counts[name] += 1
            return function(*given, **named)

        return called

    for name in names:
        monkeypatch.setattr(device, name, counting(name))
    return counts


@pytest.mark.parametrize("metric", DEVICE_METRICS)
def test_a_search_waits_for_its_device_as_little_as_it_can(metric, with_devices, monkeypatch):
    """Rounds whose rows fit beside what is listed are not asked whether they did."""
    [device] = with_devices(EmulatedDevice())
    monkeypatch.setattr(tiling, "TILING", Tiling(device_rows=100))
    rows: np.ndarray = np.random.default_rng(0).standard_normal((2000, 64)).astype(np.float32)
    if metric == "hamming":
        rows = pack_bits(rows)
    there = Resident(rows)
    counts = counted(monkeypatch, device, "download", "free_bytes")
    got = topk(rows[:2], there, 3, metric=metric, backend="cuda")
    assert_same(got, reference.topk(rows[:2], rows, 3, metric))
    # Counts, keys and ids. Of bounds, the upper ones too, before and after the host decides what
    # is left; and whether rows are finite.
    downloads = 3 if metric == "hamming" else 4 + 1 + 4
    assert counts == {"download": downloads, "free_bytes": 0}


@pytest.mark.parametrize("metric", DEVICE_METRICS)
def test_lists_are_taken_over(metric, with_devices, monkeypatch):
    """A search like the one before it takes none of the device's memory for lists."""
    [device] = with_devices(EmulatedDevice())
    rows: np.ndarray = np.random.default_rng(0).standard_normal((50, 64)).astype(np.float32)
    if metric == "hamming":
        rows = pack_bits(rows)
    there = Resident(rows)
    for k in (5, 3):  # limits and pairs of the first must be gone
        counts = counted(monkeypatch, device, "empty")
        for part in (rows[:2], rows[7:9]):
            got = topk(part, there, k, metric=metric, backend="cuda")
            assert_same(got, reference.topk(part, rows, k, metric))
    # Queries, and what they are compared by; of products their sums of squares, too.
    uploads = {"hamming": 2, "l1": 4, "l2": 4}.get(metric, 5)
    assert counts == {"empty": 2 * uploads}
    assert len(device.spare) == 1


def test_few_lists_are_kept(with_devices):
    [device] = with_devices(EmulatedDevice())
    rows = np.random.default_rng(0).integers(0, 256, (50, 16), np.uint8)
    there = Resident(rows)
    for queries in range(1, 6):
        got = topk(rows[:queries], there, 3, metric="hamming", backend="cuda")
        assert_same(got, reference.topk(rows[:queries], rows, 3, "hamming"))
    assert [lists.queries for lists in device.spare] == [4, 5]


def test_sketches_leave_few_pairs(with_devices):
    """What they are for: of well separated rows little more than k is computed."""
    [device] = with_devices(EmulatedDevice())
    rng = np.random.default_rng(0)
    rows = (10 * rng.standard_normal((1500, 8)) @ rng.standard_normal((8, 256))).astype(np.float32)
    there = Resident(rows)
    *got, proof = topk(rows[:5], there, 3, metric="l2", backend="cuda", explain=True)
    assert_same(got, reference.topk(rows[:5], rows, 3, "l2"))
    assert proof.strategy == "sketch"
    assert 15 <= proof.undecided < 5 * 60
    assert not any("floats" in name for name in device.launched)


# Rows that are not finite


@settings(max_examples=60, suppress_health_check=FIXTURES)
@given(
    metric=st.sampled_from(DIFFERENCES),
    strategy=st.sampled_from(("auto", "sketch", "scan")),
    coverage=st.sampled_from(COVERAGE),
    bad=st.lists(st.sampled_from((np.nan, np.inf, -np.inf, 1e300)), min_size=1, max_size=5),
    kind=st.sampled_from((np.float32, np.float16, np.float64)),
    parts=st.integers(1, 3),
    devices=st.integers(1, 2),
    masked=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_first_row_that_is_not_finite_is_named(
    with_devices, monkeypatch, metric, strategy, coverage, bad, kind, parts, devices, masked, seed
):
    rng = np.random.default_rng(seed)
    database = rng.standard_normal((60, 9)).astype(kind)
    where = rng.choice(60, len(bad), replace=False)
    with np.errstate(over="ignore"):
        database[where, rng.integers(9)] = bad
    query = rng.standard_normal((4, 9)).astype(np.float32)
    borders = np.sort(rng.integers(0, 61, parts - 1))
    segments = np.split(database, borders)
    with_devices(*(EmulatedDevice() for _ in range(devices)))
    monkeypatch.setattr(tiling, "TILING", CUTS["small"])
    how = {"metric": metric, "strategy": strategy, "backend": "cuda"}
    sketches = sketches_for(segments, coverage, rng)
    mask = np.ones(60, bool)
    if masked and len(where) > 1:
        mask[np.sort(where)[0]] = False
    seen = np.sort(where[mask[where]])[0]
    number = int(np.searchsorted(borders, seen, side="right"))
    row = seen - (borders[number - 1] if number else 0)
    name = "the database" if parts == 1 else f"database segment {number}"
    with pytest.raises(ArgumentError, match=rf"^row {row} of {name} holds NaN or infinity"):
        topk_segments(query, segments, 4, masks=np.split(mask, borders), sketches=sketches, **how)
    there = Resident(database, vectors=seed % 2 == 0)
    with pytest.raises(ArgumentError, match=rf"^row {seen} of the database holds NaN"):
        topk(query, there, 4, mask=mask, **how)
    mask[where] = False
    with np.errstate(over="ignore"):
        want = reference.topk(query, database, 4, metric, mask)
    assert_same(topk(query, there, 4, mask=mask, **how), want)
    got = topk_segments(query, segments, 4, masks=np.split(mask, borders), sketches=sketches, **how)
    assert_same(got[:2], want)


# Resident rows that grow


@pytest.mark.parametrize("devices", [1, 3])
def test_resident_rows_grow_without_being_copied(with_devices, monkeypatch, devices):
    there = with_devices(*(EmulatedDevice() for _ in range(devices)))
    monkeypatch.setattr(tiling, "TILING", Tiling(sketch_rows=8, device_extent_rows=16))
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 24)).astype(np.float32)
    resident = ResidentRows(there, "floats", 24, False, True)
    firsts: list[np.ndarray] = []
    for size in (1, 2, 30, 31, 100, 300, 301, 500):
        resident.extend([rows[:size]], [None])
        assert resident.rows == resident.vectors == size
        held = [extent.arrays["rows"] for extent in resident._extents]
        assert all(a is b for a, b in zip(firsts, held, strict=False))
        firsts = held
        for metric in DIFFERENCES:
            got = topk_segments(
                rows[:7], [rows[:size]], 5, metric=metric, resident=resident, backend="auto"
            )
            assert_same(got[:2], reference.topk(rows[:7], rows[:size], 5, metric))
            assert got[2].simd.startswith("cuda")
    assert len(resident._extents) < 12
    used = {id(extent.device) for extent in resident._extents}
    assert len(used) == devices


def test_a_search_sees_as_many_rows_as_it_was_given(with_devices):
    """Though others are there already."""
    with_devices(EmulatedDevice())
    rows = np.random.default_rng(0).integers(0, 256, (50, 16), np.uint8)
    there = Resident(rows)
    for size in (1, 20, 50):
        got = topk_segments(rows[40:44], [rows[:size]], 3, metric="hamming",
                            resident=there.rows_there)  # fmt: skip
        assert_same(got[:2], reference.topk(rows[40:44], rows[:size], 3, "hamming"))


def test_the_same_mask_is_sent_once(with_devices):
    [device] = with_devices(EmulatedDevice())
    rows = np.random.default_rng(0).integers(0, 256, (50, 16), np.uint8)
    there = Resident(rows)
    sent = []
    upload = device.upload

    def remembered(host):
        sent.append(host.dtype)
        return upload(host)

    device.upload = remembered
    mask = np.arange(50) % 3 > 0
    for _ in range(3):
        topk(rows[:2], there, 3, metric="hamming", mask=mask.copy())
    topk(rows[:2], there, 3, metric="hamming", mask=~mask)
    live = [array for array in sent if array == np.uint32]
    per_search = 1  # set bits of the queries
    assert len(live) == 4 * per_search + 2


# An index on devices


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_index_on_a_device(tmp_path, with_devices, dtype):
    with_devices(EmulatedDevice(), EmulatedDevice())
    rng = np.random.default_rng(0)
    features = rng.standard_normal((130, 48)).astype(dtype)
    with Index.create(tmp_path / "index", 48, dtype=dtype, segment_rows=40) as index:
        index.add([f"a{i}" for i in range(70)], features[:70])
        assert index.to("cuda") is index
        assert index.device == "cuda"
        for step in range(3):
            for metric in DEVICE_METRICS:
                on_gpu, proof = index.search(features[::9], 6, metric, explain=True)
                assert proof.simd.startswith("cuda")
                on_cpu, proof = index.search(features[::9], 6, metric, backend="cpu", explain=True)
                assert not proof.simd.startswith("cuda")
                assert on_gpu == on_cpu
            if step == 0:
                index.add([f"b{i}" for i in range(60)], features[70:])
            elif step == 1:
                index.remove([f"a{i}" for i in range(5, 50)])
        index.to("cpu")
        assert index.device == "cpu"
        assert not index.search(features[0], explain=True)[1].simd.startswith("cuda")
        with pytest.raises(ArgumentError, match="device is 'tpu'"):
            index.to("tpu")
        where = {"shape": ["round"]}
        index.add(["c"], features[:1], [{"shape": "round"}])
        index.to("cuda")
        [hits] = index.search(features[1], 3, where=where)
        assert [hit.id for hit in hits] == ["c"]


def test_the_guides_python_for_gpus_runs(tmp_path, monkeypatch, with_devices):
    [device] = with_devices(EmulatedDevice())
    guide = Path(__file__).resolve().parents[2] / "docs" / "guides" / "gpu.md"
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    code = next(block for block in blocks if "cuda" in block)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (30, 8), np.uint8)
    monkeypatch.chdir(tmp_path)
    with Index.create("photos.index", 8) as index:
        index.add(["a", "b"], rng.random((2, 8)))
    given: dict[str, Any] = {"query": rng.random(8), "codes": codes, "queries": codes[:2]}
    exec(code, given)
    assert any(name.startswith("l2_sketches") for name in device.launched)
    assert given["index"].device == "cpu"  # closed: what it took of the device is free
    assert {hit.id for hit in given["hits"][0]} == {"a", "b"}
    assert_same(
        (given["distances"], given["rows"]), reference.topk(codes[:2], codes, 10, "hamming")
    )
