"""What cloth is made of: the fine relief that each fabric shows, and how it folds.

A texture is a (TEXTURE, TEXTURE) float32 tile of brightness factors around 1, one value
a rendering pixel, which repeats along cloth coordinates and so turns with the piece.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..dice import Dice

TEXTURE = 96  # divisible by the period of every weave below

Tile = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fabric:
    """How a cloth behaves.

    ``wrinkle`` scales the height of small creases, ``fold`` that of long folds, ``width``
    their width; ``puff`` is how round edges look; ``gloss`` sharpens highlights.
    """

    name: str
    wrinkle: float
    fold: float
    width: float
    puff: float
    gloss: float


FABRICS: dict[str, Fabric] = {
    fabric.name: fabric
    for fabric in (
        Fabric("jersey", 0.8, 1.0, 1.0, 1.0, 0.0),
        Fabric("knit", 0.35, 0.75, 1.5, 1.8, 0.0),
        Fabric("cable", 0.25, 0.6, 1.6, 2.0, 0.0),
        Fabric("poplin", 1.25, 1.1, 0.8, 0.7, 0.05),
        Fabric("linen", 1.3, 1.1, 0.8, 0.6, 0.0),
        Fabric("silk", 0.7, 1.35, 0.9, 0.9, 0.5),
        Fabric("twill", 0.7, 0.9, 1.1, 0.8, 0.0),
        Fabric("denim", 1.0, 0.9, 1.1, 1.0, 0.0),
        Fabric("corduroy", 0.6, 0.85, 1.2, 1.0, 0.0),
        Fabric("fleece", 0.6, 0.95, 1.5, 1.7, 0.0),
        Fabric("wool", 0.4, 0.7, 1.4, 1.0, 0.0),
        Fabric("nylon", 1.5, 1.0, 1.0, 1.8, 0.35),
        Fabric("rib", 0.2, 0.4, 1.0, 1.0, 0.0),
    )
}


def texture(name: str, dice: Dice) -> Tile:
    """The brightness tile of a fabric.

    Raises KeyError for a name that :data:`FABRICS` does not hold.
    """
    relief = _RELIEFS[name]()
    grain = _grain(dice, _GRAIN[name])
    tile = relief * grain
    return (tile / tile.mean(dtype=np.float32)).astype(np.float32)


def _axes() -> tuple[Tile, Tile]:
    axis = np.arange(TEXTURE, dtype=np.float32)
    return axis[None, :], axis[:, None]


def _smooth() -> Tile:
    return np.ones((TEXTURE, TEXTURE), np.float32)


def _knit() -> Tile:
    x, y = _axes()
    slant = np.abs(x % 6 - 2.5) / 3  # a column of V-shaped stitches, 6 pixels wide
    stitch = (y + slant * 3) % 4
    valley = np.where(x % 6 >= 5, np.float32(0.86), np.float32(1.0))
    return (0.94 + 0.09 * (stitch < 2.4)).astype(np.float32) * valley


def _cable() -> Tile:
    x, y = _axes()
    column = x % 24
    phase = (y % 16) / 16 * np.float32(2 * np.pi)
    rope = np.sin(phase + np.where(column < 8, column, 16 - column) * np.float32(0.42))
    inside = (column >= 2) & (column < 14)
    edge = np.where((column < 2) | ((column >= 14) & (column < 16)), 0.84, 1.0)
    return (np.where(inside, 1.0 + 0.12 * rope, edge) * _knit()).astype(np.float32)


def _poplin() -> Tile:
    x, y = _axes()
    return (1.0 + 0.018 * ((x + y) % 2 * 2 - 1)).astype(np.float32)


def _linen() -> Tile:
    x, y = _axes()
    slub = 0.03 * np.sin(x * np.float32(1.9)) + 0.03 * np.sin(y * np.float32(2.3))
    return (1.0 + slub + 0 * x * y).astype(np.float32)


def _twill() -> Tile:
    x, y = _axes()
    return (0.975 + 0.05 * ((x + y) % 4 < 2)).astype(np.float32)


def _denim() -> Tile:
    x, y = _axes()
    return (0.93 + 0.14 * ((x - y) % 4 < 2)).astype(np.float32)


def _corduroy() -> Tile:
    x, y = _axes()
    return (0.80 + 0.28 * np.sin(np.float32(np.pi) * ((x % 6) + 0.5) / 6) + 0 * y).astype(
        np.float32
    )


def _rib() -> Tile:
    x, y = _axes()
    return (np.where(x % 4 < 2, np.float32(1.08), np.float32(0.86)) + 0 * y).astype(np.float32)


_RELIEFS: dict[str, Callable[[], Tile]] = {
    "jersey": _smooth,
    "knit": _knit,
    "cable": _cable,
    "poplin": _poplin,
    "linen": _linen,
    "silk": _smooth,
    "twill": _twill,
    "denim": _denim,
    "corduroy": _corduroy,
    "fleece": _smooth,
    "wool": _twill,
    "nylon": _smooth,
    "rib": _rib,
}
# Strength of the irregular grain (standard deviation of brightness), and its length
# along and across the cloth in pixels.
_GRAIN: dict[str, tuple[float, int, int]] = {
    "jersey": (0.02, 1, 1),
    "knit": (0.03, 1, 1),
    "cable": (0.03, 1, 1),
    "poplin": (0.015, 1, 1),
    "linen": (0.045, 1, 8),
    "silk": (0.004, 1, 1),
    "twill": (0.02, 2, 1),
    "denim": (0.075, 6, 1),
    "corduroy": (0.02, 4, 1),
    "fleece": (0.04, 2, 2),
    "wool": (0.06, 1, 1),
    "nylon": (0.006, 1, 1),
    "rib": (0.015, 1, 1),
}


def _grain(dice: Dice, strength: tuple[float, int, int]) -> Tile:
    """Noise around 1, averaged over a run of pixels each way, wrapping at the edges."""
    sigma, along, across = strength
    noise = dice.field(TEXTURE, TEXTURE) - np.float32(0.5)
    smooth = np.zeros_like(noise)
    for dy in range(along):
        for dx in range(across):
            smooth += np.roll(noise, (dy, dx), axis=(0, 1))
    spread = np.float32(0.288675 / (along * across) ** 0.5 * along * across)
    return (1.0 + np.float32(sigma) * smooth / spread).astype(np.float32)
