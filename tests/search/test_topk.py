"""`topk` against the oracle: equality to the bit, whatever the data and the cut of the work."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from contract_data import (
    FLOAT_DATA,
    LAYOUTS,
    LEVELS,
    MASKS,
    METRICS,
    assert_same,
    at_level,
    codes,
    cut_as,
    floats,
    mask_of,
    read_only,
)  # fmt: skip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vsearch_fast.errors import ArgumentError, DTypeError
from vsearch_fast.kernels import reference
from vsearch_fast.search import dispatch, pack_bits, topk, topk_segments
from vsearch_fast.search.cpu import scan
from vsearch_fast.search.tiling import Tiling

# Tiles of one to a few rows and queries, so that small inputs cross every border.
TILINGS = (
    Tiling(),
    Tiling(tile_bytes=1, query_bytes=1, chunk_rows=1, copy_bytes=1, inline_bytes=0),
    Tiling(tile_bytes=700, query_bytes=900, chunk_rows=5, copy_bytes=300, inline_bytes=0),
    Tiling(tile_bytes=4000, query_bytes=4000, buffer_bytes=3000, chunk_rows=17, inline_bytes=0),
)


@pytest.fixture(params=range(len(TILINGS)))
def tiling(request):
    with cut_as(TILINGS[request.param]):
        yield request.param


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    metric=st.sampled_from(METRICS),
    data=st.sampled_from(sorted(FLOAT_DATA)),
    layout=st.sampled_from(sorted(LAYOUTS)),
    rows=st.integers(0, 70),
    queries=st.integers(0, 9),
    dim=st.sampled_from([0, 1, 7, 8, 31, 32, 33, 63, 64, 65, 100, 513]),
    k=st.integers(1, 80),
    masked=st.sampled_from(MASKS),
    threads=st.sampled_from([None, 1, 2, 3]),
    parts=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_oracle(
    tiling, metric, data, layout, rows, queries, dim, k, masked, threads, parts, seed
):
    rng = np.random.default_rng(seed)
    if metric == "hamming":
        database, query = codes(data, rng, rows, queries, dim)
    else:
        database, query = floats(data, "alike", rng, rows, queries, dim)
    mask = mask_of(masked, rng, rows)
    want = reference.topk(query, database, k, metric, mask)
    laid_out = read_only(LAYOUTS[layout](database))
    assert_same(topk(query, laid_out, k, metric=metric, mask=mask, threads=threads), want)

    borders = np.sort(rng.integers(0, rows + 1, parts - 1))
    masks = None if mask is None else np.split(mask, borders)
    *got, proof = topk_segments(
        query, np.split(laid_out, borders), k, metric=metric, masks=masks, threads=threads
    )
    assert_same(got, want)
    assert (proof.queries, proof.rows) == (queries, rows if mask is None else mask.sum())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("queries", [1, 5])
def test_at_full_width(metric, queries):
    """4096 features, several chunks and threads, k on both sides of the buffer's size."""
    rng = np.random.default_rng(3)
    features = np.maximum(rng.standard_normal((2600, 4096), np.float32), 0)
    database = pack_bits(features) if metric == "hamming" else features
    want = reference.topk(database[:queries], database, 700, metric)
    for k in (1, 10, 700):
        got = topk(database[:queries], database, k, metric=metric, threads=2)
        assert_same(got, [column[:, :k] for column in want])


@pytest.fixture(params=LEVELS)
def simd(request):
    """Each level of instructions in turn."""
    with at_level(request.param):
        yield request.param


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(0, 150),
    queries=st.integers(90, 230),
    words=st.sampled_from([1, 2, 15, 16, 17, 64, 65]),
    k=st.sampled_from([1, 10, 149, 300]),
    ties=st.booleans(),
    masked=st.booleans(),
    threads=st.sampled_from([1, 3]),
    chunk=st.sampled_from([None, 7, 32, 40]),
    seed=st.integers(0, 2**32 - 1),
)
def test_many_queries(simd, chunk, rows, queries, words, k, ties, masked, threads, seed):
    """Batches, in which Hamming distances may come from tile instructions."""
    rng = np.random.default_rng(seed)
    database = rng.integers(0, 256, (rows, 8 * words), np.uint8)
    query = rng.integers(0, 256, (queries, 8 * words), np.uint8)
    if ties:
        database &= 1
    if rows:
        query[0] = database[-1]
        query[1] = 255
    mask = rng.random(rows) < 0.5 if masked else None
    with cut_as(Tiling(chunk_rows=chunk, inline_bytes=0)):
        got = topk(query, database, k, metric="hamming", mask=mask, threads=threads)
    assert_same(got, reference.topk(query, database, k, "hamming", mask))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("strategy", ["scan", "sketch"])
def test_unknown_simd_level_is_refused(metric, strategy):
    rows = np.zeros((2, 8), np.uint8 if metric == "hamming" else np.float32)
    with (
        at_level("mmx"),
        pytest.raises(ArgumentError, match="VSEARCH_SIMD is 'mmx', which is no level"),
    ):
        topk(rows, rows, 1, metric=metric, strategy=strategy)
    assert topk(rows, rows, 1, metric=metric, strategy=strategy)[1].tolist() == [[0], [0]]


@pytest.mark.parametrize("metric", METRICS)
def test_memory_mapped(tmp_path, metric):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 9, (300, 100)).astype(np.uint8 if metric == "hamming" else np.float32)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert_same(topk(rows[:3], mapped, 5, metric=metric), reference.topk(rows[:3], rows, 5, metric))


def test_ties_are_ordered_by_row():
    rows = np.zeros((3000, 64), np.float32)
    for metric in ("l1", "l2"):
        distances, ids = topk(rows[:2], rows, 1000, metric=metric)
        assert (distances == 0).all()
        assert (ids == np.arange(1000)).all()


@settings(max_examples=60)
@given(
    metric=st.sampled_from(["l1", "l2"]),
    bad=st.sampled_from([np.nan, np.inf, -np.inf, 1e300]),
    rows=st.lists(st.integers(0, 199), min_size=1, max_size=3),
    queries=st.integers(1, 5),
    threads=st.sampled_from([1, 2]),
)
def test_not_finite_row_is_named(metric, bad, rows, queries, threads):
    database = np.ones((200, 40), np.float64 if bad == 1e300 else np.float32)
    database[rows, 7] = bad
    query = np.zeros((queries, 40), np.float32)
    with pytest.raises(ArgumentError, match=rf"row {min(rows)} of the database holds NaN"):
        topk(query, database, 3, metric=metric, threads=threads)
    mask = np.ones(200, bool)
    mask[rows] = False
    assert topk(query, database, 3, metric=metric, mask=mask)[1].shape == (queries, 3)


def test_not_finite_row_is_named_within_its_segment():
    parts = [np.zeros((50, 8), np.float32), np.zeros((50, 8), np.float32)]
    parts[1][20, 0] = np.nan
    with pytest.raises(ArgumentError, match="row 20 of database segment 1"):
        topk_segments(parts[0][:1], parts, 3, metric="l2")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"k": 0}, ArgumentError, "k is 0"),
        ({"k": -3}, ArgumentError, "k is -3"),
        ({"k": 2.0}, ArgumentError, "k is 2.0"),
        ({"k": True}, ArgumentError, "k is True"),
        ({"threads": 0}, ArgumentError, "threads is 0"),
        ({"metric": "angle"}, ArgumentError, "l2, l1, hamming, cosine, ip"),
        ({"backend": "tpu"}, ArgumentError, "backend"),
        ({"strategy": "guess"}, ArgumentError, "strategy"),
        ({"queries": np.zeros((2, 9), np.float32)}, ArgumentError, "9 columns"),
        ({"queries": np.full((1, 8), np.nan, np.float32)}, ArgumentError, "query 0"),
        ({"queries": np.zeros((2, 8), np.int64)}, DTypeError, "int64"),
        ({"queries": np.zeros((2, 8), np.complex64)}, DTypeError, "complex64"),
        ({"database": np.zeros((2, 8), np.longdouble)}, DTypeError, "longdouble|float128"),
        ({"database": np.zeros((2, 8), np.uint8)}, DTypeError, "uint8"),
        ({"metric": "hamming"}, DTypeError, "pack_bits"),
        ({"mask": np.ones(4, bool)}, ArgumentError, r"\(4,\)"),
        ({"mask": np.ones(5, np.int64)}, DTypeError, "int64"),
    ],
)
def test_refuses(change, error, words):
    arguments = {
        "queries": np.zeros((2, 8), np.float32),
        "database": np.zeros((5, 8), np.float32),
        "k": 3,
        "metric": "l2",
    } | change
    with pytest.raises(error, match=words) as caught:
        topk(**arguments)
    assert caught.value.consequence
    assert caught.value.cure


def test_k_may_be_a_numpy_integer():
    rows = np.zeros((5, 8), np.float32)
    k: Any = np.int64(2)
    assert topk(rows[:1], rows, k, metric="l2")[1].tolist() == [[0, 1]]


def test_concurrent_calls():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((3000, 64)).astype(np.float32)
    want = topk(rows[:8], rows, 10, metric="l2", threads=2)
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(topk, rows[:8], rows, 10, metric="l2", threads=2) for _ in range(64)]
        for call in calls:
            assert_same(call.result(), want)


def test_interrupt_stops_the_threads(monkeypatch):
    """Ctrl-C in the caller: no worker goes on, and none outlives the queries it reads."""
    rows = np.random.default_rng(1).standard_normal((4000, 64)).astype(np.float32)
    family = scan.family("l2", 256)
    calls = []

    def interrupted(*arguments):
        calls.append(threading.get_ident())
        if len(calls) == 50:
            raise KeyboardInterrupt
        return family.scan(*arguments)

    known = dispatch._on_processor()
    counted = known._replace(family=lambda *_: replace(family, scan=interrupted))
    monkeypatch.setattr(dispatch, "_on_processor", lambda: counted)
    with cut_as(Tiling(chunk_rows=1, inline_bytes=0)), pytest.raises(KeyboardInterrupt):
        topk(rows[:4], rows, 3, metric="l2", threads=4)
    time.sleep(0.2)
    done = len(calls)
    assert done < 200
    time.sleep(0.2)
    assert len(calls) == done


@pytest.mark.parametrize("metric", METRICS)
def test_one_query_may_come_without_its_axis(metric):
    made = np.random.default_rng(3).standard_normal((30, 16)).astype(np.float32)
    rows = pack_bits(made) if metric == "hamming" else made
    assert_same(topk(rows[3], rows, 5, metric=metric), topk(rows[3:4], rows, 5, metric=metric))


def test_search_at_the_interpreters_end():
    """A pool starts no thread any more; the search does without."""
    code = (
        "import atexit, numpy as np; from vsearch_fast.search import tiling, topk;"
        "tiling.TILING = tiling.Tiling(inline_bytes=0, chunk_rows=1);"
        "x = np.eye(9, dtype=np.float32);"
        "atexit.register(lambda: print(topk(x, x, 1, metric='l1', threads=2)[1].ravel().sum()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "36"


def _search_in_child(rows):
    return topk(rows[:4], rows, 3, metric="l1", threads=2)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_after_fork():
    rows = np.random.default_rng(2).standard_normal((3000, 64)).astype(np.float32)
    want = _search_in_child(rows)  # the pool now exists, and its threads do not survive a fork
    with multiprocessing.get_context("fork").Pool(1) as child:
        assert_same(child.apply_async(_search_in_child, (rows,)).get(timeout=60), want)


def test_pack_bits_is_strict():
    features = np.array([0.0, -0.0, 1.0, -1.0, 1e-45, 0, 0, 0, 2])
    assert pack_bits(features).tolist() == [0b00101000, 0b10000000]


def test_import_is_light():
    """`import vsearch_fast` and its names load no Numba, ONNX Runtime, CuPy, TensorFlow, Keras."""
    code = (
        "import sys, vsearch_fast as v; v.topk, v.Index, v.Embedder, v.pack_bits;"
        "heavy = ('numba', 'onnxruntime', 'cupy', 'tensorflow', 'keras');"
        "print([m for m in heavy if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("cpu", ["generic", ""])
@pytest.mark.parametrize("cache", ["fresh", "unwritable"])
def test_other_processors_and_caches_give_the_same_bits(tmp_path, cpu, cache):
    """In a new process: a plain processor without vector extensions, no cache to write to."""
    rng = np.random.default_rng(5)
    rows = np.maximum(rng.standard_normal((60, 100)), 0).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    folder = tmp_path / "cache"
    if cache == "unwritable":
        folder.write_text("a file stands where the folder should be")
    code = (
        "import sys, numpy as np; from vsearch_fast import topk, pack_bits\n"
        "rows = np.load(sys.argv[1] + '/rows.npy'); out = {}\n"
        f"for m in {METRICS!r}:\n"
        "    x = pack_bits(rows) if m == 'hamming' else rows\n"
        "    out[m + 'd'], out[m + 'i'] = topk(x[:3], x, 9, metric=m)\n"
        "np.savez(sys.argv[1] + '/out.npz', **out)"
    )
    environment = os.environ | {"VSEARCH_CACHE_DIR": str(folder), "NUMBA_CPU_NAME": cpu}
    if not cpu:
        del environment["NUMBA_CPU_NAME"]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)
    out = np.load(tmp_path / "out.npz")
    for metric in METRICS:
        x = pack_bits(rows) if metric == "hamming" else rows
        assert_same((out[metric + "d"], out[metric + "i"]), reference.topk(x[:3], x, 9, metric))
    assert (cache == "fresh") == folder.is_dir()
    if cache == "fresh":
        assert list(folder.glob("kernels-*/*.kernel"))


@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("dim", [5, 64, 300, 1024])
@pytest.mark.parametrize("value", [None, np.nan, np.inf])
def test_one_query_and_rows_that_float32_does_not_tell_apart(metric, dim, value):
    """Short rows are looked at in float32 first: a sum that is off by more than rows differ must
    not leave out any, nor pass over a row that is not finite."""
    rng = np.random.default_rng(dim)
    rows = (1 + rng.integers(-2, 3, (900, dim)) * 2.0**-22).astype(np.float32)
    rows *= 3.0 ** np.float32(rng.integers(-30, 30))
    query = rng.random(dim).astype(np.float32) * rows[0, 0] * np.float32(0.3)
    for k in (1, 10, 100):
        got = topk(query, rows, k, metric=metric, strategy="scan", threads=1)
        assert_same(got, reference.topk(query[None], rows, k, metric))
    if value is not None:
        rows[777, -1] = value
        with pytest.raises(ArgumentError, match="row 777 of the database holds NaN or infinity"):
            topk(query, rows, 3, metric=metric, strategy="scan", threads=1)
