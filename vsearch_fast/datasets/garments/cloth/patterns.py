"""The prints and weaves that garments are cut from, each as a tile that repeats seamlessly.

Every pattern is a function of the dyes (base first), a `Dice` for its scale and
variant, and the tile's resolution in pixels a centimetre; it returns a `Print`.
Tiles are drawn several times larger and averaged down, so that edges are smooth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..curves import Curve, ellipse, moved, spline
from ..dice import Dice
from .colours import Rgb, luma, mixed

FINE = 3  # tiles are drawn this many times larger than they are used

Planes = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Print:
    """A tile (3, h, w) float32, 0 to 255, and how many of the given dyes it shows."""

    tile: Planes
    dyes: int


def plain(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """One colour; the cloth's own texture is all there is to see."""
    return Print(_flat(dyes[0], 4, 4), 1)


def stripes(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """Horizontal stripes: even, sailor's (thin on a wide ground), or of three colours."""
    period = dice.uniform(3.6, 9.0)
    variant = dice.integer(0, 2)
    runs: list[tuple[int, float]]
    if variant == 0:
        runs = [(0, 0.5), (1, 0.5)]
    elif variant == 1:
        runs = [(0, 0.68), (1, 0.32)]
    else:
        runs = [(0, 0.4), (1, 0.2), (2, 0.2), (1, 0.2)]
    rows = _runs(runs, _pixels(period, ppc))
    tile = _reduce(_palette(dyes)[:, rows[:, None].repeat(FINE * 4, axis=1)])
    return Print(tile, 3 if variant == 2 else 2)


def pinstripe(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """Thin vertical lines, single or in pairs."""
    period = _pixels(dice.uniform(2.6, 4.8), ppc)
    if dice.chance(0.3):
        runs = [(0, 0.5), (1, 0.14), (0, 0.22), (1, 0.14)]
    else:
        runs = [(0, 0.8), (1, 0.2)]
    columns = _runs(runs, period)
    tile = _reduce(_palette(dyes)[:, columns[None, :].repeat(FINE * 4, axis=0)])
    return Print(tile, 2)


def gingham(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """Even checks: full colour where warp and weft are dyed, half where one is."""
    n = _pixels(dice.uniform(3.4, 6.4), ppc)
    yarn = _runs([(0, 0.5), (1, 0.5)], n).astype(np.float32)
    pale = dyes[0] if luma(dyes[0]) > luma(dyes[1]) else dyes[1]
    dark = dyes[1] if pale is dyes[0] else dyes[0]
    share = (yarn[:, None] + yarn[None, :]) * 0.5
    return Print(_reduce(_blend(pale, dark, share)), 2)


def tartan(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """A symmetric sett of three dyes, the same in warp and weft, woven half and half."""
    n = _pixels(dice.uniform(9.0, 16.0), ppc)
    sett = dice.choice(
        (
            [(0, 0.34), (2, 0.05), (0, 0.05), (1, 0.34), (0, 0.05), (2, 0.05), (0, 0.12)],
            [(0, 0.40), (1, 0.12), (0, 0.06), (2, 0.05), (0, 0.06), (1, 0.31)],
            [(1, 0.28), (0, 0.28), (2, 0.04), (0, 0.16), (1, 0.24)],
        )
    )
    yarn = _runs(sett, n)
    colours = _palette(dyes)
    return Print(_reduce((colours[:, yarn][:, None, :] + colours[:, yarn][:, :, None]) * 0.5), 3)


def windowpane(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """A wide grid of thin lines, sometimes a second grid between them."""
    n = _pixels(dice.uniform(7.0, 11.0), ppc)
    double = dice.chance(0.4)
    first = [(0, 0.46), (1, 0.08), (0, 0.46)]
    second = [(2, 0.06), (0, 0.40), (1, 0.08), (0, 0.40), (2, 0.06)]
    yarn = _runs(second if double else first, n)
    colours = _palette(dyes)
    across, along = yarn[None, :], yarn[:, None]
    index = np.where(across > 0, across, along + 0 * across)
    return Print(_reduce(colours[:, index]), 3 if double else 2)


def dots(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """Round dots in staggered rows."""
    n = _pixels(dice.uniform(4.5, 9.0), ppc)
    radius = dice.uniform(0.15, 0.25)
    axis = (np.arange(n * FINE, dtype=np.float32) + 0.5) / (n * FINE)
    share = np.zeros((n * FINE, n * FINE), np.float32)
    for cx, cy in ((0.25, 0.25), (0.75, 0.75)):
        dx = np.abs(axis - np.float32(cx))
        dy = np.abs(axis - np.float32(cy))
        dx, dy = np.minimum(dx, 1 - dx), np.minimum(dy, 1 - dy)
        share += dx[None, :] ** 2 + dy[:, None] ** 2 < np.float32(radius**2)
    return Print(_reduce(_blend(dyes[0], dyes[1], share)), 2)


def herringbone(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """Twill whose diagonal turns round from column to column, broken at the turn."""
    step = _pixels(dice.uniform(2.2, 3.4), ppc)
    columns = 2 * step
    y, x = np.mgrid[0 : step * FINE, 0 : 2 * columns * FINE].astype(np.float32) / FINE
    left = x < columns
    phase = np.where(left, y + x, y - x + step * 0.5) / step
    share = ((phase % 1.0) < 0.5).astype(np.float32)
    return Print(_reduce(_blend(dyes[0], mixed(dyes[0], dyes[1], 0.8), share)), 2)


def houndstooth(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """Four dark and four light yarns each way in a 2/2 twill: the broken check."""
    cell = max(1, round(dice.uniform(0.5, 0.9) * ppc))
    y, x = np.mgrid[0:8, 0:8]
    dark = np.where((x + y) % 4 < 2, x % 8 < 4, y % 8 < 4).astype(np.float32)
    return Print(_blend(dyes[0], dyes[1], dark.repeat(cell, 0).repeat(cell, 1)), 2)


def chevron(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """Zigzag stripes."""
    n = _pixels(dice.uniform(4.5, 8.0), ppc)
    third = dice.chance(0.35)
    tall = n * (2 if third else 1)
    y, x = np.mgrid[0 : tall * FINE, 0 : n * FINE].astype(np.float32) / (n * FINE)
    phase = y + np.abs(x - 0.5) * np.float32(dice.choice((0.8, 1.2)))
    index = ((phase % 1.0) < 0.5).astype(np.int64)
    if third:
        index = index * (1 + (np.floor(phase).astype(np.int64) % 2))
    return Print(_reduce(_palette(dyes)[:, index]), 3 if third else 2)


def argyle(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """Diamonds of two colours in a lattice of thin lines."""
    wide = _pixels(dice.uniform(9.0, 13.0), ppc)
    tall = _pixels(dice.uniform(13.0, 18.0), ppc)
    y = (np.arange(tall * FINE, dtype=np.float32)[:, None] + 0.5) / (tall * FINE)
    x = (np.arange(wide * FINE, dtype=np.float32)[None, :] + 0.5) / (wide * FINE)
    centre = np.abs(x - 0.5) + np.abs(y - 0.5) < 0.46
    corner = np.minimum(x, 1 - x) + np.minimum(y, 1 - y) < 0.46
    index = np.where(centre, 1, np.where(corner, 2, 0))
    lines = np.minimum(np.abs((x + y) % 0.5 - 0.25), np.abs((x - y) % 0.5 - 0.25))
    tile = _palette(dyes)[:, index]
    pale = np.array(mixed(dyes[0], (250.0, 250.0, 250.0), 0.55), np.float32)[:, None, None]
    return Print(_reduce(np.where(lines < 0.012 + 0.06 / wide, pale, tile)), 3)


def floral(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """Flowers of two colours with leaves, thrown over the ground without touching."""
    size = dice.uniform(2.2, 4.2)
    canvas = _Repeat(size * 6.5, ppc, dyes[0])
    leaf = (84.0, 122.0, 78.0) if luma(dyes[0]) > 90 else (118.0, 160.0, 112.0)
    petals = dice.choice((5, 5, 6, 8))
    for number, (x, y) in enumerate(canvas.scatter(dice, 36, size * 1.12)):
        dye = dyes[1] if number % 3 else dyes[2]
        turn = dice.uniform(0, 2 * math.pi)
        r = size * dice.uniform(0.34, 0.56)
        for side in (0.7, 2.6):
            canvas.add(_petal(x, y, r * 2.1, r * 0.42, turn + side), leaf)
        for petal in range(petals):
            angle = turn + petal * 2 * math.pi / petals
            shade = mixed(dye, (255.0, 255.0, 255.0), 0.12 * (petal % 2))
            canvas.add(_petal(x, y, r * 1.25, r * 2.0 / petals, angle), shade)
        heart = (236.0, 196.0, 84.0) if number % 3 else mixed(dye, (60.0, 30.0, 30.0), 0.5)
        canvas.add(ellipse(x, y, r * 0.32, r * 0.32), heart)
    return Print(canvas.tile(), 3)


def paisley(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """Curled drops with an inner drop and an eye, small dots between them."""
    size = dice.uniform(4.6, 7.0)
    canvas = _Repeat(size * 3.2, ppc, dyes[0])
    for number, (x, y) in enumerate(canvas.scatter(dice, 12, size * 0.98)):
        turn = dice.uniform(0, 2 * math.pi)
        for scale, dye in ((1.0, 1), (0.8, 0), (0.64, 2 - number % 2), (0.3, 0)):
            canvas.add(_drop(x, y, size * 0.58 * scale, turn), dyes[dye])
    for x, y in canvas.scatter(dice, 40, size * 0.42):
        canvas.add(ellipse(x, y, size * 0.05, size * 0.05), dyes[2], only_on=dyes[0])
    return Print(canvas.tile(), 3)


def leopard(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """Broken dark rosettes around darker skin."""
    size = dice.uniform(2.6, 4.0)
    canvas = _Repeat(size * 6.0, ppc, dyes[0])
    dark = dyes[1] if abs(luma(dyes[1]) - luma(dyes[0])) > 70 else dyes[2]
    inner = mixed(dyes[0], dark, 0.38)
    for x, y in canvas.scatter(dice, 46, size * 0.92):
        r = size * dice.uniform(0.3, 0.44)
        canvas.add(_blob(x, y, r * 0.9, dice), inner)
        gap = dice.uniform(0, 2 * math.pi)
        for start, end in ((0.3, 1.8), (2.2, 3.7), (4.1, 5.9)):
            arc = np.linspace(gap + start, gap + end, 6)
            wobble = np.array([dice.uniform(0.85, 1.15) for _ in arc])
            thick = r * dice.uniform(0.3, 0.5)
            outer = np.stack([np.cos(arc), np.sin(arc)], 1) * (r * wobble + thick * 0.5)[:, None]
            inside = np.stack([np.cos(arc), np.sin(arc)], 1) * (r * wobble - thick * 0.5)[:, None]
            canvas.add(moved(np.concatenate([outer, inside[::-1]]), x, y), dark)
    return Print(canvas.tile(), 2)


def camouflage(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """Ragged patches of four tones, the fourth a darker ground."""
    period = dice.uniform(20.0, 30.0)
    canvas = _Repeat(period, ppc, dyes[0])
    fourth = mixed(dyes[0], (20.0, 20.0, 20.0), 0.45)
    tones = [mixed(dyes[0], dyes[1], 0.75), fourth, mixed(dyes[0], dyes[2], 0.7)]
    for number in range(30):
        x, y = dice.uniform(0, period), dice.uniform(0, period)
        shape = _blob(0.0, 0.0, period * dice.uniform(0.07, 0.15), dice)
        canvas.add(moved(shape * np.array([1.5, 0.8]), x, y), tones[number % 3])
    return Print(canvas.tile(), 3)


def colour_block(dyes: Sequence[Rgb], dice: Dice, ppc: float) -> Print:
    """Broad fields of the three dyes from top to bottom, with a thin line at times."""
    height = _pixels(180.0, ppc)
    first, second = dice.uniform(16.0, 24.0), dice.uniform(34.0, 46.0)
    order = dice.choice(([0, 1, 2], [1, 0, 2], [0, 2, 1], [1, 2, 0]))
    rows = np.zeros(height * FINE, np.int64) + order[2]
    y = (np.arange(height * FINE) / (height * FINE)) * 180.0
    rows[y < second] = order[1]
    rows[y < first] = order[0]
    rows[y > 172.0] = order[0]  # above the origin the tile repeats from its end
    if dice.chance(0.4):
        rows[(y >= second) & (y < second + 2.2)] = order[0]
    return Print(_reduce(_palette(dyes)[:, rows[:, None].repeat(FINE * 2, axis=1)]), 3)


PATTERN_MAKERS: dict[str, Callable[[Sequence[Rgb], Dice, float], Print]] = {
    "plain": plain,
    "stripes": stripes,
    "pinstripe": pinstripe,
    "gingham": gingham,
    "tartan": tartan,
    "windowpane": windowpane,
    "dots": dots,
    "floral": floral,
    "herringbone": herringbone,
    "houndstooth": houndstooth,
    "chevron": chevron,
    "argyle": argyle,
    "paisley": paisley,
    "leopard": leopard,
    "camouflage": camouflage,
    "colour-block": colour_block,
}
PATTERNS: tuple[str, ...] = tuple(PATTERN_MAKERS)


class _Repeat:
    """A square that repeats: what leaves on one side comes back on the other."""

    def __init__(self, period: float, ppc: float, ground: Rgb) -> None:
        self.period = period
        self._pixels = _pixels(period, ppc)
        self._scale = self._pixels * FINE / period
        side = self._pixels * FINE
        self._image = Image.new("RGB", (side, side), _rounded(ground))
        self._draw = ImageDraw.Draw(self._image)

    def add(self, shape: Curve, colour: Rgb, only_on: Rgb | None = None) -> None:
        """Paint a closed shape (cm); with ``only_on``, only where its middle meets that."""
        centre = shape.mean(axis=0) % self.period
        if only_on is not None:
            at = (int(centre[0] * self._scale), int(centre[1] * self._scale))
            side = self._image.width - 1
            if self._image.getpixel((min(at[0], side), min(at[1], side))) != _rounded(only_on):
                return
        shape = shape - shape.mean(axis=0) + centre
        low, high = shape.min(axis=0), shape.max(axis=0)
        for dx in (-self.period, 0.0, self.period):
            for dy in (-self.period, 0.0, self.period):
                if (
                    high[0] + dx > 0
                    and low[0] + dx < self.period
                    and high[1] + dy > 0
                    and low[1] + dy < self.period
                ):
                    points = moved(shape, dx, dy) * self._scale
                    self._draw.polygon(list(map(tuple, points.tolist())), _rounded(colour))

    def scatter(self, dice: Dice, count: int, apart: float) -> list[tuple[float, float]]:
        """Up to ``count`` points at least ``apart`` from each other, also across the edge."""
        points: list[tuple[float, float]] = []
        for _ in range(count * 8):
            x, y = dice.uniform(0, self.period), dice.uniform(0, self.period)
            for other in points:
                dx, dy = abs(x - other[0]), abs(y - other[1])
                dx, dy = min(dx, self.period - dx), min(dy, self.period - dy)
                if dx * dx + dy * dy < apart * apart:
                    break
            else:
                points.append((x, y))
                if len(points) == count:
                    break
        return points

    def tile(self) -> Planes:
        """The finished square, (3, n, n)."""
        return _reduce(np.asarray(self._image, np.float32).transpose(2, 0, 1))


def _petal(x: float, y: float, length: float, half_width: float, angle: float) -> Curve:
    t = np.linspace(0, 1, 9)
    wide = half_width * np.sin(np.pi * t**0.75)
    along, across = np.concatenate([t, t[::-1]]) * length, np.concatenate([wide, -wide[::-1]])
    c, s = math.cos(angle), math.sin(angle)
    return np.stack([x + along * c - across * s, y + along * s + across * c], axis=1)


def _drop(x: float, y: float, size: float, angle: float) -> Curve:
    outline = spline(
        [
            (0.0, 1.0),
            (0.62, 0.62),
            (0.72, -0.05),
            (0.35, -0.75),
            (-0.35, -1.15),
            (-0.1, -0.55),
            (-0.42, -0.05),
            (-0.62, 0.45),
            (0.0, 1.0),
        ],
        6,
    )
    c, s = math.cos(angle), math.sin(angle)
    turned = np.stack(
        [outline[:, 0] * c - outline[:, 1] * s, outline[:, 0] * s + outline[:, 1] * c], 1
    )
    return moved(turned * size, x, y)


def _blob(x: float, y: float, radius: float, dice: Dice) -> Curve:
    corners = [
        (
            math.cos(a) * (r := radius * dice.uniform(0.6, 1.35)),
            math.sin(a) * r,
        )
        for a in np.arange(9) * (2 * math.pi / 9)
    ]
    return moved(spline([*corners, corners[0]], 4), x, y)


def _pixels(length: float, ppc: float) -> int:
    return max(4, round(length * ppc))


def _runs(runs: Sequence[tuple[int, float]], pixels: int) -> NDArray[np.int64]:
    """Index of the dye for each fine pixel of one period; shares are made to sum to 1."""
    ends = np.cumsum([share for _, share in runs])
    at = (np.arange(pixels * FINE) + 0.5) / (pixels * FINE) * ends[-1]
    which = np.minimum(np.searchsorted(ends, at), len(runs) - 1)
    return np.array([dye for dye, _ in runs], np.int64)[which]


def _palette(dyes: Sequence[Rgb]) -> Planes:
    return np.array(dyes, np.float32).T


def _flat(colour: Rgb, height: int, width: int) -> Planes:
    return np.broadcast_to(np.array(colour, np.float32)[:, None, None], (3, height, width)).copy()


def _blend(a: Rgb, b: Rgb, share: NDArray[np.float32]) -> Planes:
    first = np.array(a, np.float32)[:, None, None]
    second = np.array(b, np.float32)[:, None, None]
    return first + (second - first) * share[None]


def _reduce(fine: Planes) -> Planes:
    _, height, width = fine.shape
    blocks = fine.reshape(3, height // FINE, FINE, width // FINE, FINE)
    return blocks.mean(axis=(2, 4), dtype=np.float32)


def _rounded(colour: Rgb) -> tuple[int, int, int]:
    return round(colour[0]), round(colour[1]), round(colour[2])
