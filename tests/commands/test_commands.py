"""The `vsearch` command as its users meet it: output, pages, exit codes, errors, resuming."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from tiny_model import write_tiny_model

from vsearch_fast import cli
from vsearch_fast.embedder import Embedder
from vsearch_fast.index import Index


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures of two categories."""
    rng = np.random.default_rng(0)
    for number in range(12):
        file = tmp_path / "pictures" / ("lamp" if number % 2 else "shoe") / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(file)
    return tmp_path / "pictures"


@pytest.fixture
def vsearch(capsys):
    """Run the command in this process: (exit code, standard output, standard error)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            cli.main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err

    return run


@pytest.fixture
def indexed(vsearch, pictures, model, tmp_path):
    path = tmp_path / "pictures.index"
    code, out, _ = vsearch("index", pictures, "-o", path, "--model", model, "--quiet")
    assert code == 0
    assert "12 added" in out
    return path


def test_help_teaches(vsearch):
    code, out, _ = vsearch("--help")
    assert code == 0
    for command in ("bench", "demo", "export", "index", "info", "search"):
        assert command in out
        code, text, _ = vsearch(command, "--help")
        assert code == 0
        assert "Usage: vsearch " + command in text


def test_index_follows_the_folder(vsearch, pictures, model, indexed):
    again = vsearch("index", pictures, "-o", indexed, "--quiet")
    assert again[0] == 0
    assert "up to date" in again[2]
    assert "0 added, 0 replaced, 0 described anew, 0 removed, 12 unchanged" in again[1]

    files = sorted(pictures.rglob("*.png"))
    files[0].unlink()
    Image.new("RGB", (30, 30), "teal").save(files[1])
    Image.new("RGB", (30, 30), "olive").save(files[2].parent / "new.png")
    code, out, _ = vsearch("index", pictures, "-o", indexed, "--quiet")
    assert code == 0
    assert "1 added, 1 replaced, 0 described anew, 1 removed, 10 unchanged" in out
    with Index.open(indexed) as index:
        assert len(index) == 12
        teal = os.path.relpath(files[1], pictures)
        np.testing.assert_array_equal(index.features([teal]), Embedder(model).embed(files[1]))


def test_metadata_alone_reads_no_picture(vsearch, pictures, model, tmp_path):
    rows = [["path", "id", "price"]]
    rows += [[str(f.relative_to(pictures)), f.stem, 5] for f in sorted(pictures.rglob("*.png"))]
    listing = tmp_path / "list.csv"

    def write():
        with listing.open("w", newline="") as file:
            csv.writer(file).writerows(rows)

    write()
    arguments = ["index", pictures, "--csv", listing, "-o", tmp_path / "i", "--quiet"]
    assert vsearch(*arguments, "--model", model)[0] == 0
    rows[3][2] = 7
    write()
    code, out, _ = vsearch(*arguments)
    assert code == 0
    assert "0 added, 0 replaced, 1 described anew, 0 removed, 11 unchanged" in out
    code, out, _ = vsearch(
        "search", tmp_path / "i", next(pictures.rglob("*.png")), "--where", "price=7", "--json"
    )
    assert [hit["metadata"]["price"] for hit in json.loads(out)[0]["hits"]] == [7]


def test_broken_pictures_are_named(vsearch, pictures, model, tmp_path):
    broken = pictures / "shoe" / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff not a picture")
    path = tmp_path / "i"
    code, out, err = vsearch("index", pictures, "-o", path, "--model", model, "--quiet")
    assert code == 0
    assert err.count("broken.jpg") == 1
    assert "1 skipped" in out
    code, _, err = vsearch("index", pictures, "-o", path, "--on-error", "raise", "--quiet")
    assert code == 1
    assert "broken.jpg" in err
    with Index.open(path) as index:
        assert len(index) == 12


def test_missing_pictures_of_a_list_are_named(vsearch, pictures, model, tmp_path):
    listing = tmp_path / "list.csv"
    listing.write_text("path\nshoe/00.png\nshoe/gone.png\nshoe/02.png\n")
    arguments = ["index", pictures, "--csv", listing, "-o", tmp_path / "i", "--quiet"]
    code, out, err = vsearch(*arguments, "--model", model)
    assert code == 0
    assert "2 added" in out
    assert "gone.png" in err
    code, _, err = vsearch(*arguments, "--on-error", "raise")
    assert code == 1
    assert "list.csv:3" in err
    # A picture that goes away later leaves the index, though the list still names it.
    (pictures / "shoe" / "02.png").unlink()
    code, out, err = vsearch(*arguments)
    assert code == 0
    assert "1 removed, 1 unchanged, 2 skipped: 1 pictures" in out


def test_another_part_of_the_source_removes_nothing(vsearch, pictures, model, tmp_path):
    """Another list of the same folder is another source, though the folder is the same."""
    for name in ("shoe", "lamp"):
        files = [f"{name}/{file.name}" for file in sorted((pictures / name).iterdir())]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path", *files, ""]))
    arguments = ["index", pictures, "-o", tmp_path / "i", "--quiet", "--model", model]
    assert vsearch(*arguments, "--csv", tmp_path / "shoe.csv")[0] == 0
    code, _, err = vsearch(*arguments, "--csv", tmp_path / "lamp.csv")
    assert code == 1
    assert "shoe.csv" in err
    assert "lamp.csv" in err
    code, out, _ = vsearch(*arguments, "--csv", tmp_path / "lamp.csv", "--keep-missing")
    assert code == 0
    assert "6 added" in out
    assert "12 pictures" in out


def test_names_that_are_no_text(vsearch, pictures, model, tmp_path):
    """A file name of another century's encoding is reported; the others are indexed."""
    odd = os.fsdecode(os.fsencode(pictures / "shoe") + b"/caf\xe9.png")
    shutil.copy(pictures / "shoe" / "00.png", odd)
    path = tmp_path / "i"
    code, out, err = vsearch("index", pictures, "-o", path, "--model", model, "--quiet")
    assert code == 0
    assert "12 added" in out
    assert "1 skipped" in out
    assert "UTF-8" in err
    code, _, err = vsearch("index", pictures, "-o", path, "--quiet", "--on-error", "raise")
    assert code == 1
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "vsearch_fast.cli", "search", path, odd, "--html", page]
    done = subprocess.run(command, capture_output=True, check=True)
    assert b"caf\\udce9" in done.stdout
    assert "caf\\udce9" in page.read_text(encoding="utf-8")


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


def test_number_or_truth_is_a_change(vsearch, pictures, model, tmp_path):
    listing = tmp_path / "list.csv"
    arguments = ["index", pictures, "--csv", listing, "-o", tmp_path / "i", "--quiet"]
    for values in (("1", "0"), ("true", "false")):
        listing.write_text(f"path,new\nshoe/00.png,{values[0]}\nlamp/01.png,{values[1]}\n")
        code, out, _ = vsearch(*arguments, "--model", model)
        assert code == 0
    assert "2 described anew" in out
    photo = pictures / "shoe" / "00.png"
    _, out, _ = vsearch("search", tmp_path / "i", photo, "--where", "new=true", "--json")
    assert len(json.loads(out)[0]["hits"]) == 1


def test_another_source_removes_nothing(vsearch, pictures, indexed, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(pictures / "lamp", other)
    code, _, err = vsearch("index", other, "-o", indexed, "--quiet")
    assert code == 1
    assert "--keep-missing" in err
    code, out, _ = vsearch("index", other, "-o", indexed, "--keep-missing", "--quiet")
    assert code == 0
    assert "18 pictures" in out


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


def test_info(vsearch, indexed, model):
    code, out, _ = vsearch("info", indexed)
    assert code == 0
    assert "category" in out
    facts = json.loads(vsearch("info", indexed, "--json")[1])
    assert facts["live"] == 12
    assert facts["model"]["file"] == str(model)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["search", "{index}", "nowhere.jpg"], 1, "nowhere.jpg"),
        (["search", "nowhere.index", "{photo}"], 1, "nowhere.index"),
        (["search", "{index}", "{empty}"], 1, "no picture"),
        (["search", "{index}", "{photo}", "--where", "colour=red"], 1, "category"),
        (["search", "{index}", "{photo}", "--where", "red"], 2, "NAME=VALUE"),
        (["search", "{index}", "{photo}", "--html", "nowhere/page.html"], 1, "nowhere"),
        (["search", "{index}", "{photo}", "--box", "1,2,3"], 2, "x1,y1,x2,y2"),
        (["search", "{index}", "{photo}", "--box", "9,9,9,9"], 1, "box"),
        (["search", "{index}", "{photo}", "-k", "0"], 2, "-k"),
        (["search", "{index}", "{photo}", "--json", "--csv"], 2, "exclude"),
        (["search", "{index}", "{photo}", "--model", "{photo}"], 1, "00.png"),
        (["search", "{index}"], 2, "PHOTO"),
        (["index", "{empty}", "-o", "{index}"], 1, "empty"),
        (["index", "nowhere", "-o", "{index}"], 1, "nowhere"),
        (["index", "{photo}", "-o", "new.index"], 1, "00.png"),
        (["index", "{pictures}", "-o", "{index}", "--partition", "val"], 1, "DeepFashion"),
        (["index", "{pictures}", "-o", "{index}", "--column", "path=x"], 1, "--csv"),
        (["index", "{pictures}", "-o", "{index}", "--csv", "x", "--format", "folder"], 1, "CSV"),
        (["index", "{pictures}", "-o", "{photo}", "--model", "{model}"], 1, "is a file"),
        (["index", "{pictures}", "-o", "{pictures}", "--model", "{model}"], 1, "other files"),
        (["info", "{empty}"], 1, "empty"),
        (["polish"], 2, "polish"),
    ],
)
def test_errors_say_what_and_how(
    vsearch, indexed, pictures, model, tmp_path, arguments, code, words
):
    (tmp_path / "empty").mkdir()
    places = {
        "index": indexed,
        "photo": pictures / "shoe" / "00.png",
        "pictures": pictures,
        "model": model,
        "empty": tmp_path / "empty",
    }
    got, out, err = vsearch(*(a.format(**places) for a in arguments))
    assert got == code
    assert words in err
    assert "Traceback" not in err
    assert out == ""
    assert not (pictures / "write.lock").exists()


def test_another_model_is_refused(vsearch, pictures, indexed, tmp_path):
    other = write_tiny_model(tmp_path / "other.onnx", seed=1)
    for arguments in (["search", indexed, next(pictures.rglob("*.png"))],
                      ["index", pictures, "-o", indexed]):  # fmt: skip
        code, _, err = vsearch(*arguments, "--model", other)
        assert code == 1
        assert "model" in err


def test_moved_model_says_so(vsearch, pictures, tmp_path):
    moved = write_tiny_model(tmp_path / "here.onnx")
    path = tmp_path / "i"
    vsearch("index", pictures, "-o", path, "--model", moved, "--quiet")
    moved.rename(tmp_path / "there.onnx")
    query = next(pictures.rglob("*.png"))
    code, _, err = vsearch("search", path, query)
    assert code == 1
    assert "--model" in err
    assert vsearch("search", path, query, "--model", tmp_path / "there.onnx")[0] == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_index_goes_on(vsearch, pictures, model, tmp_path, how):
    """Interrupted or killed while it indexes, the next run adds what is missing."""
    many = tmp_path / "many"
    for copy in range(250):
        shutil.copytree(pictures, many / str(copy))
    path = tmp_path / "many.index"
    command = [sys.executable, "-m", "vsearch_fast.cli", "index", many, "-o", path]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    child = subprocess.Popen(
        [*map(str, command), "--model", str(model)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    rows = 0
    while not rows and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.02)
        if (path / "index.sqlite").exists():
            with Index.open(path) as index:
                rows = len(index)
    child.send_signal(how)
    _, err = child.communicate(timeout=60)
    assert rows, err
    if how == signal.SIGINT:
        assert child.returncode == 130
        assert "goes on from there" in err
        assert "Traceback" not in err
    with Index.open(path) as index:
        held = len(index)
    assert 0 < held < 3000
    code, out, _ = vsearch("index", many, "-o", path, "--quiet")
    assert code == 0
    assert f"{3000 - held} added, 0 replaced, 0 described anew, 0 removed, {held} unchanged" in out


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


def test_an_index_made_in_python_is_adopted_but_not_emptied(vsearch, pictures, model, tmp_path):
    """It does not say what it was made from; its own pictures must not count as vanished."""
    path = tmp_path / "i"
    embedder = Embedder(model)
    with Index.create(path, embedder.dim, model_id=embedder.model_id) as index:
        index.add(["mine"], embedder.embed(pictures / "shoe" / "00.png"))
    code, _, err = vsearch("search", path, pictures / "shoe" / "00.png")
    assert code == 1
    assert "does not say which file its model is in" in err
    arguments = ["index", pictures, "-o", path, "--model", model, "--quiet"]
    code, _, err = vsearch(*arguments)
    assert code == 1
    assert "1 of its pictures are missing" in err
    assert vsearch(*arguments, "--keep-missing")[0] == 0
    with Index.open(path, mode="rw") as index:
        assert len(index) == 13
        index.remove(["mine"])
    assert vsearch(*arguments)[0] == 0
    assert vsearch("search", path, pictures / "shoe" / "00.png")[0] == 0


def test_a_forgotten_list_is_noticed(vsearch, pictures, model, tmp_path):
    """Without the list the same pictures would lose their metadata."""
    listing = tmp_path / "list.csv"
    names = [str(f.relative_to(pictures)) for f in sorted(pictures.rglob("*.png"))]
    listing.write_text("\n".join(["path,price", *(f"{name},5" for name in names), ""]))
    arguments = ["index", pictures, "-o", tmp_path / "i", "--model", model, "--quiet"]
    assert vsearch(*arguments, "--csv", listing)[0] == 0
    code, _, err = vsearch(*arguments)
    assert code == 1
    assert "12 have other metadata" in err


def test_a_moved_folder_is_followed(vsearch, pictures, model, tmp_path):
    """Nothing is read again, and what goes away later is noticed."""
    path = tmp_path / "i"
    assert vsearch("index", pictures, "-o", path, "--model", model, "--quiet")[0] == 0
    moved = tmp_path / "elsewhere"
    pictures.rename(moved)
    code, out, _ = vsearch("index", moved, "-o", path, "--quiet")
    assert code == 0
    assert "0 added, 0 replaced, 12 described anew, 0 removed" in out
    (moved / "shoe" / "00.png").unlink()
    code, out, _ = vsearch("index", moved, "-o", path, "--quiet")
    assert code == 0
    assert "1 removed, 11 unchanged" in out


def test_an_id_of_another_file_is_read_again(vsearch, model, tmp_path):
    """Also where both files have one size and one time."""
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{name}.bmp")
        os.utime(tmp_path / f"{name}.bmp", (1e9, 1e9))
    listing = tmp_path / "list.csv"
    arguments = ["index", tmp_path, "--csv", listing, "-o", tmp_path / "i", "--quiet"]
    listing.write_text("path,id\na.bmp,lamp\nb.bmp,shoe\n")
    assert vsearch(*arguments, "--model", model)[0] == 0
    listing.write_text("path,id\nb.bmp,lamp\na.bmp,shoe\n")
    code, out, _ = vsearch(*arguments)
    assert code == 0
    assert "2 replaced" in out
    with Index.open(tmp_path / "i") as index:
        expected = Embedder(model).embed(tmp_path / "b.bmp")
        np.testing.assert_array_equal(index.features(["lamp"]), expected)


def test_search_skips_broken_photos_when_asked(vsearch, indexed, pictures):
    (pictures / "shoe" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, out, err = vsearch("search", indexed, pictures / "shoe", "--json")
    assert code == 1
    assert "broken.png" in err
    code, out, err = vsearch("search", indexed, pictures / "shoe", "--json", "--on-error", "skip")
    assert code == 0
    assert "skipped" in err
    answers = json.loads(out)
    assert len(answers) == 6
    assert all(answer["hits"][0]["path"] == answer["query"] for answer in answers)


def test_nothing_readable_is_an_error(vsearch, model, tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.jpg").write_bytes(b"nothing")
    arguments = ["index", tmp_path / "p", "-o", tmp_path / "i", "--model", model, "--quiet"]
    code, _, err = vsearch(*arguments)
    assert code == 1
    assert "no picture could be read" in err


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


def test_bench_checks_its_output_first(vsearch):
    code, _, err = vsearch("bench", "--json", "nowhere/x.json")
    assert code == 2
    assert "nowhere" in err
