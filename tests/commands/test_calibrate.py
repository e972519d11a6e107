"""Thresholds on the command line: `vsearch calibrate`, and searches that say what is no match."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vsearch_fast.embedder import Embedder
from vsearch_fast.index import Index, Item
from vsearch_fast.index.changes import Changes
from vsearch_fast.search import Metric

METRICS: tuple[Metric, ...] = ("l2", "l1", "hamming")


@pytest.fixture
def photos_index(tmp_path: Path, model: Path) -> Path:
    """Twelve pictures of noise, each beside another that is almost it; one that is like none."""
    rng = np.random.default_rng(1)
    folder = tmp_path / "pictures"
    folder.mkdir()
    names = []
    for number in range(12):
        pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
        for copy in "ab":
            names.append(f"{number:02}{copy}.png")
            Image.fromarray(pixels ^ rng.integers(0, 8, pixels.shape, np.uint8)).save(
                folder / names[-1]
            )
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / "stranger.png")
    embedder = Embedder(model)
    with Index.create(
        tmp_path / "i", embedder.dim, model_id=embedder.model_id, model=embedder.description
    ) as index:
        files = [str(folder / name) for name in names]
        items = [
            Item(name, path=file, metadata={"copy": name[2], "item": name[:2]})
            for name, file in zip(names, files, strict=True)
        ]
        index.add(names, embedder.embed(files), items)
    return tmp_path / "i"


def test_search_says_no_match(vsearch: Any, photos_index: Path, tmp_path: Path) -> None:
    known, stranger = tmp_path / "pictures" / "03a.png", tmp_path / "stranger.png"
    page = tmp_path / "page.html"
    arguments = ["search", photos_index, known, stranger, "--no-match", "--metric", "all"]
    assert "none taken yet" in vsearch("info", photos_index)[1]
    code, text, err = vsearch(*arguments, "--html", page)
    assert code == 0
    assert "are kept there" in err
    with Index.open(photos_index) as index:
        kept = {metric: index.info()["thresholds"][metric] for metric in METRICS}
        words = {metric: str(index.threshold(metric)) for metric in METRICS}
    assert text.count("03a.png") == 2 * 3
    for metric in METRICS:
        assert f"no match: nothing within {words[metric]}" in text
        assert f"match within  {words[metric]}" in vsearch("info", photos_index)[1]
    html = page.read_text()
    assert html.count("No match: nothing within") == 3
    assert html.count("<dt>match within</dt>") == 3

    code, out, err = vsearch(*arguments, "--json")
    assert "are kept there" not in err
    results = json.loads(out)
    assert [result["match"] for result in results] == [True] * 3 + [False] * 3
    assert [result["hits"] for result in results[3:]] == [[]] * 3
    for result in results:
        wanted = dict(kept[result["metric"]])
        del wanted["changes"]
        assert result["threshold"] == wanted
        limit = wanted["distance"]
        assert all(hit["distance"] <= limit for hit in result["hits"])

    _, out, _ = vsearch(*arguments, "--csv")
    table = list(csv.DictReader(io.StringIO(out)))
    assert {row["match"] for row in table if row["query"] == str(known)} == {"match"}
    lost = [row for row in table if row["query"] == str(stranger)]
    assert [(row["metric"], row["rank"], row["id"], row["match"]) for row in lost] == [
        (metric, "", "", "no match") for metric in METRICS
    ]
    assert [float(row["threshold"]) for row in lost] == [kept[m]["distance"] for m in METRICS]

    same = vsearch("search", photos_index, stranger, "--max-distance", "auto", "--where", "copy=a")
    assert "no match: nothing within l2" in same[1]
    plain = vsearch("search", photos_index, stranger, "--max-distance", "0", "--json")
    assert json.loads(plain[1])[0].keys() == {"query", "box", "metric", "hits"}


def test_calibrate(vsearch: Any, photos_index: Path) -> None:
    code, out, err = vsearch("calibrate", photos_index, "--group", "item", "--quantile", "0.5")
    assert code == 0 and "Warning" not in err
    assert out.count("50% of 24 items have their nearest of another item within it") == 3
    code, out, err = vsearch("calibrate", photos_index, "--metric", "l1", "--sample", "7", "--json")
    assert code == 0
    assert "Warning: 7 items tell little of the farthest 5%: 0 of them lie beyond" in err
    [made] = json.loads(out)
    assert (made["metric"], made["measured"], made["group"]) == ("l1", 7, None)
    with Index.open(photos_index, mode="rw") as index:
        assert index.info()["thresholds"]["l1"]["sample"] == 7
        assert index.info()["thresholds"]["l2"]["group"] == "item"
        index.remove(["00a.png"])
    assert "; 1 added or removed since" in vsearch("info", photos_index)[1]
    assert vsearch("calibrate", photos_index, "--sample", "all")[0] == 0


def test_hits_are_called_what_the_index_has_learnt(
    vsearch: Any, photos_index: Path, tmp_path: Path
) -> None:
    """Twelve items in two views are too few: nothing is said, and why is told."""
    code, out, _ = vsearch("calibrate", photos_index)
    assert code == 0
    assert "l2 same item: not told: too few to know (items of several views: 12;" in out
    assert "l2 similar: not told: there is no column 'category'" in out
    assert "l2: none (vsearch calibrate says why)" in vsearch("info", photos_index)[1]
    known = tmp_path / "pictures" / "03a.png"
    [result] = json.loads(vsearch("search", photos_index, known, "--json")[1])
    assert {(hit["label"], hit["probability"]) for hit in result["hits"]} == {(None, None)}

    likeness = {
        "pairs": 90, "true": 40, "things": 30, "right": 0.9, "brier": 0.1, "blind": 0.2,
        "curve": {"distances": [0.0, 1e9], "chances": [0.97, 0.97]},
    }  # fmt: skip
    with Index.open(photos_index, mode="rw") as index:
        stored = json.loads(index._store.note("likeness l2") or "")
        Changes(index._store).write_note("likeness l2", json.dumps({**stored, "same": likeness}))
    [result] = json.loads(vsearch("search", photos_index, known, "--json")[1])
    assert {(hit["label"], hit["probability"]) for hit in result["hits"]} == {("same item", 0.97)}
    page = tmp_path / "page.html"
    assert "same item (97%)" in vsearch("search", photos_index, known, "--html", page)[1]
    assert page.read_text().count("same item (97%)") == 10
    table = csv.DictReader(io.StringIO(vsearch("search", photos_index, known, "--csv")[1]))
    assert {(row["label"], row["probability"]) for row in table} == {("same item", "0.97")}
    code, _, err = vsearch("calibrate", photos_index, "--item", "brand")
    assert code == 1 and "no metadata column 'brand'" in err


def test_of_a_large_index_nothing_is_learnt_unasked(
    vsearch: Any, photos_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vsearch_fast.commands import calibrate

    monkeypatch.setattr(calibrate, "UNASKED", 3)
    known = tmp_path / "pictures" / "03a.png"
    code, _, err = vsearch("search", photos_index, known, "--json")
    assert code == 0 and f"`vsearch calibrate {photos_index}` learns it, once." in err
    with Index.open(photos_index) as index:
        assert index._store.note("likeness l2") is None
        assert index.likeness("l2", learn=False) is None
    assert vsearch("calibrate", photos_index)[0] == 0
    assert "learns it" not in vsearch("search", photos_index, known, "--json")[2]


def test_a_search_beside_a_writer_goes_by_its_own(
    vsearch: Any, photos_index: Path, tmp_path: Path
) -> None:
    arguments = ["search", photos_index, tmp_path / "stranger.png", "--no-match"]
    with Index.open(photos_index, mode="rw"):
        code, out, err = vsearch(*arguments)
    assert code == 0
    assert "no match: nothing within l2" in out
    assert "for this search alone" in err and "being written to" in err
    assert "none taken yet" in vsearch("info", photos_index)[1]


def test_an_empty_index_has_no_match(vsearch: Any, tmp_path: Path, model: Path) -> None:
    Image.new("RGB", (40, 40), "teal").save(tmp_path / "a.png")
    embedder = Embedder(model)
    Index.create(tmp_path / "i", embedder.dim, model_id=embedder.model_id).close()
    arguments = ["search", tmp_path / "i", tmp_path / "a.png", "--model", model, "--no-match"]
    assert "no match: the index is empty" in vsearch(*arguments)[1]
    [result] = json.loads(vsearch(*arguments, "--json")[1])
    assert (result["match"], result["threshold"]) == (False, None)
    code, out, err = vsearch("calibrate", tmp_path / "i")
    assert (code, out) == (1, "")
    assert "holds 0 items" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "{index}", "x.png", "--no-match", "--max-distance", "1"], "exclude"),
        (
            ["search", "{index}", "x.png", "--max-distance", "far"],
            "'far' is neither a distance from 0 on nor auto",
        ),
        (
            ["search", "{index}", "x.png", "--max-distance", "-1"],
            "'-1' is neither a distance from 0 on nor auto",
        ),
        (["calibrate", "{index}", "--sample", "0"], "--sample"),
        (["calibrate", "{index}", "--quantile", "0"], "--quantile"),
    ],
)
def test_wrong_command_lines(
    vsearch: Any, tmp_path: Path, arguments: list[str], words: str
) -> None:
    code, out, err = vsearch(*(part.format(index=tmp_path) for part in arguments))
    assert (code, out) == (2, "")
    assert words in err
