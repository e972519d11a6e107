"""images.py: paths, bytes, arrays and PIL images, and folders of pictures."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from drawn_images import encode, random_image, random_pixels
from PIL import Image

from vsearch_fast import images
from vsearch_fast.errors import ArgumentError, ImageError


def test_path_bytes_pil_and_array_agree(tmp_path: Path) -> None:
    pixels = random_pixels(33, 21, 3, 0)
    data = encode(Image.fromarray(pixels))
    path = tmp_path / "picture.jpg"  # the type is found by content, not by this name
    path.write_bytes(data)
    sources: list[images.Source] = [
        path,
        str(path),
        data,
        bytearray(data),
        memoryview(data),
        pixels,
    ]
    sources += [Image.open(path), Image.fromarray(pixels), pixels[::-1][::-1]]
    for source in sources:
        np.testing.assert_array_equal(np.asarray(images.decode(source)), pixels)
        assert images.load(source, 8).shape == (8, 8, 3)


def test_arrays_of_grey() -> None:
    grey = random_pixels(12, 10, 1, 0)
    expected = np.repeat(grey, 3, axis=2)
    np.testing.assert_array_equal(np.asarray(images.decode(grey)), expected)
    np.testing.assert_array_equal(np.asarray(images.decode(grey[:, :, 0])), expected)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"\(2, 4, 4, 3\)"),
        (np.zeros(7, np.uint8), r"\(7,\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 0), np.uint8), "no pixels"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        images.decode(array)


def test_a_pil_image_is_neither_changed_nor_handed_back() -> None:
    image = random_image("RGB", 8, 8)
    before = image.tobytes()
    decoded = images.decode(image)
    decoded.putpixel((0, 0), (1, 2, 3))
    assert image.tobytes() == before


def test_one_lazy_pil_image_in_many_threads() -> None:
    data = encode(random_image("RGB", 200, 150), "JPEG")
    expected = images.load(data, 32)
    for _ in range(10):
        lazy = Image.open(io.BytesIO(data))
        with ThreadPoolExecutor(8) as pool:
            for pixels in pool.map(lambda _, lazy=lazy: images.load(lazy, 32), range(8)):
                np.testing.assert_array_equal(pixels, expected)


def test_what_is_no_picture_is_an_argument_error() -> None:
    with pytest.raises(ArgumentError, match="int is not a picture"):
        images.decode(7)  # type: ignore[arg-type]


@pytest.mark.posix
def test_find_images(tmp_path: Path) -> None:
    wanted = ["a.JPG", "b/a.png", "b/c/d.webp", "b.tif", "B.gif", "z.jpeg", "link.bmp"]
    for name in [*wanted[:-1], ".hidden.jpg", ".git/a.jpg", "notes.txt", "jpg", "b/.x/y.png"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "link.bmp").symlink_to(tmp_path / "a.JPG")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    found = images.find_images(tmp_path)
    # A link that leads nowhere and a pipe are no pictures: their reader says so.
    assert found == sorted(tmp_path / name for name in [*wanted, "broken.jpg", "pipe.jpg"])
    assert images.find_images(str(tmp_path)) == found
    assert images.find_images(tmp_path / "folder.jpg") == []


def test_find_images_refuses_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ArgumentError, match=r"a\.jpg is not a folder"):
        images.find_images(tmp_path / "a.jpg")
    with pytest.raises(ArgumentError, match="nothing does not exist"):
        images.find_images(tmp_path / "nothing")


def test_find_images_does_not_pass_over_an_unreadable_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def denied(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(ImageError, match=r"locked cannot be listed \(Permission denied\)"):
        images.find_images(tmp_path)
