"""Each CUDA kernel by itself, emulated with small tiles, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from contract_data import FLOAT_DATA, FLOAT_METRICS
from device_scans import CAPABILITIES, SCANS, UNLIKE
from emulated import REAL_TILES, TILES, EmulatedDevice
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast.kernels import layout, reference, sketch
from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.cuda.device import Shape
from vsearch_fast.search import tiling
from vsearch_fast.search.gpu import scans
from vsearch_fast.search.gpu.blocks import Block, Vectors, padded
from vsearch_fast.search.gpu.lists import NO_LIMIT, Lists
from vsearch_fast.search.gpu.products import (
    PRODUCTS,
    Products,
    distances_of,
    facts_of,
    keys_of,
    squares_of,
    squares_there,
    terms_of,
    totals_of,
)
from vsearch_fast.search.gpu.resident_rows import count_bits
from vsearch_fast.search.gpu.scans import Compared, kernels_for, scan
from vsearch_fast.search.sketches import build
from vsearch_fast.search.tiling import Tiling


def test_every_kernel_of_a_device_is_known():
    for capability in CAPABILITIES:
        for unit in sources.UNITS:
            for name in sources.kernels_of(unit, capability):
                assert sources.unit_of(name) == unit


def as_rows(array: np.ndarray) -> np.ndarray:
    """Rows as they lie on a device: bytes, padded with zeros."""
    size = array.shape[1] * array.itemsize
    rows = np.zeros((len(array), padded(size)), np.uint8)
    rows[:, :size] = np.ascontiguousarray(array).view(np.uint8)
    return rows


def listed(lists: Lists) -> list[list[tuple[int, int, int]]]:
    """(key, upper, id) of each query, sorted."""
    counts, keys, uppers, ids = lists.listed()
    return [
        sorted(zip(keys[q, :n].tolist(), uppers[q, :n].tolist(), ids[q, :n].tolist(), strict=True))
        for q, n in enumerate(counts)
    ]


@st.composite
def cases(draw):
    return {
        "tiles": draw(st.sampled_from(sorted(TILES))),
        "dim": draw(st.sampled_from([1, 16, 33, 64, 100, 130, 300, 512, 900])),
        "rows": draw(st.integers(1, 70)),
        "queries": draw(st.integers(1, 40)),
        "live": draw(st.booleans()),
        "start": draw(st.integers(0, 20)),
        "data": draw(st.sampled_from(sorted(FLOAT_DATA))),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


@pytest.mark.parametrize("scanned", UNLIKE)
@settings(max_examples=25)
@given(cases())
def test_a_scan_lists_what_may_be_near(scanned, case):
    capability, kernel = scanned
    check_scan(capability, kernel, case)


@pytest.mark.parametrize("data", ["small", "denormal", "huge", "all magnitudes", "offset"])
@pytest.mark.parametrize("scanned", [s for s in SCANS if s[0] == (7, 5) and s[1][0] in "ld"])
def test_a_scan_of_extreme_numbers(scanned, data):
    """Flushed, overflowing and cancelling, which random data seldom is."""
    capability, kernel = scanned
    for seed in range(8):
        case = {"tiles": "small", "dim": 16, "rows": 60, "queries": 8, "live": False, "start": 0}
        check_scan(capability, kernel, case | {"data": data, "seed": seed})


@pytest.mark.parametrize("kernel", ["l1_floats_tile", "l1_floats_stream_1", "l2_floats_tile"])
def test_a_flushed_row_that_seems_far_stays(kernel):
    """Numbers on either side of the smallest normal one: flushing takes the row for zeros."""
    query, row = np.full((1, 16), 1.2e-38, np.float32), np.full((1, 16), 1.1e-38, np.float32)
    metric = kernel[:2]
    true = reference.DISTANCE[metric](query[0], row)
    device = EmulatedDevice()
    lists = Lists(device, 1, 1, 32, bounded=True)
    device.write(lists.limits, true.view(np.uint64))
    unit, lost = 32 * 2.0**-24, 16 * 2.0**-124
    there, asked = (Compared(device.upload(as_rows(array))) for array in (row, query))
    scan(
        device, f"{metric}_floats", asked, there, None, 0, 1, 0, lists, unit,
        layout.rounding(16), lost, kernel,
    )  # fmt: skip
    [[(lower, upper, _)]] = listed(lists)
    lower, upper = np.array([lower, upper], np.uint64).view(np.float64)
    assert lower <= true[0] <= upper


def check_scan(capability: tuple[int, int], kernel: str, case: dict) -> None:
    """Exactly the Hamming distances below the limit; of bounds, at least those that must stay,
    and the defined distance lies between them."""
    rng = np.random.default_rng(case["seed"])
    device = EmulatedDevice(capability, case["tiles"])
    family = next(family for family in sources.SCANS if kernel.startswith(family))
    metric = family.split("_")[0]
    if metric == "dot":
        metric = PRODUCTS[case["seed"] % 2]
    rows, queries, dim = case["rows"], case["queries"], case["dim"]
    live = np.flatnonzero(rng.random(rows) < 0.7).astype(np.uint32) if case["live"] else None
    numbers = np.arange(rows) if live is None else live
    first = min(case["start"], len(numbers))
    positions = numbers[first:]
    if len(positions) == 0:
        return
    base = 1000
    with np.errstate(over="ignore", invalid="ignore"):
        if metric == "hamming":
            both = rng.integers(0, 256, (rows + queries, dim), np.uint8)
        else:
            both = FLOAT_DATA[case["data"]](rng, (rows + queries, dim)).astype(np.float32)
            both[-1] = both[0] * rng.integers(2)  # a query alike, or of zeros
        if case["data"] == "any float16" and metric != "hamming":
            both[~np.isfinite(both)] = 0
        database, query = both[:rows], np.ascontiguousarray(both[rows:])
        true = np.array([reference.DISTANCE[metric](q, database) for q in query])
    limits = np.sort(true[:, positions], axis=1)[:, len(positions) // 2].astype(np.float64)
    limits[::3] = np.inf
    capacity = 128
    lists = Lists(device, queries, 1, capacity, metric != "hamming", metric)
    keys = keys_of(limits, metric)
    if metric == "hamming":
        keys = np.where(np.isinf(limits), NO_LIMIT, np.nan_to_num(limits, posinf=0)).astype(
            np.uint64
        )
    device.write(lists.limits, keys)
    stored = as_rows(database)
    there, asked = Compared(device.upload(stored)), Compared(device.upload(as_rows(query)))
    gamma, scale, lost, lo = layout.rounding(dim), 0.0, dim * 2.0**-124, 0.0
    if metric == "hamming":
        there.sums = count_bits(device, there.rows)
        asked.sums = count_bits(device, asked.rows)
    elif family.endswith("floats"):
        unit = (dim + 16) * 2.0**-24
        scale = unit * (1 + 2 * unit)
        if metric in PRODUCTS:
            asked.errors = device.upload(squares_of(query))
            there.errors, there.bounds = squares_there(device, there.rows, dim)
    else:
        made = build(database, 1)
        run, column = made.runs[0], layout.E1 if metric == "l1" else layout.E2
        lo = run.lo
        scale = run.step
        data = np.empty((queries, layout.width_of(dim)), np.uint8)
        facts = np.empty((queries, layout.FACTS))
        at, stride = query.ctypes.data, query.strides[0]
        sketch.sketch_rows(at, stride, dim, run.lo, run.step, data, facts)
        for compared, some, own in ((there, made.bytes, made.facts), (asked, data, facts)):
            compared.rows = device.upload(np.ascontiguousarray(some))
            compared.errors = device.upload(own[:, column].copy())
            compared.sums = device.upload(own[:, layout.SQUARES].astype(np.uint32))
        if metric in PRODUCTS:
            terms = terms_of(facts, squares_of(query), (run.lo, run.step), dim, metric)
            asked.errors = device.upload(terms)
            there.totals = device.upload(totals_of(made.facts))
            there.bounds = facts_of(device, there.errors, there.totals, there.sums, [run], dim)
    if kernel.endswith("resident") and there.rows.shape[1] > 512:
        return
    scan(
        device, family, asked, there, None if live is None else device.upload(live), first,
        len(numbers), base, lists, scale, gamma, lost, kernel,
        Products(lo, dim, metric == "cosine"),
    )  # fmt: skip
    assert not lists.state().overflowed
    for q, found in enumerate(listed(lists)):
        if metric == "hamming":
            want = [(int(true[q, r]), int(r)) for r in positions if true[q, r] < limits[q]]
            assert [(key, i - base) for key, _, i in found] == sorted(want)
            continue
        bounds = {
            i - base: distances_of(np.array([key, up], np.uint64), metric) for key, up, i in found
        }
        assert len(bounds) == len(found)
        must = {int(r) for r in positions if true[q, r] <= limits[q]}
        assert must <= set(bounds) <= {int(r) for r in positions}
        for row, (lower, upper) in bounds.items():
            assert lower <= true[q, row] <= upper


def test_a_list_holds_no_more_than_its_room():
    """All pairs are counted, and none is written to another query's list, or beyond the last."""
    rng = np.random.default_rng(5)
    rows, queries = (rng.integers(0, 256, (count, 16), np.uint8) for count in (70, 3))
    device = EmulatedDevice()
    lists = Lists(device, 3, 1, 32, bounded=False)
    there, asked = Compared(device.upload(rows)), Compared(device.upload(queries))
    scan(device, "hamming", asked, there, None, 0, 70, 0, lists, 0.0, 0.0, 0.0, "hamming_tile")
    state = lists.state()
    assert state.overflowed
    assert state.longest == 70
    assert device.download(lists.counts).tolist() == [70] * 3
    keys, ids = device.download(lists.keys), device.download(lists.ids)
    for q, query in enumerate(queries):
        assert len(set(ids[q].tolist())) == 32
        assert keys[q].tolist() == reference.DISTANCE["hamming"](query, rows[ids[q]]).tolist()


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_kernels_are_chosen_by_what_they_need(capability):
    for family in sources.SCANS:
        for queries in (1, 2, 3, 8, 9, 33, 500):
            for width in (16, 512, 528, 4096):
                passes = list(kernels_for(family, capability, queries, width, 1 << 16))
                assert sum(count for _, count in passes) == queries
                for name, count in passes:
                    assert name in sources.scans_for(family, capability)
                    assert "resident" not in name or width <= 512
                    if "stream" in name:
                        assert count <= int(name.rsplit("_", 1)[1])
    [(name, _)] = kernels_for("hamming", (9, 0), 4096, 512, 1 << 16)
    assert name == "hamming_pipelined_warpgroup_resident"
    avoided = {name, "hamming_multicast_warpgroup", "hamming_pipelined_warpgroup"}
    [(name, _)] = kernels_for("hamming", (9, 0), 4096, 512, 1 << 16, avoided)
    assert name == "hamming_warpgroup_resident"
    for family in ("hamming", "l2_sketches"):
        chain: list[str] = []  # of longer rows, as one after the other is found to be wrong
        while not chain or chain[-1] in sources.SIMPLER:
            chain += [name for name, _ in kernels_for(family, (9, 0), 999, 4096, 1 << 16, {*chain})]
        structures = ("_multicast", "_pipelined", "")
        assert chain == [f"{family}{structure}_warpgroup" for structure in structures]
    # Where tests set the pace, clusters gain nothing.
    [(name, _)] = kernels_for("l2_sketches", (9, 0), 999, 256, 1 << 16)
    assert name == "l2_sketches_pipelined_warpgroup"
    [(name, _)] = kernels_for("hamming", (8, 0), 4096, 512, 1 << 16)
    assert name == "hamming_warp"
    [(name, _)] = kernels_for("hamming", (10, 0), 4096, 512, 1 << 16)
    assert name == "hamming_tile"
    [(name, _)] = kernels_for("hamming", (9, 0), 1, 512, 1 << 16)
    assert name == "hamming_stream_1"
    passes = list(kernels_for("l1_floats", (9, 0), 3, 200_000, 227 << 10))
    assert passes == [("l1_floats_stream_1", 1)] * 3
    assert list(kernels_for("l1_floats", (9, 0), 3, 300_000, 227 << 10)) == [("l1_floats_tile", 3)]


@pytest.mark.parametrize("places", [1, 132, 264, 216])
def test_blocks_that_take_many_tiles_fill_whole_waves(places):
    for across in (1, 3, 16, 300):
        for tiles in (1, 7, 132, 133, 1000, 8000, 100_000):
            height = scans._height(across, tiles, places)
            assert 1 <= height <= tiles
            waves, turns = -(-across * height // places), -(-tiles // height)
            assert waves <= max(scans._WAVES, -(-across // places))
            busy = across * tiles / (places * waves * turns)
            # Where there is much to do, little waits: a wave is full, and so is its last turn. Not
            # where tiles of queries alone are more than a wave, which no batch has.
            if tiles >= 8000 and across <= max(1, places // 4):
                assert busy > 0.9, (across, tiles, height)


def test_streams_fill_whole_waves():
    """Of two blocks as of three that a processor holds at a time."""
    shape = Shape(256, 1, 32, 0, 1, 2)
    for resident in (2, 3):
        blocks, _ = scans._grid("hamming_stream_1", shape, 1, 10**7, 132, 227 << 10)
        assert blocks % (132 * resident) == 0


#: Bytes of shared memory that a block may have (CUDA C++ Programming Guide, compute capabilities).
#: One of each set of kernels, the tightest.
SHARED = {(7, 5): 64, (8, 9): 99, (9, 0): 227}


@pytest.mark.parametrize("capability", SHARED)
def test_tiles_fit_into_a_devices_shared_memory(capability):
    device = EmulatedDevice(capability, REAL_TILES)
    for family in sources.SCANS:
        for name in sources.scans_for(family, capability):
            shape = device.shape_of(name)
            assert shape.shared_bytes(512) <= SHARED[capability] << 10
            assert shape.threads <= 1024
    for name in ("lower_limits", "drop_listed", "keep_nearest"):
        assert device.shape_of(name).shared_bytes(2048) <= 48 << 10


# Selection


@st.composite
def selections(draw):
    count = draw(st.integers(0, 300))
    return {
        "tiles": draw(st.sampled_from(sorted(TILES))),
        "counts": [count, draw(st.integers(0, 300)), 0],
        "k": draw(st.sampled_from([1, 2, 7, 31, 32, 33, 64, 150, 256])),
        "values": draw(st.sampled_from([1, 3, 50, 2**31, 2**63])),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


def filled(case, bounded: bool) -> tuple[Lists, list[list[tuple[int, int, int]]]]:
    rng = np.random.default_rng(case["seed"])
    device = EmulatedDevice((9, 0), case["tiles"])
    lists = Lists(device, len(case["counts"]), case["k"], 512, bounded)
    top = case["values"] if bounded else min(case["values"], 2**31)
    shape = lists.keys.shape
    device.write(lists.keys, rng.integers(0, top, shape, np.uint64))
    device.write(lists.ids, rng.permuted(np.tile(np.arange(512, dtype=np.uint32), (3, 1)), axis=1))
    if lists.uppers is not None:
        keys = device.download(lists.keys)
        device.write(lists.uppers, keys + rng.integers(0, 9, shape, np.uint64))
    device.write(lists.counts, np.array(case["counts"], np.uint32))
    return lists, listed(lists)


@settings(max_examples=150)
@given(selections(), st.booleans())
def test_keep_nearest(case, bounded):
    lists, before = filled(case, bounded)
    lists.keep_nearest()
    counts, keys, _, ids = lists.listed()
    limits = lists.device.download(lists.limits)
    for q, pairs in enumerate(before):
        want = sorted((key, i) for key, _, i in pairs)[: case["k"]]
        found = list(zip(keys[q, : counts[q]].tolist(), ids[q, : counts[q]].tolist(), strict=True))
        assert found == want
        full = len(want) == case["k"] and want[-1][0] < NO_LIMIT
        assert limits[q] == (want[-1][0] if full else NO_LIMIT)


@settings(max_examples=100)
@given(selections())
def test_limits_are_the_kth_upper_bounds_and_drop_the_rest(case):
    lists, before = filled(case, bounded=True)
    given = [case["values"] // 2, NO_LIMIT, 0]  # as other rows have left them: they never rise
    lists.device.write(lists.limits, np.array(given, np.uint64))
    lists.lower_limits()
    after = listed(lists)
    limits = lists.device.download(lists.limits)
    for q, pairs in enumerate(before):
        uppers = sorted(upper for _, upper, _ in pairs)
        limit = min(given[q], uppers[case["k"] - 1]) if len(uppers) >= case["k"] else given[q]
        assert limits[q] == limit
        assert after[q] == [pair for pair in pairs if pair[0] <= limit]


@settings(max_examples=50)
@given(selections())
def test_the_most_promising_have_the_lowest_bounds(case):
    lists, before = filled(case, bounded=True)
    lists.promise()
    most = lists.device.download(lists.most)
    for q, pairs in enumerate(before):
        keys = sorted(key for key, _, _ in pairs)
        assert most[q] == (keys[case["k"] - 1] if len(keys) > case["k"] else 2**64 - 1)


def test_dropping_keeps_the_order():
    lists, _ = filled(
        {"tiles": "odd", "counts": [200, 5, 0], "k": 9, "values": 50, "seed": 3}, True
    )
    before = lists.listed()
    lists.lower_limits()
    counts, _, _, ids = lists.listed()
    limit = lists.device.download(lists.limits)[0]
    assert ids[0, : counts[0]].tolist() == before[3][0, :200][before[1][0, :200] <= limit].tolist()


def test_a_k_above_what_is_sorted_in_shared_memory(monkeypatch):
    monkeypatch.setattr(tiling, "TILING", Tiling(device_sorted=16))
    for k in (16, 17, 100):
        case = {"tiles": "small", "counts": [300, 90, 12], "k": k, "values": 40, "seed": k}
        lists, before = filled(case, bounded=False)
        lists.keep_nearest()
        counts, keys, _, ids = lists.listed()
        for q, pairs in enumerate(before):
            want = sorted((key, i) for key, _, i in pairs)[:k]
            n = int(counts[q])
            assert list(zip(keys[q, :n].tolist(), ids[q, :n].tolist(), strict=True)) == want


def test_what_came_since_keep_is_forgotten():
    lists, before = filled(
        {"tiles": "small", "counts": [9, 4, 0], "k": 2, "values": 9, "seed": 1}, True
    )
    lists.keep()
    lists.device.fill(lists.counts, 600)
    state = lists.state()
    assert state.overflowed
    assert state.longest == 600
    lists.rewind()
    state = lists.state()
    assert not state.overflowed
    assert state.longest == 9
    assert listed(lists) == before


# Refinement


@settings(max_examples=150)
@given(
    st.sampled_from(sorted(FLOAT_DATA)), st.sampled_from([1, 31, 32, 33, 64, 100, 257]),
    st.booleans(), st.sampled_from(FLOAT_METRICS), st.sampled_from(sorted(TILES)),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_refining_gives_the_defined_distance(data, dim, halves, metric, tiles, seed):
    """To the bit, subnormal numbers too, of just the pairs that are asked for."""
    rng = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        rows = FLOAT_DATA[data](rng, (20, dim)).astype(np.float16 if halves else np.float32)
        queries = FLOAT_DATA[data](rng, (5, dim)).astype(np.float32)
    bad = ~np.isfinite(rows).all(axis=1)
    device = EmulatedDevice((8, 0), tiles)
    lists = Lists(device, 5, 1, 32, True, metric)
    ids = rng.permuted(np.tile(np.arange(32, dtype=np.uint32), (5, 1)), axis=1)
    keys = rng.integers(0, 100, (5, 32), np.uint64)
    uppers = keys + rng.integers(0, 2, (5, 32), np.uint64)
    assert lists.uppers is not None
    for array, host in ((lists.keys, keys), (lists.uppers, uppers), (lists.ids, ids)):
        device.write(array, host)
    device.write(lists.counts, np.full(5, 25, np.uint32))
    device.write(lists.most, np.array([50, 100, 0, 99, 30], np.uint64))
    block = Block("l2_floats", None, 10, 15, vectors=Vectors(device.upload(as_rows(rows)), halves))
    squares = device.upload(squares_of(queries))
    lists.refine(device.upload(as_rows(queries)), block, metric, dim, squares)
    most = [50, 100, 0, 99, 30]
    _, found, found_uppers, _ = lists.listed()
    refined, seen_bad = 0, []
    with np.errstate(over="ignore", invalid="ignore"):
        true = np.array([reference.DISTANCE[metric](q, rows) for q in queries])
    for q in range(5):
        for i in range(25):
            row = int(ids[q, i]) - 10
            if 0 <= row < 15 and keys[q, i] <= most[q] and keys[q, i] != uppers[q, i]:
                refined += 1
                if bad[row]:
                    seen_bad.append(row + 10)
                    continue
                assert (
                    found[q, i] == found_uppers[q, i] == keys_of(true[q, row : row + 1], metric)[0]
                )
            else:
                assert (found[q, i], found_uppers[q, i]) == (keys[q, i], uppers[q, i])
    state = lists.state()
    assert state.refined == refined
    assert state.bad == (min(seen_bad) if seen_bad else None)


@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("asked", [0, 1])  # zeros have no direction
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refining_finds_rows_that_are_not_finite(value, asked, metric):
    rows = np.ones((6, 40), np.float32)
    rows[3, 39] = rows[5, 0] = value
    query = np.full((1, 40), asked, np.float32)
    device = EmulatedDevice()
    lists = Lists(device, 1, 1, 8, True, metric)
    device.write(lists.keys, np.zeros((1, 8), np.uint64))
    assert lists.uppers is not None
    device.write(lists.uppers, np.ones((1, 8), np.uint64))
    device.write(lists.ids, np.array([[5, 4, 3, 2, 1, 0, 9, 9]], np.uint32))
    device.write(lists.counts, np.array([6], np.uint32))
    lists.promise_all()
    block = Block("l1_floats", None, 0, 6, vectors=Vectors(device.upload(as_rows(rows)), False))
    squares = device.upload(squares_of(query))
    lists.refine(device.upload(as_rows(query)), block, metric, 40, squares)
    assert lists.state().bad == 3


def test_bits_are_counted():
    rng = np.random.default_rng(0)
    for width in (16, 512, 528, 1600):
        for count in (1, 5, 33):
            rows = rng.integers(0, 256, (count, width), np.uint8)
            device = EmulatedDevice()
            sums = device.download(count_bits(device, device.upload(rows)))
            assert sums.tolist() == np.bitwise_count(rows).sum(axis=1).tolist()
