"""images.py: pictures that are turned, and files of several pictures."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from drawn_images import encode, random_image
from PIL import Image

from vsearch_fast import images

TO_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF 2.32, tag 274
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", TO_UPRIGHT)
@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_rotation_is_applied(picture_format: str, orientation: int) -> None:
    image = random_image("RGB", 40, 24)
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.asarray(images.decode(encode(image, picture_format)))
    shown = images.decode(encode(image, picture_format, exif=exif))
    np.testing.assert_array_equal(np.asarray(shown), TO_UPRIGHT[orientation](stored))


def test_exif_rotation_of_a_pil_image_and_its_box() -> None:
    image = random_image("L", 40, 24)
    exif = Image.Exif()
    exif[274] = 6
    data = encode(image, "PNG", exif=exif)
    upright = np.rot90(np.asarray(image), -1)
    with Image.open(io.BytesIO(data)) as lazy:
        shown = images.decode(lazy, (1, 2, 20, 39))
    np.testing.assert_array_equal(np.asarray(shown)[:, :, 0], upright[2:39, 1:20])


def test_an_unreadable_exif_block_turns_nothing() -> None:
    image = random_image("RGB", 16, 8)
    data = encode(image, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")
    expected = np.asarray(images.decode(encode(image, "JPEG")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remark on the block
        np.testing.assert_array_equal(np.asarray(images.decode(data)), expected)


def test_of_a_phones_two_pictures_in_one_jpeg_the_first_is_read() -> None:
    first, second = random_image("RGB", 30, 20, 0), random_image("RGB", 30, 20, 1)
    data = encode(first, "MPO", save_all=True, append_images=[second])
    np.testing.assert_array_equal(
        np.asarray(images.decode(data)), np.asarray(images.decode(encode(first, "JPEG")))
    )


@pytest.mark.parametrize("picture_format", ["GIF", "WEBP", "TIFF"])
def test_of_several_pictures_the_first_is_read(picture_format: str) -> None:
    frames = [random_image("P", 30, 20, seed) for seed in range(3)]
    if picture_format == "WEBP":
        frames = [frame.convert("RGB") for frame in frames]
    options = {"lossless": True} if picture_format == "WEBP" else {}
    data = encode(frames[0], picture_format, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(
        np.asarray(images.decode(data)), np.asarray(frames[0].convert("RGB"))
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_decoded_is_not_turned_again(orientation: int) -> None:
    image = Image.effect_noise((30, 20), 80).convert("RGB")
    exif = image.getexif()
    exif[274] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    once = images.decode(file.getvalue())
    assert once.size == ((20, 30) if orientation >= 5 else (30, 20))
    np.testing.assert_array_equal(np.asarray(images.decode(once)), np.asarray(once))
