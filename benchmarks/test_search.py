"""pytest-benchmark suite over the table of cases; the same answers are checked as are timed.

pytest benchmarks                     # timings
pytest benchmarks --benchmark-disable # each once, as CI does
"""

from __future__ import annotations

import pytest

from vsearch_fast.bench.cases import CONTENDERS, REFERENCE, SUITE, Case, Contender
from vsearch_fast.bench.measure import same


@pytest.mark.parametrize("case", SUITE, ids=lambda c: f"{c.metric}-{c.rows}x{c.queries}")
@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: c.name)
def test_topk(benchmark, case: Case, contender: Contender) -> None:
    queries, database = case.data()
    benchmark.group = f"{case.metric}, {case.queries} queries"
    answer = benchmark(contender.search, queries, database, case)
    assert same(answer, REFERENCE.search(queries, database, case))
