"""Searches of some rows that are on a device: others are not scanned, nothing is sent again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from contract_data import DEVICE_METRICS, assert_same
from emulated import TILES, EmulatedDevice, inside
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reduced_data import cut, near_a_plane

from vsearch_fast.kernels import reference
from vsearch_fast.search import pack_bits, range_search, tiling, topk, topk_segments
from vsearch_fast.search.gpu.blocks import Live, Stretch, live_rows
from vsearch_fast.search.gpu.passing import parts_of
from vsearch_fast.search.gpu.resident_rows import ResidentRows
from vsearch_fast.search.resident import Resident
from vsearch_fast.search.sketches import build

FIXTURES = [HealthCheck.function_scoped_fixture]


def sent_by(device, monkeypatch):
    """Bytes that the host sends to a device, one number a transfer."""
    sent: list[int] = []
    for name, place in (("write", 1), ("send", 1)):
        function = getattr(device, name)

        def called(*given, function=function, place=place):
            sent.append(given[place].nbytes)
            return function(*given)

        monkeypatch.setattr(device, name, called)
    return sent


@given(st.lists(st.booleans(), max_size=12))
def test_what_lives(mask):
    """None for all rows, a stretch for consecutive ones, else their numbers; by the definition."""
    found = live_rows(np.array(mask, np.uint8))
    rows = np.flatnonzero(mask)
    if len(rows) == len(mask):
        assert found is None
        return
    assert found is not None
    together = len(rows) == 0 or rows[-1] - rows[0] + 1 == len(rows)
    assert isinstance(found, Stretch if together else Live)
    assert found.count == len(rows)
    for row in range(len(mask) + 1):
        before = int((rows < row).sum())
        assert found.position(row) - found.begin == before


CASES = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(DEVICE_METRICS),
        "first": st.integers(0, 240),
        "rows": st.integers(0, 240),
        "holes": st.booleans(),
        "tiles": st.sampled_from(sorted(TILES)),
        "capability": st.sampled_from([(7, 5), (8, 0), (9, 0)]),
        "strategy": st.sampled_from(["auto", "scan"]),
        "shapes": st.sampled_from(["few", "coarse alone"]),
        "seed": st.integers(0, 99),
    }
)


@settings(max_examples=80, suppress_health_check=FIXTURES)
@given(CASES)
def test_rows_outside_are_not_read(with_devices, monkeypatch, case):
    """Searches equal the oracle after all that lies outside has been overwritten on the device; and
    of consecutive rows nothing but the queries is sent."""
    sizes: dict[str, Any] = {"device_extent_rows": 70, "device_block_bytes": 1 << 12}
    monkeypatch.setattr(tiling, "TILING", cut(case["shapes"], **sizes))
    rng = np.random.default_rng(case["seed"])
    metric, strategy = case["metric"], case["strategy"]
    both = near_a_plane(rng, 243, 40)
    both = pack_bits(both) if metric == "hamming" else both
    rows, queries = both[:240], both[240:]
    mask = np.zeros(240, bool)
    mask[case["first"] : case["first"] + case["rows"]] = True
    if case["holes"]:
        mask &= rng.random(240) < 0.7
    [device] = with_devices(EmulatedDevice(case["capability"], case["tiles"]))
    there = ResidentRows([device], "codes" if metric == "hamming" else "floats",
                         both.shape[1], False, True)  # fmt: skip
    for stop in (100, 150, 240):  # in several extents
        there.extend([rows[:stop]], [None])
    assert len(there._extents) > 1
    for extent in there._extents:
        outside = ~mask[extent.first : extent.first + extent.count]
        for array in extent.arrays.values():
            inside(array)[: extent.count][outside] = inside(array)[: extent.count][outside] * 0 + 77
    sent = sent_by(device, monkeypatch)

    def found() -> tuple[Any, int]:
        before = len(sent)
        *got, _ = topk_segments(
            queries, [rows], 4, metric=metric, masks=[mask], resident=there, backend="cuda",
            strategy=strategy,
        )  # fmt: skip
        return got, sum(sent[before:])

    got, first_time = found()
    assert_same(got, reference.topk(queries, rows, 4, metric, mask))
    again, once_more = found()
    assert_same(again, got)
    lists = [extent.live[1] for extent in there._extents if extent.live is not None]
    assert not lists or case["holes"]
    live = sum(one.count for one in lists)
    assert first_time - once_more <= 4 * live + 16 * len(lists)
    if not lists:
        assert first_time == once_more


@pytest.mark.parametrize("metric", ["l2", "hamming"])
def test_any_range_costs_what_its_queries_do(metric, with_devices, monkeypatch):
    """One after the other, each another mask."""
    rows = near_a_plane(np.random.default_rng(0), 300, 40)
    rows = pack_bits(rows) if metric == "hamming" else rows
    [device] = with_devices(EmulatedDevice())
    base = Resident(rows)
    sent = sent_by(device, monkeypatch)
    costs = set()
    for start in range(0, 250, 50):
        mask = np.zeros(300, bool)
        mask[start : start + 40] = True
        del sent[:]
        *got, proof = topk(rows[:2], base, 3, metric=metric, mask=mask, explain=True)
        assert_same(got, reference.topk(rows[:2], rows, 3, metric, mask))
        assert proof.scanned + proof.sketched + proof.reduced == 2 * 40
        costs.add(sum(sent))
    assert len(costs) == 1
    assert costs.pop() < rows[:40].nbytes
    offsets, near, ids = range_search(rows[:2], base, near_radius(rows, metric), metric=metric)
    assert len(near) == len(ids) == offsets[-1]


def near_radius(rows, metric):
    return float(np.sort(reference.DISTANCE[metric](rows[0], rows))[5])


@pytest.mark.parametrize("metric", ["l1", "l2", "cosine", "ip"])
def test_a_scan_takes_the_vectors_that_are_there(metric, with_devices, monkeypatch):
    """Of which only the last rows have some: the others are sent, if any of them lives."""
    monkeypatch.setattr(tiling, "TILING", cut(device_extent_rows=70))
    [device] = with_devices(EmulatedDevice())
    rng = np.random.default_rng(1)
    rows = near_a_plane(rng, 200, 24)
    queries = rows[::70] + np.float32(0.01)
    there = ResidentRows([device], "floats", 24, False, True)
    device._memory = 12_000  # no room for vectors
    there.extend([rows[:60]], [None])
    device._memory = 1 << 30
    there.extend([rows], [None])
    assert 0 < there.vectors < there.rows
    covered = there.covered(200, "scan")
    assert sum(map(len, covered)) == there.vectors
    assert there.covered(200) == (range(there.rows),)
    beginning = covered[0].start
    assert beginning
    sent = sent_by(device, monkeypatch)
    masks: list[np.ndarray | None] = [None, rng.random(200) < 0.5, np.arange(200) >= beginning]
    for mask in masks:
        del sent[:]
        *got, proof = topk_segments(
            queries, [rows], 3, metric=metric, masks=[mask], resident=there, backend="cuda",
            strategy="scan",
        )  # fmt: skip
        assert_same(got, reference.topk(queries, rows, 3, metric, mask))
        assert proof.scanned == 3 * (200 if mask is None else int(mask.sum()))
        rows_sent = sum(sent) // (24 * 4)
        assert rows_sent < beginning + 30
        if mask is masks[-1]:  # of what is not there none lives
            assert rows_sent < 20


@given(
    st.lists(st.integers(0, 30), max_size=4), st.lists(st.integers(0, 70), max_size=6),
    st.integers(0, 30), st.sampled_from(["l2", "hamming"]),
)  # fmt: skip
def test_what_is_not_covered_passes_once(lengths, borders, sketched, metric):
    """Each row that is not on a device, as often as it is there: once."""
    dim = 4
    rng = np.random.default_rng(0)
    segments = [rng.standard_normal((n, dim)).astype(np.float32) for n in lengths]
    total, borders = sum(lengths), sorted(set(borders))
    covered = tuple(
        range(a, min(b, total)) for a, b in zip(borders[::2], borders[1::2], strict=False)
        if a < min(b, total)
    )  # fmt: skip
    sketches = [build(one[:sketched], 1) if len(one) else None for one in segments]
    live = rng.random(total) < 0.5
    masks = np.split(live.astype(np.uint8), np.cumsum(lengths)[:-1]) if lengths else []
    found = []
    for kind in parts_of(metric, segments, masks, sketches, covered, "auto"):
        for part in kind:
            ids = np.arange(part.first, part.first + len(part.rows))
            stacked = np.concatenate(segments)
            assert (stacked[ids] == part.rows).all()
            assert part.mask is not None
            assert (part.mask == live[ids]).all()
            assert part.mask.any()
            found += ids[live[ids]].tolist()
            if part.sketch is not None:
                assert (part.sketch.bytes[part.start :][: len(ids)].shape[0]) == len(ids)
    there = {row for some in covered for row in some}
    assert sorted(found) == [row for row in np.flatnonzero(live).tolist() if row not in there]
