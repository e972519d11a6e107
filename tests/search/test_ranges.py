"""`range_search` equals its definition to the bit: data that hurts, every cut of the work."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from contract_data import (
    COVERAGE,
    CUTS,
    DIFFERENCES,
    FLOAT_DATA,
    FLOAT_METRICS,
    LAYOUTS,
    LEVELS,
    MASKS,
    METRICS,
    NEVER,
    QUERIES,
    REDUCED,
    assert_same,
    at_level,
    codes,
    cut_as,
    floats,
    gaussian,
    mask_of,
    read_only,
    sketches_for,
)
from hypothesis import given
from hypothesis import strategies as st

from vsearch_fast.errors import ArgumentError, DTypeError
from vsearch_fast.kernels import found, reference
from vsearch_fast.search import Sketched, range_search
from vsearch_fast.search.arguments import Strategy
from vsearch_fast.search.cpu import within
from vsearch_fast.search.ranges import range_segments
from vsearch_fast.search.tiling import Tiling
from vsearch_fast.words import LEAST

STRATEGIES: tuple[Strategy, ...] = ("sketch", "scan")


def radius_of(
    kind: str, rng: np.random.Generator, distances: np.ndarray, least: float
) -> np.ndarray | float:
    """A radius a query, for distances (queries, rows), or one: exactly at a distance, just below
    one, none, the least, or beyond all."""
    if kind in ("infinite", "least"):
        return np.inf if kind == "infinite" else least
    if kind == "zero" or distances.size == 0:
        return 0.0
    if kind == "one":
        return float(rng.choice(distances.ravel()))
    at = distances[np.arange(len(distances)), rng.integers(distances.shape[1], size=len(distances))]
    at = at.astype(np.float64)
    return np.maximum(np.nextafter(at, -np.inf), least) if kind == "below" else at


RADII = ("at", "below", "zero", "one", "least", "infinite")


@given(
    metric=st.sampled_from(METRICS), strategy=st.sampled_from(STRATEGIES),
    data=st.sampled_from(tuple(FLOAT_DATA)), kind=st.sampled_from(QUERIES),
    layout=st.sampled_from(tuple(LAYOUTS)), radius=st.sampled_from(RADII),
    rows=st.integers(0, 70), queries=st.integers(0, 11), dim=st.sampled_from((1, 5, 33, 70, 200)),
    mask=st.sampled_from(MASKS), coverage=st.sampled_from(COVERAGE), parts=st.integers(1, 3),
    cut=st.sampled_from(tuple(CUTS)), level=st.sampled_from(LEVELS),
    threads=st.sampled_from((1, 2, 3, None)), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_every_search_equals_the_definition(
    metric, strategy, data, kind, layout, radius, rows, queries, dim, mask, coverage, parts, cut,
    level, threads, seed,
):  # fmt: skip
    rng = np.random.default_rng(seed)
    if metric == "hamming":
        database, asked = codes(data, rng, rows, queries, dim)
    else:
        database, asked = floats(data, kind, rng, rows, queries, dim)
    every = reference.topk(asked, database, max(1, rows), metric)[0]
    radii = radius_of(radius, rng, every, LEAST[metric])
    live = mask_of(mask, rng, rows)
    want = reference.range_search(asked, database, radii, metric, live)
    borders = np.sort(rng.integers(0, rows + 1, parts - 1))
    segments = [read_only(LAYOUTS[layout](part)) for part in np.split(database, borders)]
    masks = None if live is None else np.split(live, borders)
    with at_level(level), cut_as(cut):
        sketches = None if metric == "hamming" else sketches_for(segments, coverage, rng)
        whole = read_only(LAYOUTS[layout](database))
        assert_same(
            range_search(
                asked, whole, radii, metric=metric, mask=live, strategy=strategy, threads=threads
            ),
            want,
        )
        *got, proof = range_segments(
            asked, segments, radii, metric=metric, masks=masks, sketches=sketches,
            strategy=strategy, threads=threads,
        )  # fmt: skip
    assert_same(got, want)
    lives = rows if live is None else int(live.sum())
    assert proof.scanned + proof.sketched + proof.reduced == lives * queries
    assert proof.undecided <= proof.candidates <= proof.sketched + proof.after_fine
    assert proof.after_fine <= proof.after_coarse <= proof.reduced
    assert proof.scanned + proof.undecided >= len(want[1])


@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("scale", [2.0**-133, 2.0**-60, 1.0, 2.0**60, 2.0**120])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ties_at_the_radius_at_every_scale(metric, scale, strategy):
    """Many rows at the very distance of the radius: all of them are in, ordered by id."""
    rng = np.random.default_rng(3)
    rows = np.tile((rng.integers(0, 3, (60, 48)) * scale).astype(np.float32), (10, 1))
    queries = rows[:4].copy()
    distances = reference.topk(queries, rows, 600, metric)[0]
    radii = distances[:, 300]
    assert (distances == radii[:, None]).sum() > 30
    want = reference.range_search(queries, rows, radii, metric)
    below = reference.range_search(queries, rows, np.nextafter(radii, -np.inf), metric)
    assert len(below[1]) < len(want[1])
    for database in (rows, Sketched(rows)):
        got = range_search(queries, database, radii, metric=metric, strategy=strategy)
        assert_same(got, want)
        got = range_search(
            queries, database, np.nextafter(radii, -np.inf), metric=metric, strategy=strategy
        )
        assert_same(got, below)


@pytest.mark.parametrize("metric", DIFFERENCES)
@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
def test_radius_zero_finds_duplicates_alone(metric, kind):
    rows = (30000 + 0.01 * np.random.default_rng(0).standard_normal((900, 96))).astype(kind)
    rows[[7, 100, 899]] = rows[3]
    offsets, distances, ids = range_search(
        rows[3], Sketched(rows), 0, metric=metric, strategy="sketch"
    )
    want = reference.range_search(rows[3][None], rows, 0, metric)
    assert_same((offsets, distances, ids), want)
    assert {3, 7, 100, 899} <= set(ids.tolist()) and (distances == 0).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_cosines_at_the_ends_of_their_range(strategy):
    """Rows of one direction are at 0 or a rounding off it, which may be below; zeros are at 1."""
    rng = np.random.default_rng(0)
    # Numbers of 22 bits, so that three times them are of 24.
    whole = rng.integers(-(2**22), 2**22, (100, 96)) * 2.0 ** rng.integers(-12, 12, (100, 96))
    rows = np.concatenate([whole, 3 * whole, -3 * whole, 0 * whole, 2 * whole]).astype(np.float32)
    asked = rows[[*range(20), 320]]
    for radius in (-(2.0**-40), -1e-300, -(2.0**-53), 0, 2.0**-40, 0.5, 1, 2 - 2.0**-40, 2, np.inf):
        want = reference.range_search(asked, rows, radius, "cosine")
        got = range_search(asked, Sketched(rows), radius, metric="cosine", strategy=strategy)
        assert_same(got, want)
        if radius == 0:
            assert (np.diff(got[0])[:20] >= 2).all() and (got[1] < 0).any()
        if radius == -1e-300:
            assert len(got[1]) and (got[1] < 0).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_radii_of_inner_products_may_be_negative(strategy):
    rows = gaussian(800, 64)
    rows[7] *= 3e30
    for radius in (-np.inf, -1e30, -20.0, -0.0, 5.0, np.inf):
        want = reference.range_search(rows[:9], rows, radius, "ip")
        got = range_search(rows[:9], Sketched(rows), radius, metric="ip", strategy=strategy)
        assert_same(got, want)
    assert len(got[1]) == 9 * 800


def test_hamming_takes_radii_that_are_no_whole_numbers():
    rows = np.random.default_rng(0).integers(0, 256, (500, 3), np.uint8)
    for radius in (0, 0.5, 7, 7.999, 24, 1e300, np.inf):
        want = reference.range_search(rows[:3], rows, radius, "hamming")
        assert_same(range_search(rows[:3], rows, radius, metric="hamming"), want)


def test_bounds_exclude_what_they_should():
    """Scanning all would be exact, too: this one may not."""
    rng = np.random.default_rng(0)
    centres = np.maximum(rng.standard_normal((40, 256)), 0)
    rows = np.repeat(centres, 50, axis=0) + 0.05 * rng.standard_normal((2000, 256))
    rows = rows.astype(np.float32)
    for metric in FLOAT_METRICS:
        radius = float(reference.topk(rows[::100], rows, 50, metric)[0].max())
        want = reference.range_search(rows[::100], rows, radius, metric)
        for threads in (1, 2):
            *got, proof = range_search(  # type: ignore[call-overload]
                rows[::100], Sketched(rows), radius, metric=metric, strategy="sketch",
                threads=threads, explain=True,
            )  # fmt: skip
            assert_same(got, want)
            assert proof.scanned == 0 and proof.strategy == "sketch"
            assert proof.candidates < 0.06 * proof.sketched
            assert proof.undecided < 1.5 * len(want[1])


@pytest.mark.parametrize("metric", DIFFERENCES)
def test_reductions_exclude_what_they_should(metric):
    """They leave few pairs for sketches, and these few for stored rows."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, 128))
    rows = np.repeat(centres, 50, axis=0) + 0.3 * rng.standard_normal((2000, 128))
    rows = rng.permutation(rows).astype(np.float32)
    radius = float(reference.topk(rows[::100], rows, 20, metric)[0].max())
    live = rng.random(2000) < 0.7
    shapes = (("l2", 1, 8, 64), ("l1", 1, 16, 64))
    with cut_as(Tiling(**REDUCED | {"reduced_shapes": shapes}, hopeless=NEVER)):
        database = Sketched(rows)
        for mask in (None, live):
            want = reference.range_search(rows[::100], rows, radius, metric, mask)
            for threads in (1, 3):
                *got, proof = range_search(
                    rows[::100], database, radius, metric=metric, mask=mask, strategy="sketch",
                    threads=threads, explain=True,
                )  # fmt: skip
                assert_same(got, want)
                assert proof.reduced == 20 * (2000 if mask is None else live.sum())
                assert proof.sketched == proof.scanned == 0 and proof.strategy == "sketch"
                assert proof.after_fine < proof.after_coarse < 0.1 * proof.reduced
                assert proof.candidates < proof.after_fine < 0.04 * proof.reduced
                assert len(want[1]) <= proof.undecided < proof.candidates


def test_reductions_that_exclude_too_little_are_left_alone():
    rows = gaussian(3000, 64)
    radius = float(reference.topk(rows[:5], rows, 30, "l2")[0].max())
    with cut_as(Tiling(chunk_rows=160, fair_trial=100, **REDUCED)):
        *got, proof = range_search(
            rows[:5], Sketched(rows), radius, metric="l2", strategy="sketch", threads=1,
            explain=True,
        )  # fmt: skip
    assert_same(got, reference.range_search(rows[:5], rows, radius, "l2"))
    assert 0 < proof.reduced < proof.sketched and proof.scanned == 0


def test_what_sketches_do_not_exclude_is_scanned():
    rows = gaussian(3000, 64)
    with cut_as(Tiling(chunk_rows=100, fair_trial=100)):
        *got, proof = range_search(
            rows[:5], Sketched(rows), 1e3, metric="l2", strategy="sketch", explain=True
        )
    assert_same(got, reference.range_search(rows[:5], rows, 1e3, "l2"))
    assert proof.strategy == "sketch and scan" and proof.scanned > proof.sketched > 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_more_pairs_than_the_limit_are_counted_and_refused(metric, strategy):
    made = gaussian(120, 64)
    rows = reference.pack_bits(made) if metric == "hamming" else made
    total = len(reference.range_search(rows, rows, 1e9, metric)[1])
    assert total == 120 * 120
    with cut_as("small"):
        for threads in (1, 3):
            with pytest.raises(ArgumentError) as raised:
                range_search(
                    rows, rows, 1e9, metric=metric, strategy=strategy, limit=total - 1,
                    threads=threads,
                )  # fmt: skip
            assert "14,400 pairs lie within the radius" in raised.value.cause
            assert "limit=14400" in raised.value.cure
        got = range_search(rows, rows, 1e9, metric=metric, strategy=strategy, limit=total)
    assert_same(got, reference.range_search(rows, rows, 1e9, metric))


def test_queries_with_more_pairs_than_are_sorted_in_the_cache(monkeypatch):
    monkeypatch.setattr(found, "SORTED", 40)
    rows = np.random.default_rng(0).integers(0, 256, (300, 2), np.uint8)
    radii = np.arange(9)
    got = range_search(rows[:9], rows, radii, metric="hamming")
    assert_same(got, reference.range_search(rows[:9], rows, radii, "hamming"))
    assert np.diff(got[0]).max() > 40 > np.diff(got[0]).min()


def test_no_queries_and_no_rows():
    for metric in METRICS:
        dtype = np.uint8 if metric == "hamming" else np.float32
        for queries, rows in ((0, 5), (3, 0), (0, 0)):
            asked, database = np.zeros((queries, 8), dtype), np.zeros((rows, 8), dtype)
            got = range_search(asked, database, 1, metric=metric)
            assert_same(got, reference.range_search(asked, database, 1, metric))
            assert len(got[0]) == queries + 1


@pytest.mark.parametrize("radius", [np.nan, -1, -1e-300, -np.inf, [1.0, np.nan, 2.0]])
def test_a_radius_that_is_none_is_refused(radius):
    rows = gaussian(3, 8)
    with pytest.raises(ArgumentError, match="radius is"):
        range_search(rows, rows, radius, metric="l2")


def test_a_cosine_radius_is_refused_from_where_no_rounding_reaches():
    rows = gaussian(3, 8)
    for radius in (-1e-9, -1, -np.inf, np.nan):
        with pytest.raises(ArgumentError, match="radius is") as raised:
            range_search(rows, rows, radius, metric="cosine")
        assert "at least 0" in raised.value.cure


def test_a_radius_that_is_no_number_is_refused():
    rows = gaussian(3, 8)
    for radius in (np.nan, [-1.0, np.nan, 2.0]):
        with pytest.raises(ArgumentError, match="radius is nan") as raised:
            range_search(rows, rows, radius, metric="ip")
        assert "at least" not in raised.value.cure


def test_radii_of_another_shape_or_type_are_refused():
    rows = gaussian(3, 8)
    for radius in ([1.0, 2.0], [[1.0]], []):
        with pytest.raises(ArgumentError, match=r"radius has the shape \(.*\) for 3 queries"):
            range_search(rows, rows, radius, metric="l2")
    for other in (True, "near", 1j):
        with pytest.raises(DTypeError):
            range_search(rows, rows, other, metric="l2")
    for limit in (0, 1.5, True):
        with pytest.raises(ArgumentError, match="limit is"):
            range_search(rows, rows, 1, metric="l2", limit=limit)  # type: ignore[call-overload]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("sketched", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("metric", FLOAT_METRICS)
def test_rows_that_are_not_finite_are_named(metric, strategy, sketched, value):
    rows = gaussian(300, 40)
    rows[200, 3] = rows[77, 39] = value
    database = Sketched(rows) if sketched else rows
    for threads in (1, 3):
        with pytest.raises(ArgumentError, match="row 77 of the database holds NaN or infinity"):
            range_search(
                rows[:3], database, 2, metric=metric, strategy=strategy, threads=threads
            )  # fmt: skip
    mask = np.ones(300, bool)
    mask[[77, 200]] = False
    got = range_search(rows[:3], database, 9, metric=metric, mask=mask, strategy=strategy)
    assert_same(got, reference.range_search(rows[:3], rows, 9, metric, mask))
    with pytest.raises(ArgumentError, match="query 0 holds NaN"):
        range_search(rows[77], database, 2, metric=metric)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ctrl_c_stops_all_threads(strategy, monkeypatch):
    """Whoever is interrupted tells the others, which end with the part that they are at."""
    rows = gaussian(4000, 64)
    parts = []
    take = within._Worker._take

    def interrupted(worker, chunk, start, stop):
        parts.append(start)
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return take(worker, chunk, start, stop)

    monkeypatch.setattr(within._Worker, "_take", interrupted)
    with cut_as(Tiling(chunk_rows=16, inline_bytes=0)), pytest.raises(KeyboardInterrupt):
        range_search(rows[:9], Sketched(rows), 1, metric="l2", strategy=strategy, threads=2)
    assert len(parts) < 250
