"""images.py against NumPy: depths of more than 8 bits, and what is transparent."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from drawn_images import encode, over_white, random_image, random_pixels, write_png
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vsearch_fast import images
from vsearch_fast.errors import ImageError


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("picture_format", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_high_byte(picture_format: str, big_endian: bool) -> None:
    image = random_image("I;16", 41, 29)
    values = np.asarray(image)
    if big_endian:
        image = Image.frombytes("I;16B", image.size, values.astype(">u2").tobytes())
    shown = np.asarray(images.decode(encode(image, picture_format)))
    np.testing.assert_array_equal(shown, np.repeat((values >> 8)[:, :, None], 3, axis=2))


def test_16_bit_grey_of_a_pil_image() -> None:
    image = random_image("I;16", 5, 3)
    high_byte = np.asarray(image) >> 8
    np.testing.assert_array_equal(np.asarray(images.decode(image))[:, :, 1], high_byte)


def test_12_bit_grey_keeps_its_high_8_bits() -> None:
    values = np.array([[0, 15, 16, 255, 2048, 4095]])
    pairs = values.reshape(-1, 2)
    packed = np.stack(
        [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1
    ).astype(np.uint8)
    tags = {256: 6, 257: 1, 258: 12, 259: 1, 262: 1, 273: 128, 277: 1, 278: 1, 279: 9}
    entries = b"".join(struct.pack("<2H2I", tag, 3, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries
    data = data.ljust(128, b"\0") + packed.tobytes()
    np.testing.assert_array_equal(np.asarray(images.decode(data))[:, :, 0], values >> 4)


@pytest.mark.parametrize("picture_format", ["PNG", "TIFF"])
def test_12_bit_numbers_in_a_16_bit_file_are_not_nearly_black(picture_format: str) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (9, 7)).astype(np.uint16)
    shown = images.decode(encode(Image.fromarray(values), picture_format))
    np.testing.assert_array_equal(np.asarray(shown)[:, :, 0], values >> 4)
    values[0, 0] = 4096  # more than 12 bits: 16
    shown = images.decode(encode(Image.fromarray(values), picture_format))
    np.testing.assert_array_equal(np.asarray(shown)[:, :, 0], values >> 8)
    black = np.full((4, 4), 255, np.uint16)  # 8 bits would do: truly black
    shown = images.decode(encode(Image.fromarray(black), picture_format))
    assert not np.asarray(shown).any()


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4)])
def test_12_bit_numbers_in_16_bit_colour_are_refused_in_words(
    colour_type: int, channels: int
) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (7, 9, channels))
    if channels == 4:
        values[:, :, 3] = 65535
    rows = values.astype(">u2").reshape(7, -1).view(np.uint8)
    with pytest.raises(ImageError, match="is 16-bit colour with values below 4,096 of 65,536"):
        images.decode(write_png(rows, 16, colour_type))
    values[3, 3, 1] = 4096
    rows = values.astype(">u2").reshape(7, -1).view(np.uint8)
    shown = np.asarray(images.decode(write_png(rows, 16, colour_type)))
    np.testing.assert_array_equal(shown, values[:, :, :3] >> 8)


def test_32_bit_grey_is_taken_only_where_its_scale_is_plain() -> None:
    levels = np.array([[0, 1, 100, 255]])
    for mode in ("F", "I"):
        image = Image.fromarray(levels.astype({"F": np.float32, "I": np.int32}[mode]))
        assert image.mode == mode
        data = encode(image, "TIFF")
        np.testing.assert_array_equal(np.asarray(images.decode(data))[:, :, 2], levels)
    for bad in (levels.astype(np.float32) / 255, levels.astype(np.int32) * 200, levels - 7.0):
        image = Image.fromarray(bad.astype(np.float32) if bad.dtype == float else bad)
        with pytest.raises(ImageError, match="32-bit grey with values from"):
            images.decode(encode(image, "TIFF"))
    with pytest.raises(ImageError, match="32-bit grey"):
        images.decode(Image.fromarray(np.full((2, 2), np.nan, np.float32)))


@given(st.integers(0, 999), st.integers(1, 30), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_alpha_is_laid_over_white(seed: int, width: int, height: int) -> None:
    rgba = np.random.default_rng(seed).integers(0, 256, (height, width, 4)).astype(np.uint8)
    colour, alpha = rgba[:, :, :3], rgba[:, :, 3]
    expected = over_white(colour, alpha)
    for data in (
        encode(Image.fromarray(rgba)),
        encode(Image.fromarray(rgba), "TIFF"),
        encode(Image.fromarray(rgba), "WEBP", lossless=True, exact=True),
    ):
        np.testing.assert_array_equal(np.asarray(images.decode(data)), expected)
    np.testing.assert_array_equal(np.asarray(images.decode(rgba)), expected)
    grey = Image.merge("LA", [Image.fromarray(colour[:, :, 0]), Image.fromarray(alpha)])
    expected = over_white(np.repeat(colour[:, :, :1], 3, axis=2), alpha)
    np.testing.assert_array_equal(np.asarray(images.decode(encode(grey))), expected)


@pytest.mark.parametrize(("colour_type", "channels"), [(4, 2), (6, 4)])
def test_16_bit_alpha(colour_type: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (7, 9 * channels)).astype(">u2")
    high_bytes = (values >> 8).astype(np.uint8).reshape(7, 9, channels)
    colour = np.broadcast_to(high_bytes[:, :, :-1], (7, 9, 3))
    shown = np.asarray(images.decode(write_png(values.view(np.uint8), 16, colour_type)))
    np.testing.assert_array_equal(shown, over_white(colour, high_bytes[:, :, -1]))


def test_opaque_alpha_changes_nothing() -> None:
    rgb = random_pixels(31, 17, 3, 0)
    rgba = np.dstack([rgb, np.full((17, 31), 255, np.uint8)])
    np.testing.assert_array_equal(np.asarray(images.decode(rgba)), rgb)


def test_a_transparent_palette_entry_is_white() -> None:
    image = random_image("P", 40, 30)
    indices = np.asarray(image)
    palette = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
    one = images.decode(encode(image, transparency=5))
    expected = palette[indices]
    expected[indices == 5] = 255
    assert (indices == 5).any()
    np.testing.assert_array_equal(np.asarray(one), expected)
    np.testing.assert_array_equal(
        np.asarray(images.decode(encode(image, "GIF", transparency=5))), expected
    )
    alphas = np.arange(64, dtype=np.uint8) * 4
    many = images.decode(encode(image, transparency=alphas.tobytes()))
    np.testing.assert_array_equal(np.asarray(many), over_white(palette[indices], alphas[indices]))


def test_a_transparent_colour_is_white() -> None:
    rgb = random_pixels(9, 7, 3, 0)
    expected = rgb.copy()
    expected[(rgb == rgb[3, 4]).all(axis=2)] = 255
    data = encode(Image.fromarray(rgb), transparency=tuple(map(int, rgb[3, 4])))
    np.testing.assert_array_equal(np.asarray(images.decode(data)), expected)

    grey = rgb[:, :, 0]
    data = encode(Image.fromarray(grey), transparency=int(grey[0, 0]))
    shown = np.asarray(images.decode(data))[:, :, 0]
    np.testing.assert_array_equal(shown, np.where(grey == grey[0, 0], 255, grey))

    deep = grey.astype(np.uint16) * 200
    data = write_png(deep.astype(">u2").view(np.uint8), 16, 0, struct.pack(">H", deep[0, 0]))
    shown = np.asarray(images.decode(data))[:, :, 0]
    np.testing.assert_array_equal(shown, np.where(deep == deep[0, 0], 255, deep >> 8))
