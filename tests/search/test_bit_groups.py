"""Hamming search by sums of groups of bits: equal to the oracle whatever the groups, and off where
a sample says that it does not pay."""

from __future__ import annotations

import numpy as np
import pytest
from contract_data import LEVELS, at_level
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast.errors import ArgumentError, DTypeError
from vsearch_fast.kernels import reference
from vsearch_fast.search import bit_groups
from vsearch_fast.search.bit_groups import BitGroups, Grouped, choose_groups, topk_grouped


def any_groups(rng, length, width=32):
    """Groups that nothing speaks for: numbers at random, at most 255 bits each."""
    group = rng.permutation(np.arange(8 * length) % width).astype(np.int16)
    return BitGroups(group, rng.random(8 * length) < 0.5, width, 0.5)


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
    sums = np.zeros((len(codes), groups.width), np.int64)
    for bit, group in enumerate(groups.group):
        sums[:, group] += bits[:, bit]
    return sums


def assert_right(queries, grouped, k, mask=None, threads=1):
    want = reference.topk(queries, grouped.array, k, "hamming", mask)
    distances, ids, work = topk_grouped(queries, grouped, k, mask=mask, threads=threads)
    assert distances.dtype == np.int32
    np.testing.assert_array_equal(distances, want[0])
    np.testing.assert_array_equal(ids, want[1])
    return work


@pytest.mark.parametrize("width", bit_groups.WIDTHS)
@pytest.mark.parametrize("length", [8, 67, 128, 512])
def test_sums_are_those_of_the_definition(length, width):
    rng = np.random.default_rng(length)
    groups = any_groups(rng, length, width)
    for rows in (0, 1, 50):
        codes = rng.integers(0, 256, (rows, length), np.uint8)
        np.testing.assert_array_equal(groups.sums(codes, 2), defined_sums(codes, groups))
    every_other = rng.integers(0, 256, (40, 2 * length), np.uint8)[::2, ::2]
    np.testing.assert_array_equal(groups.sums(every_other), defined_sums(every_other, groups))


def test_sums_are_bounds():
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 256, (60, 128), np.uint8)
    sums = any_groups(rng, 128).sums(codes).astype(int)
    for q in range(5):
        bound = np.abs(sums - sums[q]).sum(axis=1)
        assert (bound <= reference.hamming(codes[q], codes)).all()


def test_the_largest_group():
    """255 bits that are all set, beside none."""
    group = np.zeros(256, np.int16)
    group[255] = 1
    groups = BitGroups(group, np.zeros(256, bool), 32, 0.5)
    codes = np.array([[0] * 32, [255] * 32], np.uint8)
    sums = groups.sums(codes)
    assert sums[:, :3].tolist() == [[0, 0, 0], [255, 1, 0]]
    grouped = Grouped(codes, groups)
    assert_right(codes, grouped, 2)


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
    width = data.draw(st.sampled_from(bit_groups.WIDTHS))
    step = data.draw(st.sampled_from([8, 13, 100, 1000]))
    with at_level(level), pytest.MonkeyPatch.context() as patch:
        patch.setattr(bit_groups, "_GUESSED", data.draw(st.sampled_from([1, 64, 10_000])))
        patch.setattr(
            bit_groups, "_chunks",
            lambda n, _: [(a, min(a + step, n)) for a in range(0, n, step)],
        )  # fmt: skip
        grouped = Grouped(codes, any_groups(rng, length, width))
        work = assert_right(queries, grouped, k, mask, data.draw(st.sampled_from([1, 2])))
    live = rows if mask is None else int(mask.sum())
    if live:
        assert work.sketched == live * count
        assert min(k, live) * count <= work.candidates <= live * count


def test_limits_that_begin_are_kept():
    """At least k live rows lie below the limit that a search begins with."""
    rng = np.random.default_rng(4)
    codes = correlated(rng, 3000)
    groups = any_groups(rng, 128)
    queries = codes[::300].copy()
    mask = (rng.random(3000) < 0.5).astype(np.uint8)
    sums = groups.sums(codes)
    for live in (None, mask):
        for k in (1, 10, 200):
            limits = bit_groups.first_limits(queries, groups.sums(queries), codes, sums, live, k)
            for query, limit in zip(queries, limits, strict=True):
                distances = reference.hamming(query, codes)
                if live is not None:
                    distances = distances[live != 0]
                assert (distances < limit).sum() >= k


def test_real_structure_is_found_and_excludes():
    rng = np.random.default_rng(5)
    grouped = Grouped(correlated(rng, 6000))
    assert grouped.groups is not None
    assert grouped.groups.read < 0.4
    assert np.bincount(grouped.groups.group).max() <= 255
    work = assert_right(correlated(rng, 5), grouped, 10)
    assert work.candidates < 0.2 * work.sketched
    assert work.bytes_read < 0.5 * 5 * grouped.array.nbytes
    # The same choice each time.
    again = choose_groups(grouped.array[: bit_groups.SAMPLE_ROWS])
    once = choose_groups(grouped.array[: bit_groups.SAMPLE_ROWS])
    assert again is not None
    assert once is not None
    np.testing.assert_array_equal(again.group, once.group)


def test_random_bits_have_no_groups():
    rng = np.random.default_rng(6)
    grouped = Grouped(rng.integers(0, 256, (1000, 128), np.uint8))
    assert grouped.groups is None
    assert grouped.sums is None
    work = assert_right(grouped.array[:3], grouped, 5)
    assert work.scanned == 3000
    assert work.sketched == 0


def test_few_or_short_codes_have_no_groups():
    rng = np.random.default_rng(7)
    assert choose_groups(correlated(rng, 63)) is None
    assert choose_groups(correlated(rng, 500, length=32)) is None
    assert Grouped(np.zeros((0, 64), np.uint8)).groups is None


def test_a_single_query_and_no_rows():
    rng = np.random.default_rng(8)
    grouped = Grouped(correlated(rng, 100), any_groups(rng, 128))
    distances, ids, _ = topk_grouped(grouped.array[7], grouped, 1)
    assert (distances.tolist(), ids.tolist()) == ([[0]], [[7]])
    nothing = topk_grouped(grouped.array[:2], grouped, 3, mask=np.zeros(100, bool))
    assert nothing[0].shape == nothing[1].shape == (2, 0)
    empty = Grouped(grouped.array[:0], grouped.groups)
    assert topk_grouped(grouped.array[:2], empty, 3)[0].shape == (2, 0)
    assert topk_grouped(grouped.array[:0], grouped, 3)[0].shape == (0, 3)


def test_other_layouts():
    rng = np.random.default_rng(9)
    codes = correlated(rng, 200)
    groups = any_groups(rng, 128)
    wide = np.repeat(codes, 2, axis=0)[::2]
    assert_right(codes[:3], Grouped(wide, groups), 5)
    assert_right(codes[:3], Grouped(np.asfortranarray(codes), groups), 5)  # scanned


def test_wrong_arguments():
    rng = np.random.default_rng(10)
    grouped = Grouped(correlated(rng, 100), any_groups(rng, 128))
    with pytest.raises(DTypeError, match="packed uint8"):
        Grouped(np.zeros((3, 8), np.float32))
    with pytest.raises(ArgumentError, match="k is 0"):
        topk_grouped(grouped.array[:1], grouped, 0)
    with pytest.raises(ArgumentError, match="queries have 64 columns"):
        topk_grouped(grouped.array[:1, :64].copy(), grouped, 1)
    with pytest.raises(ArgumentError, match="other bits"):
        Grouped(grouped.array[:, :64].copy(), grouped.groups)
