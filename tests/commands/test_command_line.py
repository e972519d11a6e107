"""The `vsearch` command as a whole: its help, its errors, and the model that it takes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tiny_model import write_tiny_model


def test_help_teaches(vsearch):
    code, out, _ = vsearch("--help")
    assert code == 0
    for command in ("bench", "demo", "export", "index", "info", "search"):
        assert command in out
        code, text, _ = vsearch(command, "--help")
        assert code == 0
        assert "Usage: vsearch " + command in text


@pytest.mark.parametrize("door", ["", ".bench", ".evaluate", ".export"])
def test_every_door_explains_itself(door):
    """By the package's name too: Debian has another command called vsearch."""
    arguments = [sys.executable, "-m", f"vsearch_fast{door}", "-h"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: ") and "-h, --help" in done.stdout


def test_the_second_door_is_the_command():
    arguments = [sys.executable, "-m", "vsearch_fast", "info", "nowhere.index"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("Error: ")


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


def test_bench_checks_its_output_first(vsearch):
    code, _, err = vsearch("bench", "--json", "nowhere/x.json")
    assert code == 2
    assert "nowhere" in err
