"""`vsearch index` as its users meet it: what it follows, skips, refuses, and resumes."""

from __future__ import annotations

import csv
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

from vsearch_fast.embedder import Embedder
from vsearch_fast.index import Index


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
    rows: list[list[str | int]] = [["path", "id", "price"]]
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


def test_cells_of_several_values(vsearch, pictures, model, tmp_path):
    files = sorted(pictures.rglob("*.png"))
    rows = [
        f"{file.relative_to(pictures)},{'belted;' * (n % 2)}plain" for n, file in enumerate(files)
    ]
    listing = tmp_path / "list.csv"
    listing.write_text("\n".join(["path,style", *rows]))
    path = tmp_path / "i"
    arguments = ["index", pictures, "--csv", listing, "-o", path, "--quiet", "--model", model]
    assert vsearch(*arguments, "--list", "style=;")[0] == 0
    code, out, _ = vsearch("search", path, files[0], "-k", 99, "--where", "style=belted", "--json")
    found = [hit["metadata"]["style"] for hit in json.loads(out)[0]["hits"]]
    assert found == [["belted", "plain"]] * (len(files) // 2)
    code, _, err = vsearch(*arguments, "--list", "styles=;")
    assert code == 1 and "There is no column 'styles' to make lists of" in err


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
    assert "1 removed, 1 unchanged, 2 skipped: 1 picture in" in out


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


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_index_goes_on(vsearch, pictures, model, tmp_path, how):
    """Interrupted or killed while it indexes, the next run adds what is missing."""
    many = tmp_path / "many"
    for copy in range(250):
        shutil.copytree(pictures, many / str(copy))
        for file in (many / str(copy)).rglob("*.png"):  # bytes of its own behind the same pixels
            file.write_bytes(file.read_bytes() + str(copy).encode())
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
    _, err = child.communicate(timeout=300)
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
    assert "1 picture of it is missing" in err
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
    assert "2 recognised" in out  # each by the other's bytes
    with Index.open(tmp_path / "i") as index:
        expected = Embedder(model).embed([tmp_path / "b.bmp", tmp_path / "a.bmp"])
        np.testing.assert_array_equal(index.features(["lamp", "shoe"]), expected)


def test_nothing_readable_is_an_error(vsearch, model, tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.jpg").write_bytes(b"nothing")
    arguments = ["index", tmp_path / "p", "-o", tmp_path / "i", "--model", model, "--quiet"]
    code, _, err = vsearch(*arguments)
    assert code == 1
    assert "no picture could be read" in err


def test_codes_that_tell_nothing_are_warned_of(vsearch, model, tmp_path):
    folder = tmp_path / "alike"
    folder.mkdir()
    for number in range(14):
        Image.new("RGB", (40 + number, 40), (90, 120, 150)).save(folder / f"{number}.png")
    code, _, err = vsearch("index", folder, "-o", tmp_path / "i", "--model", model, "--quiet")
    assert code == 0
    assert "bits are the same for all pictures" in err
