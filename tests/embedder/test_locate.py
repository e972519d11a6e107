"""locate.py: the labelling and the threshold against references, boxes, and what is refused."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_locate import item, write_model_that_locates, write_tiny_locate
from tiny_model import write_tiny_model

from vsearch_fast.embedder import Embedder
from vsearch_fast.embedder.locate import box_of, largest_component, locate_file, threshold, weighted
from vsearch_fast.errors import ArgumentError, ImageError, ModelError, ModelMismatchError

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[cpu]'")

GRIDS = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with its file that finds boxes."""
    return write_model_that_locates(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def embedder(model: Path) -> Embedder:
    return Embedder(model)


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
    subprocess.run([sys.executable, "-c", program, str(model)], check=True, timeout=300)


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
