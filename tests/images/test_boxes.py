"""images.py: boxes, sizes and rules of resizing."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_images import random_image, random_pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vsearch_fast import images
from vsearch_fast.errors import ArgumentError, ImageError


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
