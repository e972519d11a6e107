"""The rendered catalogue: the same seed gives the same bytes, and what it says is true."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from vsearch_fast.commands.garments import command
from vsearch_fast.datasets import deepfashion, folder, garments
from vsearch_fast.datasets.garments import scene, workers
from vsearch_fast.datasets.garments.cloth.patterns import PATTERN_MAKERS
from vsearch_fast.datasets.garments.curves import Frame, rectangle, spline
from vsearch_fast.datasets.garments.cut.folding import turned_back
from vsearch_fast.datasets.garments.cut.pieces import Piece, Pose
from vsearch_fast.datasets.garments.design import design, scheduled
from vsearch_fast.datasets.garments.dice import Dice
from vsearch_fast.datasets.garments.paint.backdrop import BACKDROPS
from vsearch_fast.datasets.garments.paint.view import Sway, View
from vsearch_fast.errors import ArgumentError, DatasetError

SMALL = (96, 120)
EDGES = ("x1", "y1", "x2", "y2")


def hashes(root: Path) -> dict[str, str]:
    """Every visible file of a folder and the SHA-256 of its bytes."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list]:
    root = tmp_path_factory.mktemp("garments")
    return root, garments.render_catalogue(root, 34, 3, seed=5, size=SMALL, workers=2)


# -- the same every time --------------------------------------------------------------


def test_render_twice_gives_the_same_pixels() -> None:
    first, info = garments.render(3, 1, seed=7, size=SMALL)
    for _ in range(4):  # other items in between: nothing may be left behind
        garments.render(11, 0, seed=7, size=SMALL)
    again, info_again = garments.render(3, 1, seed=7, size=SMALL)
    assert np.array_equal(first, again)
    assert info.box == info_again.box
    assert info.colours == info_again.colours


def test_another_process_renders_the_same_pixels() -> None:
    code = (
        "import hashlib; from vsearch_fast.datasets import garments;"
        f"print(hashlib.sha256(garments.render(8, 2, 1, {SMALL})[0].tobytes()).hexdigest())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert printed == hashlib.sha256(garments.render(8, 2, 1, SMALL)[0].tobytes()).hexdigest()


def test_files_depend_on_neither_workers_nor_how_many_there_are(
    catalogue: tuple[Path, list], tmp_path: Path
) -> None:
    root, _ = catalogue
    garments.render_catalogue(tmp_path, 5, 2, seed=5, size=SMALL, workers=1)
    few, many = hashes(tmp_path), hashes(root)
    del few[garments.catalogue.TABLE]
    assert len(few) == 10
    assert few == {path: many[path] for path in few}


def test_a_catalogue_grows_to_the_same_files(tmp_path: Path) -> None:
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    garments.render_catalogue(grown, 2, 1, size=SMALL)
    garments.render_catalogue(grown, 3, 2, size=SMALL)
    garments.render_catalogue(whole, 3, 2, size=SMALL)
    assert hashes(grown) == hashes(whole)


def test_the_command_tells_what_the_folder_holds(tmp_path: Path) -> None:
    def run(items: int) -> str:
        arguments = ["-o", str(tmp_path), "--items", str(items), "--views", "1", "--size", "64x80"]
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert run(3).startswith("3 pictures of 3 garments in")
    said = run(1)
    assert said.startswith("1 picture of 1 garment in")
    assert "it holds 3 pictures of 3 garments" in said


@pytest.mark.parametrize("seeds", [(0, 1), (1, 2)])
def test_another_seed_is_another_catalogue(seeds: tuple[int, int]) -> None:
    first, second = (garments.render(0, 0, seed, SMALL)[0] for seed in seeds)
    assert np.abs(first.astype(int) - second).mean() > 10


# -- what it holds ---------------------------------------------------------------------


def test_public_names_are_many_enough() -> None:
    assert len(garments.CATEGORIES) == len(set(garments.CATEGORIES)) >= 12
    assert len(garments.PATTERNS) == len(set(garments.PATTERNS)) >= 10
    assert all(len(rgb) == 3 and max(rgb) < 256 for rgb in garments.COLOURS.values())


def test_schedule_is_balanced() -> None:
    runs = len(garments.PATTERNS)
    pairs = [scheduled(9, number) for number in range(runs * len(garments.CATEGORIES))]
    assert len(set(pairs)) == len(pairs), "each category meets each pattern once"
    first = pairs[: len(garments.CATEGORIES)]
    assert {category for category, _ in first} == set(garments.CATEGORIES)
    assert {pattern for _, pattern in first} == set(garments.PATTERNS)
    assert pairs[:17] != [scheduled(10, number) for number in range(17)]


def test_records_tell_all(catalogue: tuple[Path, list]) -> None:
    root, records = catalogue
    assert len(records) == 34 * 3 == len({record.id for record in records})
    assert Counter(Counter(r.item for r in records).values()) == {3: 34}
    assert len({r.category for r in records}) == len(garments.CATEGORIES)
    assert len({r.metadata["pattern"] for r in records}) == len(garments.PATTERNS)
    for record in records:
        assert record.path.parent == root / record.category
        assert record.group == f"{record.item} of seed 5"  # not that of another catalogue
        assert record.metadata["pattern"] in garments.PATTERNS
        assert record.metadata["background"] in BACKDROPS
        names = record.metadata["colours"].split(", ")
        assert set(names) <= set(garments.COLOURS)
        assert names[0] == record.metadata["colour"]
        with Image.open(record.path) as picture:
            assert picture.format == "JPEG"
            assert picture.size == SMALL
            picture.load()
        x1, y1, x2, y2 = record.box
        assert 0 <= x1 < x2 <= SMALL[0]
        assert 0 <= y1 < y2 <= SMALL[1]
    for item in {record.item for record in records}:
        views = [r for r in records if r.item == item]
        assert len({r.metadata["background"] for r in views}) >= 2
        assert len({(r.category, r.metadata["colours"]) for r in views}) == 1


def test_read_returns_what_was_rendered(catalogue: tuple[Path, list]) -> None:
    root, records = catalogue
    assert garments.read(root) == records


def test_the_folder_reader_reads_the_table(catalogue: tuple[Path, list]) -> None:
    root, records = catalogue
    assert folder.read(root, csv="garments.csv") == records


def test_the_table_is_plain_csv(catalogue: tuple[Path, list]) -> None:
    root, records = catalogue
    with (root / "garments.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [
        record.path.relative_to(root).as_posix() for record in records
    ]
    assert [tuple(int(row[edge]) for edge in EDGES) for row in rows] == [r.box for r in records]


# -- the truth of boxes -----------------------------------------------------------------


@pytest.mark.parametrize("item", range(17))
def test_box_is_the_masks(item: int) -> None:
    pixels, info = garments.render(item, item % 4, seed=2, size=SMALL)
    assert pixels.shape == (120, 96, 3)
    assert pixels.dtype == np.uint8
    assert info.mask.shape == (120, 96)
    x1, y1, x2, y2 = info.box
    inside = info.mask[y1:y2, x1:x2]
    assert inside.sum() == info.mask.sum() > 0.1 * info.mask.size
    assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
    assert x1 > 0 and y1 > 0 and x2 < 96 and y2 < 120, "the whole garment is in the picture"


def test_mask_is_where_the_garment_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """On two different backdrops, exactly the pixels outside garment and shadow change."""
    pictures = []
    for grey in (255.0, 0.0):
        flat = {
            name: lambda dice, w, h, scale, grey=grey: np.full((3, h, w), grey, np.float32)
            for name in BACKDROPS
        }
        monkeypatch.setattr(scene, "BACKDROPS", flat)
        pixels, info = garments.render(4, 0, seed=3, size=(160, 200))
        pictures.append(pixels.astype(int))
    assert info.background != "wall"
    same = np.abs(pictures[0] - pictures[1]).max(axis=2)
    assert (same[info.mask] <= 130).all(), "at least half covered"
    assert np.median(same[info.mask]) == 0
    assert np.median(same[~info.mask]) > 100


def test_a_hanger_is_not_part_of_the_box() -> None:
    for item in range(40):
        for view in range(8):
            if scene._background(design(0, item), view) == "wall":
                break
        _pixels, info = garments.render(item, view, size=SMALL)
        if info.background == "wall" and info.category == "Trousers":
            break
    else:
        pytest.fail("no trousers hang on a wall")
    garment = design(0, item).garment(Pose(Dice(0), hanging=True))
    before = len(garment.pieces)
    scene._hang(garment)
    props = [piece for piece in garment.pieces if piece.prop]
    assert len(props) == len(garment.pieces) - before == 4
    highest = min(piece.outline[:, 1].min() for piece in props)
    assert highest < min(p.outline[:, 1].min() for p in garment.pieces if not p.prop) - 5
    assert info.box[1] > 4, "room for the hook above the box"


# -- views and items ---------------------------------------------------------------------


def histogram(pixels: np.ndarray) -> np.ndarray:
    hsv = np.asarray(Image.fromarray(pixels).convert("HSV")).reshape(-1, 3).astype(int)
    bins = (hsv[:, 0] * 12 // 256) * 16 + (hsv[:, 1] // 64) * 4 + hsv[:, 2] // 64
    return np.bincount(bins, minlength=192) / len(bins)


def test_views_differ_and_finding_items_is_a_fair_task(catalogue: tuple[Path, list]) -> None:
    _, records = catalogue
    crops, whole = [], []
    for record in records:
        with Image.open(record.path) as picture:
            whole.append(np.asarray(picture).astype(int))
            crops.append(histogram(np.asarray(picture.crop(record.box))))
    for first in range(0, len(records), 3):
        views = whole[first : first + 3]
        assert np.abs(views[0] - views[1]).mean() > 8
        assert np.abs(views[1] - views[2]).mean() > 8
        assert len({records[first + view].box for view in range(3)}) == 3
    features = np.array(crops)
    distances = np.abs(features[:, None] - features[None]).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    items = np.arange(len(records)) // 3
    recall = (items[distances.argmin(axis=1)] == items).mean()
    chance = 2 / (len(records) - 1)
    assert 8 * chance < recall < 0.9


def test_every_pattern_tiles_and_shows_its_dyes() -> None:
    dyes = ((230.0, 220.0, 200.0), (30.0, 40.0, 90.0), (180.0, 40.0, 40.0))
    seen = {}
    for name, make in PATTERN_MAKERS.items():
        made = make(dyes, Dice(4), 4.0)
        assert made.tile.dtype == np.float32
        assert made.tile.shape[0] == 3
        assert made.tile.min() >= 0 and made.tile.max() <= 255
        assert 1 <= made.dyes <= 3
        seen[name] = made
        spread = made.tile.std(axis=(1, 2)).max()
        assert (spread < 1) if name == "plain" else (spread > 15), name
    assert len({made.tile.tobytes() for made in seen.values()}) == len(PATTERN_MAKERS)


def test_patterns_turn_with_the_sleeve() -> None:
    frame = Frame(20.0, 4.0, 0.6, 3.0, 60.0)
    cloth = np.array([(1.0, 5.0), (-4.0, 30.0), (6.0, 58.0)])
    x, y = frame.to_garment(cloth).astype(np.float32).T
    u, v = frame.to_cloth(x, y)
    np.testing.assert_allclose(np.stack([u, v], 1), cloth, atol=1e-4)
    np.testing.assert_allclose(frame.point(float(x[1]), float(y[1])), cloth[1], atol=1e-4)


def test_camera_and_its_inverse_agree() -> None:
    view = View(
        240, 300, (0.0, 40.0), (120.0, 150.0), 2.5, 0.2, (0.0005, -0.001),
        Sway(1.0, 40.0, 1.0), Sway(1.0, 45.0, 2.0),
    )  # fmt: skip
    x, y = view.to_garment((100, 200, 300, 500), 2)
    points = np.stack([x.ravel(), y.ravel()], 1).astype(np.float64)
    back = view.to_canvas(points) * 2
    wanted = np.stack(np.meshgrid(np.arange(100, 300) + 0.5, np.arange(200, 500) + 0.5), -1)
    assert np.abs(back - wanted.reshape(-1, 2)).max() < 0.3


def test_splines_pass_through_their_points() -> None:
    points = [(0.0, 0.0), (1.0, 5.0), (4.0, 5.5), (20.0, 0.0)]
    curve = spline(points, 8)
    for point in points:
        assert np.abs(curve - point).sum(axis=1).min() < 1e-12


def area(outline: np.ndarray) -> float:
    x, y = outline[:, 0], outline[:, 1]
    return abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) / 2


def test_a_turned_sleeve_keeps_its_cloth_and_lies_on_top() -> None:
    arm = Piece(rectangle(-6.0, 0.0, 6.0, 60.0))
    turned = turned_back([arm], (0.0, 30.0), 0.0, -np.pi / 2, 30.0)
    assert [piece.over for piece in turned] == [False, True]
    upper, forearm = (piece.outline for piece in turned)
    assert area(upper) + area(forearm) == pytest.approx(12 * 60)
    assert upper[:, 1].max() == pytest.approx(36.0), "cut at 45 degrees through the elbow"
    assert forearm[:, 0].min() == pytest.approx(-30.0), "its end points to the left"
    assert forearm[:, 1].min() == pytest.approx(24.0)
    end = turned[1].frame.to_garment(np.array([(0.0, 60.0)]))[0]
    assert end.tolist() == pytest.approx([-30.0, 30.0]), "the pattern turns with it"


# -- on disk -----------------------------------------------------------------------------


def test_missing_and_empty_files_come_back_the_same(tmp_path: Path) -> None:
    records = garments.render_catalogue(tmp_path, 3, 2, size=SMALL)
    before = hashes(tmp_path)
    kept = records[0].path.stat().st_mtime_ns
    records[2].path.unlink()
    records[5].path.write_bytes(b"")
    assert garments.render_catalogue(tmp_path, 3, 2, size=SMALL) == records
    assert hashes(tmp_path) == before
    assert records[0].path.stat().st_mtime_ns == kept, "what is complete is not made again"
    assert not list(tmp_path.rglob("*.part"))


def test_an_interrupted_run_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = garments.catalogue._picture, []

    def breaks(*job):
        calls.append(job)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*job)

    monkeypatch.setattr(garments.catalogue, "_picture", breaks)
    with pytest.raises(KeyboardInterrupt):
        garments.render_catalogue(tmp_path, 3, 2, size=SMALL, workers=1)
    assert [record.item for record in garments.read(tmp_path)] == [
        "garment-00000",
        "garment-00000",
        "garment-00001",
    ]
    records = garments.render_catalogue(tmp_path, 3, 2, size=SMALL, workers=1)
    assert len(calls) == 4 + 3
    assert garments.read(tmp_path) == records


def test_a_folder_of_another_seed_is_refused(tmp_path: Path) -> None:
    garments.render_catalogue(tmp_path, 1, 1, seed=1, size=SMALL)
    before = hashes(tmp_path)
    with pytest.raises(DatasetError, match=r"seed 1, size 96 x 120, renderer \d+, not of seed 2"):
        garments.render_catalogue(tmp_path, 1, 1, seed=2, size=SMALL)
    assert hashes(tmp_path) == before


def test_reading_what_is_not_there_or_broken(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"garments\.csv does not exist"):
        garments.read(tmp_path)
    garments.render_catalogue(tmp_path, 1, 2, size=SMALL)
    table = tmp_path / "garments.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:2], lines[2].rsplit(",", 2)[0] + ",left,9"]))
    with pytest.raises(DatasetError, match=r"garments\.csv:3"):
        garments.read(tmp_path)
    with pytest.raises(DatasetError, match="line 3"):
        garments.render_catalogue(tmp_path, 1, 2, size=SMALL)


@pytest.mark.parametrize("wrong", [{"items": 0}, {"views": 0}, {"seed": -1}, {"size": (63, 300)}])
def test_wrong_arguments_are_refused(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ArgumentError):
        garments.render_catalogue(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_render_refuses_negative_numbers() -> None:
    with pytest.raises(ArgumentError, match="view"):
        garments.render(0, -1)


def _dies(number: int) -> int:
    raise SystemExit(3)


def test_a_dying_process_is_reported() -> None:
    with pytest.raises(DatasetError, match="ended before its work was done"):
        list(workers.spread(_dies, [(1,), (2,)], 2))


@pytest.mark.posix
def test_a_full_disk_keeps_what_is_finished(tmp_path: Path) -> None:
    """A file size limit stands for it: pictures fit, the table of 12 rows does not."""
    code = f"""
import resource, signal
from vsearch_fast.datasets import garments
from vsearch_fast.errors import DatasetError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
try:
    garments.render_catalogue({str(tmp_path)!r}, 2, 1, size={SMALL})
except DatasetError as error:
    print(error)
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "cannot be written (File too large)" in printed
    assert not list(tmp_path.rglob("*.part"))
    assert len(garments.render_catalogue(tmp_path, 2, 1, size=SMALL)) == 2


@pytest.mark.parametrize(("layout", "img"), [("Anno", "Img/img"), ("Anno_coarse", "img")])
def test_deepfashion_round_trip(tmp_path: Path, layout: Any, img: Any) -> None:
    written = garments.write_deepfashion(
        tmp_path, 20, 2, seed=4, size=SMALL, layout=layout, img=img
    )
    again = deepfashion.read(tmp_path, check_files=True)
    assert again == written
    rendered = garments.read(tmp_path / "garments")
    assert len(again) == len(rendered) == 40
    for place, (record, truth) in enumerate(zip(again, rendered, strict=True)):
        assert record.path.read_bytes() == truth.path.read_bytes()
        assert record.path.name == f"img_{place % 2 + 1:08d}.jpg"
        assert record.path.parent.parent == tmp_path / img
        assert (record.box, record.category) == (truth.box, truth.category)
        assert record.item == record.group == record.path.parent.name
        attributes = set(str(record.metadata["attributes"]).split(";"))
        fabric = f"{truth.metadata['fabric']} cloth"
        colours = set(str(truth.metadata["colours"]).split(", "))
        assert attributes == {truth.metadata["pattern"], fabric} | colours
    assert len({record.item for record in again}) == 20
    assert {record.partition for record in again} == {"train", "val", "test"}
    for item in {record.item for record in again}:
        assert len({record.partition for record in again if record.item == item}) == 1
    kinds = {record.category: record.metadata["category_type"] for record in again}
    assert kinds["Jeans"] == "lower body"
    assert kinds["Dress"] == "full body"
    assert kinds["Shirt"] == "upper body"
    assert not list(tmp_path.rglob("*.part"))
