"""One name, one set of pixels: JPEG decoders against Pillow alone, and which one is chosen."""

from __future__ import annotations

import io
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from vsearch_fast import images
from vsearch_fast.errors import ArgumentError, ImageError, MissingDependencyError
from vsearch_fast.images.jpeg import LIBJPEG, LIBJPEG_TURBO, NVIMGCODEC, Decoder, find_decoder

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow remarks on damaged pictures


@pytest.fixture(scope="module")
def turbo() -> Decoder:
    pytest.importorskip("simplejpeg", reason="pip install '.[jpeg]'")
    decoder = find_decoder()
    assert decoder.name == LIBJPEG_TURBO and decoder.pixels is not None
    return decoder


def scene(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth colours, edges and grain, of mode L, RGB or CMYK."""
    rng = np.random.default_rng((width, height, seed))
    channels = len(mode) if mode != "L" else 1
    cells = rng.integers(0, 256, (height // 9 + 2, width // 9 + 2, channels), np.uint8)
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(cells[..., c])).resize((width, height)))
        for c in range(channels)
    ]
    grain = rng.normal(0, 8, (height, width, channels))
    values = np.clip(np.stack(planes, axis=-1) + grain, 0, 255).astype(np.uint8)
    return Image.fromarray(values[..., 0] if mode == "L" else values, mode)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def outcome(data: bytes, decoder: Decoder | None, **options: Any) -> np.ndarray | str:
    """The pixels, or the error's text."""
    try:
        return images.load(data, 48, decoder=decoder, **options)
    except (ImageError, ArgumentError) as error:
        return str(error)


def assert_same(data: bytes, decoder: Decoder, **options: Any) -> None:
    expected, found = outcome(data, None, **options), outcome(data, decoder, **options)
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
    else:
        assert found.dtype == np.uint8 and found.flags.c_contiguous
        np.testing.assert_array_equal(found, expected)


# Pixels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1"])
@pytest.mark.parametrize("progressive", [False, True])
def test_kinds_of_jpeg(turbo: Decoder, mode: str, subsampling: str, progressive: bool) -> None:
    taken = 0
    for size in ((1, 1), (7, 9), (16, 16), (33, 17), (48, 48), (203, 101)):
        for quality in (5, 75, 100):
            data = jpeg(
                scene(*size, mode), subsampling=subsampling, progressive=progressive,
                quality=quality,
            )  # fmt: skip
            assert_same(data, turbo)
            assert turbo.pixels is not None
            whole = turbo.pixels(data)
            if mode != "CMYK" and whole is not None:
                taken += 1
                expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
                np.testing.assert_array_equal(whole, expected)
    assert mode == "CMYK" or taken == 18


@pytest.mark.parametrize("options", [{"keep_rgb": True}, {"restart_marker_blocks": 2}])
def test_unusual_options(turbo: Decoder, options: dict[str, Any]) -> None:
    assert_same(jpeg(scene(70, 50), **options), turbo)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("resize", ["nearest", "bilinear"])
@pytest.mark.parametrize("box", [None, (3, 5, 60, 41.6), (-4, -4, 9, 999), (70, 0, 90, 9)])
def test_rotation_boxes_and_rules(
    turbo: Decoder, orientation: int, resize: str, box: tuple[float, ...] | None
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(scene(64, 90), exif=exif)
    assert_same(data, turbo, box=box, resize=resize)


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    size=st.integers(1, 300),
    corners=st.lists(st.integers(-20, 320), min_size=4, max_size=4),
    cut=st.booleans(),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_size_and_box(
    turbo: Decoder, width: int, height: int, size: int, corners: list[int], cut: bool
) -> None:
    data = jpeg(scene(width, height))
    box = corners if cut else None
    try:
        expected = images.load(data, size, box)
    except ImageError as error:
        with pytest.raises(ImageError) as caught:
            images.load(data, size, box, decoder=turbo)
        assert str(caught.value) == str(error)
    else:
        np.testing.assert_array_equal(images.load(data, size, box, decoder=turbo), expected)


@given(
    seed=st.integers(0, 5),
    cut=st.one_of(st.none(), st.integers(0, 4000)),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4),
    progressive=st.booleans(),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_judged_alike(
    turbo: Decoder,
    seed: int,
    cut: int | None,
    changes: list[tuple[int, int]],
    progressive: bool,
) -> None:
    data = bytearray(jpeg(scene(90, 70, seed=seed), progressive=progressive))
    for place, value in changes:
        data[place % len(data)] = value
    damaged = bytes(data if cut is None else data[: cut % len(data)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(damaged, turbo, max_pixels=10**6)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0", b"no picture", jpeg(scene(40, 30)) + b"trailing"],
)
def test_odd_bytes(turbo: Decoder, data: bytes) -> None:
    assert_same(data, turbo)


def test_the_pixel_limit_holds(turbo: Decoder) -> None:
    assert_same(jpeg(scene(40, 30)), turbo, max_pixels=1199)
    assert_same(jpeg(scene(40, 30)), turbo, max_pixels=1200)


def test_other_formats_and_sources_are_pillows(turbo: Decoder, tmp_path: Path) -> None:
    path = tmp_path / "scene.png"
    scene(40, 30).save(path)
    named = tmp_path / "a.jpg"
    named.write_bytes(jpeg(scene(40, 30)))
    for source in (path, named, scene(40, 30), np.asarray(scene(40, 30)), path.read_bytes()):
        np.testing.assert_array_equal(
            images.load(source, 20, decoder=turbo), images.load(source, 20)
        )
    for missing in (tmp_path / "none.jpg", tmp_path, "a\0b"):
        with pytest.raises(ImageError) as expected:
            images.load(missing, 20)
        with pytest.raises(ImageError) as caught:
            images.load(missing, 20, decoder=turbo)
        assert str(caught.value) == str(expected.value)


def test_real_photos_have_the_same_pixels(turbo: Decoder, photos: Path) -> None:
    files = images.find_images(photos / "images")
    assert turbo.pixels is not None
    for file in files[::3]:
        found = turbo.pixels(file.read_bytes())
        assert found is not None, file
        np.testing.assert_array_equal(found, np.asarray(Image.open(file).convert("RGB")))
        np.testing.assert_array_equal(
            images.load(file, 224, decoder=turbo), images.load(file, 224), strict=True
        )


# Which decoder ---------------------------------------------------------------------------------


def test_without_simplejpeg_pillow_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    monkeypatch.setattr(features, "check_feature", lambda name: True)
    decoder = find_decoder()
    assert decoder.name == LIBJPEG_TURBO and decoder.pixels is None
    assert "Pillow" in decoder.version


def test_another_libjpeg_goes_by_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    monkeypatch.setattr(features, "check_feature", lambda name: False)
    assert find_decoder().name == LIBJPEG == find_decoder(LIBJPEG).name
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[jpeg\]"):
        find_decoder(LIBJPEG_TURBO)
    monkeypatch.setattr(features, "check_feature", lambda name: True)
    with pytest.raises(MissingDependencyError, match="Choose libjpeg-turbo"):
        find_decoder(LIBJPEG)


def test_unknown_decoders_are_refused() -> None:
    with pytest.raises(ArgumentError, match="no JPEG decoder 'turbo'"):
        find_decoder("turbo")


def test_nvimgcodec_that_is_missing_or_finds_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia", None)
    with pytest.raises(MissingDependencyError, match="nvidia-nvimgcodec-cu12") as caught:
        find_decoder(NVIMGCODEC)
    assert "libjpeg-turbo" in caught.value.cure
    _pretend_nvimgcodec(monkeypatch, lambda data: None)
    with pytest.raises(MissingDependencyError, match="no NVIDIA GPU"):
        find_decoder(NVIMGCODEC)


def test_nvimgcodec_is_asked_for_upright_free_rgb(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _pretend_nvimgcodec(
        monkeypatch, lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) ^ 1
    )
    decoder = find_decoder(NVIMGCODEC)
    assert decoder.name == NVIMGCODEC and decoder.pixels is not None
    data = jpeg(scene(50, 40))
    found = images.load(data, 30, decoder=decoder)
    np.testing.assert_array_equal(found, images.load(data, 30) ^ 1)
    assert made == [{"max_num_cpu_threads": 1, "options": ":fancy_upsampling=1"}]  # and kept
    # A picture that it does not take is Pillow's.
    cmyk = jpeg(scene(50, 40, "CMYK"))
    np.testing.assert_array_equal(images.load(cmyk, 30, decoder=decoder), images.load(cmyk, 30))


def _pretend_nvimgcodec(monkeypatch: pytest.MonkeyPatch, decode: Any) -> list[dict[str, Any]]:
    """A stand-in with the calls that the real package documents; returns the decoders made."""
    made: list[dict[str, Any]] = []

    class Picture:
        def __init__(self, values: np.ndarray) -> None:
            self.values = values

        def cpu(self) -> np.ndarray:
            return self.values

    class Decoder:
        def __init__(self, **options: Any) -> None:
            made.append(options)

        def decode(self, stream: bytes, *, params: dict[str, Any]) -> Picture | None:
            assert params["apply_exif_orientation"] is False and params["color_spec"] == "sRGB"
            values = decode(stream)
            return None if values is None else Picture(values)

    module = types.SimpleNamespace(
        Decoder=Decoder,
        CodeStream=bytes,
        DecodeParams=dict,
        ColorSpec=types.SimpleNamespace(SRGB="sRGB"),
        __version__="0",
    )
    monkeypatch.setitem(sys.modules, "nvidia", types.SimpleNamespace(nvimgcodec=module))
    return made
