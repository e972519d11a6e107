"""`vsearch search` as its users meet it: text, JSON, CSV, the page, filters."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys

import pytest

from vsearch_fast.embedder import Embedder
from vsearch_fast.index import Index


def test_no_hits_are_put_down_to_what_was_asked(vsearch, indexed, pictures):
    query = next(pictures.rglob("*.png"))
    shoe = ["--where", "category=hat", "--where", "category=cap"]
    _, out, _ = vsearch("search", indexed, query, *shoe)
    assert "no picture has category=hat or category=cap" in out
    _, out, _ = vsearch("search", indexed, query, *shoe, "--no-match")
    assert "no match: nothing within l2 " in out
    assert out.rstrip().endswith("among the pictures with category=hat or category=cap")
    code, _, err = vsearch("search", indexed, query, "--max-distance", "far")
    assert code == 2
    assert "'far' is neither a distance from 0 on nor auto" in err
    code, _, err = vsearch("calibrate", indexed, "--sample", "some")
    assert code == 2
    assert "'some' is neither a number from 1 on nor all" in err


def test_search_prints_text_json_and_csv(vsearch, pictures, indexed):
    query = sorted(pictures.rglob("*.png"))[3]
    code, out, _ = vsearch("search", indexed, query, "-k", 3)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"{query}  (l2)"
    assert lines[1].split()[:3] == ["1", "0", os.path.relpath(query, pictures)]
    assert len(lines) == 4

    code, out, _ = vsearch("search", indexed, query, "-k", 3, "--metric", "all", "--json")
    answers = json.loads(out)
    assert [a["metric"] for a in answers] == ["l2", "l1", "hamming"]
    for answer in answers:
        assert answer["hits"][0]["distance"] == 0
        assert answer["hits"][0]["path"] == str(query)
        assert answer["hits"][0]["metadata"] == {"category": query.parent.name}

    code, out, _ = vsearch("search", indexed, pictures / "lamp", "--csv", "--metric", "hamming")
    table = list(csv.DictReader(io.StringIO(out)))
    assert len(table) == 6 * 10
    assert {row["query"] for row in table} == {str(p) for p in (pictures / "lamp").glob("*.png")}
    assert [row["rank"] for row in table[:10]] == [str(n) for n in range(1, 11)]


def test_cosine_and_inner_product(vsearch, pictures, indexed):
    query = sorted(pictures.rglob("*.png"))[3]
    code, out, _ = vsearch("search", indexed, query, "--metric", "cosine", "--json")
    [answer] = json.loads(out)
    assert (code, answer["metric"]) == (0, "cosine")
    first = answer["hits"][0]
    assert (first["path"], first["distance"], first["label"]) == (str(query), 0, None)

    _, out, _ = vsearch("search", indexed, query, "--metric", "ip", "--csv")
    products = [float(row["distance"]) for row in csv.DictReader(io.StringIO(out))]
    assert products == sorted(products)
    assert products[4] < 0
    within = ["--max-distance", repr(products[4]), "--metric", "ip"]
    _, out, _ = vsearch("search", indexed, query, *within, "--csv")
    assert len(out.splitlines()) == 1 + sum(each <= products[4] for each in products)

    code, _, err = vsearch("search", indexed, query, "--metric", "ip", "--max-distance", "far")
    assert code == 2
    assert "'far' is neither a number nor auto" in err
    code, _, err = vsearch("search", indexed, query, "--metric", "cosine", "--no-match")
    assert code == 1
    assert "thresholds are kept for l2, l1, hamming, and --metric is cosine" in err
    code, _, err = vsearch("calibrate", indexed, "--metric", "cosine")
    assert code == 2


def test_search_agrees_with_the_index(vsearch, pictures, indexed, model):
    query = sorted(pictures.rglob("*.png"))[5]
    box = (5, 5, 30, 35)
    _, out, _ = vsearch(
        "search", indexed, query, "--box", "5,5,30,35", "--where", "category=lamp",
        "--metric", "l1", "--json",
    )  # fmt: skip
    with Index.open(indexed) as index:
        features = Embedder(model).embed(query, boxes=box)
        hits = index.search(features, 10, "l1", where={"category": "lamp"})[0]
    got = json.loads(out)[0]
    assert got["box"] == list(box)
    assert [(h["id"], h["distance"]) for h in got["hits"]] == [(h.id, h.distance) for h in hits]
    middle = hits[2].distance
    _, out, _ = vsearch("search", indexed, query, "--box", "5,5,30,35", "--metric", "l1",
                        "--where", "category=lamp", "--max-distance", middle, "--json")  # fmt: skip
    assert [h["id"] for h in json.loads(out)[0]["hits"]] == [h.id for h in hits[:3]]


def test_filter_and_group_by(vsearch, pictures, indexed, model):
    query = sorted(pictures.rglob("*.png"))[5]
    wanted = "category != lamp and category contains 'H'"
    _, out, _ = vsearch("search", indexed, query, "-k", 99, "--filter", wanted, "--json")
    with Index.open(indexed) as index:
        [hits] = index.search(Embedder(model).embed(query), 99, where=wanted)
        [things] = index.search(Embedder(model).embed(query), 99, group_by="category")
        kinds = {item.metadata["category"] for item in index}
    [got] = json.loads(out)
    assert [h["id"] for h in got["hits"]] == [h.id for h in hits] != []
    _, out, _ = vsearch("search", indexed, query, "-k", 99, "--group-by", "category", "--json")
    assert [h["id"] for h in json.loads(out)[0]["hits"]] == [h.id for h in things]
    assert len(things) == len(kinds)
    code, _, err = vsearch("search", indexed, query, "--filter", "category =")
    assert code == 1 and "The filter 'category =' ends too soon.\n  Nothing was searched." in err
    code, _, err = vsearch("search", indexed, query, "--group-by", "colour")
    assert code == 1 and "no metadata column 'colour'" in err


def test_page_is_self_contained(vsearch, pictures, indexed, tmp_path):
    queries = sorted(pictures.rglob("*.png"))[:2]
    queries[0].rename(tmp_path / "<b>odd & name.png")
    page = tmp_path / "matches.html"
    code, _, err = vsearch(
        "search", indexed, tmp_path / "<b>odd & name.png", queries[1], "--html", page
    )
    assert code == 0
    assert str(page) in err
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 2 * 11 - 2  # the moved one is a match twice
    assert text.count("picture not found") == 2
    assert "<b>odd" not in text
    assert "&lt;b&gt;odd &amp; name.png" in text
    assert "http" not in text
    assert 'src="/' not in text


def test_closed_pipe_is_quiet(indexed, pictures):
    command = f"{sys.executable} -m vsearch_fast.cli search {indexed} {pictures} -k 12 | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1


def test_infinity_is_a_text_like_any_other(vsearch, indexed, pictures):
    photo = pictures / "shoe" / "00.png"
    code, out, _ = vsearch("search", indexed, photo, "--where", "category=Infinity", "--json")
    assert code == 0
    assert json.loads(out)[0]["hits"] == []


def test_search_skips_broken_photos_when_asked(vsearch, indexed, pictures):
    (pictures / "shoe" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, out, err = vsearch("search", indexed, pictures / "shoe", "--json")
    assert code == 1
    assert "broken.png" in err
    code, out, err = vsearch("search", indexed, pictures / "shoe", "--json", "--on-error", "skip")
    assert code == 0
    assert "skipped" in err
    answers = json.loads(out)
    assert len(answers) == 7
    broken = answers.pop()
    assert broken["query"].endswith("broken.png") and broken["hits"] == [] and broken["error"]
    assert all(answer["hits"][0]["path"] == answer["query"] for answer in answers)


@pytest.mark.parametrize("spelling", ["True", "true", "FALSE"])
def test_truth_is_asked_for_as_it_is_spelt(vsearch, pictures, model, tmp_path, spelling):
    listing = tmp_path / "list.csv"
    listing.write_text("path,kids\nshoe/00.png,True\nlamp/01.png,False\n")
    path = tmp_path / "i"
    assert vsearch(
        "index", pictures, "--csv", listing, "-o", path, "--model", model, "--quiet"
    )[0] == 0  # fmt: skip
    photo = pictures / "shoe" / "00.png"
    _, out, _ = vsearch("search", path, photo, "--where", f"kids={spelling}", "--json")
    hits = json.loads(out)[0]["hits"]
    assert [hit["metadata"]["kids"] for hit in hits] == [spelling.lower() == "true"]


def test_within_prints_all_pictures_at_a_distance(vsearch, pictures, indexed, model):
    query = sorted(pictures.rglob("*.png"))[3]
    with Index.open(indexed) as index:
        row = Embedder(model).embed(query)
        every = index.search(row, len(index))[0]
    radius = every[11].distance
    code, out, _ = vsearch("search", indexed, query, "--within", repr(radius), "--json")
    assert code == 0
    got = [hit["distance"] for hit in json.loads(out)[0]["hits"]]
    assert got == [hit.distance for hit in every if hit.distance <= radius] and len(got) >= 12
    _, out, _ = vsearch("search", indexed, query, "--within", repr(radius), "-k", 4, "--json")
    assert [hit["distance"] for hit in json.loads(out)[0]["hits"]] == got[:4]
    _, out, _ = vsearch("search", indexed, query, "--within", "auto", "--json")
    _, other, _ = vsearch("search", indexed, query, "--no-match", "-k", len(every), "--json")
    assert json.loads(out)[0]["hits"] == json.loads(other)[0]["hits"]
    for more in (["--no-match"], ["--max-distance", "1"]):
        code, _, err = vsearch("search", indexed, query, "--within", "1", *more)
        assert code == 2 and "--within excludes --max-distance and --no-match" in err
    code, _, err = vsearch("search", indexed, query, "--within", "-1")
    assert code == 2 and "neither a distance from 0 on nor auto" in err
