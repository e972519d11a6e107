"""`vsearch locate`, and searches by the box that was found."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_locate import item, write_model_that_locates
from tiny_model import write_tiny_model

from vsearch_fast.embedder import Embedder

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[cpu]'")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with its file that finds boxes."""
    return write_model_that_locates(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def embedder(model: Path) -> Embedder:
    return Embedder(model)


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, list[tuple[int, int, int, int]]]:
    """Six photos of an item, with its true boxes, in two categories and three groups."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "photos"
    folder.mkdir()
    boxes = []
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "category", "group", "x1", "y1", "x2", "y2"])
        for number in range(6):
            x, y = (int(v) for v in rng.integers(10, 100, 2))
            box = (x, y, x + 80, y + 120)
            item(240, 300, box).save(folder / f"{number}.png")
            writer.writerow([f"{number}.png", "ab"[number % 2], number // 2, *box])
            boxes.append(box)
    return folder, boxes


def test_locate_prints_boxes_and_draws_them(
    vsearch: Run, model: Path, embedder: Embedder, photos: Any, tmp_path: Path
) -> None:
    folder, _ = photos
    paths = sorted(folder.glob("*.png"))
    sheet = tmp_path / "sheet.jpg"
    code, out, _ = vsearch("locate", folder, "--model", model, "--sheet", sheet)
    assert code == 0
    expected = [f"{','.join(map(str, embedder.locate(path)))}  {path}" for path in paths]
    assert out.splitlines() == expected
    assert Image.open(sheet).width > 1000
    _, out, _ = vsearch("locate", paths[0], "--model", model, "--json")
    assert json.loads(out) == [{"photo": str(paths[0]), "box": list(embedder.locate(paths[0]))}]


def test_locate_measures_against_true_boxes(
    vsearch: Run, model: Path, photos: Any, tmp_path: Path
) -> None:
    folder, _ = photos
    listed = ("locate", folder / "list.csv", "--measure", "--model", model)
    code, out, _ = vsearch(*listed, "--json", "--sheet", tmp_path / "sheet.jpg")
    ways = {way["box"]: way for way in json.loads(out)}
    assert code == 0
    assert ways["found"]["median"] > 0.85
    assert ways["found"]["right"] == 1
    assert ways["found"]["n"] == 6
    assert ways["found"]["between"] == [pytest.approx(6 / (6 + 1.959964**2)), 1]  # Wilson's
    assert ways["whole picture"]["median"] == pytest.approx(80 * 120 / (240 * 300))
    assert vsearch(*listed, "--limit", 2)[1].startswith("Intersection over union with 2 true")


def test_locate_measures_what_cropping_does(vsearch: Run, model: Path, photos: Any) -> None:
    folder, _ = photos
    bare = folder / "bare.csv"
    rows = [line.split(",")[:3] for line in (folder / "list.csv").read_text().splitlines()]
    bare.write_text("\n".join(",".join(row) for row in rows))
    listed = ("locate", bare, "--measure", "--model", model)
    code, out, _ = vsearch(*listed, "--json")
    assert code == 0
    figures = json.loads(out)
    assert [each["metric"] for each in figures] == ["l2", "l1", "hamming"]
    for each in figures:
        assert each["queries"] == 6
        assert each["groups"] == 3
        assert 0 <= each["between"][0] <= each["whole"] <= each["between"][1] <= 1
        assert set(each["gains"]) == {"query cut", "both cut"}
    _, out, err = vsearch(*listed)
    assert "own group" in out and "Warning: 3 groups are few" in err
    code, _, err = vsearch(*listed, "--leave-out", "a", "--leave-out", "b")
    assert code == 1
    assert "pictures with a category that is not left out: 0 of 6" in err
    with bare.open("a") as file:
        file.write("\ngone.png,a,3")
    sheet = folder / "sheet.jpg"
    code, out, err = vsearch(*listed, "--sheet", sheet)
    assert code == 0
    assert "P@1 of 6 pictures" in out
    assert "gone.png does not exist" in err
    assert Image.open(sheet).width > 1000
    assert vsearch(*listed, "--on-error", "raise")[0] == 1


def test_locate_skips_what_cannot_be_read(
    vsearch: Run, model: Path, photos: Any, tmp_path: Path
) -> None:
    folder, _ = photos
    (folder / "0.png").write_bytes(b"no picture")
    code, out, err = vsearch("locate", folder, "--model", model)
    assert code == 0
    assert len(out.splitlines()) == 5
    assert "skipped" in err
    assert "0.png" in err
    _, listed, _ = vsearch("locate", folder, "--model", model, "--json")
    *boxes, broken = json.loads(listed)
    assert len(boxes) == 5 and broken["box"] is None and "not an image" in broken["error"]
    code, out, _ = vsearch("locate", folder, "--model", model, "--on-error", "raise")
    assert (code, out) == (1, "")
    code, out, err = vsearch("locate", folder / "0.png", "--model", model)
    assert (code, out) == (1, "")
    assert "no photo could be read" in err
    code, out, _ = vsearch("locate", folder / "list.csv", "--measure", "--model", model)
    assert code == 0
    assert "5 true boxes" in out
    empty = tmp_path / "empty"
    empty.mkdir()
    code, _, err = vsearch("locate", empty, "--model", model)
    assert code == 1
    assert f"there is no picture in {empty}" in err


@pytest.mark.parametrize(("suffix", "kind"), [("png", "PNG"), ("JPEG", "JPEG"), ("webp", "WEBP")])
def test_a_sheet_is_of_the_type_that_its_suffix_names(
    vsearch: Run, model: Path, photos: Any, tmp_path: Path, suffix: str, kind: str
) -> None:
    sheet = tmp_path / f"sheet.{suffix}"
    assert vsearch("locate", photos[0], "--model", model, "--sheet", sheet)[0] == 0
    assert Image.open(sheet).format == kind


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--limit", "3"], "--measure"),
        (["--measure", "{photos}"], "one data set"),
        (["--sheet", "sheet.gif"], ".jpg, .jpeg, .png, .webp"),
    ],
)
def test_locate_options_that_do_not_fit(
    vsearch: Run, model: Path, photos: Any, arguments: list[str], words: str
) -> None:
    given = [argument.format(photos=photos[0]) for argument in arguments]
    code, _, err = vsearch("locate", photos[0], "--model", model, *given)
    assert code == 2
    assert words in err


def test_search_by_the_found_box(
    vsearch: Run, model: Path, embedder: Embedder, photos: Any, tmp_path: Path
) -> None:
    folder, _ = photos
    index, page = tmp_path / "photos.index", tmp_path / "page.html"
    assert vsearch("index", folder, "-o", index, "--model", model, "--quiet")[0] == 0
    paths = [folder / "1.png", folder / "4.png"]
    code, out, _ = vsearch("search", index, *paths, "--auto-box", "--json", "--html", page)
    assert code == 0
    results = json.loads(out)
    assert [result["box"] for result in results] == [list(embedder.locate(path)) for path in paths]
    edges = ",".join(map(str, results[0]["box"]))
    by_hand = tmp_path / "by-hand.html"
    _, out, _ = vsearch("search", index, paths[0], "--box", edges, "--json", "--html", by_hand)
    assert json.loads(out) == results[:1]
    vsearch("search", index, paths[0], "--auto-box", "--html", page)
    assert page.read_text() == by_hand.read_text()  # the box is drawn into the photo
    assert f"box {edges}" in vsearch("search", index, paths[0], "--auto-box")[1].splitlines()[0]
    code, _, err = vsearch("search", index, paths[0], "--auto-box", "--box", "1,2,30,40")
    assert code == 2
    assert "exclude each other" in err


def test_search_skips_what_has_no_box(
    vsearch: Run, model: Path, photos: Any, tmp_path: Path
) -> None:
    folder, _ = photos
    index = tmp_path / "photos.index"
    vsearch("index", folder, "-o", index, "--model", model, "--quiet")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    asked = ("search", index, broken, folder / "2.png", "--auto-box", "--json")
    assert vsearch(*asked)[0] == 1
    code, out, err = vsearch(*asked, "--on-error", "skip")
    assert code == 0
    assert "broken.png" in err
    result, skipped = json.loads(out)
    assert result["query"].endswith("2.png") and skipped["query"] == str(broken)
    assert result["box"] is not None


def test_search_without_the_file_fails_with_a_cure(
    vsearch: Run, photos: Any, tmp_path: Path
) -> None:
    folder, _ = photos
    alone = write_tiny_model(tmp_path / "alone.onnx")
    index = tmp_path / "photos.index"
    vsearch("index", folder, "-o", index, "--model", alone, "--quiet")
    code, _, err = vsearch("search", index, folder / "2.png", "--auto-box")
    assert code == 1
    assert "vsearch export --locate" in err
