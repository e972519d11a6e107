"""Searches drawn by Hypothesis, and the check that each equals the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from contract_data import (
    COVERAGE,
    CUTS,
    FLOAT_DATA,
    LAYOUTS,
    LEVELS,
    MASKS,
    QUERIES,
    assert_adds_up,
    assert_same,
    at_level,
    codes,
    cut_as,
    floats,
    mask_of,
    read_only,
    sketches_for,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast.kernels import reference
from vsearch_fast.search import Sketched, topk, topk_segments


@dataclass(frozen=True)
class Case:
    """A search; what is random in it comes from the seed."""

    metric: str
    strategy: str
    data: str
    kind: str  # of the queries
    layout: str
    rows: int
    queries: int
    dim: int
    k: int | str
    mask: str | None
    coverage: str  # of the sketches
    parts: int
    cut: str
    level: str
    threads: int | None
    seed: int


def sizes(most: int) -> st.SearchStrategy[int]:
    """Up to so many, seldom none or one: nothing happens there."""
    return st.integers(most // 5, most) | st.integers(most // 3, most) | st.integers(0, most)


def cases(
    dims: Sequence[int],
    rows: int,
    queries: int,
    parts: int = 4,
    cuts: Sequence[str] = tuple(CUTS),
) -> st.SearchStrategy[Case]:
    """Hypothesis strategy of cases; the first of each list is the plainest."""
    return st.builds(
        Case,
        metric=st.sampled_from(("l2", "l1", "hamming", "cosine", "ip")),
        strategy=st.sampled_from(("sketch", "sketch", "scan")),
        data=st.sampled_from(tuple(FLOAT_DATA)),
        kind=st.sampled_from(QUERIES),
        layout=st.sampled_from(tuple(LAYOUTS)),
        rows=sizes(rows),
        queries=sizes(queries),
        dim=st.sampled_from(dims),
        k=st.sampled_from((1, 2, 10, "n - 1", "n", "n + 5")),
        mask=st.sampled_from((None, "half", "all", None, *MASKS)),
        coverage=st.sampled_from(COVERAGE),
        parts=st.integers(1, parts),
        cut=st.sampled_from(cuts),
        level=st.sampled_from(LEVELS),
        threads=st.sampled_from((1, 2, 3, None)),
        seed=st.integers(0, 2**32 - 1),
    )


def check(case: Case) -> None:
    """Search one array, with and without a sketch, and its segments: all equal the oracle."""
    rng = np.random.default_rng(case.seed)
    if case.metric == "hamming":
        database, queries = codes(case.data, rng, case.rows, case.queries, case.dim)
    else:
        database, queries = floats(
            case.data, case.kind, rng, case.rows, case.queries, case.dim
        )  # fmt: skip
    mask = mask_of(case.mask, rng, case.rows)
    n = case.rows
    k = case.k
    if isinstance(k, str):
        k = {"n - 1": max(1, n - 1), "n": max(1, n), "n + 5": n + 5}[k]
    want = reference.topk(queries, database, k, case.metric, mask)
    live = n if mask is None else int(mask.sum())
    laid_out = read_only(LAYOUTS[case.layout](database))
    borders = np.sort(rng.integers(0, n + 1, case.parts - 1))
    segments = [read_only(LAYOUTS[case.layout](part)) for part in np.split(database, borders)]
    masks = None if mask is None else np.split(mask, borders)
    how: dict[str, Any] = {
        "metric": case.metric,
        "strategy": case.strategy,
        "threads": case.threads,
    }
    with at_level(case.level), cut_as(case.cut):
        whole: np.ndarray | Sketched = laid_out
        sketches = None
        if case.metric != "hamming":
            sketches = sketches_for(segments, case.coverage, rng)
            if case.coverage == "all":
                whole = Sketched(laid_out, threads=case.threads)
        *got, proof = topk(queries, whole, k, mask=mask, explain=True, **how)
        assert_same(got, want)
        assert_adds_up(proof, case.metric, case.strategy, case.queries, live, k)
        *got, proof = topk_segments(queries, segments, k, masks=masks, sketches=sketches, **how)
        assert_same(got, want)
        assert_adds_up(proof, case.metric, case.strategy, case.queries, live, k)


SMALL = cases(dims=(8, 1, 7, 0, 31, 32, 33, 63, 64, 65, 100), rows=70, queries=9)
LARGE = cases(dims=(512, 4095, 4096, 4097), rows=40, queries=6, parts=2)
# Full buffers and lists, with tiles and chunks as they are in earnest.
MANY = cases(
    dims=(3, 64, 129),
    rows=900,
    queries=40,
    cuts=("usual", "large tiles, short lists", "guesses", "gives up"),
)


def on_this_processor() -> None:
    """What the subprocess below runs."""
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    for plan, examples in ((SMALL, 400), (LARGE, 30), (MANY, 30)):
        settings(max_examples=examples, database=None)(given(plan)(check))()
    print(*LEVELS)
