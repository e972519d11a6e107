"""The benchmark of whole pictures and boxes, against its definition."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import views_oracle
from benchmark_scripts import importable
from PIL import Image
from tiny_locate import item, write_model_that_locates

from vsearch_fast.embedder import Embedder, embed_views

COUNT = 24


def test_figures_are_what_they_are_defined_as(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(2)
    model = write_model_that_locates(tmp_path / "tiny.onnx")
    lines = ["path,category,group"]
    category = rng.choice(["hat", "shoe", "sock"], COUNT)
    group = rng.integers(0, 6, COUNT)
    for number in range(COUNT):
        x, y = (int(v) for v in rng.integers(5, 30, 2))
        pixels = np.asarray(item(80, 90, (x, y, x + 40, y + 50))) // 2
        noise = rng.integers(0, 60, (10, 10, 3), np.uint8).repeat(9, 0).repeat(8, 1)
        Image.fromarray(pixels + noise).save(tmp_path / f"{number:02}.png")
        lines.append(f"{number:02}.png,{category[number]},{group[number]}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    with importable():
        import views as benchmark
    arguments = [str(tmp_path), "--csv", str(tmp_path / "list.csv"), "--model", str(model)]
    arguments += ["--json", str(tmp_path / "figures.json")]
    monkeypatch.setattr(sys, "argv", ["views.py", *arguments])
    benchmark.main()
    assert "| l2 | both | both |" in capsys.readouterr().out

    files = [tmp_path / f"{number:02}.png" for number in range(COUNT)]
    rows, _ = embed_views(Embedder(model), files)
    held = {"whole": [0], "box": [1], "both": [0, 1]}
    outcomes = json.loads((tmp_path / "figures.json").read_text())["outcomes"]
    assert len(outcomes) == 3 * 5
    for outcome in outcomes:
        queries, items = rows[:, held[outcome["query"]]], rows[:, held[outcome["catalogue"]]]
        _, order = views_oracle.nearest(queries, items, COUNT, outcome["metric"])
        hits, alike, places = [], [], []
        for number, line in enumerate(order.tolist()):
            places.append(line.index(number))
            alike.append(category[next(o for o in line if o != number)] == category[number])
            others = [o for o in line if group[o] != group[number]]
            hits.append(category[others[0]] == category[number])
        assert outcome["p1"] == pytest.approx(np.mean(hits))
        assert outcome["p1_all"] == pytest.approx(np.mean(alike))
        assert outcome["itself"] == pytest.approx(np.mean(np.equal(places, 0)))
        assert outcome["in_twelve"] == pytest.approx(np.mean(np.less(places, 12)))
        assert outcome["low"] <= outcome["p1"] <= outcome["high"]
    assert all(o["itself"] == 1 for o in outcomes if o["query"] == o["catalogue"])
