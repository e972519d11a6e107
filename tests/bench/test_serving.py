"""The benchmarks that ask a server over HTTP, on few rows: that they run, and what they write."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from benchmark_scripts import importable


def test_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with importable():
        import serve_lists
    output = tmp_path / "lists.json"
    monkeypatch.setattr(
        sys, "argv", ["serve_lists.py", "--rows", "600", "--rounds", "2", "--output", str(output)]
    )
    serve_lists.main()
    record = json.loads(output.read_text())
    assert record["rows"] == 600 and record["memory_mb"] > 0
    assert [line["question"] for line in record["questions"]] == list(serve_lists.questions())
    assert all(0 < line["p50"] <= line["p95"] for line in record["questions"])


def test_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with importable():
        import serve_load
    output = tmp_path / "load.json"
    asked = ["--rows", "600", "--dim", "64", "--clients", "1", "--seconds", "0.5", "--metric", "l2"]
    monkeypatch.setattr(sys, "argv", ["serve_load.py", *asked, "--output", str(output)])
    serve_load.main()
    [run] = json.loads(output.read_text())["runs"]
    assert run["searches"] > 0 and 0 < run["p50"] <= run["p99"]
