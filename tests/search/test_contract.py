"""The contract of `topk`: both strategies equal the oracle to the bit, whatever the data, the
processor, the threads and the cut of the work; and a `Proof` that adds up.

A sample runs by default, all of it by ``make test-full``. The paths that the strategy
``sketch`` can take are made certain one by one in `test_paths`, `test_pool` and
`test_guesses`.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from contract_cases import LARGE, MANY, SMALL, check
from contract_data import (
    COVERAGE,
    CUTS,
    FLOAT_DATA,
    FLOAT_METRICS,
    LEVELS,
    MASKS,
    METRICS,
    assert_adds_up,
    assert_same,
    at_level,
    cut_as,
    floats,
    mask_of,
    sketches_for,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import in_a_process

from vsearch_fast.errors import ArgumentError
from vsearch_fast.index import Index, stored_sketches
from vsearch_fast.kernels import reference
from vsearch_fast.search import Sketched, topk, topk_segments


@settings(max_examples=2000)
@given(SMALL)
def test_equals_the_oracle(case):
    check(case)


@settings(max_examples=400)
@given(LARGE)
def test_long_rows_equal_the_oracle(case):
    check(case)


@settings(max_examples=300)
@given(MANY)
def test_many_rows_equal_the_oracle(case):
    check(case)


@pytest.mark.full
@settings(max_examples=50000)
@given(SMALL)
def test_equals_the_oracle_at_length(case):
    check(case)


@pytest.mark.full
@settings(max_examples=10000)
@given(LARGE)
def test_long_rows_equal_the_oracle_at_length(case):
    check(case)


@pytest.mark.full
@settings(max_examples=8000)
@given(MANY)
def test_many_rows_equal_the_oracle_at_length(case):
    check(case)


def test_a_processor_without_vector_extensions():
    code = "import contract_cases; contract_cases.on_this_processor()"
    assert in_a_process(code, NUMBA_CPU_NAME="generic") == "portable"


def test_environment_of_other_libraries_changes_nothing():
    """Numbers of threads that are meant for OpenMP, BLAS or Numba."""
    code = """if True:
        import hashlib, numpy as np
        from vsearch_fast.search import Sketched, available_threads, topk
        rows = np.random.default_rng(0).standard_normal((3000, 130)).astype(np.float32)
        bits = hashlib.sha256()
        for metric in ("l1", "l2"):
            for database in (rows, Sketched(rows)):
                for strategy in ("scan", "sketch"):
                    for found in topk(rows[:9], database, 7, metric=metric, strategy=strategy):
                        bits.update(found.tobytes())
        print(available_threads(), bits.hexdigest())
    """
    plain = in_a_process(code)
    for threads in "1", "7":
        variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        assert in_a_process(code, **dict.fromkeys(variables, threads)) == plain


@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("value", [255.0, 3e38])
@pytest.mark.parametrize("dim", [33_100, 100_352])
@pytest.mark.parametrize("level", LEVELS)
def test_saturated_sketches_of_very_long_rows(metric, value, dim, level):
    """All bytes 0 or 255: sums that int32 cannot hold; and some rows in between."""
    rng = np.random.default_rng(dim)
    rows = np.zeros((14, dim), np.float32)
    rows[::2] = value
    rows[1, : dim // 2] = value
    rows[2] *= rng.random(dim, np.float32)
    queries = rows[[0, 1, 2, 3, 0]]
    queries[4] = value / 3
    with at_level(level):
        database = Sketched(rows)
        assert {0, 255} <= set(np.unique(database.sketch.bytes[:, :dim]))
        for some in (queries[:1], queries):
            want = reference.topk(some, rows, 4, metric)
            *got, proof = topk(some, database, 4, metric=metric, strategy="sketch", explain=True)
            assert_same(got, want)
            assert proof.strategy == "sketch"


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
def test_memory_mapped(tmp_path, metric, kind):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 9, (300, 100)).astype(np.uint8 if metric == "hamming" else kind)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    want = reference.topk(rows[:3], rows, 5, metric)
    for strategy in ("scan", "sketch"):
        assert_same(topk(rows[:3], mapped, 5, metric=metric, strategy=strategy), want)
    if metric != "hamming":
        assert_same(topk(rows[:3], Sketched(mapped), 5, metric=metric, strategy="sketch"), want)


# Rows that are not finite


@settings(max_examples=120)
@given(
    metric=st.sampled_from(FLOAT_METRICS),
    strategy=st.sampled_from(("sketch", "scan")),
    coverage=st.sampled_from(COVERAGE),
    cut=st.sampled_from(tuple(CUTS)),
    bad=st.lists(st.sampled_from((np.nan, np.inf, -np.inf, 1e300)), min_size=1, max_size=5),
    kind=st.sampled_from((np.float32, np.float16, np.float64)),
    parts=st.integers(1, 3),
    queries=st.integers(1, 9),
    threads=st.sampled_from((1, 2, 3)),
    masked=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_first_row_that_is_not_finite_is_named(
    metric, strategy, coverage, cut, bad, kind, parts, queries, threads, masked, seed
):
    rng = np.random.default_rng(seed)
    database = rng.standard_normal((60, 9)).astype(kind)
    where = rng.choice(60, len(bad), replace=False)
    with np.errstate(over="ignore"):
        database[where, rng.integers(9)] = bad
    query = rng.standard_normal((queries, 9)).astype(np.float32)
    borders = np.sort(rng.integers(0, 61, parts - 1))
    segments = np.split(database, borders)
    how = {"metric": metric, "strategy": strategy, "threads": threads}
    with cut_as(cut):
        sketches = sketches_for(segments, coverage, rng)
        # Some of them may be left out; the first of the others is named.
        mask = np.ones(60, bool)
        if masked and len(where) > 1:
            mask[np.sort(where)[0]] = False
        seen = np.sort(where[mask[where]])[0]
        number = int(np.searchsorted(borders, seen, side="right"))
        row = seen - (borders[number - 1] if number else 0)
        name = "the database" if parts == 1 else f"database segment {number}"
        with pytest.raises(ArgumentError, match=rf"^row {row} of {name} holds NaN or infinity"):
            topk_segments(
                query, segments, 4, masks=np.split(mask, borders), sketches=sketches, **how
            )
        with pytest.raises(ArgumentError, match=rf"^row {seen} of the database holds NaN"):
            topk(query, Sketched(database), 4, mask=mask, **how)
        mask[where] = False
        with np.errstate(over="ignore"):
            want = reference.topk(query, database, 4, metric, mask)
        *got, proof = topk_segments(
            query, segments, 4, masks=np.split(mask, borders), sketches=sketches, **how
        )
        assert_same(got, want)
        assert_adds_up(proof, metric, strategy, queries, 60 - len(bad), 4)
        assert_same(topk(query, Sketched(database), 4, mask=mask, **how), want)


# Threads and processes


@pytest.mark.parametrize("cut", ["usual", "small"])
def test_sixteen_callers_at_once(cut):
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((700, 64)).astype(np.float32)
    searches = []
    with cut_as(cut):
        for metric in FLOAT_METRICS:
            for database in (rows, Sketched(rows), rows.astype(np.float16)):
                stored = database.array if isinstance(database, Sketched) else database
                want = reference.topk(rows[:8], stored, 10, metric)
                searches.append((database, metric, want))

        def call(number: int) -> None:
            database, metric, want = searches[number % len(searches)]
            got = topk(rows[:8], database, 10, metric=metric, strategy="sketch", threads=3)  # type: ignore[call-overload]
            assert_same(got, want)

        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(call, range(64))) == [None] * 64


def _in_child(rows: np.ndarray, database: Sketched) -> list:
    with cut_as("small"):
        return [
            topk(rows[:4], database, 3, metric=metric, strategy="sketch", threads=2)  # type: ignore[call-overload]
            for metric in FLOAT_METRICS
        ] + [Sketched(rows, threads=2).sketch.bytes]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_after_a_fork():
    rows = np.random.default_rng(2).standard_normal((300, 64)).astype(np.float32)
    database = Sketched(rows, threads=2)
    *want, sketch = _in_child(rows, database)  # the pool exists now; its threads do not fork
    with multiprocessing.get_context("fork").Pool(1) as child:
        *got, same = child.apply_async(_in_child, (rows, database)).get(timeout=60)
    np.testing.assert_array_equal(same, sketch)
    for metric, ours, theirs in zip(FLOAT_METRICS, got, want, strict=True):
        assert_same(ours, theirs)
        assert_same(ours, reference.topk(rows[:4], rows, 3, metric))


# Index


@dataclass(frozen=True)
class Catalogue:
    """An index that grows in steps and loses rows, and searches in it."""

    data: str
    dtype: str
    adds: tuple[int, ...]
    segment_rows: int
    block_rows: int
    removed: str | None
    where: bool
    k: int
    cut: str
    threads: int
    seed: int


CATALOGUES = st.builds(
    Catalogue,
    data=st.sampled_from([name for name in FLOAT_DATA if "float" not in name]),
    dtype=st.sampled_from(("float32", "float16")),
    adds=st.lists(st.integers(1, 30), min_size=1, max_size=5).map(tuple),
    segment_rows=st.sampled_from((16, 5, 64)),
    block_rows=st.sampled_from((4, 7, 16)),
    removed=st.sampled_from(MASKS),
    where=st.booleans(),
    k=st.sampled_from((1, 10, 200)),
    cut=st.sampled_from(tuple(CUTS)),
    threads=st.sampled_from((1, 2)),
    seed=st.integers(0, 2**32 - 1),
)


def check_index(folder: Path, case: Catalogue) -> None:
    rng = np.random.default_rng(case.seed)
    n, dim = sum(case.adds), 24
    rows, queries = floats(case.data, "alike", rng, n, 3, dim)
    if case.dtype == "float16":
        rows = np.clip(rows, -65504, 65504)
    live = np.ones(n, bool)
    removed = mask_of(case.removed, rng, n)
    with cut_as(case.cut), pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_sketches, "BLOCK_ROWS", case.block_rows)
        with Index.create(
            folder, dim, segment_rows=case.segment_rows, dtype=case.dtype
        ) as index:  # fmt: skip
            done = 0
            for count in case.adds:
                part = range(done, done + count)
                index.add(
                    [f"{i}" for i in part], rows[done : done + count],
                    [{"third": i % 3} for i in part],
                )  # fmt: skip
                done += count
            if removed is not None:
                index.remove([f"{i}" for i in np.flatnonzero(removed)])
                live &= ~removed
        where = None
        if case.where:
            where = {"third": [0, 2]}
            live &= np.arange(n) % 3 != 1
        stored = rows.astype(case.dtype)
        with Index.open(folder) as index:
            for metric in METRICS:
                asked, held = queries, stored
                if metric == "hamming":
                    asked, held = reference.pack_bits(queries), reference.pack_bits(stored)
                want = reference.topk(asked, held, case.k, metric, live)
                for strategy in ("scan", "sketch"):
                    hits, proof = index.search(
                        queries, case.k, metric, where,
                        threads=case.threads, strategy=strategy, explain=True,
                    )  # fmt: skip
                    distances = [[hit.distance for hit in line] for line in hits]
                    assert distances == want[0].tolist()
                    assert [[int(hit.id) for hit in line] for line in hits] == want[1].tolist()
                    assert_adds_up(proof, metric, strategy, 3, int(live.sum()), case.k)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CATALOGUES)
def test_index_equals_the_oracle(tmp_path_factory, case):
    check_index(tmp_path_factory.mktemp("index"), case)


@pytest.mark.full
@settings(max_examples=400)
@given(CATALOGUES)
def test_index_equals_the_oracle_at_length(tmp_path_factory, case):
    check_index(tmp_path_factory.mktemp("index"), case)
