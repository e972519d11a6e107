"""The picture of an earlier run of the benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vsearch_fast.bench.__main__ import command
from vsearch_fast.bench.session import Session

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments])


def test_a_record_is_drawn_again(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(Session, "run", lambda self: pytest.fail("it ran"))
    drawn, record = tmp_path / "out.svg", RESULTS / "cpu-2core-zen5.json"
    done = bench("--redraw", record, "--plot", drawn)
    assert done.exit_code == 0, done.output
    contenders = {r["contender"] for r in json.loads(record.read_text())["results"]}
    text = drawn.read_text(encoding="utf-8")
    assert len(contenders) == 8
    assert all(f"<!-- {name} -->" in text for name in contenders - {"vsearch_fast"})


@pytest.mark.parametrize("text", ["[1", "[1]", "{}"])
def test_no_record_is_not_drawn(tmp_path, text):
    pytest.importorskip("matplotlib")
    record, drawn = tmp_path / "record.json", tmp_path / "out.png"
    record.write_text(text)
    done = bench("--redraw", record, "--plot", drawn)
    assert done.exit_code == 2 and str(record) in done.output
    assert not drawn.exists()
    assert bench("--redraw", record).exit_code == 2
