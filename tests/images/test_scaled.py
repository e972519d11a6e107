"""``+reduced``: large JPEGs read at a half to an eighth of their size, as it is defined."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from drawn_images import encode, random_image
from hypothesis import given, settings
from hypothesis import strategies as st
from icc_profiles import coloured, profile
from PIL import Image

from vsearch_fast import images
from vsearch_fast.errors import ImageError
from vsearch_fast.images.jpeg import find_decoder
from vsearch_fast.images.scaled import reduction

REDUCED = find_decoder("auto+reduced")


def by_definition(data: bytes, size: int, box=None, resize: str = "nearest") -> np.ndarray:
    """The largest of 8, 4, 2 that leaves twice the size; Pillow's draft; the box in its pixels."""
    width, height = Image.open(io.BytesIO(data)).size
    x1, y1, x2, y2 = box or (0, 0, width, height)
    by = 1
    for each in (2, 4, 8):
        if min(x2 - x1, y2 - y1) >= each * 2 * size:
            by = each
    opened = Image.open(io.BytesIO(data))
    opened.draft(None, (width // by, height // by))
    assert opened.size == (-(-width // by), -(-height // by))
    part = (x1 / by, y1 / by, min(x2 / by, opened.width), min(y2 / by, opened.height))
    return np.asarray(
        opened.convert("RGB").resize((size, size), Image.Resampling[resize.upper()], part)
    )


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 260), height=st.integers(1, 260), size=st.integers(1, 40),
    rule=st.sampled_from(["nearest", "bilinear", "bicubic"]), mode=st.sampled_from(["L", "RGB"]),
    cut=st.booleans(),
)  # fmt: skip
def test_is_the_definition(
    width: int, height: int, size: int, rule: str, mode: str, cut: bool
) -> None:
    data = encode(random_image(mode, width, height), "JPEG")
    box = (width // 5, height // 7, width - width // 9, height) if cut else None
    found = images.load(data, size, box, rule, decoder=REDUCED)
    x1, y1, x2, y2 = box or (0, 0, width, height)
    if reduction(x2 - x1, y2 - y1, size) > 1:
        np.testing.assert_array_equal(found, by_definition(data, size, box, rule))
    else:
        np.testing.assert_array_equal(
            found, images.load(data, size, box, rule, decoder=find_decoder())
        )


def test_other_formats_and_sources_are_read_as_ever() -> None:
    image = random_image("RGB", 400, 300)
    for source in (encode(image), encode(image, "WEBP"), image, np.asarray(image)):
        np.testing.assert_array_equal(
            images.load(source, 20, decoder=REDUCED), images.load(source, 20)
        )


def test_it_is_nearly_the_whole_picture(tmp_path) -> None:
    smooth = random_image("RGB", 37, 23).resize((800, 640), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    smooth.save(tmp_path / "a.jpg", quality=95, exif=exif)
    for box in (None, (100, 60, 500, 700)):
        whole = images.load(tmp_path / "a.jpg", 64, box, "bicubic").astype(int)
        small = images.load(tmp_path / "a.jpg", 64, box, "bicubic", decoder=REDUCED)
        assert 0 < np.abs(small - whole).mean() < 1.5


def test_profiles_count_too() -> None:
    data = encode(coloured(400, 300), "JPEG", icc_profile=profile())
    both = find_decoder("auto+srgb+reduced")
    found = images.load(data, 30, None, "bicubic", decoder=both).astype(int)
    expected = images.load(data, 30, None, "bicubic", decoder=find_decoder("auto+srgb"))
    plain = images.load(data, 30, None, "bicubic", decoder=REDUCED)
    assert np.abs(found - expected).mean() < 2 < 4 < np.abs(found - plain).mean()


def test_the_limit_is_of_what_is_decoded() -> None:
    data = encode(random_image("RGB", 640, 480), "JPEG")
    limit = 640 * 480 // 64
    assert images.load(data, 30, decoder=REDUCED, max_pixels=limit).shape == (30, 30, 3)
    for size, decoder in ((30, find_decoder()), (30, None), (200, REDUCED)):
        with pytest.raises(ImageError, match="more than the limit"):
            images.load(data, size, decoder=decoder, max_pixels=limit)


def test_damaged_files_are_refused_as_ever(tmp_path) -> None:
    data = encode(random_image("RGB", 640, 480), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "b.jpg").write_bytes(data[:40])
    for name in ("a.jpg", "b.jpg"):
        said = []
        for decoder in (find_decoder(), REDUCED):
            with pytest.raises(ImageError) as refused:
                images.load(tmp_path / name, 30, decoder=decoder)
            said.append(refused.value.cause)
        assert said[0] == said[1] and str(tmp_path / name) in said[0]
    whole = images.load(data, 30, decoder=REDUCED)
    np.testing.assert_array_equal(images.load(data[:-2], 30, decoder=REDUCED), whole)


@pytest.mark.full
def test_42_megapixels(capsys) -> None:
    """A picture of the largest cameras, within a limit of a tenth of it; and how long it takes."""
    data = encode(random_image("RGB", 64, 48).resize((7952, 5304)), "JPEG", quality=90)
    taken = {}
    for name, decoder in (("whole", find_decoder()), ("reduced", REDUCED)):
        start = time.perf_counter()
        images.load(data, 224, decoder=decoder)
        taken[name] = time.perf_counter() - start
    with capsys.disabled():
        print(f"\n42 megapixels: {taken['whole']:.2f} s whole, {taken['reduced']:.2f} s reduced")
    assert images.load(data, 224, decoder=REDUCED, max_pixels=4_000_000).shape == (224, 224, 3)
    with pytest.raises(ImageError, match="more than the limit"):
        images.load(data, 224, decoder=find_decoder(), max_pixels=4_000_000)
