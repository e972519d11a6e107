"""pytest-benchmark suite over the table of cases; the same answers are checked as are timed.

pytest benchmarks                     # timings
pytest benchmarks --benchmark-disable # each once, as CI does
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from vsearch_fast.bench import answers
from vsearch_fast.bench.cases import SUITE, Case
from vsearch_fast.bench.contenders import DEFINITION, MATRIX_PRODUCT, OURS, Contender
from vsearch_fast.bench.data import Data
from vsearch_fast.bench.peers import PEERS
from vsearch_fast.kernels import reference
from vsearch_fast.search import available_threads

PAIRS = [
    pytest.param(case, contender, id=f"{case.metric}-{case.rows}x{case.queries}-{contender.name}")
    for case in SUITE
    for contender in (OURS, DEFINITION, MATRIX_PRODUCT, *PEERS)
    if case.metric in contender.metrics
]


@cache
def problem(case: Case) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """(queries, database, the right answer) of a case."""
    queries, database = Data().load(case)
    return queries, database, reference.topk(queries, database, case.k, case.metric)


@pytest.mark.parametrize(("case", "contender"), PAIRS)
def test_topk(benchmark: BenchmarkFixture, case: Case, contender: Contender) -> None:
    if not contender.installed:
        pytest.skip(f"not installed: pip install {contender.package}")
    queries, database, right = problem(case)
    benchmark.group = f"{case.metric}, {case.queries} queries"
    search = contender.prepare(database, case, available_threads())
    answer = benchmark(search, queries)
    if contender in (OURS, DEFINITION):
        assert answers.same(answer, right)
    else:  # a peer's mistakes are counted, not failed: they are not ours to repair
        wrong, error = answers.mistakes(answer, right, queries, database, case.metric)
        benchmark.extra_info |= {"mistakes": wrong, "distance_error": error}
