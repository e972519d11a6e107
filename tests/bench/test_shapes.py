"""`python -m vsearch_fast.bench --only shapes`, its data, and `--levels`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from vsearch_fast.bench import levels, roofs, session, shapes
from vsearch_fast.bench.__main__ import command
from vsearch_fast.bench.cases import Case
from vsearch_fast.bench.data import Data
from vsearch_fast.errors import VsearchError
from vsearch_fast.kernels.level import supported
from vsearch_fast.kernels.reference import METRICS

ROOFS = roofs.Roofs(2, 50e9, 45e9, 55e9, 700e9, 900e9, 1000e9, 140e9, 270e9)


@pytest.fixture(autouse=True)
def quick_roofs(monkeypatch):
    monkeypatch.setattr(session, "measure_roofs", lambda *_, **__: ROOFS)


def bench(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_table_of_shapes(tmp_path):
    file = tmp_path / "shapes.json"
    done = bench("--only", "shapes", "--dim", 64, "--rows", 300, "--pairs", 1, "--peers", "numpy",
                 "--json", file)  # fmt: skip
    assert done.exit_code == 0, done.output
    results = json.loads(file.read_text())["shapes"]
    ours = [r for r in results if r["ours"]]
    assert all(r["exact"] and r["checked"] for r in ours)
    assert {(r["metric"], r["dtype"]) for r in ours} == {
        ("hamming", "float32"), ("l1", "float32"), ("l1", "float16"),
        ("l2", "float32"), ("l2", "float16"),
    }  # fmt: skip
    assert {r["k"] for r in ours if r["dtype"] == "float32"} == {1, 10, 100, 1000}
    assert {r["k"] for r in ours if r["dtype"] == "float16"} == {10}
    assert {r["queries"] for r in ours} == {1, 64}
    assert all(0 < r["call_seconds"] < 1 for r in ours)
    assert "| l2 | float16 | 64 | 300 | 1 | 10 |" in done.output
    assert "| hamming | bits | 64 | 300 | 64 | 1,000 |" in done.output
    assert f"of {len(ours)} cases are lost" in done.output


def test_shapes_can_be_chosen():
    every = shapes.shapes_of(METRICS)
    assert {case.dim for case in every} == set(shapes.ROWS)
    assert {case.dim for case in every if case.k == 1000} == set(shapes.FEW)
    one = shapes.shapes_of(("hamming",), dim=256, rows=10_000_000, queries=3, k=5)
    assert one == [Case("hamming", 10_000_000, 3, 256, 5, "clusters")]
    assert shapes.shapes_of(("hamming",), dim=100)[0].rows == 200_000
    quick = shapes.shapes_of(METRICS, quick=True)
    assert len(quick) == len(METRICS) * len(shapes.QUICK) * 2
    assert all(case.rows <= 20_000 for case in quick)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_clustered_rows(dtype):
    data = Data()
    case = Case("l2", 3000, 40, 96, 10, "clusters", dtype=dtype)
    queries, rows = data.load(case)
    assert rows.dtype == dtype
    assert queries.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float32), axis=1), 1, atol=2e-3)
    # A query's nearest rows are those of its own cluster, about six of 3,000.
    cosines = np.sort(queries @ rows.astype(np.float32).T, axis=1)[:, ::-1]
    assert (cosines[:, 0] > 0.5).mean() > 0.9
    assert abs(cosines[:, 50:]).mean() < 0.2
    again = data.load(Case("l2", 1000, 40, 96, 10, "clusters", dtype=dtype))[1]
    np.testing.assert_array_equal(again, rows[:1000])
    codes = data.load(Case("hamming", 3000, 40, 96, 10, "clusters"))[1]
    assert codes.shape == (3000, 12)
    np.testing.assert_array_equal(codes[:, 0] >> 7, rows[:, 0] > 0)


def of(contender, seconds, ratio=1.0, **more):
    return {
        "metric": "hamming", "dtype": "float32", "dim": 64, "rows": 1000, "queries": 1, "k": 10,
        "contender": contender, "ours": contender == "vsearch_fast", "why_not": "",
        "seconds": seconds, "ratio": ratio, "shares": {"memory": 0.1}, "proof": None, **more,
    }  # fmt: skip


def test_lost_cells_say_why():
    other = of("FAISS", 2e-5, 0.2)
    call = [of("vsearch_fast", 1e-4, call_seconds=9e-5), other]
    assert (
        "FAISS takes 0.20 of our time; the call itself is 90% of our time"
        in (shapes.lost_lines(call)[0])
    )
    memory = [of("vsearch_fast", 1e-4, call_seconds=1e-5, shares={"memory": 0.8}), other]
    assert "we read at 80% of what memory gives" in shapes.lost_lines(memory)[0]
    computed = [of("vsearch_fast", 1e-4, call_seconds=1e-5), other]
    assert "100 ns a pair (scan), theirs 20" in shapes.lost_lines(computed)[0]
    assert "| **0.2 x** |" in shapes.table_lines(call)[-1]
    assert shapes.summary(call) == "1 of 1 cases are lost to another."
    won = [call[0], of("FAISS", 2e-4, 2.0)]
    assert shapes.lost_lines(won) == []
    assert "| 2 x |" in shapes.table_lines(won)[-1]
    assert shapes.summary(won) == "0 of 1 cases are lost to another."


def test_levels_side_by_side(tmp_path):
    file = tmp_path / "levels.json"
    done = bench("--metric", "hamming", "--rows", 300, "--queries", 2, "--dim", 64, "--pairs", 1,
                 "--peers", "none", "--levels", "portable", "--json", file)  # fmt: skip
    assert done.exit_code == 0, done.output
    (found,) = json.loads(file.read_text())["levels"]["portable"]
    assert found["proof"]["simd"] == "portable"
    assert (found["rows"], found["queries"], found["dim"]) == (300, 2, 64)
    assert "portable, ms" in done.output


def test_levels_are_compared():
    other = of("vsearch_fast", 3e-4) | {"data": "clusters"}
    first = of("vsearch_fast", 2e-4) | {"data": "clusters"}
    lines = levels.levels_table({"avx2": [first], "portable": [other]})
    assert lines[0].endswith("| avx2, ms | portable, ms | times |")
    assert lines[-1].endswith("| 0.2 | 0.3 | 1.50 x |")
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    assert levels.chosen("all") == supported()
    assert levels.chosen("portable") == ("portable",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--levels", "sse9"), "'sse9' is none of all"),
        (("--levels", "all", "--only", "growth"), "--levels compares the parts"),
    ],
)
def test_wrong_levels(arguments, said):
    done = bench(*arguments)
    assert done.exit_code == 2
    assert said in done.output


def test_a_level_that_fails_is_told_of():
    with pytest.raises(VsearchError, match="level portable was not measured"):
        levels.measure_levels(("portable",), ["--no-such-option"], lambda _: None)
