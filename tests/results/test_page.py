"""The page and the picture of matches (`commands/test_search.py` looks at the page of a search)."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vsearch_fast.index import Hit
from vsearch_fast.results.page import write_page
from vsearch_fast.results.picture import write_picture
from vsearch_fast.results.result import Result, caption
from vsearch_fast.words import distance_text


@pytest.fixture
def results(tmp_path):
    for name in ("query", "same", "other"):
        Image.new("RGB", (60, 30), "navy").save(tmp_path / f"{name}.png")
    hits = [
        Hit("same", 1.5, str(tmp_path / "same.png"), (10, 5, 50, 25), {"item": "dress", "n": 1}),
        Hit("other", 2.5, str(tmp_path / "other.png"), None, {"item": "shoe", "n": True}),
        Hit("gone", 3.5, str(tmp_path / "gone.png"), None, {}),
        Hit("bare", 4.5, None, None, {}),
    ]
    query = str(tmp_path / "query.png")
    return [Result(query, "l2", hits, (0, 0, 30, 30), "dress"), Result(query, "l1", [])]


def test_page(results, tmp_path):
    page = tmp_path / "page.html"
    write_page(page, results, title="A <title>", facts=[("model", "a & b")])
    text = page.read_text(encoding="utf-8")
    assert "A &lt;title&gt;" in text
    assert "a &amp; b" in text
    assert text.count("picture not found") == 2
    assert text.count("same item") == 1
    assert "The index is empty" in text
    assert [p.name for p in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "the index is empty"),
        ({"where": "a=1"}, "no picture has a=1"),
        ({"max_distance": 2.5}, "nothing within the distance 2.5"),
        (
            {"max_distance": 7, "where": "a=1"},
            "nothing within the distance 7 among the pictures with a=1",
        ),
        ({"only_matches": True, "where": "a=1"}, "no match: the index is empty"),
    ],
)
def test_why_there_is_nothing(asked, words):
    assert Result("query", "l2", [], **asked).nothing == words


def test_failed_page_leaves_the_old_one(results, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("old")

    def failing():
        yield results[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_page(page, failing(), title="new")
    assert page.read_text() == "old"
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_picture_frames_what_is_the_same(results, tmp_path):
    results[0].hits[2:] = []
    file = tmp_path / "matches.jpg"
    write_picture(file, results[:1], hits=2)
    with Image.open(file) as picture:
        red, green, blue = np.moveaxis(np.array(picture.convert("RGB"), int), 2, 0)
    assert ((green > red + 60) & (green > blue + 30)).any(), "the same item's hit is framed"
    assert ((red > green + 100) & (red > blue + 100)).any(), "the query's box is drawn"


def test_text():
    assert distance_text(187) == "187"
    assert distance_text(26.79712) == "26.797"
    metadata = {"item": "a", "group": "a", "n": 1, "flag": True, "none": None, "empty": ""}
    assert caption(metadata) == [("item", "a"), ("n", 1), ("flag", True)]
    assert caption({"group": "b", "a": 3, "b": 3}) == [("group", "b"), ("a", 3), ("b", 3)]
