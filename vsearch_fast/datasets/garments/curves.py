"""Outlines: splines, mirrored halves, offset bands and the frame that cloth lies in.

Garments are measured in centimetres, x to the viewer's right, y down; the origin is the
middle of the neck for what hangs from the shoulders and of the waist for what does not.
A curve is a float64 array (n, 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]
Point = tuple[float, float]


def spline(points: Sequence[Point] | Curve, steps: int = 8) -> Curve:
    """A smooth curve through (n >= 2) points, ``steps`` samples a span, both ends included.

    Centripetal Catmull-Rom (Yuksel, Schaefer and Keyser, 2011), which neither loops nor
    overshoots where control points are unevenly spaced; at the ends it leaves straight.
    """
    p = np.asarray(points, dtype=np.float64)
    if len(p) == 2:
        return p
    gap = np.sqrt(np.maximum(np.hypot(*(p[1:] - p[:-1]).T), 1e-9))
    slope = (p[1:] - p[:-1]) / gap[:, None]
    tangent = np.empty_like(p)
    tangent[0], tangent[-1] = slope[0], slope[-1]
    before, after = gap[:-1, None], gap[1:, None]
    tangent[1:-1] = (slope[:-1] * after + slope[1:] * before) / (before + after)
    t = (np.arange(steps) / steps)[None, :, None]
    a, b = p[:-1, None], p[1:, None]
    m, n = (tangent[:-1] * gap[:, None])[:, None], (tangent[1:] * gap[:, None])[:, None]
    t2, t3 = t * t, t * t * t
    body = (2 * t3 - 3 * t2 + 1) * a + (t3 - 2 * t2 + t) * m + (3 * t2 - 2 * t3) * b + (t3 - t2) * n
    return np.concatenate([body.reshape(-1, 2), p[-1:]])


def join(*parts: Sequence[Point] | Curve) -> Curve:
    """The parts one after the other; corners stay where one ends and the next begins."""
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])


def mirrored(curve: Curve) -> Curve:
    """The curve seen in the garment's vertical axis, in reverse order."""
    return curve[::-1] * np.array([-1.0, 1.0])


def both_sides(half: Curve) -> Curve:
    """A closed outline from its right half, which runs from the axis to the axis."""
    return np.concatenate([half, mirrored(half)])


def flipped(curve: Curve, side: float) -> Curve:
    """The curve as it is for side 1, and seen in the axis for side -1."""
    return curve * np.array([side, 1.0])


def moved(curve: Curve, dx: float, dy: float) -> Curve:
    """The curve ``dx`` to the right and ``dy`` down."""
    return curve + np.array([dx, dy])


def offset(curve: Curve, distance: float | NDArray[np.float64]) -> Curve:
    """The curve moved sideways (cm, one number or one a point).

    Positive is to the right hand of who walks along it, seen on the screen.
    """
    step = np.gradient(curve, axis=0)
    length = np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-9)
    normal = np.stack([-step[:, 1], step[:, 0]], axis=1) / length[:, None]
    return curve + np.reshape(distance, (-1, 1)) * normal


def band(curve: Curve, width: float | NDArray[np.float64]) -> Curve:
    """The closed strip between a curve and the same curve moved by ``width``."""
    return np.concatenate([curve, offset(curve, width)[::-1]])


def rectangle(left: float, top: float, right: float, bottom: float) -> Curve:
    """Four corners, clockwise from the top left."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def ellipse(x: float, y: float, rx: float, ry: float, steps: int = 24) -> Curve:
    """A closed ellipse around (x, y)."""
    angle = np.arange(steps) * (2 * math.pi / steps)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a piece of cloth lies: cloth (u across, v along) to garment (x, y).

    ``angle`` (radians) turns v away from straight down, towards +x; ``bend`` (cm) is how
    far the axis has left the straight line after ``length`` cm. The bend shears instead
    of turning, so the map has an exact inverse and the pattern follows the sleeve.
    """

    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0
    bend: float = 0.0
    length: float = 1.0

    def to_garment(self, curve: Sequence[Point] | Curve) -> Curve:
        """Cloth coordinates (n, 2) to garment coordinates."""
        uv = np.asarray(curve, dtype=np.float64)
        v = uv[:, 1]
        u = uv[:, 0] + self.bend * v * np.abs(v) / self.length**2
        c, s = math.cos(self.angle), math.sin(self.angle)
        return np.stack([self.x + c * u + s * v, self.y - s * u + c * v], axis=1)

    def to_cloth(
        self, x: NDArray[np.float32], y: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Garment coordinates, arrays of one shape, to cloth coordinates (u, v)."""
        if self == Frame():
            return x, y
        c, s = np.float32(math.cos(self.angle)), np.float32(math.sin(self.angle))
        dx, dy = x - np.float32(self.x), y - np.float32(self.y)
        v = dx * s + dy * c
        u = dx * c - dy * s
        if self.bend:
            u -= np.float32(self.bend / self.length**2) * v * np.abs(v)
        return u, v

    def point(self, x: float, y: float) -> Point:
        """One garment point in cloth coordinates."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        v = (x - self.x) * s + (y - self.y) * c
        u = (x - self.x) * c - (y - self.y) * s
        return u - self.bend * v * abs(v) / self.length**2, v
