"""Whole pictures are read though something beside the pixels is amiss; parts never pass as whole.

JPEG files without their end marker, PNG files with large texts and profiles, and settings of
Pillow and of Python that other code of the process has changed.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from drawn_images import CASES, encode, random_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin

from vsearch_fast import images
from vsearch_fast.errors import ImageError
from vsearch_fast.images.jpeg import find_decoder
from vsearch_fast.images.jpeg_end import has_end

JPEGS = [
    {},
    {"progressive": True},
    {"subsampling": 0, "quality": 95},
    {"restart_marker_blocks": 3},
    {"restart_marker_rows": 1},
    {"progressive": True, "restart_marker_rows": 1},
]


def shown(source: images.Source) -> np.ndarray:
    return np.asarray(images.decode(source))


# JPEG without its end --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", JPEGS)
@pytest.mark.parametrize("tail", [b"", b"\xff", b"\xff\xff\xff", bytes(4096)])
def test_a_jpeg_that_lacks_only_its_end_is_read(
    mode: str, options: dict, tail: bytes, tmp_path: Path
) -> None:
    data = encode(random_image(mode, 203, 151), "JPEG", **options)
    assert data.endswith(b"\xff\xd9") and has_end(data) and has_end(data + b"more")
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:-2] + tail)
    assert not has_end(path.read_bytes())
    for source in (path, path.read_bytes()):
        np.testing.assert_array_equal(shown(source), shown(data))
        for decoder in (None, find_decoder()):
            loaded = images.load(source, 64, decoder=decoder)
            np.testing.assert_array_equal(loaded, images.load(data, 64))
    assert images.upright_size(path) == (203, 151)
    assert images.reduced(path, 40).size == images.reduced(data, 40).size


@given(
    st.sampled_from(["L", "RGB"]), st.sampled_from(JPEGS), st.integers(1, 120), st.integers(1, 90),
    st.integers(3, 2000), st.sampled_from([b"", b"\xff", bytes(3000)]), st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_a_jpeg_that_was_cut_off_earlier_is_refused_or_equal(
    mode: str, options: dict, width: int, height: int, cut: int, tail: bytes, seed: int
) -> None:
    data = encode(random_image(mode, width, height, seed), "JPEG", **options)
    try:
        found = shown(data[: max(0, len(data) - cut)] + tail)
    except ImageError:
        return
    np.testing.assert_array_equal(found, shown(data))


@pytest.mark.parametrize("options", JPEGS[:4])
def test_a_few_bits_that_are_missing_are_noticed(options: dict) -> None:
    """What follows in their place may be what they were: with one bit, every second time."""
    for width, height, seed in itertools.product((1, 2, 3, 9, 17), (1, 2, 9), range(4)):
        data = encode(random_image("RGB", width, height, seed), "JPEG", **options)
        for cut, tail in itertools.product(range(3, 9), (b"", b"\xff", bytes(3000))):
            with contextlib.suppress(ImageError):
                np.testing.assert_array_equal(shown(data[:-cut] + tail), shown(data))


def test_a_progressive_jpeg_that_lacks_a_scan_is_refused() -> None:
    data = encode(random_image("RGB", 300, 200), "JPEG", progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for at in scans[1:]:
        begin = data.rfind(b"\xff\xc4", 0, at)  # its table
        with pytest.raises(ImageError, match="cut off"):
            images.decode(data[: begin if begin > 0 else at])


def test_real_photos_without_their_end(photos: Path) -> None:
    for file in images.find_images(photos / "images")[:40:10]:
        data = file.read_bytes()
        if data.endswith(b"\xff\xd9"):
            np.testing.assert_array_equal(shown(data[:-2]), shown(data))
            for part in (0.3, 0.9, 0.99):
                with pytest.raises(ImageError, match="cut off"):
                    images.decode(data[: int(part * len(data))])


# PNG with more beside its pixels than Pillow takes ---------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    sum_ = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + sum_


LARGE = zlib.compress(bytes(3_000_000))
ICC = b"iCCP", b"profile\0\0" + LARGE
ZTXT = b"zTXt", b"note\0\0" + LARGE
ITXT = b"iTXt", b"note\0\1\0\0\0" + LARGE


@pytest.mark.parametrize("large", [ICC, ZTXT, ITXT])
@pytest.mark.parametrize("behind", [False, True])
def test_a_png_with_large_text_or_profile_is_read(large: tuple[bytes, bytes], behind: bool) -> None:
    image = random_image("RGB", 31, 21)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(image, exif=exif)
    at = len(data) - 12 if behind else 33
    data = data[:at] + chunk(*large) + data[at:]
    turned = np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    np.testing.assert_array_equal(shown(data), turned)
    assert images.reduced(data, 10).size == (7, 10)


def test_what_turns_a_png_is_kept(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<x xmlns:tiff="t" tiff:Orientation="3"/>')
    image = random_image("L", 31, 21)
    data = encode(image, pnginfo=info)
    half_turn = shown(data)
    np.testing.assert_array_equal(half_turn[::-1, ::-1, 0], np.asarray(image))
    data = data[:33] + chunk(*ZTXT) + data[33:]
    np.testing.assert_array_equal(shown(data), half_turn)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert images.upright_size(path) == (31, 21)


def test_a_damaged_png_stays_damaged_whatever_its_texts() -> None:
    data = encode(random_image("RGB", 61, 41))
    data = data[:33] + chunk(*ZTXT) + data[33:]
    with pytest.raises(ImageError, match="cannot be decoded"):
        images.decode(data[: len(data) // 2 + 3000])


# Settings of the process -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("picture_format", "mode", "options"), [
    *CASES, ("AVIF", "RGB", {}), ("JPEG2000", "RGB", {}),
])  # fmt: skip
def test_the_switch_for_truncated_pictures_plays_no_part(
    picture_format: str, mode: str, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(random_image(mode, 61, 47), picture_format, **options)
    whole = shown(data)

    def verdicts() -> list[str]:
        found = []
        for cut in range(0, len(data) + 1, max(1, len(data) // 25)):
            try:
                np.testing.assert_array_equal(shown(data[:cut]), whole)
                found.append("whole")
            except ImageError as error:
                found.append(error.cause)
        return found

    off = verdicts()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    np.testing.assert_array_equal(shown(data), whole)
    on = verdicts()
    assert [each == "whole" for each in on] == [each == "whole" for each in off]
    assert sum(each != "whole" for each in on) > 15


@pytest.mark.parametrize(("picture_format", "mode", "options"), CASES)
def test_other_settings_play_no_part(
    picture_format: str, mode: str, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(random_image(mode, 61, 47), picture_format, **options)
    whole = shown(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 1)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(shown(data), whole)


def test_warnings_that_are_errors_refuse_no_picture() -> None:
    """Pillow remarks on a palette whose transparency is bytes, and on an animation of no frames."""
    image = random_image("P", 40, 30)
    palette = encode(image, transparency=bytes(range(64)))
    still = encode(random_image("RGB", 20, 10))
    still = still[:33] + chunk(b"acTL", bytes(8)) + still[33:]
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        expected = [shown(data) for data in (palette, still)]
    assert remarks
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data, whole in zip((palette, still), expected, strict=True):
            np.testing.assert_array_equal(shown(data), whole)


def test_want_of_memory_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("vsearch_fast.images.decoding.to_rgb", refuse)
    with pytest.raises(MemoryError):
        images.decode(encode(random_image("L", 4, 4)))
