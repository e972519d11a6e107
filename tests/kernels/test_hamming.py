"""Hamming kernels one by one against the oracle: short rows, planes of nibbles, and the general
one, at every level of instructions that this processor has."""

from __future__ import annotations

import numpy as np
import pytest
from contract_data import LEVELS, at_level
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast.kernels import hamming, hamming_short, planes, reference
from vsearch_fast.search.rows import no_mask, padded_to

BEYOND = np.iinfo(np.int32).max


def scanned(scan, queries, rows, k, live=None, start=0, stop=None, offset=0, tile_rows=64):
    """The k smallest pairs that a scan of rows ``start`` to ``stop`` leaves in its buffers."""
    count = len(queries)
    padded = padded_to(queries, 4)
    capacity = k + max(k, 32)
    distances = np.empty((len(padded), capacity), np.int32)
    ids = np.empty((len(padded), capacity), np.int64)
    counts = np.zeros(len(padded), np.int64)
    limits = np.full(len(padded), BEYOND, np.int32)
    limits[count:] = -1
    bad = scan(
        padded.ctypes.data, padded.strides[0], count,
        rows.ctypes.data, rows.strides[0], rows.shape[1],
        start, len(rows) if stop is None else stop, offset,
        no_mask() if live is None else live, tile_rows, k, distances, ids, counts, limits,
    )  # fmt: skip
    assert bad == -1
    assert (counts[count:] == 0).all()
    found = []
    for q in range(count):
        held = slice(counts[q])
        order = np.lexsort((ids[q, held], distances[q, held]))[:k]
        found.append((distances[q, order], ids[q, order]))
    return np.array([d for d, _ in found]), np.array([i for _, i in found])


def assert_right(scan, queries, rows, k, live=None, start=0, stop=None, **keywords):
    stop = len(rows) if stop is None else stop
    mask = np.zeros(len(rows), bool)
    mask[start:stop] = True if live is None else live[start:stop] != 0
    want, want_ids = reference.topk(queries, rows, k, "hamming", mask)
    got, got_ids = scanned(scan, queries, rows, k, live, start, stop, **keywords)
    assert got.tolist() == want.tolist()
    assert (got_ids - keywords.get("offset", 0)).tolist() == want_ids.tolist()


def scanner_of(kind, queries):
    """The scan of a kind for these queries, or None where there is none."""
    length = queries.shape[1]
    if kind == "short":
        return hamming_short.scanner(length)
    if kind == "planes":
        return planes.scanner(padded_to(queries, planes.QUERY_MULTIPLE))
    return hamming.scanner(length)


def some_bits(rng, shape, share):
    """Packed bits of which about a share is set: few make ties, many make far distances."""
    bits = rng.random((*shape[:-1], 8 * shape[-1])) < share
    return np.packbits(bits, axis=-1)


KINDS = [
    (kind, level)
    for level in LEVELS
    for kind in ("short", "planes", "general")
    if kind != "planes" or level != "portable"
]


@pytest.mark.parametrize(("kind", "level"), KINDS)
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_equal_to_the_oracle(kind, level, data):
    """Any length, place, mask, part of the rows and k."""
    lengths = [8 * words for words in hamming_short.WORDS]
    if kind != "short":
        lengths += [1, 3, 7, 9, 28, 31, 33, 55, 57, 63, 113, 129, 512, 521]
    length = data.draw(st.sampled_from(lengths))
    count = data.draw(st.sampled_from([1, 2, 3, 5, 16, 23]))
    rows = data.draw(st.integers(1, 300))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    share = data.draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
    database = some_bits(rng, (rows, length), share)
    queries = some_bits(rng, (count, length), data.draw(st.sampled_from([0.0, 0.5, 1.0])))
    if kind != "short" and data.draw(st.booleans()):  # something lies between the rows
        wide = rng.integers(0, 256, (rows, length + 5), np.uint8)
        wide[:, 2 : 2 + length] = database
        database = wide[:, 2 : 2 + length]
    live = None
    if data.draw(st.booleans()):
        live = (rng.random(rows) < data.draw(st.sampled_from([0.03, 0.5, 1.0]))).astype(np.uint8)
        live[rng.integers(rows)] = 1
    start = 0 if live is not None else data.draw(st.integers(0, rows - 1))
    stop = rows if live is not None else data.draw(st.integers(start + 1, rows))
    left = stop - start if live is None else int(live.sum())
    k = min(data.draw(st.sampled_from([1, 2, 10, 50, 300])), left)
    if live is not None:
        live.flags.writeable = False
    with at_level(level):
        scan = scanner_of(kind, queries)
        assert_right(
            scan, queries, database, k, live, start, stop, offset=data.draw(st.integers(0, 2**40)),
            tile_rows=data.draw(st.sampled_from([1, 5, 64])),
        )  # fmt: skip


@pytest.mark.parametrize(("kind", "level"), KINDS)
def test_all_bits_differ(kind, level):
    """The largest sums: bytes of `planes` must not run over, nor the limits of padding hold."""
    for length in (8, 24, 48, 128) if kind == "short" else (7, 8, 28, 32, 64, 512, 8184):
        with at_level(level):
            queries = np.zeros((5, length), np.uint8)
            rows = np.full((130, length), 255, np.uint8)
            rows[77] = 254
            assert_right(scanner_of(kind, queries), queries, rows, 3)


@pytest.mark.parametrize("length", [1, 64, 255, 256, 257, 512, 700])
@pytest.mark.parametrize("count", [1, 5])
def test_bits_counted_by_bytes(length, count):
    """What Arm and SSE2 do, on whatever runs this; sums of bytes come to their end."""
    rng = np.random.default_rng(length)
    scan = hamming._scanner(length // 64 if length in hamming.UNROLLED else 0, 1)
    queries = rng.integers(0, 256, (count, length), np.uint8)
    rows = rng.integers(0, 256, (70, length), np.uint8)
    rows[::3] = ~queries[0]
    rows[1::3] ^= rows[1::3] & rng.integers(0, 256, length, np.uint8)
    assert_right(scan, queries, rows, 70)


@pytest.mark.parametrize("level", LEVELS)
def test_scans_stay_within_their_rows(level):
    """Rows that end where memory does: nothing behind the last one may matter."""
    for length in (8, 16, 24, 48, 64, 128, 37):
        memory = np.zeros((101, length), np.uint8)
        rows = memory[:100]
        rows[:] = 255
        queries = np.zeros((3, length), np.uint8)
        with at_level(level):
            for kind in ("short", "planes", "general"):
                if (kind, length) == ("short", 37) or (kind, level) == ("planes", "portable"):
                    continue
                got, _ = scanned(scanner_of(kind, queries), queries, rows, 4)
                assert (got == 8 * length).all()  # the zeros behind would be nearer


def test_planes_are_packed_as_the_rows():
    queries = np.array([[0x1F, 0xA0, 0x07]], np.uint8)
    packed = planes.pack_queries(queries)
    assert packed.shape == (1, 16)
    assert (packed[0] // 64).tolist() == [15, 1, 0, 10, 7, 0, *[0] * 10]
    assert planes.tables()[5].tolist() == [(5 ^ i).bit_count() for i in range(16)] * 4
