"""images.py against Keras: the same pixels."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn_images import OPAQUE_CASES, encode, random_image, write_png
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vsearch_fast import images


@pytest.fixture(scope="session")
def keras_pixels() -> Callable[[bytes, int], np.ndarray]:
    utils = pytest.importorskip(
        "keras.utils", reason="Keras is not installed: pip install '.[export]'"
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
