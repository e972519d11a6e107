"""`vsearch demo` from end to end, with a slim network so that it takes seconds."""

from __future__ import annotations

import pytest
from PIL import Image
from slim_models import write_slim_model

from vsearch_fast.commands import demo
from vsearch_fast.errors import ModelError
from vsearch_fast.index import Hit, Index
from vsearch_fast.results.result import Result


def test_the_whole_line_and_again(tmp_path):
    network = write_slim_model(tmp_path / "slim.keras", size=64, units=64)
    folder = tmp_path / "demo"
    said: list[str] = []
    demo.run(folder, items=7, weights=str(network), say=said.append)
    made = {p.name: p.stat().st_mtime_ns for p in folder.rglob("*.jpg") if p.name != "matches.jpg"}
    assert len(made) == 7 * demo.VIEWS
    (path,) = folder.glob("*.index")
    with Index.open(path) as index:
        assert len(index) == 7 * (demo.VIEWS - 1)
        assert all(item.box for item in index)
    page = (folder / "matches.html").read_text(encoding="utf-8")
    assert page.count("<h2>") == demo.SHOWN
    assert "picture not found" not in page
    with Image.open(folder / "matches.jpg") as picture:
        assert picture.width > 1000
    for metric in ("hamming", "l1", "l2"):
        assert any(metric in line and "of 7" in line for line in said)

    (model,) = folder.glob("*.onnx")
    before = model.stat().st_mtime_ns
    said.clear()
    demo.run(folder, items=7, weights=str(network), say=said.append)
    assert model.stat().st_mtime_ns == before
    again = {p.name: p.stat().st_mtime_ns for p in folder.rglob("*.jpg") if p.name != "matches.jpg"}
    assert again == made
    assert any("again" in line for line in said)


def test_the_package_has_a_network_of_its_own(tmp_path):
    said: list[str] = []
    demo.run(tmp_path, items=4, weights=demo.DEFAULT, say=said.append)
    assert not list(tmp_path.glob("*.onnx"))
    assert "--model" not in next(line for line in said if "Your own pictures" in line)
    assert "with a head for items" in (tmp_path / "matches.html").read_text(encoding="utf-8")


def test_failed_export_ends_the_demo(tmp_path):
    with pytest.raises(ModelError, match=r"missing\.keras"):
        demo.run(tmp_path, items=1, weights="missing.keras", say=lambda _: None)
    (tmp_path / "broken.keras").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ModelError, match=r"broken\.keras"):
        demo.run(tmp_path, items=1, weights=str(tmp_path / "broken.keras"), say=lambda _: None)


def test_picture_shows_the_best_answered_query():
    def result(query, right):
        hit = Hit("a", 1.0, None, None, {"item": "x" if right else "y"})
        return Result(query, "l2", [hit], None, "x")

    by_query = [result("one", m == 0) for m in range(3)] + [result("two", True) for _ in range(3)]
    assert {r.query for r in demo._best_answered(by_query)} == {"two"}
