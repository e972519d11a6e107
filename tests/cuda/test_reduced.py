"""Reduced rows on emulated devices: the kernel against NumPy, searches against the oracle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from contract_data import (
    FLOAT_DATA,
    MASKS,
    QUERIES,
    assert_adds_up,
    assert_same,
    floats,
    mask_of,
)
from emulated import TILES, EmulatedDevice
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reduced_data import BOTH, SHAPES, cut, near_a_plane

from vsearch_fast import Resident, Sketched
from vsearch_fast.kernels import coarse, layout, reduced_scan, reference, sketch
from vsearch_fast.search import learning, tiling, topk, topk_segments
from vsearch_fast.search.gpu.blocks import ReducedPart
from vsearch_fast.search.gpu.lists import Lists
from vsearch_fast.search.gpu.reduced import Asked, scan_reduced, usable
from vsearch_fast.search.gpu.resident_rows import ResidentRows
from vsearch_fast.search.gpu.scans import Compared
from vsearch_fast.search.reductions import ReducedQueries, Reduction
from vsearch_fast.search.sketches import Sketch, build

FIXTURES = [HealthCheck.function_scoped_fixture]
PAGE = layout.PAGE

# The kernel


@st.composite
def scanned(draw):
    return {
        "metric": draw(st.sampled_from(BOTH)),
        "tiles": draw(st.sampled_from(sorted(TILES))),
        "shapes": draw(st.sampled_from(sorted(SHAPES))),
        "dim": draw(st.sampled_from([1, 33, 64, 130, 300])),
        "pages": draw(st.integers(1, 7)),
        "before": draw(st.integers(0, 20)),
        "queries": draw(st.integers(1, 11)),
        "live": draw(st.booleans()),
        "start": draw(st.integers(0, 20)),
        "data": draw(st.sampled_from(("a plane", *sorted(FLOAT_DATA)))),
        "rank": draw(st.sampled_from((0, 3, 10))),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


def flushed(values: np.ndarray) -> np.ndarray:
    """float32 as a device has them: without what is subnormal."""
    values = values.astype(np.float32)
    return np.where(np.abs(values) < np.finfo(np.float32).tiny, np.float32(0), values)


def stays(
    reduction: Reduction, asked: ReducedQueries, bytes_: np.ndarray, facts: np.ndarray,
    limits: np.ndarray, growth: float, fine: bool,
) -> np.ndarray:  # fmt: skip
    """Which pairs (query, row) the test of a plane leaves, by its definition in NumPy."""
    plane = reduction.fine if fine else reduction.coarse
    wide: Any = np.float64 if fine else flushed
    v = asked.numbers[:, : bytes_.shape[1]].astype(np.int64)[:, None]
    u = bytes_.astype(np.int64)[None]
    slack, grown = 1.0 - reduced_scan.SLACK, limits * growth + asked.errors
    with np.errstate(all="ignore"):
        if reduction.shape.metric == "l2":
            scale = wide(np.float64(plane.step**2 / coarse.FINER))
            near = wide(wide((u * v).sum(axis=2)) * scale)
            weight, residual, error = (wide(facts[:, i])[None] for i in range(3))
            across = wide(wide(asked.residuals)[:, None] * residual)
            both = wide(wide(wide(asked.weights)[:, None] + weight) * wide(np.float64(slack)))
            near = wide(both - wide(wide(near + near) + wide(across + across)))
        else:
            apart = (np.abs(u - v) * plane.scales.astype(np.int64)).sum(axis=2)
            near = wide(wide(apart) * wide(np.float64(plane.step * (1 - 2.0**-20))))
            error = wide(facts[:, 0])[None]
        if fine:
            reach = (grown[:, None] + error) * reduced_scan.REACH
        else:
            exact = grown * reduced_scan.REACH
            up = exact.astype(np.float32)
            up = np.where(up < exact, np.nextafter(up, np.float32(np.inf)), up)
            reach = wide(up[:, None] + error)
        if reduction.shape.metric == "l2":
            reach = wide(reach * reach)
        return ~(near > reach)


def unpacked(reduction: Reduction, pages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and facts of coarse rows, one behind the other."""
    numbers = reduction.shape.coarse
    pages = pages.reshape(len(pages) // PAGE, -1)
    pairs = pages[:, : PAGE * numbers].reshape(len(pages), numbers // 2, PAGE, 2)
    facts = np.ascontiguousarray(pages[:, PAGE * numbers :]).view(np.float32)
    facts = facts.reshape(len(pages), -1, PAGE).transpose(0, 2, 1)
    return pairs.transpose(0, 2, 1, 3).reshape(-1, numbers), facts.reshape(len(facts) * PAGE, -1)


@settings(max_examples=60, suppress_health_check=FIXTURES)
@given(scanned())
def test_the_kernel_leaves_what_its_definition_leaves(monkeypatch, case):
    """Counted, pair by pair; and it lists all pairs within the limit, between their bounds."""
    monkeypatch.setattr(tiling, "TILING", cut(case["shapes"]))
    rng = np.random.default_rng(case["seed"])
    metric, dim, count = case["metric"], case["dim"], case["queries"]
    rows, before = PAGE * case["pages"], case["before"]
    if case["data"] == "a plane":
        both = near_a_plane(rng, before + rows + count, dim)
    else:
        both = FLOAT_DATA[case["data"]](rng, (before + rows + count, dim)).astype(np.float32)
    database, queries = both[: before + rows], np.ascontiguousarray(both[before + rows :])
    reduction = learning.learn(database, metric)
    if reduction is None or not usable(reduction):
        return
    device = EmulatedDevice((9, 0), case["tiles"])
    live = np.flatnonzero(rng.random(before + rows) < 0.7).astype(np.uint32)
    if not case["live"]:
        live = np.arange(before + rows, dtype=np.uint32)
    first = int(np.searchsorted(live, before)) + case["start"]
    seen = live[first:].astype(np.int64)
    if len(seen) == 0:
        return
    true = np.array([reference.DISTANCE[metric](q, database) for q in queries])
    limits = np.sort(true[:, seen], axis=1)[:, min(case["rank"], len(seen) - 1)]
    if case["seed"] % 3 == 0:
        limits[0] = np.inf
    lists = Lists(device, count, 1, 256, bounded=True)
    device.write(lists.limits, limits.view(np.uint64))

    sketched = build(database, 1)
    run, column = sketched.runs[0], layout.E2 if metric == "l2" else layout.E1
    runs = [r for r in sketched.runs if (r.lo, r.step) != (run.lo, run.step)]
    data = np.empty((count, layout.width_of(dim)), np.uint8)
    facts = np.empty((count, layout.FACTS))
    sketch.sketch_rows(queries.ctypes.data, queries.strides[0], dim, run.lo, run.step, data, facts)
    there_bytes, there_facts = sketched.bytes, sketched.facts
    if runs:  # all rows by one pair of parameters: pieces of runs are another's business
        there_bytes, there_facts = np.empty_like(there_bytes), np.empty_like(there_facts)
        sketch.sketch_rows(
            database.ctypes.data, database.strides[0], dim, run.lo, run.step, there_bytes,
            there_facts,
        )  # fmt: skip
    there, asked = (
        Compared(
            device.upload(np.ascontiguousarray(some)), device.upload(own[:, column].copy()),
            device.upload(own[:, layout.SQUARES].astype(np.uint32)),
        )
        for some, own in ((there_bytes, there_facts), (data, facts))
    )  # fmt: skip
    pages, fine = reduction.reduce(database[before:])
    gamma = layout.rounding(dim)
    part = ReducedPart(
        reduction, before, before + rows, device.upload(pages),
        device.upload(fine) if fine.shape[1] else None,
    )  # fmt: skip
    reduced = Asked.of(device, reduction, queries, gamma)
    scan_reduced(
        device, f"{metric}_reduced", asked, there, device.upload(live) if case["live"] else None,
        first if case["live"] else int(seen[0]), len(live), 1000, lists, run.step, gamma, part,
        reduced,
    )  # fmt: skip

    planes = reduction.queries(queries, count)
    left = stays(reduction, planes[0], *unpacked(reduction, pages), limits, reduced.growth, False)
    left = left[:, seen - before]
    counted = [int(left.sum())]
    if reduction.shape.fine:
        numbers = fine[:, : reduction.shape.fine]
        own = np.ascontiguousarray(fine[:, reduction.shape.fine :]).view(np.float32)
        own = own[:, :3] if metric == "l2" else own[:, 2:3]
        finer = stays(reduction, planes[1], numbers, own, limits, reduced.growth, True)
        left = left & finer[:, seen - before]
    counted.append(int(left.sum()))
    assert list(lists.state().left) == counted
    assert lists.state().left == (0, 0)
    counts, keys, uppers, ids = lists.listed()
    for q in range(count):
        found = ids[q, : counts[q]].astype(np.int64) - 1000
        lower, upper = (bits[q, : counts[q]].view(np.float64) for bits in (keys, uppers))
        assert len(set(found.tolist())) == len(found)
        assert set(found.tolist()) <= set(seen[left[q]].tolist())
        assert set(seen[true[q, seen] <= limits[q]].tolist()) <= set(found.tolist())
        assert (lower <= true[q, found]).all()
        assert (true[q, found] <= upper).all()


# Searches

CASES = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(BOTH),
        "data": st.sampled_from(("a plane", *FLOAT_DATA)),
        "kind": st.sampled_from(QUERIES),
        "shapes": st.sampled_from(tuple(SHAPES)),
        "rows": st.integers(16, 160),
        "queries": st.integers(1, 12),
        "dim": st.sampled_from((8, 1, 33, 64, 130)),
        "k": st.sampled_from((1, 3, 10, 40, "n - 1", "n + 5")),
        "mask": st.sampled_from((None, *MASKS)),
        "list": st.sampled_from((16, 64, 16384)),
        "first": st.sampled_from((1, 8, 30)),
        "tiles": st.sampled_from(tuple(TILES)),
        "vectors": st.booleans(),
        "devices": st.sampled_from((((9, 0),), ((7, 5),), ((8, 0), (10, 0)))),
        "flat": st.booleans(),
        "seed": st.integers(0, 2**32 - 1),
    }
)


def check(case: dict, with_devices, monkeypatch) -> None:
    """A resident array, reduced here or by its sketch, equals the oracle, and its proof adds up."""
    rng = np.random.default_rng(case["seed"])
    n, metric = case["rows"], case["metric"]
    if case["data"] == "a plane":
        both = near_a_plane(rng, n + case["queries"], case["dim"])
        database, queries = both[:n], both[n:]
    else:
        database, queries = floats(
            case["data"], case["kind"], rng, n, case["queries"], case["dim"]
        )  # fmt: skip
    mask = mask_of(case["mask"], rng, n)
    k = {"n - 1": max(1, n - 1), "n + 5": n + 5}.get(case["k"], case["k"])
    want = reference.topk(queries, database, k, metric, mask)
    devices = with_devices(*(EmulatedDevice(one, case["tiles"]) for one in case["devices"]))
    sizes: dict[str, Any] = {"device_list": case["list"], "device_rows": case["first"]}
    if case["flat"]:
        sizes["reduced_left"] = 0.3
    monkeypatch.setattr(tiling, "TILING", cut(case["shapes"], **sizes))
    how = {"metric": metric, "backend": "cuda", "mask": mask, "explain": True}
    live = n if mask is None else int(mask.sum())
    for base in (
        Resident(database, vectors=case["vectors"]),
        Resident(Sketched(database), vectors=case["vectors"]),
    ):
        *got, proof = topk(queries, base, k, **how)
        assert_same(got, want)
        if live:
            assert proof.simd.startswith("cuda sm_")
            assert_adds_up(proof, metric, "auto", len(queries), live, k, proof.simd)
            assert proof.scanned == 0
            ran = any(f"{metric}_reduced" in device.launched for device in devices)
            assert ran or not proof.reduced


@settings(max_examples=80, suppress_health_check=FIXTURES)
@given(CASES)
def test_equals_the_oracle(with_devices, monkeypatch, case):
    check(case, with_devices, monkeypatch)


@pytest.mark.full
@settings(max_examples=3000, suppress_health_check=FIXTURES)
@given(CASES)
def test_equals_the_oracle_at_length(with_devices, monkeypatch, case):
    check(case, with_devices, monkeypatch)


@pytest.mark.parametrize("metric", BOTH)
def test_reductions_exclude_most(metric, with_devices, monkeypatch):
    """What they are for; and the first round, which has no limits yet, is bounded by sketches."""
    with_devices(EmulatedDevice())
    monkeypatch.setattr(tiling, "TILING", cut(device_rows=40, reduced_left=0.5))
    rows = near_a_plane(np.random.default_rng(0), 400, 100)
    for base in (Resident(rows), Resident(Sketched(rows))):
        *got, proof = topk(rows[::90], base, 3, metric=metric, explain=True)
        assert_same(got, reference.topk(rows[::90], rows, 3, metric))
        assert (proof.sketched, proof.reduced) == (5 * 40, 5 * 360)
        assert proof.after_coarse < 0.3 * proof.reduced
        assert proof.after_fine < 0.1 * proof.reduced
        assert proof.strategy == "sketch"
        assert "bounded by reduced rows" in str(proof)


@pytest.mark.parametrize("metric", BOTH)
def test_reductions_that_leave_too_much_are_given_up(metric, with_devices, monkeypatch):
    """Noise leaves nearly all pairs: one round shows it, and sketches bound the rest."""
    [device] = with_devices(EmulatedDevice())
    monkeypatch.setattr(tiling, "TILING", cut(device_rows=8))
    rows = np.random.default_rng(0).standard_normal((500, 60)).astype(np.float32)
    base = Resident(rows)
    monkeypatch.setattr(tiling, "TILING", cut(device_rows=8, reduced_left=0.3))
    for extent in base.rows_there._extents:
        for part in extent.reduced.parts[metric]:
            part.reduction = replace(part.reduction, left=(0.1, 0.1))  # what a sample promised
    *got, proof = topk(rows[:2], base, 3, metric=metric, explain=True)
    assert_same(got, reference.topk(rows[:2], rows, 3, metric))
    assert device.launched.count(f"{metric}_reduced") >= 1
    assert proof.reduced == 2 * 16  # of the one round that was due
    assert proof.sketched == 2 * 484
    # Where the sample said so, they are not even tried.
    for part in base.rows_there._extents[0].reduced.parts[metric]:
        part.reduction = replace(part.reduction, left=(0.9, 0.9))
    *got, proof = topk(rows[:2], base, 3, metric=metric, explain=True)
    assert proof.reduced == 0


def test_sums_whose_scale_float32_would_flush_are_not_used(monkeypatch):
    monkeypatch.setattr(tiling, "TILING", cut())
    made = learning.learn(near_a_plane(np.random.default_rng(0), 64, 20), "l2")
    assert made is not None
    assert usable(made)
    assert not usable(replace(made, coarse=replace(made.coarse, step=2.0**-50)))


@pytest.mark.parametrize(("dtype", "devices"), [(np.float32, 1), (np.float16, 2), (np.float64, 1)])
def test_rows_that_come_in_portions(dtype, devices, with_devices, monkeypatch):
    """Segments of any length, sketched, reduced or neither, that grow; a mask that leaves gaps."""
    there = with_devices(*(EmulatedDevice() for _ in range(devices)))
    sizes: dict[str, Any] = {
        "device_extent_rows": 70,
        "device_block_bytes": 1 << 12,
        "device_list": 4096,
    }
    monkeypatch.setattr(tiling, "TILING", cut(**sizes))
    rng = np.random.default_rng(1)
    rows = near_a_plane(rng, 260, 24).astype(dtype)
    segments = [rows[:37], rows[37:150], rows[150:153], rows[153:]]
    sketches = [build(segments[0], 1), build(segments[1], 1), None, None]
    queries = rows[::130] + dtype(0.01)
    resident = ResidentRows(there, "floats", 24, dtype == np.float16, True)
    for size in (20, 100, 160, 161, 260):
        some: list[np.ndarray] = []
        known: list[Sketch | None] = []
        first = 0
        for segment, sketched in zip(segments, sketches, strict=True):
            part = segment[: max(0, size - first)]
            whole = len(part) == len(segment)
            some.append(part)
            known.append(sketched if whole else None)
            first += len(segment)
        resident.extend(some, known)
        mask = rng.random(size) < 0.8
        masks = np.split(mask, np.cumsum([len(part) for part in some])[:-1])
        for metric in BOTH:
            want = reference.topk(queries, rows[:size], 4, metric, mask)
            *got, proof = topk_segments(
                queries, some, 4, metric=metric, masks=masks, resident=resident, backend="cuda"
            )
            assert_same(got, want)
            assert_adds_up(
                proof, metric, "auto", len(queries), int(mask.sum()), 4, proof.simd
            )  # fmt: skip
    parts = [part for extent in resident._extents for part in extent.reduced.parts["l2"]]
    assert len(parts) > 2
    assert len({id(part.reduction) for part in parts}) > 1
    assert all(part.filled == part.stop for part in parts)
    taken = resident.bytes
    assert taken > sum(a.nbytes for extent in resident._extents for a in extent.arrays.values())


def test_an_array_without_room_for_reductions_is_sketched_alone(with_devices, monkeypatch):
    with_devices(EmulatedDevice(memory=33_000))
    monkeypatch.setattr(tiling, "TILING", cut("many"))
    rows = near_a_plane(np.random.default_rng(0), 300, 16)
    base = Resident(rows, vectors=False)
    *got, proof = topk(rows[:3], base, 2, metric="l1", explain=True)
    assert_same(got, reference.topk(rows[:3], rows, 2, "l1"))
    assert proof.sketched
    assert proof.reduced == 0
