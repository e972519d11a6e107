"""Commands say what they left out, take either name of a column, and find moved photos."""

from __future__ import annotations

import csv
import io
import json
import shutil

import pytest
from PIL import Image

from vsearch_fast.index import Index


@pytest.fixture
def mixed(pictures):
    """The twelve pictures, one of them without an ending, and what is none."""
    file = pictures / "shoe" / "00.png"
    file.rename(file.with_name("photo"))
    (pictures / "shoe" / "photo.heic").write_bytes(b"\0\0\0\x18ftypxxxx")
    (pictures / "notes.txt").touch()
    (pictures / "@eaDir").mkdir()
    shutil.copy(pictures / "lamp" / "01.png", pictures / "@eaDir" / "thumb.png")
    return pictures


def test_index_counts_what_it_leaves_out(vsearch, mixed, model, tmp_path, monkeypatch):
    monkeypatch.setattr("vsearch_fast.images.readers._heif_opener", lambda: None)
    arguments = ["index", mixed, "-o", tmp_path / "i", "--model", model, "--quiet"]
    code, out, _ = vsearch(*arguments)
    assert code == 0
    first, second = out.splitlines()
    assert first.startswith("12 added") and first.endswith(f"12 pictures in {tmp_path / 'i'}")
    assert second == "left out: 1 .heic, 1 .txt, 1 folder @eaDir"
    code, out, err = vsearch(*arguments, "--json", "--exclude", "lamp", "--exclude", "*.gif")
    facts = json.loads(out)
    assert (facts["removed"], facts["unchanged"], facts["pictures"]) == (6, 6, 6)
    assert facts["left_out"]["files"] == {".heic": 1, ".txt": 1}
    assert facts["left_out"]["folders"] == {"@eaDir": 1} and facts["left_out"]["excluded"] == 1
    assert "--exclude *.gif matches nothing" in err


def test_index_skips_wrong_lines(vsearch, pictures, model, tmp_path):
    listing = tmp_path / "list.csv"
    listing.write_text("path,x1,y1,x2,y2\nshoe/00,1.5,1,9,9\nshoe/02,1,1,1,9\nshoe/04,,,,,extra\n")
    arguments = ["index", pictures, "--csv", listing, "-o", tmp_path / "i", "--model", model]
    code, out, _ = vsearch(*arguments, "--quiet")
    assert code == 0
    first, *lines = out.splitlines()
    assert "1 added" in first and "2 skipped: 1 picture in" in first
    assert [line.split()[1].rsplit("list.csv", 1)[1] for line in lines] == [":3:", ":4:"]
    facts = json.loads(vsearch(*arguments, "--quiet", "--json")[1])
    assert len(facts["left_out"]["lines"]) == 2
    code, _, err = vsearch(*arguments, "--on-error", "raise")
    assert code == 1
    assert "2 lines are wrong" in err and "list.csv:3:" in err and "list.csv:4:" in err


@pytest.mark.parametrize("command", ["search", "locate"])
def test_folders_of_photos_too(vsearch, mixed, indexed, command, monkeypatch):
    monkeypatch.setattr("vsearch_fast.images.readers._heif_opener", lambda: None)
    first = [indexed] if command == "search" else []
    (mixed / "shoe" / "bad.png").write_bytes(b"none")
    options = ["--on-error", "skip", "--exclude", "lamp", "--json"]
    code, out, err = vsearch(command, *first, mixed, *options)
    assert code == 0, err
    assert "left out: " in err and "1 .txt" in err and "1 excluded" in err
    found = json.loads(out)
    assert [each["error"] != "" for each in found if "error" in each] == [True]
    assert len(found) == 7


# CSV -------------------------------------------------------------------------------------------


def test_csv_keeps_its_columns_apart(vsearch, pictures, model, tmp_path):
    names = ["distance", "rank", "id_", "metric", "match", "x1_"]
    listing = tmp_path / "list.csv"
    listing.write_text(f"path,{','.join(names)}\nshoe/00,{','.join('9' * len(names))}\n")
    vsearch("index", pictures, "--csv", listing, "-o", tmp_path / "i", "--model", model, "--quiet")
    photo = pictures / "shoe" / "00.png"
    _, out, _ = vsearch("search", tmp_path / "i", photo, "--csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert (row["distance"], row["rank"], row["metric"]) == ("0.0", "1", "l2")
    assert all(row[f"metadata.{name}"] == "9" for name in names)
    header = out.splitlines()[0]
    assert len(set(header.split(","))) == header.count(",") + 1
    _, out, _ = vsearch("search", tmp_path / "i", photo, "--csv", "--where", "rank=7")
    assert out.splitlines() == [header]  # the same, though nothing matches


# Columns by either name ------------------------------------------------------------------------


@pytest.fixture
def listed(vsearch, pictures, model, tmp_path):
    """An index of a list that has names of its own for the columns."""
    rows = [
        f"{file.parent.name}/{file.name},{file.parent.name},s{number % 3}"
        for number, file in enumerate(sorted(pictures.rglob("*.png")))
    ]
    listing = tmp_path / "list.csv"
    listing.write_text("\n".join(["image,label,sender_id", *rows, ""]))
    path = tmp_path / "listed.index"
    code, _, err = vsearch(
        "index", pictures, "--csv", listing, "--column", "path=image", "--column",
        "category=label", "--column", "group=sender_id", "-o", path, "--model", model, "--quiet",
    )  # fmt: skip
    assert code == 0, err
    return path


def test_either_name_of_a_column(vsearch, listed, pictures, tmp_path):
    photo = pictures / "lamp" / "01.png"
    answers = []
    for column in ("label", "category"):
        code, out, _ = vsearch("search", listed, photo, "--where", f"{column}=shoe", "--json")
        assert code == 0
        answers.append(json.loads(out))
    assert answers[0] == answers[1] and len(answers[0][0]["hits"]) == 6
    page = tmp_path / "page.html"
    vsearch("search", listed, photo, "--where", "label=shoe", "--html", page)
    assert "<dt>filter</dt><dd>label=shoe</dd>" in page.read_text()
    told = [
        vsearch("calibrate", listed, "--metric", "l2", "--group", name, "--json")
        for name in ("group", "sender_id")
    ]
    assert told[0] == told[1] and told[0][0] == 0
    code, _, err = vsearch("search", listed, photo, "--where", "sender=1")
    assert code == 1 and "category" in err


# Photos elsewhere ------------------------------------------------------------------------------


def test_photos_that_were_moved(vsearch, pictures, indexed, tmp_path):
    photo = tmp_path / "photo.png"
    shutil.copy(pictures / "shoe" / "00.png", photo)
    there = tmp_path / "mnt" / "shop"
    there.parent.mkdir()
    pictures.rename(there)
    page = tmp_path / "page.html"
    code, _, err = vsearch("search", indexed, photo, "--html", page)
    assert code == 0
    assert "10 pictures of 10 are not where the index says: --photos ROOT" in err
    code, out, err = vsearch("search", indexed, photo, "--html", page, "--photos", there, "--json")
    assert code == 0 and "not where" not in err
    assert "picture not found" not in page.read_text()
    assert json.loads(out)[0]["hits"][0]["path"] == str(there / "shoe" / "00.png")
    code, _, err = vsearch("search", indexed, photo, "--photos", tmp_path / "none")
    assert code == 1 and "is not a folder" in err
    with Index.open(indexed) as index:
        assert index.get("shoe/00.png").path == str(pictures / "shoe" / "00.png")


def test_a_box_beyond_the_photo_is_told_as_it_is_searched(vsearch, indexed, pictures):
    photo = pictures / "shoe" / "00.png"
    width, height = Image.open(photo).size
    code, out, err = vsearch("search", indexed, photo, "--box", "5,6,900,900", "--json")
    assert code == 0
    assert json.loads(out)[0]["box"] == [5, 6, width, height]
    assert f"it is cut to 5,6,{width},{height}" in err
    inside = vsearch("search", indexed, photo, "--box", "5,6,20,20")
    assert inside[2] == "" and "box 5,6,20,20" in inside[1]


# Commands that learn and measure ----------------------------------------------------------------


class Seen(Exception):
    """What a command read, instead of minutes of work on it."""


@pytest.fixture
def seen(vsearch, monkeypatch):
    """Runs `vsearch train` or `eval` up to its work; ids of the records, and what was said."""

    def stop(records, *_, also=(), **__):
        raise Seen(sorted(each.id for part in [records, *also] for each in part))

    def run(command, *arguments):
        monkeypatch.setattr("vsearch_fast.export.train.train", stop)
        monkeypatch.setattr("vsearch_fast.evaluate.study.evaluate", stop)
        first = ["--data", arguments[0]] if command == "train" else [arguments[0]]
        output = ["-o", arguments[0].with_name("x.keras" if command == "train" else "results")]
        with pytest.raises(Seen) as caught:
            vsearch(command, *first, *arguments[1:], *output)
        return caught.value.args[0]

    return run


@pytest.mark.parametrize("command", ["train", "eval"])
def test_training_and_evaluation_leave_out_alike(seen, vsearch, mixed, command, tmp_path):
    everything = seen(command, mixed)
    patterns = ["--exclude", "lamp", "--exclude", "shoe/02.*"]
    left = seen(command, mixed, *patterns)
    assert left == [name for name in everything if "lamp" not in name and "02" not in name]
    listing = tmp_path / "list.csv"
    listing.write_text("path\nshoe/02\nshoe/none\nshoe/04,extra\n")
    csv_file = ["--csv", listing]
    assert seen(command, mixed, *csv_file, "--on-error", "skip")[:1] == ["shoe/02.png"]
    first = ["--data", mixed] if command == "train" else [mixed]
    code, _, err = vsearch(command, *first, *csv_file, *patterns, "-o", tmp_path / "x.keras")
    assert code == 1 and "Patterns leave out files of a folder (--exclude)" in err
    code, _, err = vsearch(command, *first, *csv_file, "-o", tmp_path / "x.keras")
    assert code == 1 and "--on-error skip" in err


def test_patterns_do_not_forbid_a_list_to_train_on_also(seen, mixed, tmp_path):
    listing = tmp_path / "list.csv"
    listing.write_text(f"path\n{mixed}/lamp/01.png\n")
    ids = seen("train", mixed, "--exclude", "lamp", "--also", listing, "--also", mixed)
    assert [name for name in ids if "lamp" in name] == ["pictures/lamp/01.png"]
    assert ids.count("shoe/02.png") == 2
