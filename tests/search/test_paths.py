"""The paths of exact L1 and L2 search, one by one: each is taken, which is counted, and the
result still equals the oracle."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from contract_data import (
    CUTS,
    DIFFERENCES,
    FLOAT_METRICS,
    LAYOUTS,
    NEVER,
    assert_adds_up,
    assert_same,
    cut_as,
    cut_sketch,
    gaussian,
)

from vsearch_fast.errors import ArgumentError
from vsearch_fast.kernels import reference
from vsearch_fast.search import Sketched, sketches, topk, topk_segments
from vsearch_fast.search.cpu import cascade
from vsearch_fast.search.cpu.shared import Shared
from vsearch_fast.search.cpu.worker import Worker
from vsearch_fast.search.sketches import build
from vsearch_fast.search.tiling import Tiling


@pytest.fixture
def calls(monkeypatch):
    """How often the steps of a search were called with something to do, by name."""
    counted: Counter[str] = Counter()

    def count(kind, name, worth=lambda *_: True):
        original = getattr(kind, name)

        def counting(self, *arguments, **keywords):
            counted[name] += bool(worth(self, *arguments))
            return original(self, *arguments, **keywords)

        monkeypatch.setattr(kind, name, counting)

    count(Worker, "relieve", lambda worker, *_: worker.listed)
    count(Worker, "decide", lambda worker, *_: worker.listed)
    count(Worker, "probe", lambda worker, *_: worker.listed > worker.refined)
    count(Worker, "_scan")
    count(Shared, "sketch_queries")
    return counted


# Neighbours

SEGMENTS = {
    **LAYOUTS,
    "float16": lambda a: a.astype(np.float16),
    "float64": lambda a: a.astype(np.float64) + 1e-12,
    "big-endian float16": lambda a: a.astype(">f2"),
    "fortran float64": lambda a: np.asfortranarray(a.astype(np.float64) + 1e-12),
    "every other column of float16": lambda a: LAYOUTS["every other column"](a.astype(np.float16)),
    "no rows": lambda a: a[:0],
}


@pytest.mark.parametrize("first", SEGMENTS)
@pytest.mark.parametrize("threads", [1, 2])
def test_neighbours_of_any_layout(first, threads):
    """Pairs listed in one segment are decided by its rows, whatever the next ones are."""
    rows = gaussian(63)
    queries = rows[[3, 25, 44, 60]] + np.float32(0.01)
    cut = Tiling(chunk_rows=5, tile_bytes=256, inline_bytes=0, few_pairs=0)
    with cut_as(cut):
        for second in SEGMENTS:
            segments = [SEGMENTS[kind](rows[i::3]) for i, kind in enumerate((first, second, first))]
            stored = np.concatenate([segment.astype(np.float32) for segment in segments])
            for metric in FLOAT_METRICS:
                want = reference.topk(queries, stored, 5, metric)
                for covered in (None, 8, 21):
                    made = None
                    if covered:
                        made = [build(segment[:covered], 1) for segment in segments]
                    *got, proof = topk_segments(
                        queries, segments, 5, metric=metric, sketches=made, strategy="sketch",
                        threads=threads,
                    )  # fmt: skip
                    assert_same(got, want)
                    assert_adds_up(proof, metric, "sketch", 4, len(stored), 5)
                    assert (proof.sketched > 0) == (len(stored) > 0)


# Lists that overflow, giving up, rows beyond a sketch, parameters


@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("k", [1, 10, 150, 299, 300, 301])
@pytest.mark.parametrize("threads", [1, 2])
def test_lists_that_overflow_are_relieved(metric, k, threads, calls):
    """Equal rows, of which no bound excludes any: only deciding makes room."""
    rows = np.repeat(gaussian(1), 300, axis=0)
    cut = Tiling(
        tile_bytes=1, list_bytes=1, chunk_rows=100, inline_bytes=0, hopeless=NEVER,
        pairs_a_query=1,
    )  # fmt: skip
    queries = np.zeros((3, 32), np.float32)
    want = reference.topk(queries, rows, k, metric)
    with cut_as(cut):
        *got, proof = topk(
            queries, rows, k, metric=metric, strategy="sketch", threads=threads, explain=True
        )
    assert_same(got, want)
    assert_adds_up(proof, metric, "sketch", 3, 300, k)
    assert proof.strategy == "sketch"
    # A list has room for 4 k pairs a query; 3 x 300 go through the lists of all.
    assert calls["relieve"] >= 900 // (3 * 4 * k) - threads
    assert calls["decide"] >= calls["relieve"]
    assert (calls["relieve"] > 0) == (k < 75)


@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
def test_bounds_that_exclude_too_little_are_given_up(metric, kind, calls):
    """Rows beside which queries are so far away that no bound can tell them apart."""
    rows = gaussian(400).astype(kind)
    queries = gaussian(5, seed=1) + np.float32(1e6)
    # Lists for 4 k pairs a query are full after 40 rows, and what is in them is counted.
    cut = Tiling(
        chunk_rows=20, sketch_rows=20, tile_bytes=1, list_bytes=1, fair_trial=40, hopeless=0.5
    )
    want = reference.topk(queries, rows, 10, metric)
    with cut_as(cut):
        for database in (rows, Sketched(rows)):
            calls.clear()
            *got, proof = topk(
                queries, database, 10, metric=metric, strategy="sketch", threads=1, explain=True
            )
            assert_same(got, want)
            assert_adds_up(proof, metric, "sketch", 5, 400, 10)
            assert proof.strategy == "sketch and scan"
            assert 0 < proof.sketched < proof.scanned
            assert calls["_scan"] == proof.scanned // (20 * 5)
    with cut_as(replace(cut, hopeless=NEVER)):
        calls.clear()
        assert_same(topk(queries, rows, 10, metric=metric, strategy="sketch"), want)
        assert calls["_scan"] == 0


@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
def test_rows_beyond_a_sketch(metric, kind, calls):
    """They are scanned, or sketched on the way where there are enough of them and of queries."""
    rows = gaussian(90).astype(kind)
    sketch = build(rows)
    with cut_as(Tiling(sketch_rows=8, build_queries=3, build_rows=30)):
        for covered, queries in itertools.product((0, 1, 59, 60, 61, 89, 90), (1, 2, 3, 9)):
            calls.clear()
            want = reference.topk(rows[:queries], rows, 7, metric)
            *got, proof = topk_segments(
                rows[:queries], [rows], 7, metric=metric, sketches=[cut_sketch(sketch, covered)],
                strategy="sketch", threads=1,
            )  # fmt: skip
            assert_same(got, want)
            assert_adds_up(proof, metric, "sketch", queries, 90, 7)
            built = queries >= 3 and covered <= 60
            assert proof.scanned == (0 if built else (90 - covered) * queries)
            assert (calls["_scan"] > 0) == (proof.scanned > 0)


@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("kept", [1, 2, 4])
def test_queries_are_sketched_anew_for_forgotten_parameters(metric, kept, calls):
    """Rows of three scales in turn: three pairs of parameters, and room for fewer or for all."""
    rows = gaussian(120)
    scales = np.repeat(np.tile([1, 1000, 0.001], 4), 10).astype(np.float32)
    rows *= scales[:, None]
    with cut_as(
        Tiling(
            chunk_rows=10, sketch_rows=10, kept_parameters=kept, hopeless=NEVER, fair_trial=10**9
        )
    ):
        sketch = build(rows, 1)
        # Runs of one scale may have parameters of their own: give them those of the first.
        first: dict[float, sketches.Run] = {}
        runs = []
        for run, scale in zip(sketch.runs, scales[::10], strict=True):
            kept_run = first.setdefault(float(scale), run)
            runs.append(sketches.Run(run.start, kept_run.lo, kept_run.step, kept_run.lost))
            part = slice(run.start, run.start + 10)
            sketches.sketch_block(
                rows[part], kept_run.lo, kept_run.step, sketch.bytes[part], sketch.facts[part]
            )
        assert len({(run.lo, run.step) for run in runs}) == 3
        sketch = sketches.Sketch(sketch.bytes, sketch.facts, runs, sketch.bad)
        *got, proof = topk_segments(
            rows[5::12], [rows], 7, metric=metric, sketches=[sketch], strategy="sketch", threads=1
        )
    assert_same(got, reference.topk(rows[5::12], rows, 7, metric))
    assert proof.strategy == "sketch"
    assert calls["sketch_queries"] == (3 if kept >= 3 else 12)


@pytest.mark.parametrize("metric", FLOAT_METRICS)
def test_batches_of_queries_share_nothing(metric, calls):
    rows = gaussian(50)
    with cut_as(Tiling(sketch_query_bytes=3 * 4 * 32)):  # three queries
        sketched = Sketched(rows)
        *got, proof = topk(
            rows[:10], sketched, 4, metric=metric, strategy="sketch", explain=True, threads=1
        )
    assert_same(got, reference.topk(rows[:10], rows, 4, metric))
    assert_adds_up(proof, metric, "sketch", 10, 50, 4)
    assert calls["sketch_queries"] == 4


def test_bounds_exclude_what_they_should():
    """A search that falls back on deciding all would be exact, too: this one may not."""
    rng = np.random.default_rng(0)
    centres = np.maximum(rng.standard_normal((40, 256)), 0)
    rows = np.repeat(centres, 50, axis=0) + 0.05 * rng.standard_normal((2000, 256))
    rows = rows.astype(np.float32)
    for metric in FLOAT_METRICS:
        want = reference.topk(rows[::100], rows, 10, metric)
        for threads in (1, 2):
            *got, proof = topk(  # type: ignore[call-overload]
                rows[::100], Sketched(rows), 10, metric=metric, strategy="sketch", explain=True,
                threads=threads,
            )  # fmt: skip
            assert_same(got, want)
            assert proof.scanned == 0
            assert proof.candidates < 0.06 * proof.sketched
            # The float32 tier leaves no more than the nearest; of products, whose bounds are in
            # proportion to both lengths and not to what lies between, a few more.
            spare = 0 if metric in DIFFERENCES else 10
            assert 0 <= proof.undecided - 20 * 10 <= spare


def test_hamming_codes_are_scanned_whatever_the_strategy():
    codes = np.random.default_rng(0).integers(0, 256, (500, 16), np.uint8)
    for cut in CUTS:
        with cut_as(cut):
            *got, proof = topk(
                codes[:9], codes, 5, metric="hamming", strategy="sketch", explain=True
            )
        assert_same(got, reference.topk(codes[:9], codes, 5, "hamming"))
        assert_adds_up(proof, "hamming", "sketch", 9, 500, 5)


def test_sketches_of_other_arrays_are_refused():
    rows = gaussian(40)
    sketch = Sketched(rows).sketch
    for others in ([sketch], [sketch, sketch, None]):
        with pytest.raises(ArgumentError, match="sketches are not those"):
            topk_segments(rows[:1], [rows[:30], rows[30:]], 3, metric="l2", sketches=others)
    with pytest.raises(ArgumentError, match="sketches are not those"):
        topk_segments(rows[:1], [rows[:30]], 3, metric="l2", sketches=[sketch])


@pytest.mark.parametrize("metric", FLOAT_METRICS)
def test_threads_share_the_queries_of_few_rows(metric, monkeypatch):
    rows, queries = gaussian(90, 70), gaussian(23, 70)
    taken = []
    search = cascade._search_some

    def watched(problem, some, chunks, workers, *rest):
        taken.append(len(some))
        assert workers == 1 and chunks[-1].stop == 90
        return search(problem, some, chunks, workers, *rest)

    monkeypatch.setattr(cascade, "_search_some", watched)
    with cut_as(Tiling(inline_bytes=0, whole_queries=5)):
        found = topk(queries, Sketched(rows), 4, metric=metric, strategy="sketch", threads=8,
                     explain=True)  # fmt: skip
    assert sorted(taken) == [5, 6, 6, 6]
    assert found[2].sketched == 90 * 23
    assert_same(found[:2], reference.topk(queries, rows, 4, metric))
    rows[50, 3] = rows[20, 5] = np.nan
    for threads in (1, 8):
        with pytest.raises(ArgumentError, match="row 20"):
            topk(queries, Sketched(rows), 4, metric=metric, strategy="sketch", threads=threads)
