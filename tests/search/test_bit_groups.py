"""Hamming search by sums of groups of bits: equal to the oracle whatever the groups, and off where
a sample says that it does not pay."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from contract_data import LEVELS, NEVER, at_level, cut_as
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast.errors import ArgumentError, DTypeError
from vsearch_fast.kernels import reference
from vsearch_fast.kernels.layout import MOST_BITS, SUMS
from vsearch_fast.search import bit_grouping
from vsearch_fast.search.arguments import Strategy
from vsearch_fast.search.bit_groups import BitGroups, Summed, first_half
from vsearch_fast.search.cpu import summed
from vsearch_fast.search.dispatch import topk, topk_segments
from vsearch_fast.search.grouped import Grouped
from vsearch_fast.search.tiling import Tiling

#: Sums are used however few rows there are, and however little they exclude.
FORCED = Tiling(
    inline_bytes=0,
    summed_left=NEVER,
    summed_live=0.0,
    summed_least=0,
    summed_bytes=1,
    reduce_rows=1,
)


@pytest.fixture(autouse=True)
def forced(request, monkeypatch):
    """Sums are used by all tests but those that are as usual."""
    if not getattr(request, "param", True):
        yield
        return
    monkeypatch.setattr(summed, "_MOST", 0)
    with cut_as(FORCED):
        yield


as_usual = pytest.mark.parametrize("forced", [False], indirect=True)


def any_groups(rng, length):
    """Groups that nothing speaks for: numbers at random, at most 255 bits each."""
    bits, first = 8 * length, 8 * first_half(length)
    group = np.concatenate(
        [
            rng.permutation(np.arange(first) % (SUMS // 2)),
            rng.permutation(np.arange(bits - first) % (SUMS // 2)) + SUMS // 2,
        ]
    )
    return BitGroups(group.astype(np.int16), rng.random(bits) < 0.5, (0.5, 0.1))


def correlated(rng, rows, length=128, causes=12):
    """Codes whose bits follow a few causes, some inverted, and 1 in 20 changed by chance.

    Which bits follow which cause depends on the length alone.
    """
    fixed = np.random.default_rng(length)
    cause, inverted = fixed.integers(0, causes, 8 * length), fixed.random(8 * length) < 0.5
    bits = (rng.random((rows, causes)) < 0.5)[:, cause] ^ inverted
    return np.packbits(bits ^ (rng.random(bits.shape) < 0.05), axis=1)


def defined_sums(codes, groups):
    bits = np.unpackbits(codes, axis=1).astype(bool) ^ groups.inverted
    sums = np.zeros((len(codes), SUMS), np.int64)
    for bit, group in enumerate(groups.group):
        sums[:, group] += bits[:, bit]
    return sums


def assert_right(queries, database, k, mask=None, threads=1):
    want = reference.topk(queries, database.array, k, "hamming", mask)
    distances, ids, proof = topk(
        queries, database, k, metric="hamming", mask=mask, threads=threads, explain=True
    )
    assert distances.dtype == np.int32
    np.testing.assert_array_equal(distances, want[0])
    np.testing.assert_array_equal(ids, want[1])
    return proof


@pytest.mark.parametrize("length", [8, 67, 128, 512, 1020])
def test_sums_are_those_of_the_definition(length):
    rng = np.random.default_rng(length)
    groups = any_groups(rng, length)
    assert groups.sound() and groups.length == length
    for rows in (0, 1, 50):
        codes = rng.integers(0, 256, (rows, length), np.uint8)
        np.testing.assert_array_equal(groups.sums(codes, 2), defined_sums(codes, groups))
    every_other = rng.integers(0, 256, (40, 2 * length), np.uint8)[::2, ::2]
    np.testing.assert_array_equal(groups.sums(every_other), defined_sums(every_other, groups))


def test_sums_are_bounds_and_so_are_they_with_first_halves():
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 256, (60, 129), np.uint8)
    half = first_half(129)
    sums = any_groups(rng, 129).sums(codes).astype(int)
    for q in range(5):
        apart = np.abs(sums - sums[q])
        true = reference.hamming(codes[q], codes)
        assert (apart.sum(axis=1) <= true).all()
        first = reference.hamming(codes[q, :half], codes[:, :half])
        assert (first + apart[:, SUMS // 2 :].sum(axis=1) <= true).all()


def test_the_largest_group():
    """255 bits that are all set, beside none."""
    group = np.zeros(512, np.int16)
    group[255], group[256:] = 1, np.arange(256) % 16 + 16
    groups = BitGroups(group, np.zeros(512, bool), (0.5, 0.5))
    codes = np.array([[0] * 64, [255] * 64], np.uint8)
    sums = groups.sums(codes)
    assert sums[:, :3].tolist() == [[0, 0, 0], [255, 1, 0]]
    assert_right(codes, Grouped(codes, groups), 2)


@pytest.mark.parametrize("level", LEVELS)
@given(st.data())
@settings(max_examples=80, deadline=None)
def test_equal_to_the_oracle(level, data):
    """Any groups, any codes, any k, mask and threads; many rows equal, or at the same distance."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    length = data.draw(st.sampled_from([8, 9, 64, 100, 512]))
    rows = data.draw(st.sampled_from([1, 7, 8, 9, 63, 64, 65, 130, 300]))
    kind = data.draw(st.sampled_from(["random", "equal", "few", "correlated"]))
    codes = rng.integers(0, 256, (rows, length), np.uint8)
    if kind == "equal":
        codes[:] = codes[0]
    elif kind == "few":
        codes &= rng.integers(0, 2, (rows, 1), np.uint8)
    elif kind == "correlated":
        codes = correlated(rng, rows, length)
    count = data.draw(st.sampled_from([1, 2, 5, 30]))
    queries = codes[rng.integers(rows, size=count)] ^ rng.integers(0, 2, (count, length), np.uint8)
    mask = None
    if data.draw(st.booleans()):
        mask = rng.random(rows) < data.draw(st.sampled_from([0.05, 0.5, 1.0]))
    k = data.draw(st.sampled_from([1, 3, 10, 100, 400]))
    cut = replace(FORCED, chunk_rows=data.draw(st.sampled_from([8, 13, 100, 1000])))
    with at_level(level), cut_as(cut), pytest.MonkeyPatch.context() as patch:
        patch.setattr(summed, "_PROBED", data.draw(st.sampled_from([1, 3])))
        patch.setattr(summed, "_COUNTED", data.draw(st.sampled_from([1, 4])))
        database = Grouped(codes, any_groups(rng, length))
        proof = assert_right(queries, database, k, mask, data.draw(st.sampled_from([1, 2])))
    live = rows if mask is None else int(mask.sum())
    if live:
        assert proof.strategy == "sums"
        assert (proof.reduced, proof.scanned) == (live * count, 0)
        assert min(k, live) * count <= proof.after_fine <= proof.after_coarse <= live * count


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_segments_of_which_some_rows_have_sums(data):
    """By several groups and none; with masks, and what is left to the scan among them."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    length = data.draw(st.sampled_from([9, 64, 512]))
    sizes = data.draw(st.lists(st.sampled_from([0, 1, 8, 37, 100]), min_size=1, max_size=4))
    codes = correlated(rng, sum(sizes), length)
    groups = [any_groups(rng, length), any_groups(rng, length)]
    borders = np.cumsum([0, *sizes])
    segments = [codes[a:b] for a, b in pairwise(borders.tolist())]
    told = []
    for segment in segments:
        cuts = sorted(rng.integers(0, len(segment) + 1, 3).tolist())
        told.append(
            [
                Summed(groups[i], cuts[i], groups[i].sums(segment[cuts[i] : cuts[i + 1]]))
                for i in range(2)
                if cuts[i] < cuts[i + 1]
            ]
        )
    if data.draw(st.booleans()) and sizes[0]:  # no kernel reads these where they are
        segments[0] = np.asfortranarray(segments[0])
    masks = None
    if data.draw(st.booleans()):
        masks = [rng.random(size) < 0.3 for size in sizes]
    count = data.draw(st.sampled_from([1, 3, 20]))
    queries = correlated(rng, count, length)
    k = data.draw(st.sampled_from([1, 5, 50]))
    cut = replace(
        FORCED,
        chunk_rows=data.draw(st.sampled_from([8, 20])),
        summed_live=data.draw(st.sampled_from([0.0, 0.3])),
        summed_left=data.draw(st.sampled_from([0.0, NEVER])),
        fair_trial=data.draw(st.sampled_from([1, 50])),
    )
    with cut_as(cut):
        distances, ids, proof = topk_segments(
            queries, segments, k, metric="hamming", masks=masks, summed=told,
            threads=data.draw(st.sampled_from([1, 2])),
        )  # fmt: skip
    mask = None if masks is None else np.concatenate(masks)
    want = reference.topk(queries, codes, k, "hamming", mask)
    np.testing.assert_array_equal(distances, want[0])
    np.testing.assert_array_equal(ids, want[1])
    if want[0].size:
        assert proof.reduced + proof.scanned == proof.queries * proof.rows


def test_limits_that_begin_are_kept():
    """At least k live rows lie below the limit that a search begins with."""
    rng = np.random.default_rng(4)
    codes = correlated(rng, 3000)
    database = Grouped(codes, any_groups(rng, 128))
    queries = codes[::300].copy()
    mask = (rng.random(3000) < 0.5).astype(np.uint8)
    scan, probe, _ = summed.kernels_for(128)
    family = summed_family(128)
    for live in (None, mask):
        for k in (1, 10, 200):
            problem = summed.Problem([codes], [live], [database.summed], k, family)
            batch = summed._Batch(queries, problem, summed._cut(problem, 2, 10), 2, scan, probe)
            limits = batch._limits()
            assert (limits <= 8 * 128 + 1).all()
            assert k == 200 or (limits < 400).all()
            for query, limit in zip(queries, limits, strict=True):
                distances = reference.hamming(query, codes)
                if live is not None:
                    distances = distances[live != 0]
                assert (distances < limit).sum() >= k


def summed_family(length):
    from vsearch_fast.search.cpu import scan

    return scan.family("hamming", length)


@as_usual
def test_real_structure_is_found_and_excludes():
    rng = np.random.default_rng(5)
    codes = correlated(rng, 9000, 512)
    database = Grouped(codes)
    assert database.groups is not None
    assert database.groups.sound()
    assert database.groups.left[1] <= database.groups.left[0] < 0.3
    proof = assert_right(correlated(rng, 5, 512), database, 10)
    assert proof.after_coarse < 0.3 * proof.reduced
    assert proof.bytes_read < 0.5 * 5 * codes.nbytes
    assert "pairs bounded by sums of bits, which left" in str(proof)
    # The same choice each time.
    again, once = (bit_grouping.learn(codes[: bit_grouping.SAMPLE]) for _ in range(2))
    assert again is not None and once is not None
    np.testing.assert_array_equal(again.group, once.group)
    # Where they are not asked for, and where nearly all would be among the nearest.
    asked: list[tuple[Strategy, int]] = [("scan", 3), ("auto", 1000)]
    for strategy, k in asked:
        proof = topk(codes[:2], database, k, metric="hamming", strategy=strategy, explain=True)[2]
        assert (proof.strategy, proof.reduced) == ("scan", 0)


@as_usual
def test_random_bits_have_no_sums():
    rng = np.random.default_rng(6)
    codes = rng.integers(0, 256, (6000, 128), np.uint8)
    database = Grouped(codes)
    assert (database.groups, database.summed) == (None, [])
    proof = assert_right(codes[:3], database, 5)
    assert (proof.strategy, proof.scanned) == ("scan", 18_000)


@as_usual
def test_what_cannot_have_groups():
    rng = np.random.default_rng(7)
    assert bit_grouping.learn(correlated(rng, 1000)) is None  # few
    assert bit_grouping.drafted(correlated(rng, 4096, 32)) is None  # short
    assert bit_grouping.can_be(SUMS // 2 * MOST_BITS // 4)
    assert not bit_grouping.can_be(SUMS // 2 * MOST_BITS // 4 + 1)
    assert Grouped(np.zeros((0, 64), np.uint8)).groups is None
    with cut_as(FORCED):
        for codes in (np.zeros((2, 3), np.uint8), np.full((9, 64), 255, np.uint8)):
            draft = bit_grouping.drafted(codes)
            assert draft is not None and draft.sound()


def test_groups_become_bytes_and_groups_again():
    groups = any_groups(np.random.default_rng(8), 67)
    again = BitGroups.from_bytes(groups.to_bytes())
    np.testing.assert_array_equal(again.group, groups.group)
    np.testing.assert_array_equal(again.inverted, groups.inverted)
    assert again.left == groups.left
    wrong = [
        replace(groups, group=groups.group[:-1]),
        replace(groups, group=groups.group[::-1].copy()),
        replace(groups, group=groups.group.astype(np.int64)),
        replace(groups, inverted=groups.inverted.astype(np.uint8)),
        replace(groups, group=np.where(groups.group > 15, 32, groups.group).astype(np.int16)),
        replace(groups, group=groups.group - np.int16(1)),
        replace(groups, group=np.repeat([0, 16], 256).astype(np.int16),
                inverted=np.zeros(512, bool)),
    ]  # fmt: skip
    for one in wrong:
        with pytest.raises(ValueError, match="no groups of bits"):
            BitGroups.from_bytes(one.to_bytes())
    for data in (b"", b"PK", groups.to_bytes()[:500]):
        with pytest.raises(ValueError):
            BitGroups.from_bytes(data)


def test_a_single_query_and_no_rows():
    rng = np.random.default_rng(8)
    codes = correlated(rng, 100)
    database = Grouped(codes, any_groups(rng, 128))
    assert len(database) == 100 and database.shape == (100, 128)
    distances, ids = topk(codes[7], database, 1, metric="hamming")
    assert (distances.tolist(), ids.tolist()) == ([[0]], [[7]])
    nothing = topk(codes[:2], database, 3, metric="hamming", mask=np.zeros(100, bool))
    assert nothing[0].shape == nothing[1].shape == (2, 0)
    empty = Grouped(codes[:0], database.groups)
    assert topk(codes[:2], empty, 3, metric="hamming")[0].shape == (2, 0)
    assert topk(codes[:0], database, 3, metric="hamming")[0].shape == (0, 3)


def test_other_layouts():
    rng = np.random.default_rng(9)
    codes = correlated(rng, 200)
    groups = any_groups(rng, 128)
    wide = np.repeat(codes, 2, axis=0)[::2]
    assert assert_right(codes[:3], Grouped(wide, groups), 5).strategy == "sums"
    assert assert_right(codes[:3], Grouped(np.asfortranarray(codes), groups), 5).reduced == 0


def test_wrong_arguments():
    rng = np.random.default_rng(10)
    codes = correlated(rng, 100)
    database = Grouped(codes, any_groups(rng, 128))
    with pytest.raises(DTypeError, match="packed uint8"):
        Grouped(np.zeros((3, 8), np.float32))
    with pytest.raises(ArgumentError, match="k is 0"):
        topk(codes[:1], database, 0, metric="hamming")
    with pytest.raises(ArgumentError, match="queries have 64 columns"):
        topk(codes[:1, :64].copy(), database, 1, metric="hamming")
    with pytest.raises(ArgumentError, match="of codes of 128 bytes"):
        Grouped(codes[:, :64].copy(), database.groups)
    with pytest.raises(ArgumentError, match="sums are not those"):
        topk_segments(codes[:1], [codes[:50]], 3, metric="hamming", summed=[database.summed])
