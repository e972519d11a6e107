"""locate.py: the labelling and the threshold against references, boxes, refusals, commands."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_locate import write_tiny_locate
from tiny_model import write_tiny_model

from vsearch_fast import cli
from vsearch_fast.embedder import Embedder
from vsearch_fast.errors import ArgumentError, ImageError, ModelError, ModelMismatchError
from vsearch_fast.locate import box_of, largest_component, locate_file, threshold, weighted

pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: pip install 'vsearch_fast[cpu]'"
)

GRIDS = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with its file that finds boxes."""
    path = write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")
    write_tiny_locate(path, Embedder(path).model_id)
    return path


@pytest.fixture(scope="module")
def embedder(model: Path) -> Embedder:
    return Embedder(model)


def item(width: int, height: int, box: tuple[int, int, int, int]) -> Image.Image:
    """A red item with some blue in it on grey."""
    pixels = np.full((height, width, 3), 120, np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2] = (230, 20, 60)
    pixels[y1:y2:4, x1:x2] = (210, 30, 140)
    return Image.fromarray(pixels)


# the parts ----------------------------------------------------------------------------------


@given(GRIDS, st.sampled_from([0.1, 0.4, 0.6, 0.9]))
def test_the_largest_component_is_scipys(grid: tuple[int, int, int], share: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    rows, columns, seed = grid
    mask = np.random.default_rng(seed).random((rows, columns)) < share
    before = mask.copy()
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    # SciPy numbers components in the order of their first cells, as the first of equals wants.
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    expected = labels == sizes.argmax() + 1 if count else np.zeros_like(mask)
    np.testing.assert_array_equal(largest_component(mask), expected)
    np.testing.assert_array_equal(mask, before)


def test_corners_connect_and_a_spiral_is_one() -> None:
    diagonal = np.eye(5, dtype=bool)
    np.testing.assert_array_equal(largest_component(diagonal), diagonal)
    spiral = np.array([[int(c) for c in row] for row in
                       ("11111", "00001", "11101", "10001", "11111")], bool)  # fmt: skip
    np.testing.assert_array_equal(largest_component(spiral), spiral)


@given(st.lists(st.integers(-3, 3) | st.floats(-9, 9), min_size=1, max_size=30))
def test_the_threshold_is_otsus(values: list[float]) -> None:
    array = np.array(values, np.float64)

    def spread(cut: float) -> float:
        low, high = array[array <= cut], array[array > cut]
        return len(low) * len(high) * (high.mean() - low.mean()) ** 2

    got = threshold(array)
    cuts = np.unique(array)[:-1]
    if not len(cuts):
        assert got == array[0]
        return
    assert got in cuts
    assert spread(got) == pytest.approx(max(map(spread, cuts)), rel=1e-9)


def test_a_channel_counts_by_middle_less_border() -> None:
    cells = np.zeros((20, 20, 3))
    cells[8:12, 8:12, 0] = 2  # in the middle half, which has 100 cells
    cells[..., 1] = 7  # everywhere
    cells[0, :, 2] = 1  # on the border, which has 76 cells
    weights = np.array([2 * 16 / 100, 0, -20 / 76])
    np.testing.assert_allclose(weighted(cells), cells @ weights)


def test_cells_become_pixels_rounded_outwards() -> None:
    cells = np.zeros((4, 8))
    cells[1:3, 2:5] = 5
    cells[3, 7] = 9  # a smaller component, and a stronger one
    assert box_of(cells, (80, 40)) == (20, 10, 50, 30)
    assert box_of(cells, (10, 7)) == (2, 1, 7, 6)
    assert box_of(cells, (1, 1)) == (0, 0, 1, 1)
    assert box_of(np.full((4, 8), 0.1), (80, 40)) == (0, 0, 80, 40)


# boxes of pictures --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((320, 240), (96, 64, 208, 200)),
        ((250, 900), (60, 300, 190, 700)),
        ((90, 70), (20, 15, 60, 50)),
    ],
)
def test_an_item_is_found(
    embedder: Embedder, size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    found = embedder.locate(item(*size, box))
    cell = max(size) / 320 * 8
    assert np.abs(np.subtract(found, box)).max() <= cell + 1
    assert all(type(edge) is int for edge in found)


def test_the_box_is_one_of_the_upright_picture(embedder: Embedder, tmp_path: Path) -> None:
    upright = item(200, 320, (40, 30, 110, 150))
    expected = embedder.locate(upright)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    file = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    path = tmp_path / "turned.png"
    path.write_bytes(file.getvalue())
    for source in (path, str(path), file.getvalue(), np.asarray(upright)):
        assert embedder.locate(source) == expected


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.sampled_from(["RGB", "L", "RGBA", "1", "P"]),
    st.integers(0, 9),
)
def test_a_box_is_never_empty_and_never_outside(
    embedder: Embedder, width: int, height: int, mode: str, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    x1, y1, x2, y2 = embedder.locate(Image.fromarray(pixels).convert(mode))
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height


@pytest.mark.parametrize("size", [(10, 2000), (2000, 10), (1, 1), (1, 700), (33, 31)])
def test_odd_shapes_and_one_colour(embedder: Embedder, size: tuple[int, int]) -> None:
    assert embedder.locate(Image.new("RGB", size, (200, 30, 30))) == (0, 0, *size)
    assert embedder.embed(Image.new("RGB", size), (0, 0, *size)).shape == (1, 64)


def test_what_cannot_be_read_is_refused(model: Path) -> None:
    with pytest.raises(ImageError):
        Embedder(model).locate(b"no picture")
    with pytest.raises(ImageError, match="more than the limit"):
        Embedder(model, max_pixels=99).locate(Image.new("RGB", (10, 10)))
    with pytest.raises(ArgumentError):
        Embedder(model).locate(7)  # type: ignore[arg-type]


def test_no_package_of_the_export_is_needed(model: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('onnx', 'tensorflow', 'keras', 'scipy')))\n"
        "import numpy as np\n"
        "from vsearch_fast import Embedder\n"
        "box = Embedder(sys.argv[1]).locate(np.zeros((9, 9, 3), np.uint8))\n"
        "assert box == (0, 0, 9, 9), box\n"
    )
    subprocess.run([sys.executable, "-c", program, str(model)], check=True, timeout=60)


# refusals -----------------------------------------------------------------------------------


def test_a_model_without_the_file_says_how_to_get_it(tmp_path: Path) -> None:
    embedder = Embedder(write_tiny_model(tmp_path / "alone.onnx"))
    with pytest.raises(ModelError, match=r"alone\.locate\.onnx.*vsearch export --locate") as raised:
        embedder.locate(Image.new("RGB", (9, 9)))
    assert raised.value.cause
    assert raised.value.consequence
    assert raised.value.cure


def test_another_models_file_is_refused(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.onnx")
    write_tiny_locate(path, "f" * 64)
    with pytest.raises(ModelMismatchError, match="ffffffffffff"):
        Embedder(path).locate(Image.new("RGB", (9, 9)))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"belongs_to": None}, "no file of the export"),
        ({"format": "2"}, "format 2"),
        ({"resize": "best"}, "best"),
        ({"stride": "-8"}, "whole numbers"),
        ({"long_side": None}, "whole numbers"),
    ],
)
def test_a_file_that_is_another_is_refused(
    tmp_path: Path, entries: dict[str, str | None], words: str
) -> None:
    path = write_tiny_model(tmp_path / "tiny.onnx")
    embedder = Embedder(path)
    write_tiny_locate(path, embedder.model_id, entries)
    with pytest.raises(ModelError, match=words):
        embedder.locate(Image.new("RGB", (9, 9)))


def test_broken_and_mistaken_files(model: Path, tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.onnx")
    locate_file(path).write_bytes(b"not a network")
    with pytest.raises(ModelError, match="cannot load"):
        Embedder(path).locate(Image.new("RGB", (9, 9)))
    with pytest.raises(ModelError, match="finds boxes, and no model itself"):
        Embedder(locate_file(model))


def test_the_files_name() -> None:
    assert locate_file(Path("a/vgg16-fc1.onnx")) == Path("a/vgg16-fc1.locate.onnx")
    assert locate_file(Path("a/model.v2")) == Path("a/model.v2.locate.onnx")


# commands -----------------------------------------------------------------------------------

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def vsearch(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process: (exit code, standard output, standard error)."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


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
        assert 0 <= each["whole"] <= 1
        assert set(each["gains"]) == {"query cut", "both cut"}
    assert "own group" in vsearch(*listed)[1]
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
    assert len(json.loads(listed)) == 5
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
    (result,) = json.loads(out)
    assert result["query"].endswith("2.png")
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


# overlap ------------------------------------------------------------------------------------


def test_overlaps_by_hand() -> None:
    from vsearch_fast.evaluate.boxes import intersection_over_union, overlaps

    assert intersection_over_union((0, 0, 4, 4), (2, 2, 6, 6)) == 4 / 28
    assert intersection_over_union((0, 0, 4, 4), (4, 0, 8, 4)) == 0
    assert intersection_over_union((0, 0, 4, 4), (0, 0, 4, 4)) == 1
    found, half, median, whole = overlaps(
        [(25, 25, 75, 75), (0, 0, 100, 50)], [(25, 25, 75, 75), (50, 0, 150, 50)],
        [(100, 100), (200, 100)],
    )  # fmt: skip
    np.testing.assert_allclose(found.values, [1, 1 / 3])
    assert found.median == pytest.approx(2 / 3)
    assert found.right == 0.5
    np.testing.assert_allclose(whole.values, [0.25, 0.25])
    np.testing.assert_allclose(half.values[0], 0.5)
    np.testing.assert_allclose(median.values[0], 1)  # both are half as wide and half as high
