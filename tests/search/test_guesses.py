"""Limits that start from a guess, which may be wrong for some queries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from contract_data import (
    DIFFERENCES,
    FLOAT_METRICS,
    NEVER,
    REDUCED,
    assert_adds_up,
    assert_same,
    cut_as,
    gaussian,
)

from vsearch_fast.kernels import reference
from vsearch_fast.search import Sketched, topk
from vsearch_fast.search.cpu import cascade
from vsearch_fast.search.tiling import Tiling

GUESSING = Tiling(chunk_rows=40, inline_bytes=0, small_k=4, sample_rows=40, sample_stride=8)


@pytest.fixture
def rounds(monkeypatch):
    """Of each time that a batch was searched: its queries, whether by a guess, which it missed."""
    made = []
    search = cascade._Batch.search

    def noting(batch, best, best_ids, limits, guess):
        missed = search(batch, best, best_ids, limits, guess)
        made.append((batch.shared.count, guess, missed.tolist()))
        return missed

    monkeypatch.setattr(cascade._Batch, "search", noting)
    return made


@pytest.mark.parametrize("metric", DIFFERENCES)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("k", [10, 70, 390])
def test_a_guess_may_hold_for_some_queries_and_not_for_others(metric, threads, k, rounds):
    """The rows of the sample, each tenth one, lie where the first query is and no other row."""
    rows = gaussian(400)
    rows[::10] += 20
    queries = np.stack([np.full(32, 20), np.full(32, 0.1)]).astype(np.float32)
    want = reference.topk(queries, rows, k, metric)
    with cut_as(GUESSING):
        *got, proof = topk(
            queries, Sketched(rows), k, metric=metric, strategy="sketch", explain=True,
            threads=threads,
        )  # fmt: skip
    assert_same(got, want)
    assert_adds_up(proof, metric, "sketch", 2, 400, k)
    if k == 390:  # too many for a sample of 40 rows to say anything
        assert rounds == [(2, True, [])]
    else:
        assert rounds == [(2, True, [0]), (1, False, [])]


@pytest.mark.parametrize("metric", DIFFERENCES)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_guess_by_reduced_rows_may_hold_for_some_queries_and_not_for_others(
    metric, threads, rounds, monkeypatch
):
    """Every eighth page of 16 rows, which the sample has, lies where the first query is."""
    rows = gaussian(640)
    rows.reshape(5, 8, 16, 32)[:, 0] += 20
    queries = np.stack([np.full(32, 20), np.full(32, 0.1)]).astype(np.float32)
    want = reference.topk(queries, rows, 70, metric)
    monkeypatch.setattr(cascade.Worker, "sample", None)  # not by sketches
    tiled = {**REDUCED, "chunk_rows": 640, "inline_bytes": 0, "small_k": 4, "guessed_ranks": 1}
    with cut_as(Tiling(sample_rows=80, reduced_left=NEVER, hopeless=NEVER, **tiled)):
        *got, proof = topk(
            queries, Sketched(rows), 70, metric=metric, strategy="sketch", explain=True,
            threads=threads,
        )  # fmt: skip
    assert_same(got, want)
    assert proof.reduced == 2 * 640
    assert rounds == [(2, True, [0]), (1, False, [])]


@pytest.mark.parametrize("metric", ("cosine", "ip"))
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("k", [10, 70])
def test_a_guess_of_products_may_hold_for_some_queries_and_not_for_others(
    metric, threads, k, rounds
):
    """The sample's rows are the nearest of the first query, and as all others for the second."""
    rows = gaussian(400)
    rows[:, 0] = 0
    rows[::10, 0] = 20
    queries = np.zeros((2, 32), np.float32)
    queries[0, 0] = queries[1, 1] = 1
    want = reference.topk(queries, rows, k, metric)
    with cut_as(GUESSING):
        *got, proof = topk(
            queries, Sketched(rows), k, metric=metric, strategy="sketch", explain=True,
            threads=threads,
        )  # fmt: skip
    assert_same(got, want)
    assert_adds_up(proof, metric, "sketch", 2, 400, k)
    assert rounds[0][:2] == (2, True)
    if k == 70:  # where 40 are near
        assert 0 in rounds[0][2]


@pytest.mark.parametrize("metric", ("cosine", "ip"))
def test_guesses_of_products_mostly_hold(metric, rounds):
    """And spare the float32 tier pairs: rows without order, of which a sample tells."""
    rows, queries = gaussian(4000), gaussian(20, seed=1)
    want = reference.topk(queries, rows, 100, metric)
    with cut_as(replace(GUESSING, sample_rows=400)):
        got = topk(queries, Sketched(rows), 100, metric=metric, strategy="sketch")
    assert_same(got, want)
    assert len(rounds[0][2]) <= 4


@pytest.mark.parametrize("metric", DIFFERENCES)
def test_a_guess_that_is_worth_nothing_still_adds_up(metric, rounds):
    """Queries so far away that no bound says anything: their pairs are decided once more."""
    rows = gaussian(400, 8)
    queries = gaussian(3, 8, seed=1) + np.float32(1e6)
    want = reference.topk(queries, rows, 10, metric)
    for share in (0.5, NEVER):
        rounds.clear()
        with cut_as(replace(GUESSING, hopeless=share)):
            *got, proof = topk(
                queries, Sketched(rows), 10, metric=metric, strategy="sketch", explain=True
            )
        assert_same(got, want)
        assert rounds == [(3, True, [0, 1, 2]), (3, False, [])]
        assert_adds_up(proof, metric, "sketch", 3, 400, 10)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_a_mask_leaves_out_do_not_spoil_a_guess(metric, bad, rounds):
    rows = gaussian(400)
    rows[::10] = bad
    rows[::20] = gaussian(20, seed=2)  # half of the sample is sound
    mask = np.isfinite(rows).all(axis=1)
    queries = gaussian(5, seed=1)
    want = reference.topk(queries, rows, 10, metric, mask)
    with cut_as(GUESSING):
        *got, proof = topk(
            queries, Sketched(rows), 10, metric=metric, mask=mask, strategy="sketch", explain=True
        )
    assert_same(got, want)
    assert_adds_up(proof, metric, "sketch", 5, 380, 10)
    assert rounds[0] == (5, True, [])
