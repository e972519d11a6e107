"""Where a garment lies in the picture: the map from centimetres to pixels and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....checks import PixelBox
from ..curves import Curve

F = np.float32


@dataclass(frozen=True, slots=True)
class Sway:
    """How a flat piece of cloth fails to lie straight: one slow wave each way.

    ``size`` and ``length`` are in picture pixels, ``phase`` in radians.
    """

    size: float
    length: float
    phase: float


@dataclass(frozen=True, slots=True)
class View:
    """A camera over the table.

    ``width`` and ``height`` (pixels) of the picture; the garment point ``middle`` (cm)
    is seen at ``centre`` (pixels), ``scale`` pixels a centimetre, turned by ``turn``
    (radians) and tilted by ``tilt`` (change of scale a centimetre, across and down).
    """

    width: int
    height: int
    middle: tuple[float, float]
    centre: tuple[float, float]
    scale: float
    turn: float
    tilt: tuple[float, float]
    across: Sway
    down: Sway

    def to_canvas(self, curve: Curve) -> Curve:
        """Garment coordinates (n, 2) in centimetres to pixels of the picture."""
        x, y = curve[:, 0] - self.middle[0], curve[:, 1] - self.middle[1]
        c, s = math.cos(self.turn) * self.scale, math.sin(self.turn) * self.scale
        depth = 1.0 + self.tilt[0] * x + self.tilt[1] * y
        px = self.centre[0] + (c * x - s * y) / depth
        py = self.centre[1] + (s * x + c * y) / depth
        a, d = self.across, self.down
        shift_x = a.size * np.sin(py / a.length + a.phase)
        shift_y = d.size * np.sin(px / d.length + d.phase)
        return np.stack([px + shift_x, py + shift_y], axis=1)

    def to_garment(
        self, box: PixelBox, zoom: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Garment coordinates (h, w) of the pixels of a box on a canvas ``zoom`` times larger.

        The inverse of `to_canvas` up to the second order of the sway, which is less
        than a pixel: it only places the pattern.
        """
        left, top, right, bottom = box
        px = ((np.arange(left, right, dtype=F) + F(0.5)) / F(zoom))[None, :]
        py = ((np.arange(top, bottom, dtype=F) + F(0.5)) / F(zoom))[:, None]
        a, d = self.across, self.down
        qx = px - F(a.size) * np.sin(py / F(a.length) + F(a.phase)) - F(self.centre[0])
        qy = py - F(d.size) * np.sin(px / F(d.length) + F(d.phase)) - F(self.centre[1])
        c, s = math.cos(self.turn) / self.scale, math.sin(self.turn) / self.scale
        x = qx * F(c) + qy * F(s)
        y = qy * F(c) - qx * F(s)
        depth = F(1) / (F(1) - F(self.tilt[0]) * x - F(self.tilt[1]) * y)
        return x * depth + F(self.middle[0]), y * depth + F(self.middle[1])
