"""`python -m vsearch_fast.bench` on small problems."""

from __future__ import annotations

import dataclasses
import json
import sys
from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner

from vsearch_fast.bench import (
    answers,
    cases,
    filters,
    footprint,
    growth,
    measure,
    peers,
    roofs,
    session,
)
from vsearch_fast.bench.__main__ import command
from vsearch_fast.bench.cases import SUITE, Case
from vsearch_fast.bench.contenders import DEFINITION, MATRIX_PRODUCT, OURS, PRODUCT, Contender
from vsearch_fast.bench.data import Data, read_features
from vsearch_fast.bench.session import Options, Session
from vsearch_fast.errors import ArgumentError, VsearchError
from vsearch_fast.kernels import reference
from vsearch_fast.kernels.reference import METRICS, pack_bits
from vsearch_fast.words import JUDGED

SMALL = ["--rows", "300", "--queries", "3", "--dim", "100", "--k", "4", "--pairs", "2"]
TINY = ["--rows", "50", "--queries", "1", "--dim", "64", "--pairs", "1", "--peers", "none"]
ROOFS = roofs.Roofs(2, 50e9, 45e9, 55e9, 700e9, 900e9, 1000e9, 140e9, 270e9)


@pytest.fixture(autouse=True)
def quick_roofs(monkeypatch):
    """The command measures roofs for seconds; `test_roofs` alone does it really."""
    monkeypatch.setattr(session, "measure_roofs", lambda *_, **__: ROOFS)


def bench(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_table_and_json(tmp_path):
    file = tmp_path / "out.json"
    done = bench(*SMALL, "--peers", "numpy", "--json", file)
    assert done.exit_code == 0, done.output
    record = json.loads(file.read_text())
    assert record["roofs"]["read"] == 50e9
    assert record["machine"]["versions"]["numpy"] == np.__version__
    assert {r["metric"] for r in record["results"]} == set(JUDGED)
    for r in record["results"]:
        assert r["wrong"] == 0
        assert len(r["runs"]) == r["pairs_timed"] == 2
        assert r["mpairs_s"] == pytest.approx(900 / r["seconds"] / 1e6)
        assert f"| {r['metric']} | relu | 300 | 3 | {r['contender']} |" in done.output
        assert r["gb_s"] == pytest.approx(r["bytes"] / r["seconds"] / 1e9)
        if r["ours"]:
            assert r["exact"]
            assert r["ratio"] == 1
            assert r["bytes"] == r["proof"]["bytes_read"]
            assert r["proof"]["scanned"] + r["proof"]["sketched"] == 900
        else:
            assert r["bytes"] == 300 * (13 if r["metric"] == "hamming" else 400)
    names = {(r["metric"], r["contender"]) for r in record["results"]}
    assert ("l2", MATRIX_PRODUCT.name) in names
    assert ("l1", MATRIX_PRODUCT.name) not in names
    assert done.output.count("equal to the bit") == 3


def test_nothing_private_is_recorded(tmp_path, monkeypatch):
    file = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["bench", *TINY, "--json", str(file)])
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/somewhere/private")
    assert bench(*TINY, "--metric", "hamming", "--json", file).exit_code == 0
    text = file.read_text()
    assert "somewhere" not in text
    assert str(tmp_path) not in text
    assert json.loads(text)["command"].endswith("--json out.json")


def test_one_metric():
    done = bench(*TINY, "--metric", "hamming")
    assert done.exit_code == 0
    assert "| hamming |" in done.output
    assert "| l2 |" not in done.output


def test_one_query_is_paired_with_reads():
    case = Case("hamming", 3000, 1, 512)
    found = measure.measure(case, *Data().load(case), [], pairs=3, threads=1)
    assert set(found.reads) == {0, 1, 2}
    assert all(seconds > 0 for seconds in found.reads.values())


@pytest.mark.parametrize("extension", ["png", "svg"])
def test_plot(tmp_path, extension):
    pytest.importorskip("matplotlib")
    file = tmp_path / f"out.{extension}"
    done = bench(*TINY[:-1], "numpy", "--plot", file)
    assert done.exit_code == 0, done.output
    assert file.stat().st_size > 5000
    start = file.read_bytes()[:200]
    assert b"PNG" in start if extension == "png" else b"<?xml" in start


@pytest.mark.parametrize(
    "arguments",
    [
        ("--plot", "out.jpeg"),
        ("--plot", "nowhere/out.png"),
        ("--json", "nowhere/out.json"),
        ("--peers", "faiss,nobody"),
        ("--data", "features"),
        ("--pictures", "."),
        ("--only", "growth", "--plot", "out.png"),
    ],
    ids=" ".join,
)
def test_wrong_options_end_before_anything_runs(arguments, monkeypatch):
    monkeypatch.setattr(Session, "run", lambda self: pytest.fail("it ran"))
    done = bench(*arguments)
    assert done.exit_code == 2
    assert "Error" in done.output


def test_tables_of_cases():
    assert len(cases.table_of(METRICS)) == 2 * len(METRICS)
    both = cases.table_of(METRICS, data=("relu", "gaussian"))
    assert [c.metric for c in both if c.data == "gaussian"] == [
        metric for metric in METRICS if metric != "hamming" for _ in range(2)
    ]
    (own,) = cases.table_of(("l1",), rows=7)
    assert (own.rows, own.queries) == (7, 64)


# Answers


def altered(change):
    """A contender that answers right and then changes its answer."""

    def prepare(database, case, threads):
        def search(queries):
            return change(*reference.topk(queries, database, case.k, case.metric))

        return search

    return prepare


def off_by_one(distances, ids):
    return distances, (ids + 1) % 200


CHANGES = {
    "all ids wrong": (lambda d, i: (d, i + 1000), 20),
    "nearest twice": (lambda d, i: (d, np.hstack([i[:, :1], i[:, :-1]])), 2),
    "one missing": (lambda d, i: (d[:, :-1], i[:, :-1]), 2),
    "impossible": (lambda d, i: (d, np.where(i == i[0, 0], -1, i)), 1),
    "one query missing": (lambda d, i: (d[1:], i[1:]), 20),
    "another order": (lambda d, i: (d[:, ::-1], i[:, ::-1]), 0),
    "another type": (lambda d, i: (d.astype(np.float32), i.astype(np.uint64)), 0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_mistakes_are_counted(name):
    change, wrong = CHANGES[name]
    peer = Contender("peer", "peer", METRICS, altered(change))
    case = Case("l2", rows=200, queries=2, dim=40)
    queries, database = Data().load(case)
    found = measure.measure(case, queries, database, [peer], pairs=1, threads=1)
    ours, theirs = found.timings
    assert found.ok
    assert ours.exact
    assert ours.wrong == 0
    assert theirs.wrong == wrong
    assert not theirs.exact


def test_ties_at_the_last_place_are_no_mistake():
    database = np.repeat(np.eye(8, dtype=np.float32), 4, axis=0)
    queries = database[:1]
    right = reference.topk(queries, database, 6, "l1")
    other = right[0], np.r_[right[1][0, :4], 30, 31][None]
    assert answers.mistakes(other, right, queries, database, "l1") == (0, 0.0)


def test_wrong_distances_are_measured():
    case = Case("l1", rows=100, queries=2, dim=20)
    queries, database = Data().load(case)
    right = reference.topk(queries, database, 5, "l1")
    wrong, error = answers.mistakes(
        (right[0] * 1.01, right[1]), right, queries, database, "l1"
    )  # fmt: skip
    assert wrong == 0
    assert error == pytest.approx(0.01)


def options(**changes):
    chosen = Options(
        parts=("bars",), peers=(), metrics=("l1",), rows=200, queries=2, dim=40, k=10, pairs=1,
        budget=9.0, kinds=("relu",), features=None, model=None, pictures=None, threads=1,
        faiss_blas="own", quick=True,
    )  # fmt: skip
    return dataclasses.replace(chosen, **changes)


def test_our_wrong_answer_fails_the_command(monkeypatch):
    wrong = Contender("vsearch_fast", "vsearch_fast", METRICS, altered(off_by_one))
    shown: list[str] = []
    run = Session(options(), show=shown.append, ours=wrong)
    run.run()
    assert not run.ok
    assert "WRONG" in "\n".join(shown)

    def init(self, *arguments, **more):
        original(self, *arguments, **more, ours=wrong)

    original = Session.__init__
    monkeypatch.setattr(Session, "__init__", init)
    done = bench(*TINY, "--metric", "l1")
    assert done.exit_code == 1
    assert "not the right one" in done.output


def test_a_wrong_scan_fails_the_command(monkeypatch):
    """All answers are compared with a scan, and that with the definition."""

    def wrong_scan(queries, database, k, *, metric, **_):
        return off_by_one(*reference.topk(queries, database, k, metric))

    monkeypatch.setattr(answers, "topk", wrong_scan)
    run = Session(options(), show=lambda _: None)
    run.run()
    assert not run.ok
    assert not run.record["results"][0]["checked"]


def test_missing_and_broken_peers_are_named():
    def broken(database, case, threads):
        raise RuntimeError("no such metric")

    missing = Contender("Absent", "absent", METRICS, broken, "no_such_module", "absent-package")
    failing = Contender("Broken", "broken", METRICS, broken)
    large = Contender("Slow", "slow", METRICS, broken, fits=lambda case: False, limit="5 pairs")
    shown: list[str] = []
    run = Session(options(), show=shown.append, peers=[missing, failing, large])
    run.run()
    text = "\n".join(shown)
    assert run.ok
    assert "| Absent | not installed: pip install absent-package |" in text
    assert "| Broken | failed: RuntimeError: no such metric |" in text
    assert "- Slow: not run above 5 pairs" in text


@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda p: f"{p.name}-{p.metrics[0]}")
def test_peers_are_asked_rightly(peer):
    """Each installed peer gives the definition's distances, in the form that is compared."""
    if not peer.installed:
        pytest.skip(f"not installed: pip install {peer.package}")
    for case in SUITE:
        if case.metric not in peer.metrics:
            continue
        case = dataclasses.replace(case, rows=300, dim=512)
        queries, database = Data().load(case)
        answer = peer.prepare(database, case, 2)(queries)
        right = reference.topk(queries, database, case.k, case.metric)
        wrong, error = answers.mistakes(answer, right, queries, database, case.metric)
        assert answer[1].shape == right[1].shape
        assert wrong <= right[1].size // 10  # near ties may be theirs to lose
        assert error < 1e-3


# Timing


def test_long_contenders_run_less_often():
    calls = {"short": 0, "long": 0}

    def call(name):
        calls[name] += 1

    found = measure.alternate(
        {name: partial(call, name) for name in calls},
        10, 4.0, {"short": 0.1, "long": 1.0}, lambda _: None,
    )  # fmt: skip
    assert calls == {"short": 10, "long": 4}
    assert set(found["long"]) == {0, 2, 5, 7}
    assert measure.paired_ratio({0: 4.0, 5: 6.0, 7: 100.0}, {0: 1.0, 1: 9.0, 5: 2.0}) == 3.5


def test_roofs(monkeypatch):
    low, *_, high = sorted(roofs.read_bandwidth(threads=1, size=1 << 24, repeats=3))
    assert 1e8 < low <= high < 1e13
    for name in ("popcount", "byte_sad", "byte_dot", "float_sad", "float_fma"):
        assert 1e8 < roofs.instruction_rate(name, threads=1, repeats=1) < 1e13


# Data


@pytest.mark.parametrize("dim", [64, 100])
@pytest.mark.parametrize("kind", ["relu", "gaussian"])
def test_noise(dim, kind):
    for metric in METRICS:
        case = Case(metric, rows=4000, queries=3, dim=dim, data=kind)
        queries, database = Data().load(case)
        assert len(queries) == 3
        assert len(database) == 4000
        assert database.shape[1] == (-(-dim // 8) if metric == "hamming" else dim)
        fewer = Data().load(dataclasses.replace(case, rows=2500))[1]
        np.testing.assert_array_equal(database[:2500], fewer)
        bits = np.unpackbits(database, axis=1, count=dim) if metric == "hamming" else database > 0
        assert 0.4 < bits.mean() < 0.6
        if metric == "hamming":
            np.testing.assert_array_equal(pack_bits(bits), database)
        else:
            assert (database.min() < 0) == (kind == "gaussian")


def test_features_are_repeated_with_noise(tmp_path):
    rng = np.random.default_rng(0)
    features = np.maximum(rng.standard_normal((10, 60), np.float32) - 1, 0)
    np.save(tmp_path / "f.npy", features)
    data = Data(read_features(tmp_path / "f.npy"))
    case = Case("l1", rows=30, queries=4, dim=60, data="features")
    queries, database = data.load(case)
    base = features[np.arange(10) % 5 != 0]
    np.testing.assert_array_equal(database[:8], base)
    np.testing.assert_array_equal(database[8:16] > 0, base > 0)
    assert (database[8:16][base > 0] != base[base > 0]).all()
    np.testing.assert_array_equal(queries[:2], features[[0, 5]])
    codes = data.load(dataclasses.replace(case, metric="hamming"))[1]
    np.testing.assert_array_equal(codes[:8], pack_bits(base))
    flipped = np.bitwise_count(codes[8:16] ^ pack_bits(base)).sum()
    assert 0 < flipped < 8 * 60 / 8
    assert not (codes[:, -1] & 0x0F).any()


def test_features_on_the_command_line(tmp_path):
    np.save(tmp_path / "f.npy", np.random.default_rng(0).random((6, 32), np.float32))
    done = bench("--features", tmp_path / "f.npy", "--rows", "40", "--queries", "2", "--pairs", "1",
                 "--peers", "none")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "| l2 | features | 40 | 2 | vsearch_fast |" in done.output
    assert "| l2 | relu | 40 | 2 | vsearch_fast |" in done.output


def test_model_makes_features(tmp_path):
    pytest.importorskip("onnxruntime")
    from PIL import Image
    from tiny_model import write_tiny_model

    write_tiny_model(tmp_path / "tiny.onnx", dim=64)
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for name in "abc":
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(
            tmp_path / "pictures" / f"{name}.png"
        )
    done = bench("--model", tmp_path / "tiny.onnx", "--pictures", tmp_path / "pictures",
                 "--data", "features", "--rows", "40", "--queries", "2", "--pairs", "1",
                 "--peers", "none")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "| hamming | features | 40 | 2 | vsearch_fast |" in done.output


def test_a_models_own_codes_are_compared():
    """Where a rule of the model makes them, they are not the signs of its features."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((40, 64), np.float32)
    codes = rng.integers(0, 256, (40, 2), np.uint8)
    found = cases.table_of(
        ("hamming", "l2"), rows=30, queries=2, dim=64, data=("features",), bits=16
    )
    assert [(each.metric, each.dim, each.row_bytes) for each in found] == [
        ("hamming", 16, 2), ("l2", 64, 256),
    ]  # fmt: skip
    queries, database = Data(features, codes).load(found[0])
    held = np.arange(40) % 5 == 0
    np.testing.assert_array_equal(queries, codes[held][:2])
    np.testing.assert_array_equal(database, codes[~held][:30])
    queries, _ = Data(features, codes).load(found[1])
    assert queries.shape == (2, 64)


@pytest.mark.parametrize("array", [np.zeros(3, np.float32), np.zeros((3, 4), int)])
def test_features_must_be_a_matrix(tmp_path, array):
    np.save(tmp_path / "f.npy", array)
    with pytest.raises(ArgumentError, match="float32"):
        read_features(tmp_path / "f.npy")


# The other parts


def test_growth_and_large_k(monkeypatch):
    monkeypatch.setattr(growth, "SIZES", dict.fromkeys(METRICS, (1000, 4000, 10**15)))
    monkeypatch.setattr(growth, "LARGE_K_ROWS", dict.fromkeys(METRICS, 4000))
    done = bench("--only", "growth", "--only", "large-k", "--dim", "64", "--pairs", "1",
                 "--data", "relu", "--peers", "none")  # fmt: skip
    assert done.exit_code == 0, done.output
    for metric in JUDGED:
        assert f"| {metric} | relu | 1,000 | 64 |" in done.output
        assert f"| {metric} | relu | 4,000 | 64 |" in done.output
        assert f"| {metric} | relu | {10**15:,} | | more than memory holds |" in done.output
    assert "k = 1000, ms" in done.output
    assert "million pairs/s" not in done.output


def test_small_databases(monkeypatch, tmp_path):
    monkeypatch.setattr(cases, "SMALL", ((40, 1), (300, 70)))
    file = tmp_path / "small.json"
    done = bench("--only", "small", "--dim", "256", "--pairs", "1", "--data", "relu",
                 "--peers", "numpy", "--json", file)  # fmt: skip
    assert done.exit_code == 0, done.output
    record = json.loads(file.read_text())
    assert "results" not in record
    ours = [r for r in record["small"] if r["ours"]]
    assert [(r["metric"], r["rows"]) for r in ours] == [
        ("l2", 40), ("l2", 300), ("l1", 40), ("l1", 300),
    ]  # fmt: skip
    assert {r["proof"]["strategy"] for r in ours if r["rows"] == 40} == {"scan"}
    assert "| l2 | relu | 300 | 70 | NumPy, norms and BLAS |" in done.output


def test_start_up(monkeypatch):
    """With stand-ins for the processes: one with an empty cache compiles for seconds."""
    assert footprint._seconds("print(0.5)") == 0.5
    with pytest.raises(VsearchError, match="no_such_module"):
        footprint._seconds("import no_such_module")
    empty: list[str] = []

    def seconds(code, environment=None):
        empty.extend(environment or ())
        return 9.0 if environment else 0.3 if "topk" in code else 0.1

    monkeypatch.setattr(footprint, "_seconds", seconds)
    start = footprint.start_up(("hamming", "l2"), repeats=2)
    assert empty == ["VSEARCH_CACHE_DIR"] * 2
    text = footprint.footprint_text({"memory": [], "start": start})
    assert "| first search, hamming | 0.300 |" in text
    assert "| ... less `import numba` | 0.200 |" in text
    assert "| ... kernels not in the cache yet | 9.00 |" in text
    assert "| `import vsearch_fast` | 0.100 |" in text


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_memory_of_a_search():
    (found,) = footprint.search_memory(("hamming",), rows=300, dim=64)
    assert found["rows"] == 300
    assert found["samples"] > 0
    assert found["before_mb"] > 10
    assert 0 <= found["added_mb"] < 200


def test_contenders_are_known():
    assert peers.choose(()) == ()
    assert peers.choose(("numpy",)) == (DEFINITION, MATRIX_PRODUCT, PRODUCT)
    assert {c.name for c in peers.choose(peers.KEYS)} >= {"FAISS", "NumKong", "SciPy cdist"}
    assert OURS.metrics == METRICS


def test_filters(monkeypatch, tmp_path):
    monkeypatch.setattr(filters, "ROWS", {"hamming": 3000, "l1": 2000, "l2": 2000})
    file = tmp_path / "filters.json"
    done = bench("--only", "filters", "--dim", "64", "--pairs", "1", "--data", "relu",
                 "--peers", "numpy,faiss", "--json", file)  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(file.read_text())["filters"]
    assert {r["layout"] for r in found} == {*filters.LAYOUTS, "packed bits"}
    assert {r["share"] for r in found} == {1.0, *filters.SHARES}
    assert all(r["exact"] and r["kept"] >= 10 for r in found)
    assert all("numpy" in r for r in found if r["layout"] == "float32" and r["share"] < 1)
    assert "| l2 | float16, sketched | 64 | 0.5 (1,000) |" in done.output
    # An answer that is not right is told, and the command fails.
    monkeypatch.setattr(filters, "_exact", lambda *_: False)
    done = bench("--only", "filters", "--dim", "64", "--pairs", "1", "--data", "relu",
                 "--metric", "hamming", "--peers", "none")  # fmt: skip
    assert done.exit_code == 1 and "**no**" in done.output
