"""``+srgb``: colours turned by the profile in the file, against the profile's own arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_images import encode, random_image, random_pixels
from icc_profiles import coloured, in_srgb, profile
from PIL import Image

from vsearch_fast import images
from vsearch_fast.errors import ArgumentError
from vsearch_fast.images.jpeg import CHOICES, LIBJPEG_TURBO, find_decoder

WIDE = profile()


def turned(data: bytes, decoder: str = "auto+srgb") -> np.ndarray:
    return images.load(data, 40, decoder=find_decoder(decoder)).astype(int)


def as_it_is(data: bytes) -> np.ndarray:
    return images.load(data, 40, decoder=find_decoder()).astype(int)


@pytest.mark.parametrize(
    "kind,options",
    [("PNG", {}), ("JPEG", {"quality": 95}), ("WEBP", {"lossless": True}), ("TIFF", {})],
)
def test_wide_colours(kind: str, options: dict) -> None:
    image = coloured(40, 40)
    data = encode(image, kind, icc_profile=WIDE, **options)
    expected = in_srgb(as_it_is(data).astype(np.uint8))
    assert np.abs(turned(data) - expected).max() <= 2
    assert np.abs(as_it_is(data) - expected).max() > 20  # it is another picture
    # Today's way, and so every index there is, passes the profile over.
    plain = encode(image, kind, **options)
    np.testing.assert_array_equal(as_it_is(data), as_it_is(plain))
    np.testing.assert_array_equal(images.load(data, 40), images.load(plain, 40))


def test_grey_transparency_and_palettes() -> None:
    grey = encode(random_image("L", 40, 40), icc_profile=profile("GRAY"))
    pixels = np.asarray(random_image("L", 40, 40))
    assert np.abs(turned(grey) - in_srgb(pixels, "GRAY")).max() <= 2
    clear = random_image("RGBA", 40, 40)
    data = encode(clear, icc_profile=WIDE)
    colours, alpha = np.asarray(clear)[..., :3], np.asarray(clear)[..., 3:] / 255
    over = in_srgb(colours) * alpha + 255 * (1 - alpha)
    assert np.abs(turned(data) - over).max() <= 2
    palette = encode(random_image("P", 40, 40), icc_profile=WIDE)
    expected = in_srgb(np.asarray(random_image("P", 40, 40).convert("RGB")))
    assert np.abs(turned(palette) - expected).max() <= 2
    scanned = encode(random_image("L", 40, 40), icc_profile=WIDE)  # grey in colours' profile
    three = np.repeat(pixels[..., None], 3, axis=2)
    assert np.abs(turned(scanned) - in_srgb(three)).max() <= 2


def test_turned_upright_and_cut(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(random_pixels(60, 40, 3, 1))
    image.save(tmp_path / "a.jpg", quality=95, icc_profile=WIDE, exif=exif)
    decoder = find_decoder("libjpeg-turbo+srgb")
    box = (3, 5, 33, 45)
    whole = np.asarray(images.decode(tmp_path / "a.jpg", srgb=True))
    assert whole.shape == (60, 40, 3)
    found = images.load(tmp_path / "a.jpg", 30, box, "bicubic", decoder=decoder)
    cut = Image.fromarray(whole).crop(box).resize((30, 30), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(found, np.asarray(cut))


@pytest.mark.parametrize(
    "kind,mode,icc",
    [
        ("PNG", "RGB", None),
        ("JPEG", "RGB", profile(name="sRGB IEC61966-2.1")),
        ("PNG", "RGB", b"no profile at all"),
        ("PNG", "RGB", WIDE[:200]),
        ("PNG", "RGB", profile("GRAY")),
        ("JPEG", "CMYK", WIDE),
        ("PNG", "I;16", profile("GRAY")),
    ],
)
def test_what_says_nothing_else_is_left(kind: str, mode: str, icc: bytes | None) -> None:
    options = {} if icc is None else {"icc_profile": icc}
    data = encode(random_image(mode, 50, 50), kind, **options)
    np.testing.assert_array_equal(turned(data), as_it_is(data))


def test_names() -> None:
    plain = find_decoder()
    assert not plain.srgb and not plain.reduced
    both = find_decoder(f"{LIBJPEG_TURBO}+reduced+srgb")
    assert both.name == f"{LIBJPEG_TURBO}+srgb+reduced" and both.srgb and both.reduced
    assert "LittleCMS" in both.version and plain.version in both.version
    assert find_decoder("auto+srgb").name == f"{plain.name}+srgb"
    for name in ("auto+cmyk", "auto+", "other+srgb"):
        with pytest.raises(ArgumentError, match="There is no JPEG decoder"):
            find_decoder(name)
    assert all("+" not in name or name.startswith(LIBJPEG_TURBO) for name in CHOICES)
