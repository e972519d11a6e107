"""images.py against Keras, against NumPy oracles, and against broken and hostile files."""

from __future__ import annotations

import io
import os
import random
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vsearch_fast import images
from vsearch_fast.errors import ArgumentError, ImageError

MODES_OF_FORMAT = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "P", "RGB", "LA", "RGBA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LA", "RGBA", "I;16"),
    "GIF": ("L", "P"),
}
OPTIONS_OF_FORMAT: dict[str, tuple[dict, ...]] = {
    "JPEG": ({}, {"progressive": True, "quality": 95, "subsampling": 0}),
    "TIFF": ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}),
    "WEBP": ({}, {"lossless": True}),
}
CASES = [
    (picture_format, mode, options)
    for picture_format, modes in MODES_OF_FORMAT.items()
    for mode in modes
    for options in OPTIONS_OF_FORMAT.get(picture_format, ({},))
]
OPAQUE_CASES = [case for case in CASES if case[1] not in ("LA", "RGBA", "I;16")]

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


def random_pixels(width: int, height: int, channels: int, seed: int) -> np.ndarray:
    """Noise on a gradient: every pixel differs from its neighbours, and it still compresses."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    smooth = 128 + 100 * np.sin(x / 9 + seed) * np.cos(y / 7)
    noise = rng.integers(-27, 28, (height, width, channels))
    return np.clip(smooth[:, :, None] + noise, 0, 255).astype(np.uint8)


def random_image(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    if mode == "I;16":
        rng = np.random.default_rng(seed)
        return Image.fromarray(rng.integers(0, 65536, (height, width)).astype(np.uint16))
    if mode in ("1", "P"):
        rgb = Image.fromarray(random_pixels(width, height, 3, seed))
        return rgb.convert("1") if mode == "1" else rgb.quantize(64)
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = random_pixels(width, height, channels, seed)
    return Image.merge(mode, [Image.fromarray(pixels[:, :, i]) for i in range(channels)])


def encode(image: Image.Image, picture_format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, picture_format, **options)
    return file.getvalue()


def write_png(rows: np.ndarray, depth: int, colour: int, transparent: bytes = b"") -> bytes:
    """A PNG of any depth, for those that Pillow does not write; rows are its raw bytes."""
    width = rows.shape[1] * 8 // (depth * {0: 1, 2: 3, 4: 2, 6: 4}[colour])
    chunks = [(b"IHDR", struct.pack(">2I5B", width, rows.shape[0], depth, colour, 0, 0, 0))]
    chunks += [(b"tRNS", transparent)] if transparent else []
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))]
    chunks += [(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def bomb(width: int, height: int) -> bytes:
    """A black-and-white PNG of any size whose pixels are never written out in memory."""
    compressor = zlib.compressobj(9)
    row = bytes(1 + -(-width // 8))
    data = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    head = write_png(np.zeros((1, 1), np.uint8), 1, 0)
    ihdr = b"IHDR" + struct.pack(">2I5B", width, height, 1, 0, 0, 0, 0)
    idat = b"IDAT" + data
    return (
        head[:12]
        + ihdr
        + struct.pack(">I", zlib.crc32(ihdr))
        + struct.pack(">I", len(data))
        + idat
        + struct.pack(">I", zlib.crc32(idat))
        + head[-12:]
    )


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = alpha[:, :, None].astype(float) / 255
    return np.floor(colour * weight + 255 * (1 - weight) + 0.5).astype(np.uint8)


# Keras -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def keras_pixels() -> Callable[[bytes, int], np.ndarray]:
    utils = pytest.importorskip(
        "keras.utils", reason="Keras is not installed: pip install 'vsearch_fast[export]'"
    )

    def pixels(data: bytes, size: int) -> np.ndarray:
        image = utils.load_img(io.BytesIO(data), target_size=(size, size))
        return utils.img_to_array(image)

    return pixels


@given(
    case=st.sampled_from(OPAQUE_CASES),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    size=st.integers(1, 64),
    seed=st.integers(0, 999),
)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_pixels_equal_those_of_keras(
    keras_pixels: Callable[[bytes, int], np.ndarray],
    case: tuple[str, str, dict],
    width: int,
    height: int,
    size: int,
    seed: int,
) -> None:
    picture_format, mode, options = case
    data = encode(random_image(mode, width, height, seed), picture_format, **options)
    ours = images.load(data, size)
    assert ours.dtype == np.uint8 and ours.shape == (size, size, 3) and ours.flags.c_contiguous
    np.testing.assert_array_equal(ours, keras_pixels(data, size))


@pytest.mark.parametrize(("picture_format", "mode", "options"), OPAQUE_CASES)
def test_every_format_and_mode_equals_keras_at_224(
    keras_pixels: Callable[[bytes, int], np.ndarray],
    picture_format: str,
    mode: str,
    options: dict,
) -> None:
    data = encode(random_image(mode, 301, 227), picture_format, **options)
    np.testing.assert_array_equal(images.load(data, 224), keras_pixels(data, 224))


def test_a_picture_of_the_right_size_equals_keras(
    keras_pixels: Callable[[bytes, int], np.ndarray],
) -> None:
    data = encode(random_image("RGB", 64, 64), "JPEG")
    np.testing.assert_array_equal(images.load(data, 64), keras_pixels(data, 64))


def test_16_bit_colour_equals_keras(keras_pixels: Callable[[bytes, int], np.ndarray]) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (37, 53 * 3)).astype(">u2")
    data = write_png(values.view(np.uint8), 16, 2)
    np.testing.assert_array_equal(images.load(data, 31), keras_pixels(data, 31))
    high_bytes = (values >> 8).astype(np.uint8).reshape(37, 53, 3)
    np.testing.assert_array_equal(np.asarray(images.decode(data)), high_bytes)


def test_real_photos_equal_keras(
    keras_pixels: Callable[[bytes, int], np.ndarray], photos: Path
) -> None:
    files = images.find_images(photos / "images")
    for file in files[:: max(1, len(files) // 100)]:
        np.testing.assert_array_equal(
            images.load(file, 224), keras_pixels(file.read_bytes(), 224), err_msg=str(file)
        )


# Depth, alpha, orientation -----------------------------------------------------------------


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

    deep = grey.astype(np.uint16) * 7
    data = write_png(deep.astype(">u2").view(np.uint8), 16, 0, struct.pack(">H", deep[0, 0]))
    shown = np.asarray(images.decode(data))[:, :, 0]
    np.testing.assert_array_equal(shown, np.where(deep == deep[0, 0], 255, deep >> 8))


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


# Sources -----------------------------------------------------------------------------------


def test_path_bytes_pil_and_array_agree(tmp_path: Path) -> None:
    pixels = random_pixels(33, 21, 3, 0)
    data = encode(Image.fromarray(pixels))
    path = tmp_path / "picture.jpg"  # the type is found by content, not by this name
    path.write_bytes(data)
    sources = [path, str(path), data, bytearray(data), memoryview(data), pixels]
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


# Boxes and sizes ---------------------------------------------------------------------------


@given(
    st.tuples(*[st.floats(-30, 60, allow_nan=False)] * 4),
    st.integers(1, 30),
    st.integers(1, 30),
)
@settings(max_examples=200, deadline=None)
def test_a_box_is_rounded_and_clipped(
    box: tuple[float, float, float, float], width: int, height: int
) -> None:
    pixels = random_pixels(width, height, 3, 0)
    x1, y1, x2, y2 = (int(np.rint(value)) for value in box)
    expected = pixels[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    if expected.size == 0:
        with pytest.raises(ImageError, match=r"The box .* (empty or inverted|lies outside)"):
            images.decode(pixels, box)
    else:
        np.testing.assert_array_equal(np.asarray(images.decode(pixels, box)), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_box_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ImageError, match=r"The box 0, 0, (nan|inf|-inf), 5 of cat.*not finite"):
        images.decode(random_pixels(9, 9, 3, 0), (0, 0, value, 5), name="cat.jpg")


@pytest.mark.parametrize("box", [(1, 2, 3), (1, 2, 3, 4, 5), 7, "abcd", (1, 2, None, 4)])
def test_a_box_that_is_not_four_numbers_is_an_argument_error(box: object) -> None:
    with pytest.raises(ArgumentError, match="not four numbers"):
        images.decode(random_pixels(9, 9, 3, 0), box)  # type: ignore[arg-type]


@pytest.mark.parametrize("resize", images.RESIZE_FILTERS)
def test_resize_rules_are_those_of_pillow(resize: str) -> None:
    image = random_image("RGB", 97, 61)
    rule = Image.Resampling[resize.upper()]
    expected = np.asarray(image.crop((5, 6, 90, 60)).resize((24, 24), rule))
    np.testing.assert_array_equal(images.load(image, 24, (5, 6, 90, 60), resize), expected)


def test_unknown_resize_rules_and_sizes_are_refused() -> None:
    picture = random_pixels(9, 9, 3, 0)
    with pytest.raises(ArgumentError, match="no resize rule 'cubic'"):
        images.load(picture, 8, resize="cubic")
    with pytest.raises(ArgumentError, match="size 0"):
        images.load(picture, 0)


# Broken and hostile files ------------------------------------------------------------------


def test_files_that_are_no_pictures_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("This is no picture at all, whatever its name says.\n")
    (tmp_path / "short.png").write_bytes(b"\x89P")
    (tmp_path / "document.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere")
    for name, words in {
        "empty.jpg": "is empty",
        "text.jpg": "is not an image",
        "short.png": "is not an image",
        "document.png": "is not an image",
        "folder.jpg": "is a folder",
        "pipe.jpg": "is not a regular file",
        "link.jpg": "does not exist",
        "missing.jpg": "does not exist",
        "nul\0.jpg": "is not a path",
        "x" * 300: "cannot be opened",
    }.items():
        path = f"{tmp_path}/{name}"
        with pytest.raises(ImageError, match=words) as caught:
            images.decode(path)
        shown = repr(path) if "\0" in path else path
        assert shown in caught.value.cause
        assert caught.value.consequence and caught.value.cure


def test_the_given_name_stands_in_errors() -> None:
    with pytest.raises(ImageError, match=r"^cat\.png is empty"):
        images.decode(b"", name="cat.png")
    with pytest.raises(ImageError, match="given as bytes is empty"):
        images.decode(b"")


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encode(random_image("L", 4, 4)))

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", denied)  # the tests may run as root, whom nothing stops
    with pytest.raises(ImageError, match=r"secret\.png cannot be opened \(Permission denied\)"):
        images.decode(path)


@pytest.mark.parametrize(("picture_format", "mode", "options"), CASES)
@pytest.mark.filterwarnings("ignore")  # Pillow remarks on some of the damage
def test_a_truncated_file_is_refused_or_whole(
    picture_format: str, mode: str, options: dict
) -> None:
    """Cut anywhere, a file is refused, unless only what follows the last pixel is lost."""
    data = encode(random_image(mode, 61, 47), picture_format, **options)
    whole = np.asarray(images.decode(data))
    refused = 0
    for cut in range(0, len(data), max(1, len(data) // 50)):
        try:
            shown = np.asarray(images.decode(data[:cut]))
        except ImageError:
            refused += 1
            continue
        np.testing.assert_array_equal(shown, whole, err_msg=f"cut at {cut} of {len(data)}")
    assert refused > 30


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_large_jpeg_is_refused(progressive: bool) -> None:
    """Larger than Pillow's read block, so that decoding has begun when the file ends."""
    data = encode(random_image("RGB", 700, 500), "JPEG", quality=95, progressive=progressive)
    assert len(data) > 3 * 65536
    for cut in [*range(70_000, len(data), 50_000), len(data) - 2]:
        with pytest.raises(ImageError, match="cut off"):
            images.decode(data[:cut])


@pytest.mark.parametrize(("picture_format", "mode", "options"), CASES)
@pytest.mark.filterwarnings("ignore")  # Pillow remarks on some of the damage
def test_mutated_files_raise_nothing_but_image_errors(
    picture_format: str, mode: str, options: dict
) -> None:
    data = encode(random_image(mode, 31, 23), picture_format, **options)
    rng = random.Random(f"{picture_format} {mode}")
    refused = 0
    for _ in range(60):
        mutant = bytearray(data)
        for _ in range(rng.choice([1, 2, 8])):
            # Half of the damage goes to the headers.
            reach = len(mutant) if rng.random() < 0.5 else min(len(mutant), 120)
            mutant[rng.randrange(reach)] = rng.randrange(256)
        try:
            images.load(bytes(mutant), 8, max_pixels=1_000_000)
        except ImageError:
            refused += 1
    assert refused > 0


@given(st.binary(max_size=200), st.sampled_from(list(MODES_OF_FORMAT)), st.integers(0, 60))
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_any_bytes_behind_a_true_beginning_are_refused(
    rest: bytes, picture_format: str, keep: int
) -> None:
    data = encode(random_image("L", 31, 23), "PNG" if picture_format == "WEBP" else picture_format)
    with pytest.raises(ImageError):
        images.load(data[:keep] + rest, 8, max_pixels=1_000_000)


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
    start = time.perf_counter()
    with pytest.raises(ImageError, match=r"bomb\.png has 40000 x 40000 pixels"):
        images.decode(path)
    assert time.perf_counter() - start < 1
    assert images.decode(bomb(400, 300)).size == (400, 300)  # else the file itself is no PNG


def test_a_png_that_unpacks_a_huge_text_is_refused() -> None:
    data = encode(random_image("L", 8, 8))
    text = b"zTXtnote\0\0" + zlib.compress(bytes(80_000_000))
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    with pytest.raises(ImageError, match="cannot be decoded"):
        images.decode(data[:33] + chunk + data[33:])


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "BMP", "GIF"])
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
    assert images._webp_size(data[:30]) == (width, height)


# Folders -----------------------------------------------------------------------------------


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
