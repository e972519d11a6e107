"""The benchmark of false accepts, against its definition."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmark_scripts import importable
from PIL import Image
from tiny_model import write_tiny_model

from vsearch_fast.embedder import Embedder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


def test_false_accepts_are_what_they_are_defined_as(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(2)
    lines = ["path,category,group"]
    categories = [str(number) for number in rng.choice(["hat", "shoe", "sock"], 40)]
    groups = [str(number) for number in rng.integers(0, 9, 40)]
    for number, (category, group) in enumerate(zip(categories, groups, strict=True)):
        low = 40 * (category == "hat")
        pixels = rng.integers(low, 200 + low, (8, 8, 3), np.uint8).repeat(5, 0).repeat(5, 1)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{category},{group}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    with importable():
        import no_match as benchmark
    arguments = [str(tmp_path), "--csv", "list.csv", "--model", str(model), "--min-pictures", "2"]
    arguments += ["--metric", "l1", "--json", str(tmp_path / "figures.json")]
    monkeypatch.setattr(sys, "argv", ["no_match.py", *arguments, "--foreign", str(tmp_path)])
    benchmark.main()
    assert "| other groups | l1 | 0.95 |" in capsys.readouterr().out

    rows = Embedder(model).embed([tmp_path / f"{number}.png" for number in range(40)])
    rows = rows.astype(np.float64)
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["facts"]["foreign"]["accepted"].keys() == {"l1"}
    for outcome in written["outcomes"]:
        hits = []
        for held in ("hat", "shoe", "sock"):

            def nearest(row: int, held: str = held, by_group: bool = outcome["groups"]) -> float:
                return min(
                    np.abs(rows[row] - rows[other]).sum()
                    for other in range(40)
                    if categories[other] != held and other != row
                    and not (by_group and groups[other] == groups[row])
                )  # fmt: skip

            within = [nearest(row) for row in range(40) if categories[row] != held]
            limit = np.quantile(within, outcome["quantile"], method="inverted_cdf")
            own = [
                nearest(row) <= limit * (1 + 1e-9) for row in range(40) if categories[row] == held
            ]
            assert outcome["categories"][held][2] == pytest.approx(np.mean(own))
            hits += own
        assert outcome["false_accepts"] == pytest.approx(np.mean(hits))
        assert outcome["low"] <= outcome["false_accepts"] <= outcome["high"]
    assert len(written["outcomes"]) == 2 * 5
