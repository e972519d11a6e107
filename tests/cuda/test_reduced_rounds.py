"""Rounds of reduced rows that are queued without a wait: the device says what scans the next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from contract_data import assert_adds_up, assert_same
from emulated import TILES, EmulatedDevice
from hypothesis import given, settings
from hypothesis import strategies as st
from reduced_data import BOTH, cut, near_a_plane

from vsearch_fast import Resident
from vsearch_fast.kernels import reference
from vsearch_fast.search import range_search, tiling, topk
from vsearch_fast.search.gpu.lists import ALWAYS, INSTEAD, REDUCED, ByReductions, Lists
from vsearch_fast.search.gpu.lists import Reduced as Told

#: Of a search of sketches: the last pairs (`_decide`), what became of the rounds, and the answer.
WAITS_AT_THE_END = 4 + 1 + 4

ROUNDS = st.lists(
    st.fixed_dictionaries(
        {
            "longest": st.integers(28, 34),  # of a list with room for 32
            "rows": st.sampled_from([0, 10, 1000]),
            "coarse": st.integers(0, 2**40),
            "fine": st.integers(0, 9),
            "most": st.sampled_from([0, 5, 2**63 - 1]),
            "resume": st.booleans(),
        }
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60)
@given(ROUNDS, st.sampled_from(sorted(TILES)))
def test_the_device_decides_as_the_host_would(rounds, tiles):
    """Which rounds stay, what scans the next one, and what is counted: by a model in Python."""
    lists = Lists(EmulatedDevice(tiles=tiles), 3, 1, 32, bounded=True)
    due, flat, told = 0, False, [0, 0, 0, 0]
    for one in rounds:
        lists.device.write(lists.counts, np.array([1, one["longest"], 0], np.uint32))
        words = {word: lists.turn(word) for word in (ALWAYS, REDUCED, INSTEAD)}
        now = {
            word: int(lists.device.download(there)[0]) == int(turn)
            for word, (there, turn) in words.items()
        }
        in_turn = lists.ended == due
        assert now == {
            ALWAYS: in_turn, REDUCED: in_turn and not flat, INSTEAD: in_turn and flat,
        }  # fmt: skip
        if now[REDUCED] and one["rows"]:
            left = np.array([one["coarse"], one["fine"]], np.uint64)
            lists.device.write(lists.left[:2], left)
        lists.end_round(ByReductions(one["rows"], one["most"], 44, 100, 1000))
        if in_turn and one["longest"] <= 32:
            due += 1
            if one["rows"] and not flat:
                told[0] += one["coarse"]
                told[1] += one["fine"]
                told[2] += one["rows"]
                told[3] += one["rows"] * 44 + one["coarse"] * 100 + one["fine"] * 1000
                flat = one["fine"] > one["most"]
        if one["resume"]:
            state = lists.state()
            assert (state.due, state.flat, state.left) == (due, flat, (0, 0))
            assert state.reduced == Told(*told)
            lists.resume(state.due)
    state = lists.state()
    assert (state.due, state.flat, state.reduced) == (due, flat, Told(*told))
    lists.begin()
    assert lists.state().reduced == Told()
    assert not lists.state().flat


def waits_of(device, monkeypatch):
    """A list that grows with each wait of the host, whatever for, and each question of memory."""
    waits = []
    for owner, name in ((device.order, "host_waits"), (device, "free_bytes")):
        function = getattr(owner, name)

        def called(*given, name=name, function=function):
            waits.append(name)
            return function(*given)

        monkeypatch.setattr(owner, name, called)
    return waits


@pytest.mark.parametrize("metric", BOTH)
@pytest.mark.parametrize("filtered", [False, True])
def test_one_wait_for_all_rounds_of_reduced_rows(metric, filtered, with_devices, monkeypatch):
    """However many they are, and none but the first sure to fit."""
    [device] = with_devices(EmulatedDevice())
    monkeypatch.setattr(tiling, "TILING", cut(device_rows=40, reduced_left=0.5))
    rng = np.random.default_rng(0)
    rows = near_a_plane(rng, 900, 100)
    base, mask = Resident(rows), rng.random(900) < 0.8 if filtered else None
    queries = rows[::200] + np.float32(0.01)
    waits = waits_of(device, monkeypatch)
    *got, proof = topk(queries, base, 3, metric=metric, mask=mask, backend="cuda", explain=True)
    assert_same(got, reference.topk(queries, rows, 3, metric, mask))
    assert device.launched.count(f"{metric}_reduced") >= 3
    assert proof.reduced > proof.sketched
    assert waits == ["host_waits"] * (1 + WAITS_AT_THE_END)


@pytest.mark.parametrize("metric", BOTH)
def test_the_device_itself_gives_reductions_up(metric, with_devices, monkeypatch):
    """Noise leaves nearly all pairs: the round that shows it is the last that they scan, and the
    host has not asked for it."""
    [device] = with_devices(EmulatedDevice())
    sizes: dict[str, Any] = {"device_rows": 8, "device_list": 1024}
    monkeypatch.setattr(tiling, "TILING", cut(**sizes))
    rows = np.random.default_rng(0).standard_normal((600, 60)).astype(np.float32)
    base = Resident(rows)
    monkeypatch.setattr(tiling, "TILING", cut(**sizes, reduced_left=0.3))
    for extent in base.rows_there._extents:
        for part in extent.reduced.parts[metric]:
            part.reduction = replace(part.reduction, left=(0.1, 0.1))  # what a sample promised
    monkeypatch.setattr("vsearch_fast.search.gpu.rounds._FILL", 1 << 20)  # each twice as large
    waits = waits_of(device, monkeypatch)
    *got, proof = topk(rows[:2], base, 3, metric=metric, backend="cuda", explain=True)
    assert_same(got, reference.topk(rows[:2], rows, 3, metric))
    launched = device.launched
    assert launched.count(f"{metric}_reduced") >= 4
    first = launched.index(f"{metric}_reduced")
    assert launched[first + 1] == "end_round"  # nothing in its stead: it is known to be due
    # 8 rows by sketches, 16 by reductions, the rest by sketches.
    assert (proof.reduced, proof.sketched) == (2 * 16, 2 * 584)
    assert proof.after_fine > 0.3 * proof.reduced
    assert_adds_up(proof, metric, "auto", 2, 600, 3, proof.simd)
    shape = base.rows_there._extents[0].reduced.parts[metric][0].reduction.shape
    read = 584 * 64 + 16 * shape.coarse_bytes + proof.after_coarse * shape.fine_bytes
    read += proof.after_fine * 64 + proof.undecided * 60 * 4
    assert proof.bytes_read == read
    assert len(waits) == WAITS_AT_THE_END  # all that is listed has room


@pytest.mark.parametrize("metric", BOTH)
def test_reduced_rows_that_overflow_are_searched_again_from_there(
    metric, with_devices, monkeypatch
):
    """Rows that come nearer half way through: rounds before stay, and all are counted once."""
    with_devices(EmulatedDevice())
    monkeypatch.setattr(tiling, "TILING", cut(device_rows=20))
    rng = np.random.default_rng(2)
    rows = near_a_plane(rng, 1200, 40)
    rows[500:] *= np.linspace(0.9, 0.01, 700, dtype=np.float32)[:, None]
    queries = near_a_plane(rng, 3, 40) / np.float32(100)
    due = []
    resume = Lists.resume

    def noted(self, round_):
        due.append((round_, self.ended))
        resume(self, round_)

    monkeypatch.setattr(Lists, "resume", noted)
    *got, proof = topk(queries, Resident(rows), 4, metric=metric, backend="cuda", explain=True)
    assert_same(got, reference.topk(queries, rows, 4, metric))
    assert any(0 < round_ < ended for round_, ended in due), due
    assert proof.reduced > 3 * 1000
    assert_adds_up(proof, metric, "auto", 3, 1200, 4, proof.simd)


@pytest.mark.parametrize("metric", BOTH)
def test_a_round_of_a_range_is_asked_about_once(metric, with_devices, monkeypatch):
    """Whether it fits and what reductions left: both at once."""
    [device] = with_devices(EmulatedDevice())
    monkeypatch.setattr(tiling, "TILING", cut(device_rows=40))
    rows = near_a_plane(np.random.default_rng(3), 700, 60)
    base = Resident(rows)
    waits = waits_of(device, monkeypatch)
    queries = near_a_plane(np.random.default_rng(4), 3, 60)  # of another plane
    offsets, _, _ = range_search(queries, base, 0.01, metric=metric)
    assert offsets.tolist() == [0, 0, 0, 0]
    rounds = device.launched.count(f"{metric}_reduced")
    assert rounds
    others = sum("_sketches" in name for name in device.launched)  # rows of no whole page
    assert waits == ["free_bytes"] + ["host_waits"] * (rounds + others + 1)  # and at its end
