"""images.py: the limit of pixels holds before anything is decoded."""

from __future__ import annotations

import struct
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from drawn_images import MODES_OF_FORMAT, bomb, encode, random_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vsearch_fast import images
from vsearch_fast.errors import ImageError
from vsearch_fast.images import files


@pytest.mark.parametrize("picture_format", MODES_OF_FORMAT)
def test_the_pixel_limit_holds_before_decoding(
    picture_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import ImageFile, WebPImagePlugin

    mode = MODES_OF_FORMAT[picture_format][-1]
    data = encode(random_image(mode, 100, 80), picture_format)
    assert images.decode(data, max_pixels=8000).size == (100, 80)

    def decoding(*_: object) -> None:
        raise AssertionError("the picture was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoding)
    monkeypatch.setattr(WebPImagePlugin._webp, "WebPAnimDecoder", decoding)
    with pytest.raises(ImageError, match="100 x 80 pixels, more than the limit of 7,999"):
        images.decode(data, max_pixels=7999)


def test_the_pixel_limit_holds_for_arrays_and_pil_images() -> None:
    for source in (np.zeros((10, 10), np.uint8), Image.new("RGB", (10, 10))):
        with pytest.raises(ImageError, match="10 x 10 pixels"):
            images.decode(source, max_pixels=99)


def test_a_decompression_bomb_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(40_000, 40_000))
    assert path.stat().st_size < 500_000  # of 1.6 billion pixels
    start = time.process_time()
    with pytest.raises(ImageError, match=r"bomb\.png has 40000 x 40000 pixels"):
        images.decode(path)
    assert time.process_time() - start < 1
    assert images.decode(bomb(400, 300)).size == (400, 300)  # else the file itself is no PNG


def test_a_png_that_unpacks_a_huge_text_is_read_without_it() -> None:
    data = encode(random_image("L", 8, 8))
    text = b"zTXtnote\0\0" + zlib.compress(bytes(80_000_000))
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    shown = images.decode(data[:33] + chunk + data[33:])
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(images.decode(data)))


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_pillows_process_wide_limit_plays_no_part(
    picture_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(random_image("L", 100, 80), picture_format)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert images.decode(data).size == (100, 80)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["VP8 ", "VP8L", "VP8X"]))
@settings(max_examples=30, deadline=None)
def test_the_size_in_a_webp_header(width: int, height: int, kind: str) -> None:
    image = Image.new("RGBA" if kind == "VP8X" else "RGB", (width, height), (1, 2, 3))
    if kind == "VP8X":
        image.putalpha(7)
    data = encode(image, "WEBP", lossless=kind == "VP8L")
    assert data[12:16].decode() == kind
    assert files._webp_size(data[:30]) == (width, height)
