"""Rounds that are queued without a wait: what the device decides and what the host learns of it."""

from __future__ import annotations

import numpy as np
import pytest
from contract_data import DEVICE_METRICS, assert_same
from emulated import EmulatedDevice

from vsearch_fast import Resident
from vsearch_fast.kernels import reference
from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.cuda.sources import PRODUCTS
from vsearch_fast.search import pack_bits, tiling, topk
from vsearch_fast.search.gpu import lists as lists_module
from vsearch_fast.search.gpu.host import HostRows
from vsearch_fast.search.gpu.lists import Lists
from vsearch_fast.search.gpu.products import keys_of
from vsearch_fast.search.gpu.scans import Compared, scan
from vsearch_fast.search.tiling import Tiling


@pytest.fixture
def lists():
    """Of three queries, with room for 32 pairs, of which 3, 0 and 5 are kept."""
    lists = Lists(EmulatedDevice(), 3, 2, 32, bounded=True)
    found(lists, [3, 0, 5])
    lists.keep()
    return lists


def found(lists, counts):
    lists.device.write(lists.counts, np.array(counts, np.uint32))


def counts_of(lists):
    return lists.device.download(lists.counts).tolist()


def test_a_round_that_fits_makes_the_next_one_due(lists):
    found(lists, [32, 7, 5])
    lists.end_round()
    assert lists.state().due == 1
    assert counts_of(lists) == [32, 7, 5]


def test_a_list_overflows_by_the_first_pair_that_it_has_no_room_for(lists):
    for longest, overflowed in ((32, False), (33, True)):
        found(lists, [1, longest, 0])
        assert lists.state().overflowed == overflowed


@pytest.mark.parametrize("tiles", ["small", "odd"])
def test_a_round_that_does_not_fit_is_forgotten_with_those_behind_it(tiles):
    lists = Lists(EmulatedDevice(tiles=tiles), 300, 2, 32, bounded=True)
    kept = np.arange(300) % 5
    found(lists, kept)
    lists.keep()
    for counts in ([33] + 299 * [1], 300 * [20]):  # the second would fit
        found(lists, counts)
        lists.end_round()
        assert counts_of(lists) == kept.tolist()
        lists.keep()
    state = lists.state()
    assert (state.due, lists.ended, state.overflowed) == (0, 2, False)
    lists.resume(state.due)
    found(lists, 300 * [20])
    lists.end_round()
    assert lists.state().due == 1
    assert counts_of(lists) == 300 * [20]


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
def test_no_scan_lists_what_is_not_due(capability):
    """Not even where it could: of rows that are the queries themselves."""
    device = EmulatedDevice(capability)
    codes = np.random.default_rng(0).integers(0, 256, (9, 16), np.uint8)
    for family in sources.SCANS:
        if family.startswith("dot"):  # have facts of their own: test_dots.py
            continue
        bounded = family != "hamming"
        for kernel in sources.scans_for(family, capability):
            lists = Lists(device, 9, 2, 32, bounded)
            sides = []
            for _ in range(2):
                rows = codes.astype(np.float32).view(np.uint8) if "floats" in family else codes
                sides.append(
                    Compared(
                        device.upload(rows), device.upload(np.zeros(9)) if bounded else None,
                        device.upload(np.bitwise_count(codes).sum(axis=1, dtype=np.uint32)),
                    )
                )  # fmt: skip
            for ahead in (1, 0):
                lists.ended = ahead
                asked, there = sides
                scan(device, family, asked, there, None, 0, 9, 0, lists, 0.5, 0.0, 0.0, kernel)
                assert (max(counts_of(lists)) > 0) == (ahead == 0), kernel


def test_lists_that_are_taken_over_begin_with_the_first_round(lists):
    for _ in range(3):
        lists.end_round()
    found(lists, [33, 0, 0])
    lists.end_round()
    lists_module.give_back(lists)
    again = lists_module.lend(lists.device, 3, 2, 32, bounded=True)
    assert again is lists
    assert (again.state().due, again.ended) == (0, 0)
    again.end_round()
    assert again.state().due == 1


def calls(monkeypatch, owner, name):
    """A list that grows by one each time that this function is called."""
    made, function = [], getattr(owner, name)

    def called(*given):
        made.append(name)
        return function(*given)

    monkeypatch.setattr(owner, name, called)
    return made


def rows_of(metric, rng, count, dim=64):
    rows: np.ndarray = rng.standard_normal((count, dim)).astype(np.float32)
    return pack_bits(rows) if metric == "hamming" else rows


@pytest.mark.parametrize("metric", DEVICE_METRICS)
def test_one_wait_for_all_rounds_of_which_none_is_sure_to_fit(metric, with_devices, monkeypatch):
    """Twenty rounds whose rows are more than a list has room for, all but the first."""
    [device] = with_devices(EmulatedDevice())
    monkeypatch.setattr(tiling, "TILING", Tiling(device_list=64, device_rows=20, sketch_rows=5000))
    rows = rows_of(metric, np.random.default_rng(1), 3000)
    there = Resident(rows)
    waits = calls(monkeypatch, device, "download")
    ended = calls(monkeypatch, Lists, "end_round")
    got = topk(rows[:2], there, 3, metric=metric, backend="cuda")
    assert_same(got, reference.topk(rows[:2], rows, 3, metric))
    assert len(ended) >= 5
    # Beside what is downloaded at the end in any case (test_search.py).
    assert len(waits) == 1 + (3 if metric == "hamming" else 4 + 1 + 4)


@pytest.mark.parametrize("metric", DEVICE_METRICS)
@pytest.mark.parametrize("resident", [True, False])
def test_what_overflows_is_searched_again_from_there(metric, resident, with_devices, monkeypatch):
    """Rows that come nearer half way through: rounds before stay, the others are made anew."""
    with_devices(EmulatedDevice())
    monkeypatch.setattr(tiling, "TILING", Tiling(device_list=64, device_rows=20, sketch_rows=5000))
    rng = np.random.default_rng(2)
    rows: np.ndarray = rng.standard_normal((2000, 64)).astype(np.float32)
    rows[700:] *= np.linspace(0.9, 0.01, 1300, dtype=np.float32)[:, None]
    queries: np.ndarray = rng.standard_normal((3, 64)).astype(np.float32) / 100
    if metric in PRODUCTS:  # come nearer by turning to where all queries lie
        towards = rng.standard_normal(64).astype(np.float32)
        queries = towards + queries
        rows[700:] += np.linspace(0.1, 9, 1300, dtype=np.float32)[:, None] * towards
    if metric == "hamming":
        share = np.concatenate([np.full(700, 0.5), np.linspace(0.45, 0.05, 1300)])
        bits = rng.random((2000, 512)) < share[:, None]
        rows, queries = np.packbits(bits, axis=1), np.zeros((3, 64), np.uint8)
    due = []
    resume = Lists.resume

    def noted(self, round_):
        due.append((round_, self.ended))
        resume(self, round_)

    monkeypatch.setattr(Lists, "resume", noted)
    rewound = calls(monkeypatch, Lists, "rewind")
    base = Resident(rows) if resident else rows
    *got, proof = topk(queries, base, 4, metric=metric, backend="cuda", explain=True)
    assert_same(got, reference.topk(queries, rows, 4, metric))
    assert any(0 < round_ < ended for round_, ended in due), due
    assert rewound  # from there on rounds are asked about, and the first was still too large
    # Forgotten rounds count once, as what they were made again.
    assert proof.scanned + proof.sketched == 3 * 2000


def test_what_overflows_by_little_is_asked_about(with_devices, monkeypatch):
    """Rounds of 20, 40 and 70 rows, the last beside the four nearest: a few more than there is room
    for, all of which are nearer than any before."""
    with_devices(EmulatedDevice())
    monkeypatch.setattr(tiling, "TILING", Tiling(device_list=64, device_rows=20))
    share = np.concatenate([np.full(60, 0.5), np.full(70, 0.1)])
    bits = np.random.default_rng(4).random((130, 512)) < share[:, None]
    rows, queries = np.packbits(bits, axis=1), np.zeros((2, 64), np.uint8)
    resumed = calls(monkeypatch, Lists, "resume")
    got = topk(queries, Resident(rows), 4, metric="hamming", backend="cuda")
    assert_same(got, reference.topk(queries, rows, 4, "hamming"))
    assert resumed


@pytest.mark.parametrize("metric", [m for m in DEVICE_METRICS if m != "hamming"])
def test_the_host_decides_each_pair_by_its_own_row(metric):
    """Pairs that are listed in any order, some of them decided already."""
    rng = np.random.default_rng(5)
    rows, queries = (rng.standard_normal((n, 24)).astype(np.float32) for n in (40, 3))
    device = EmulatedDevice()
    lists = Lists(device, 3, 2, 32, True, metric)
    ids = rng.permuted(np.tile(np.arange(40, dtype=np.uint32), (3, 1)), axis=1)[:, :32]
    keys = rng.integers(0, 100, (3, 32), np.uint64)
    uppers = keys + rng.integers(0, 2, (3, 32), np.uint64)
    assert lists.uppers is not None
    for array, host in ((lists.keys, keys), (lists.uppers, uppers), (lists.ids, ids)):
        device.write(array, host)
    counts = np.array([32, 9, 0], np.uint32)
    device.write(lists.counts, counts)
    open_ = (keys != uppers) & (np.arange(32) < counts[:, None])
    assert HostRows([rows[:25], rows[25:]], 1).decide(queries, lists, metric) == (open_.sum(), None)
    _, found, _, _ = lists.listed()
    true = np.array([reference.DISTANCE[metric](q, rows) for q in queries])
    for q in range(3):
        for i in range(counts[q]):
            want = keys_of(true[q, ids[q, i : i + 1]], metric)[0] if open_[q, i] else keys[q, i]
            assert found[q, i] == want
