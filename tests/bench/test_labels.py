"""The benchmark of labels, on pictures whose truth is known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmark_scripts import importable
from PIL import Image
from tiny_model import write_tiny_model


def test_labels_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(2)
    lines = ["path,category,item"]
    for item in range(40):
        kind = item % 2
        base = rng.integers(110 * kind, 110 * kind + 140, (8, 8, 3), np.uint8)
        for view in range(3):
            pixels = (base + rng.integers(0, 6, base.shape, np.uint8)).repeat(5, 0).repeat(5, 1)
            Image.fromarray(pixels).save(tmp_path / f"{item}-{view}.png")
            lines.append(f"{item}-{view}.png,{('dark', 'light')[kind]},item {item}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    model = write_tiny_model(tmp_path / "tiny.onnx")
    with importable():
        import labels as benchmark
    arguments = [str(tmp_path), "--csv", "list.csv", "--model", str(model), "--metric", "l2"]
    monkeypatch.setattr(
        sys, "argv", ["labels.py", *arguments, "--json", str(tmp_path / "figures.json")]
    )
    benchmark.main()
    assert "| item there | l2 |" in capsys.readouterr().out
    there, lacking, foreign = json.loads((tmp_path / "figures.json").read_text())["outcomes"]
    assert [o["situation"] for o in (there, lacking, foreign)] == list(benchmark.SITUATIONS)
    assert there["photos"] == lacking["photos"] == foreign["photos"] == 120
    assert there["hits"] == 1200
    assert there["called"]["same item"]["same item"] > 0.9
    assert there["right"] > 0.8
    assert "same item" not in lacking["called"] and lacking["true_of"]["same item"] in (None, 0.0)
    assert set(foreign["called"]) == {"not similar"}
    for outcome in (there, lacking, foreign):
        for shares in outcome["called"].values():
            assert sum(shares.values()) == pytest.approx(1)
