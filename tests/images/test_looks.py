"""What is seen of a picture that may be a copy."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from vsearch_fast.errors import ImageError
from vsearch_fast.images import look
from vsearch_fast.images.looks import sharpness


def picture(seed=0, size=(40, 30)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


@given(st.integers(1, 9), st.integers(1, 600), st.integers(0, 2**32 - 1))
def test_sharpness_is_the_variance_of_the_laplacian(width, height, seed):
    image = picture(seed, (width, height))
    grey = np.asarray(image.convert("L")).astype(float)
    if width < 3 or height < 3:
        assert sharpness(image) == 0
        return
    neighbours = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    want = (4 * grey[1:-1, 1:-1] - neighbours).var()
    assert sharpness(image) == pytest.approx(want, rel=1e-9, abs=1e-6)


def test_a_blurred_picture_is_less_sharp():
    image = picture()
    assert sharpness(image.filter(ImageFilter.GaussianBlur(1))) < sharpness(image) / 4


def test_pixels_and_files_are_told_apart(tmp_path):
    image = picture()
    for name in ("a.png", "b.bmp", "c.png"):
        image.save(tmp_path / name)
    picture(1).save(tmp_path / "other.png")
    Image.fromarray(np.asarray(image).reshape(40, 30, 3)).save(tmp_path / "turned.png")
    a, b, c, other, turned = (
        look(tmp_path / name) for name in ("a.png", "b.bmp", "c.png", "other.png", "turned.png")
    )
    assert a == c
    assert (a.pixels, a.sharpness) == (b.pixels, b.sharpness)
    assert a.file != b.file and a.bytes != b.bytes
    assert len({a.pixels, other.pixels, turned.pixels}) == 3
    assert (a.width, a.height) == (40, 30)
    data = (tmp_path / "a.png").read_bytes()
    assert (a.bytes, a.file) == (len(data), hashlib.blake2b(data, digest_size=16).hexdigest())


def test_a_box_is_looked_at_alone(tmp_path):
    picture().save(tmp_path / "a.png")
    picture().crop((5, 5, 25, 15)).save(tmp_path / "part.png")
    part, whole = look(tmp_path / "a.png", (5, 5, 25, 15)), look(tmp_path / "part.png")
    assert (part.width, part.height, part.pixels) == (20, 10, whole.pixels)
    assert part.file == look(tmp_path / "a.png").file


@pytest.mark.parametrize("name", ["gone.png", "broken.png", "folder"])
def test_what_cannot_be_read(tmp_path, name):
    picture().save(tmp_path / "broken.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "broken.png").read_bytes()[:200])
    (tmp_path / "folder").mkdir()
    with pytest.raises(ImageError, match=name):
        look(tmp_path / name)


def test_a_picture_of_too_many_pixels(tmp_path):
    picture().save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="pixels"):
        look(tmp_path / "a.png", max_pixels=1199)
