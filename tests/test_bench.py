"""`python -m vsearch_fast.bench` on a small problem."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from vsearch_fast.bench import measure
from vsearch_fast.bench.__main__ import command
from vsearch_fast.bench.cases import CONTENDERS, REFERENCE, Case, Contender
from vsearch_fast.bench.roofs import read_bandwidth
from vsearch_fast.kernels.reference import METRICS, pack_bits


def test_table_and_json(tmp_path):
    file = tmp_path / "out.json"
    arguments = ["--rows", "300", "--queries", "3", "--dim", "100", "--k", "4", "--pairs", "2"]
    done = CliRunner().invoke(command, [*arguments, "--json", str(file)])
    assert done.exit_code == 0, done.output
    record = json.loads(file.read_text())
    assert record["read_bandwidth_gb_s"] > 0.1
    assert {r["metric"] for r in record["results"]} == set(METRICS)
    for result in record["results"]:
        assert result["exact"]
        assert len(result["runs"]) == 2
        assert result["mpairs_s"] == pytest.approx(900 / result["seconds"] / 1e6)
        assert f"| {result['metric']} | 300 | 3 | {result['contender']} |" in done.output
        bytes_read = 300 * (13 if result["metric"] == "hamming" else 400)
        assert result["gb_s"] == pytest.approx(bytes_read / result["seconds"] / 1e9)


def test_one_metric(tmp_path):
    done = CliRunner().invoke(command, ["--rows", "50", "--metric", "hamming", "--pairs", "1"])
    assert done.exit_code == 0
    assert "| hamming |" in done.output
    assert "| l2 |" not in done.output


def test_wrong_answer_is_seen():
    """A contender that swaps two neighbours is not exact, nor one of another type."""

    def swapped(queries, database, case):
        distances, ids = REFERENCE.search(queries, database, case)
        return distances, ids[:, ::-1]

    def widened(queries, database, case):
        distances, ids = REFERENCE.search(queries, database, case)
        return distances.astype(np.float64), ids

    contenders = (Contender("swapped", swapped), Contender("widened", widened), *CONTENDERS)
    timings = measure.measure(Case("hamming", rows=50, queries=2), contenders, pairs=1)
    assert [t.exact for t in timings] == [False, False, True, True]


@pytest.mark.parametrize("dim", [64, 100])
def test_data_of_a_case(dim):
    for metric in METRICS:
        queries, database = Case(metric, rows=40, queries=3, dim=dim).data()
        assert len(queries) == 3
        assert len(database) == 40
        assert database.shape[1] == (-(-dim // 8) if metric == "hamming" else dim)
        again = Case(metric, rows=40, queries=3, dim=dim).data()
        np.testing.assert_array_equal(database, again[1])
        bits = np.unpackbits(database, axis=1, count=dim) if metric == "hamming" else database > 0
        assert 0.4 < bits.mean() < 0.6
        if metric == "hamming":
            np.testing.assert_array_equal(pack_bits(bits), database)


def test_read_bandwidth_is_plausible():
    assert 1e8 < read_bandwidth(threads=1, size=1 << 24, repeats=2) < 1e13
