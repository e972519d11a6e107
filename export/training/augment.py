"""Random variants of pictures: what may change in a photo of an item without changing the item."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Strength:
    """How much may change.

    `area`: the least share of the picture that a crop keeps; `aspect`: by what factor a crop's
    shape may differ; `rotate`: degrees either way; `light`: brightness, contrast and saturation
    by 1 ± this; `tint`: each colour channel by 1 ± this; `erase`: how often a rectangle is
    painted over. A half of the pictures is mirrored.
    """

    area: float
    aspect: float
    rotate: float
    light: float
    tint: float
    erase: float


STRENGTHS = {
    "light": Strength(area=0.7, aspect=1.1, rotate=0, light=0.15, tint=0.03, erase=0.0),
    "strong": Strength(area=0.35, aspect=1.33, rotate=15, light=0.35, tint=0.08, erase=0.25),
}

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def vary(
    picture: NDArray[np.uint8], size: int, strength: Strength, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A variant (size, size, 3) of a square RGB picture (r, r, 3), the same for the same `rng`."""
    image = Image.fromarray(picture)
    side = picture.shape[0]
    if strength.rotate and rng.random() < 0.5:
        angle = rng.uniform(-strength.rotate, strength.rotate)
        image = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=_border(picture))
    image = image.resize((size, size), Image.Resampling.BILINEAR, box=_crop(side, strength, rng))
    pixels = np.asarray(image, np.float32)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    pixels = _recolour(pixels, strength, rng)
    if rng.random() < strength.erase:
        _erase(pixels, rng)
    return np.clip(pixels + 0.5, 0, 255).astype(np.uint8)


def _border(picture: NDArray[np.uint8]) -> tuple[int, int, int]:
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    red, green, blue = np.median(edge, axis=0).astype(int).tolist()
    return red, green, blue


def _crop(
    side: int, strength: Strength, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    area = rng.uniform(strength.area, 1.0) * side * side
    aspect = math.exp(rng.uniform(-1, 1) * math.log(strength.aspect))
    width, height = min(side, math.sqrt(area * aspect)), min(side, math.sqrt(area / aspect))
    x, y = rng.uniform(0, side - width), rng.uniform(0, side - height)
    return x, y, x + width, y + height


def _recolour(
    pixels: NDArray[np.float32], strength: Strength, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Brightness, contrast, saturation and tint as one 3 x 3 matrix and an offset."""
    bright, contrast, saturation = 1 + strength.light * rng.uniform(-1, 1, 3)
    tint = 1 + strength.tint * rng.uniform(-1, 1, 3)
    matrix = saturation * np.eye(3) + (1 - saturation) * _GREY[None, :]
    matrix = (bright * contrast * tint[:, None] * matrix).astype(np.float32)
    mean = pixels.mean(axis=(0, 1)) @ matrix.T
    return pixels @ matrix.T + (1 / contrast - 1) * mean.mean()


def _erase(pixels: NDArray[np.float32], rng: np.random.Generator) -> None:
    size = pixels.shape[0]
    area, aspect = rng.uniform(0.02, 0.2) * size * size, math.exp(rng.uniform(-1, 1))
    height = min(size, int(math.sqrt(area / aspect)) + 1)
    width = min(size, int(math.sqrt(area * aspect)) + 1)
    y, x = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
    pixels[y : y + height, x : x + width] = rng.uniform(0, 255, 3)
