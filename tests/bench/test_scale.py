"""The benchmark of scale at sizes that take no time, its cost model, and the tables of its page."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_scripts import BENCHMARKS, importable
from click.testing import CliRunner

with importable():
    import scale
    from scaling import codes, costs, disk, large, merging, model, plot, rows, shards

ROOT = Path(__file__).resolve().parents[2]


def quiet(_: str) -> None:
    pass


def test_rows_are_the_same_however_they_are_asked_for(tmp_path: Path) -> None:
    made = rows.Rows(32)
    many = rows.Rows(32).block(0, 3000)
    for start, count in ((64, 8), (1000, 1100), (0, 1024), (2047, 1)):
        assert np.array_equal(made.block(start, count), many[start : start + count])
    assert not np.array_equal(made.block(64, 8), made.block(72, 8))
    rows.grow(tmp_path / "i", 20, 32, step=8)
    rows.grow(tmp_path / "i", 50, 32, step=8)  # goes on
    from vsearch_fast.index import Index

    with Index.open(tmp_path / "i") as index:
        assert len(index) == 50 and index.get("0000000049").metadata["price"] == 49 % 17
        first = made.block(0, 8).astype("f2").astype("f4")
        assert np.array_equal(index.features([f"{n:010}" for n in range(8)]), first)


def test_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "ROWS", 5)
    monkeypatch.setattr(shards, "DIM", 32)
    monkeypatch.setattr(shards, "COUNTS", (1, 2))
    found = large.measure(tmp_path / "large", 3000, quiet)
    assert found["items"] == 3000 and min(t["median"] for t in found["seconds"].values()) > 0
    again = large.measure(tmp_path / "large", 3000, quiet)  # what was added is removed again
    assert set(again["seconds"]) == set(found["seconds"])
    listed = merging.measure_manifest(quiet, 50)
    assert listed["bytes"] > 50 * 30
    assert len(merging.measure_merge(quiet, 7)) == 6
    coded = codes.measure(3000, quiet)
    assert coded["bytes"] == 3000 * 512 and set(coded["seconds"]) == {"1", "16", "64"}


def test_processes_answer_as_one_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{BENCHMARKS}:{ROOT}")
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    monkeypatch.setattr(shards, "DIM", 32)
    places = shards.cut(tmp_path, 60, 2, quiet)
    [whole] = shards.cut(tmp_path, 60, 1, quiet)
    asked = rows.Rows(32).queries(3)
    from vsearch_fast.index import Index

    with Index.open(whole) as one:
        expected = [[(hit.distance, hit.id) for hit in hits] for hits in one.search(asked)]
    processes = shards.Processes(places)
    try:
        assert processes.search(asked, "l2") == expected
    finally:
        processes.close()


def test_many_shards_are_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vsearch_fast.shards import ShardedIndex

    monkeypatch.setattr(merging, "ROWS", 5)
    with ShardedIndex.open(merging.many(tmp_path, 4)) as index:
        assert (
            len(index) == 20 and len(index.search(rows.Rows(merging.DIM).queries(1), 20)[0]) == 20
        )


def test_a_search_with_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "DIM", 64)
    monkeypatch.setattr(disk, "limited", lambda _limit: disk.contextlib.nullcontext(None))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = disk.measure(tmp_path / "disk", 500, 2, quiet)
    assert found["why_not"] and len(found["whole"]["metrics"]["l2"]["seconds"][1]) == 2


# The model ------------------------------------------------------------------------------------


def record(costs_of: dict[str, list[float]], noise: float = 0.0) -> dict[str, Any]:
    """A record whose searches cost exactly what these terms say, or nearly."""
    rng = np.random.default_rng(0)
    searches = []
    for configuration in (*costs.CONFIGURATIONS, *costs.HELD_OUT):
        shape = dict(zip(("rows", "shards", "queries"), configuration, strict=True))
        seconds = {
            metric: float(np.dot(model.terms(**shape), each)) * (1 + noise * rng.uniform(-1, 1))
            for metric, each in costs_of.items()
        }
        held = configuration in costs.HELD_OUT
        searches.append({**shape, "held_out": held, "seconds": seconds})
    sizes = {
        "vectors": 8192,
        "codes": 512,
        "sketches": 4096,
        "facts": 16,
        "coarse": 44,
        "index": 200,
    }
    return {
        "costs": {"searches": searches, "bytes": sizes},
        "merge": [{"k": 10, "queries": 1, "shards": 1000, "seconds": 1e-3}],
        "ray": {"calls": [{"queries": 1, "k": 10, "one": 2e-3}], "calls_a_second": 1000},
        "embedding": {"rates": {"anything": 20.0}},
        "machine": {"cores": 2},
        "shards": {
            "queries": 4, "cores": 2,
            "metrics": {
                metric: {"all threads": 1.0, **{f"{n} processes": 2 / n for n in (1, 2, 4, 8)}}
                for metric in model.METRICS
            },
        },
    }  # fmt: skip


EXACT = {
    "l2": [1e-3, 2e-4, 3e-4, 1e-5, 5e-9, 4e-8], "hamming": [5e-4, 1e-4, 1e-4, 0.0, 2e-8, 3e-9],
}  # fmt: skip


def test_the_model_finds_what_things_cost() -> None:
    made = record(EXACT)
    for metric, expected in EXACT.items():
        found = model.fitted(made["costs"]["searches"], metric)
        assert np.allclose(list(found.values()), expected, rtol=1e-6, atol=1e-12)
    assert all(abs(each["error"]) < 1e-6 for each in model.checked(made))
    assert len(model.checked(made)) == 2 * len(costs.HELD_OUT)
    for each in model.checked(record(EXACT, noise=0.05)):
        assert abs(each["error"]) < model.BAR


def test_what_was_held_out_is_not_fitted_to() -> None:
    made = record(EXACT)
    for each in made["costs"]["searches"]:
        if each["held_out"]:
            each["seconds"] = dict.fromkeys(each["seconds"], 1e3)
    assert all(each["error"] < -0.99 for each in model.checked(made))
    assert "NOT within 25%" in "\n".join(model.lines(made))


def test_projections() -> None:
    made = record(EXACT)
    found = {(r["items"], r["metric"], r["node"]): r for r in model.projected(made)}
    assert len(found) == 3 * 2 * 2
    one = found[10**9, "hamming", model.CPU.name]
    # A billion codes of 512 bytes in 100 GB each: six nodes; compared in 1 s by 16 threads: two.
    assert one["memory"] == 512e9 and one["nodes"] == 6 and one["measured"]
    assert one["disk"] == 1e9 * sum(made["costs"]["bytes"].values())
    assert one["embedding_days"] == pytest.approx(1e9 / (10 * 16) / 86400)
    comparing = 1e9 / 6 * 2.3e-8 / 16
    calls = 5e-4 + 1e-4 + 1e-4 + 2e-3 + 6 * (1e-6 + 1e-3)
    assert one["latency"] == pytest.approx(comparing + calls)
    assert not found[10**9, "hamming", model.GPU.name]["measured"]


def test_the_command_prints_and_draws(tmp_path: Path) -> None:
    file = tmp_path / "scale.json"
    file.write_text(json.dumps(record(EXACT)))
    words = ["--model", "--json", str(file), "--picture", str(tmp_path / "p.png")]
    done = CliRunner().invoke(scale.main, [*words, "--folder", str(tmp_path / "f"), "--clean"])
    assert done.exception is None
    assert "1e+10 items, l2, GPU, H200, 141 GB" in done.output and "within 25%" in done.output
    assert (tmp_path / "p.png").stat().st_size > 10_000 and not (tmp_path / "f").exists()
    assert json.loads(file.read_text())["model"]["trial"]
    assert plot.COLOURS.keys() == set(model.METRICS)


def test_sections_that_are_known_are_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def merged(say: Any) -> list[Any]:
        asked.append("merge")
        return []

    monkeypatch.setattr(merging, "measure_merge", merged)
    file = tmp_path / "scale.json"
    file.write_text(json.dumps(dict.fromkeys(scale.SECTIONS[:3] + scale.SECTIONS[4:])))
    where = ["--json", str(file), "--folder", str(tmp_path)]
    monkeypatch.setattr(model, "NEEDS", ("nothing",))
    for _ in range(2):
        assert CliRunner().invoke(scale.main, where).exception is None
    assert asked == ["merge"]
    assert CliRunner().invoke(scale.main, ["--only", "merge", *where]).exception is None
    assert asked == ["merge"] * 2
    told = json.loads(file.read_text())
    assert "python benchmarks/scale.py" in told["command"] and told["merge"] == []


def test_the_page_has_a_table_of_each_section(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the record that is committed; each row has as many cells as the head."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    tables: dict[str, Any] = importlib.import_module("scale_tables").TABLES

    told = json.loads((ROOT / "benchmarks" / "results" / "scale.json").read_text())
    assert set(scale.SECTIONS) | {"model", "machine"} <= told.keys()
    page = (ROOT / "docs" / "scale.md").read_text()
    for name, table in tables.items():
        assert f"<!-- table: scale {name} -->" in page
        lines = [line for line in table(told).splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1 and len(lines) != 1
    assert all(abs(each["error"]) <= model.BAR for each in told["model"]["trial"])
