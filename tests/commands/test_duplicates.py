"""`vsearch duplicates` as its users meet it."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vsearch_fast.index import Index
from vsearch_fast.shards import ShardedIndex

NAME = "<b>&.png"


@pytest.fixture
def copied(vsearch, pictures, model, tmp_path):
    """Twelve pictures, one of them again, one in another format, one larger and coarser."""
    first = sorted((pictures / "lamp").glob("*.png"))
    shutil.copy(first[0], pictures / "shoe" / NAME)
    Image.open(first[1]).save(pictures / "again.bmp")
    twice = np.asarray(Image.open(first[2]).resize((100, 80), Image.Resampling.NEAREST))
    Image.fromarray(twice // 8 * 8).save(pictures / "large.png")
    path = tmp_path / "copied.index"
    assert vsearch("index", pictures, "-o", path, "--model", model, "--quiet")[0] == 0
    return path


def told(text):
    """Kinds and ids of groups, as JSON."""
    return {
        (group["kind"], *(item["id"] for item in group["items"]))
        for group in json.loads(text)["groups"]
    }


def test_groups_as_json_best_first(vsearch, copied, pictures):
    code, out, err = vsearch("duplicates", copied, "--json", "--similar", 1)
    assert (code, err) == (0, "")
    groups = json.loads(out)["groups"]
    assert [group["kind"] for group in groups] == ["file", "pixels"]
    assert {item["id"] for item in groups[0]["items"]} == {"lamp/01.png", f"shoe/{NAME}"}
    assert [item["id"] for item in groups[1]["items"]] == ["again.bmp", "lamp/03.png"]
    best, other = groups[1]["items"]
    assert (best["distance"], other["distance"]) == (0, 0)
    assert (best["width"], best["height"], other["kind"]) == (50, 40, "pixels")
    assert best["bytes"] > other["bytes"] and best["sharpness"] == other["sharpness"]
    assert best["path"] == str(pictures / "again.bmp")

    with Index.open(copied) as index:  # what is near, whatever the network makes of it
        near = index.search(index.features(["lamp/05.png"]), 2, "cosine")[0][1]
    assert near.id == "large.png" and near.distance > 0
    asked = ["--within", repr(near.distance)]
    groups = json.loads(vsearch("duplicates", copied, "--json", *asked)[1])["groups"]
    [group] = [group for group in groups if group["kind"] == "near"]
    assert [item["id"] for item in group["items"]] == ["large.png", "lamp/05.png"]
    assert group["items"][1]["distance"] == near.distance
    below = repr(float(np.nextafter(near.distance, 0)))
    assert "large.png" not in vsearch("duplicates", copied, "--json", "--within", below)[1]


def test_text_csv_and_page(vsearch, copied, tmp_path):
    page = tmp_path / "page.html"
    code, out, err = vsearch("duplicates", copied, "--similar", 1, "--html", page)
    assert code == 0
    assert out.startswith("1  identical files  (2 pictures)\n  best ")
    assert "  same file             0  " in out
    assert out.endswith(
        "2 groups: 1 of identical files, 1 of identical pixels; 2 copies beside the best ones\n"
    )
    assert f"Page: {page}" in err
    html = page.read_text(encoding="utf-8")
    assert "shoe/&lt;b&gt;&amp;.png" in html
    assert NAME not in html
    assert html.count("best copy</span>") == 2
    assert html.count("data:image/jpeg;base64,") == 4
    assert "http" not in html.replace("http-equiv", "")

    _, out, _ = vsearch("duplicates", copied, "--similar", 1, "--csv")
    table = list(csv.DictReader(io.StringIO(out)))
    assert [(row["group"], row["rank"]) for row in table] == [
        ("1", "1"), ("1", "2"), ("2", "1"), ("2", "2"),
    ]  # fmt: skip
    assert [row["group_kind"] for row in table] == ["file", "file", "pixels", "pixels"]
    assert float(table[3]["distance"]) == 0


def test_pictures_that_are_gone_and_such_that_moved(vsearch, copied, pictures, tmp_path):
    moved = tmp_path / "moved"
    pictures.rename(moved)
    code, out, err = vsearch("duplicates", copied, "--json", "--similar", 1)
    assert code == 0
    # What the hashes say stays, and what only pixels would tell is near.
    assert [group["kind"] for group in json.loads(out)["groups"]] == ["file", "near"]
    assert "4 pictures of 4 could not be looked at (they are not where the index says" in err
    item = json.loads(out)["groups"][0]["items"][0]
    assert (item["width"], item["sharpness"]) == (None, None)
    assert item["bytes"] > 0
    code, out, err = vsearch(
        "duplicates", copied, "--json", "--similar", 1, "--photos", moved
    )  # fmt: skip
    assert [group["kind"] for group in json.loads(out)["groups"]] == ["file", "pixels"]
    assert err == ""
    assert json.loads(out)["groups"][1]["items"][0]["path"] == str(moved / "again.bmp")


def test_no_duplicates(vsearch, indexed, tmp_path):
    page = tmp_path / "none.html"
    code, out, _ = vsearch("duplicates", indexed, "--within", 0, "--html", page)
    assert (code, out) == (0, "no duplicates\n")
    assert ">no duplicates<" in page.read_text()
    assert json.loads(vsearch("duplicates", indexed, "--within", 0, "--json")[1]) == {"groups": []}


def test_hamming_filters_linkage_and_shards(vsearch, copied, tmp_path):
    asked = ["--metric", "hamming", "--json"]
    want = told(vsearch("duplicates", copied, *asked)[1])
    assert {kind for kind, *_ in want} >= {"file", "pixels"}
    assert want == told(vsearch("duplicates", copied, *asked, "--similar", 0.94)[1])
    assert vsearch("shard", copied, "--into", 3, "-o", tmp_path / "shards")[0] == 0
    with ShardedIndex.open(tmp_path / "shards") as shards:
        assert len(shards.shards) == 3
    assert told(vsearch("duplicates", tmp_path / "shards", *asked)[1]) == want
    every = ["--metric", "hamming", "--within", 64, "--json"]
    [(_, *ids)] = told(vsearch("duplicates", copied, *every)[1])
    assert len(ids) == 15
    [(_, *ids)] = told(vsearch("duplicates", copied, *every, "--linkage", "complete")[1])
    assert len(ids) == 15
    [(_, *ids)] = told(vsearch("duplicates", copied, *every, "--where", "category=lamp")[1])
    assert all(id_.startswith("lamp/") for id_ in ids) and len(ids) == 6
    [(_, *ids)] = told(vsearch("duplicates", copied, *every, "--filter", "category = shoe")[1])
    assert all(id_.startswith("shoe/") for id_ in ids) and len(ids) == 7


def test_across_another_index(vsearch, copied, pictures, model, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(pictures / "lamp" / "01.png", other / "one.png")
    shutil.copy(pictures / "lamp" / "01.png", other / "two.png")
    Image.open(pictures / "lamp" / "07.png").save(other / "seven.bmp")
    noise = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(noise).save(other / "fresh.png")
    path = tmp_path / "other.index"
    assert vsearch("index", other, "-o", path, "--model", model, "--quiet")[0] == 0
    page = tmp_path / "across.html"
    code, out, _ = vsearch(
        "duplicates", copied, "--across", path, "--json", "--similar", 1, "--html", page
    )  # fmt: skip
    assert code == 0
    groups = json.loads(out)["groups"]
    assert [group["kind"] for group in groups] == ["file", "pixels"]
    assert {(item["id"], item["index"]) for item in groups[0]["items"]} == {
        ("lamp/01.png", str(copied)), (f"shoe/{NAME}", str(copied)),
        ("one.png", str(path)), ("two.png", str(path)),
    }  # fmt: skip
    assert [item["id"] for item in groups[1]["items"]] == ["seven.bmp", "lamp/07.png"]
    assert page.read_text().count("data:image/jpeg") == 6
    code, _, err = vsearch("duplicates", copied, "--across", copied)
    assert code == 1 and "to be compared with itself" in err
    code, _, err = vsearch("duplicates", copied, "--across", path, "--linkage", "complete")
    assert code == 1 and "complete linkage of two indexes" in err


def test_new_pictures_that_are_there(vsearch, copied, pictures, tmp_path):
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(pictures / "lamp" / "09.png", new / NAME)
    Image.open(pictures / "lamp" / "11.png").save(new / "eleven.bmp")
    noise = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(noise).save(new / "fresh.png")
    (new / "broken.png").write_bytes((pictures / "lamp" / "09.png").read_bytes()[:500])
    asked = ["duplicates", copied, "--new", new, "--similar", 1]
    page = tmp_path / "new.html"
    code, out, err = vsearch(*asked, "--json", "--html", page)
    assert code == 0
    found = json.loads(out)
    assert [(group["kind"], group["new"]) for group in found["groups"]] == [
        ("file", str(new / NAME)), ("pixels", str(new / "eleven.bmp")),
    ]  # fmt: skip
    assert [item["id"] for group in found["groups"] for item in group["items"]] == [
        "lamp/09.png", "lamp/11.png",
    ]  # fmt: skip
    assert found["groups"][0]["items"][0]["distance"] == 0
    assert found["groups"][1]["new_width"] == 50
    assert found["not_there"] == [str(new / "fresh.png")]
    [skipped] = found["skipped"]
    assert skipped["path"] == str(new / "broken.png")
    assert f"skipped {new / 'broken.png'}" in err
    html = page.read_text()
    assert "&lt;b&gt;&amp;.png" in html and NAME not in html
    assert html.count("data:image/jpeg") == 4 and "2 of 3 new pictures there" in html

    _, out, _ = vsearch(*asked)
    assert f"{new / 'fresh.png'}  not there\n\n2 of 3 new pictures there\n" in out
    assert f"{new / NAME}  is there: same file\n  same file  " in out
    table = list(csv.DictReader(io.StringIO(vsearch(*asked, "--csv")[1])))
    assert [(row["rank"], row["id"]) for row in table] == [
        ("1", "lamp/09.png"), ("1", "lamp/11.png"), ("", ""),
    ]  # fmt: skip
    code, _, err = vsearch(*asked, "--on-error", "raise")
    assert code == 1 and "broken.png cannot be decoded" in err
    with Index.open(copied, mode="rw") as index:  # the hash tells, whatever the features say
        item = index.get("lamp/09.png")
        index.add([item.id], -index.features([item.id]), [item], replace=True)
    for metric in ("cosine", "hamming"):
        found = json.loads(vsearch(*asked, "--json", "--metric", metric)[1])
        [group] = [each for each in found["groups"] if each["new"] == str(new / NAME)]
        assert group["kind"] == "file"
        assert group["items"][0]["distance"] > 0.5


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--json", "--csv"], 2, "--json and --csv exclude each other"),
        (["--within", 1, "--similar", 1], 2, "--within and --similar exclude each other"),
        (["--within", "auto"], 2, "a distance is a number here"),
        (["--within", "far"], 2, "'far' is neither a distance from 0 on"),
        (["--similar", 2], 2, "2.0 is not in the range 0<=x<=1"),
        (["--new", ".", "--linkage", "complete"], 2, "--new excludes"),
        (["--exclude", "a"], 2, "--exclude and --model are for --new"),
        (["--metric", "l2"], 1, "no distance is named, and l2 has no similarity"),
        (["--where", "colour=red"], 1, "no metadata column 'colour'"),
        (["--filter", "colour ="], 1, "Nothing was compared"),
        (["--html", "nowhere/page.html"], 1, "the folder of nowhere/page.html does not exist"),
        (["--across", "nowhere.index"], 1, "does not exist"),
        (["--new", "nowhere"], 1, "does not exist"),
        (["--photos", "nowhere"], 1, "nowhere is not a folder"),
    ],
)
def test_errors(vsearch, indexed, arguments, code, words):
    got, out, err = vsearch("duplicates", indexed, *arguments)
    assert (got, out) == (code, "")
    assert words in err


def test_another_model_is_refused(vsearch, indexed, pictures, tmp_path):
    from tiny_model import write_tiny_model

    other = write_tiny_model(tmp_path / "other.onnx", seed=5)
    code, _, err = vsearch("duplicates", indexed, "--new", pictures, "--model", other)
    assert code == 1 and "holds features of model" in err
    path = tmp_path / "theirs.index"
    assert vsearch("index", pictures, "-o", path, "--model", other, "--quiet")[0] == 0
    code, _, err = vsearch("duplicates", indexed, "--across", path)
    assert code == 1 and "Nothing was compared, because their distances mean nothing" in err


@pytest.mark.posix
def test_ctrl_c_ends_it_quietly(tmp_path):
    """Pressed while rows are compared: code 130, nothing printed, no page."""
    rows = np.random.default_rng(0).standard_normal((60_000, 64), np.float32)
    with Index.create(tmp_path / "i", 64) as index:
        index.add([str(number) for number in range(len(rows))], rows)
    program = (
        "import os, signal\n"
        "from vsearch_fast import cli\n"
        "from vsearch_fast.index.finder import Finder\n"
        "joined = Finder.joined\n"
        "def interrupted(self, *arguments, progress, **named):\n"
        "    def told(done, total):\n"
        "        assert done < total\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        progress(done, total)\n"
        "    return joined(self, *arguments, progress=told, **named)\n"
        "Finder.joined = interrupted\n"
        f"cli.main(['duplicates', {str(tmp_path / 'i')!r}, '--html', {str(tmp_path / 'p')!r}])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 128 + signal.SIGINT
    assert ended.stdout == "" and ended.stderr.endswith("Interrupted.\n")
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "p").exists()
