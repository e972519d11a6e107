"""What garments are photographed on: studio paper, wood, bedding, stone, carpet, a wall.

A backdrop is a (3, h, w) float32 picture in neutral light, 0 to 255. ``scale`` is the
pixels of a centimetre, so that planks and weaves have their true size.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..cloth.colours import Rgb
from ..dice import Dice

F = np.float32
Plane = NDArray[np.float32]


def cloud(dice: Dice, width: int, height: int, cell: float, stretch: float = 1.0) -> Plane:
    """Smooth noise (h, w) between about 0 and 1, its lumps ``cell`` pixels wide and
    ``stretch`` times as tall."""
    columns = max(2, math.ceil(width / cell) + 3)
    rows = max(2, math.ceil(height / (cell * stretch)) + 3)
    grid = Image.fromarray(dice.field(rows, columns))
    size = (math.ceil(columns * cell), math.ceil(rows * cell * stretch))
    size = (max(size[0], width), max(size[1], height))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    # Only the part that is seen is enlarged.
    box = (
        left * columns / size[0],
        top * rows / size[1],
        (left + width) * columns / size[0],
        (top + height) * rows / size[1],
    )
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC, box), F)


def _tinted(tone: Plane, colour: Rgb) -> Plane:
    return tone[None] * np.array(colour, F)[:, None, None]


def studio(dice: Dice, width: int, height: int, scale: float) -> Plane:
    """White seamless paper, a little darker towards the corners."""
    x = (np.arange(width, dtype=F) / F(width) - F(dice.uniform(0.35, 0.65)))[None, :]
    y = (np.arange(height, dtype=F) / F(height) - F(dice.uniform(0.35, 0.65)))[:, None]
    tone = F(1) - (x * x + y * y) * F(dice.uniform(0.08, 0.2))
    grey = dice.uniform(226, 246)
    return _tinted(tone, (grey, grey, grey))


def paper(dice: Dice, width: int, height: int, scale: float) -> Plane:
    """Coloured card with a fine grain."""
    colour = dice.choice(
        (
            (226.0, 206.0, 196.0),
            (200.0, 214.0, 222.0),
            (216.0, 222.0, 198.0),
            (232.0, 218.0, 176.0),
            (214.0, 200.0, 220.0),
            (188.0, 206.0, 198.0),
            (178.0, 178.0, 182.0),
            (150.0, 170.0, 186.0),
            (222.0, 178.0, 160.0),
        )
    )
    tone = F(0.985) + dice.field(height, width) * F(0.03)
    return _tinted(tone + (cloud(dice, width, height, 90) - F(0.5)) * F(0.05), colour)


def wood(dice: Dice, width: int, height: int, scale: float) -> Plane:
    """A floor of boards with grain, knots and dark joints."""
    colour = dice.choice(
        (
            (186.0, 154.0, 120.0),
            (146.0, 112.0, 84.0),
            (204.0, 182.0, 154.0),
            (108.0, 84.0, 68.0),
            (176.0, 166.0, 152.0),
            (218.0, 206.0, 188.0),
        )
    )
    upright = dice.chance(0.5)
    across, along = (width, height) if upright else (height, width)
    board = max(8.0, dice.uniform(9.0, 15.0) * scale)
    start = dice.uniform(0, board)
    x = np.arange(across, dtype=F) + F(start)
    number = np.floor(x / F(board)).astype(np.int64)
    count = int(number[-1]) + 1
    tones = np.array([dice.uniform(0.86, 1.08) for _ in range(count)], F)[number]
    ends = np.array([dice.uniform(0, along) for _ in range(count)], F)[number]
    fine = cloud(dice, across, along, 2.2, 26.0)
    broad = cloud(dice, across, along, board * 0.5, 6.0)
    rings = np.sin((broad * F(16) + (x / F(board))[None, :] * F(3)) * F(2))
    y = np.arange(along, dtype=F)[:, None]
    # Each board is cut from another tree: its grain starts elsewhere.
    offsets = (number * 37) % along
    rows = (np.arange(along)[:, None] + offsets[None, :]) % along
    grain = np.take_along_axis(fine * F(0.14) + rings * F(0.035), rows, axis=0)
    tone = tones[None, :] * (F(0.93) + grain)
    edge = np.minimum(x % F(board), F(board) - x % F(board))
    tone = tone * (F(1) - np.clip(F(1.3) - edge, F(0), F(1)) * F(0.45))[None, :]
    past = y < ends[None, :]
    tone = tone * np.where(past, F(1), F(0.95))
    tone = tone * (F(1) - np.clip(F(1.2) - np.abs(y - ends[None, :]), F(0), F(1)) * F(0.45))
    return _tinted(tone if upright else np.ascontiguousarray(tone.T), colour)


def bedding(dice: Dice, width: int, height: int, scale: float) -> Plane:
    """A sheet with soft wrinkles, at times with broad woven stripes."""
    colour = dice.choice(
        (
            (232.0, 230.0, 226.0),
            (222.0, 218.0, 208.0),
            (196.0, 206.0, 216.0),
            (206.0, 196.0, 192.0),
            (170.0, 178.0, 172.0),
            (238.0, 228.0, 216.0),
        )
    )
    lean = dice.choice((0.45, 0.7, 1.5, 2.2))
    relief = cloud(dice, width, height, 100, lean) * F(26)
    relief += cloud(dice, width, height, 42, lean) * F(7)
    relief += cloud(dice, width, height, 20, 1 / lean) * F(1.6)
    slope_y, slope_x = np.gradient(relief)
    angle = dice.uniform(0, 2 * math.pi)
    tone = F(1) + (slope_x * F(math.cos(angle)) + slope_y * F(math.sin(angle))) * F(0.12)
    np.clip(tone, F(0.7), F(1.08), out=tone)
    weave = (np.arange(width) % 2)[None, :] ^ (np.arange(height) % 2)[:, None]
    tone += weave.astype(F) * F(0.012)
    if dice.chance(0.3):
        x = np.arange(width, dtype=F)[None, :] + relief * F(0.12)
        band = (x / F(9 * scale)) % F(1)
        tone = tone * np.where(band < 0.5, F(1), F(0.94))
    return _tinted(tone, colour)


def concrete(dice: Dice, width: int, height: int, scale: float) -> Plane:
    """A mottled grey floor with specks."""
    tone = F(0.82) + cloud(dice, width, height, 60) * F(0.16)
    tone += cloud(dice, width, height, 14) * F(0.1) + cloud(dice, width, height, 3) * F(0.07)
    tone -= (dice.field(height, width) > 0.995) * F(0.15)
    grey = dice.uniform(105, 185)
    return _tinted(tone, (grey * 1.01, grey, grey * dice.uniform(0.94, 1.0)))


def carpet(dice: Dice, width: int, height: int, scale: float) -> Plane:
    """A looped carpet, every tuft a little different."""
    colour = dice.choice(
        (
            (176.0, 164.0, 146.0),
            (120.0, 124.0, 132.0),
            (204.0, 198.0, 188.0),
            (92.0, 100.0, 112.0),
            (158.0, 132.0, 116.0),
            (132.0, 142.0, 124.0),
        )
    )
    tuft = dice.uniform(2.6, 4.2)
    x = np.arange(width, dtype=F)[None, :]
    y = np.arange(height, dtype=F)[:, None]
    loops = np.sin(x * F(2 * math.pi / tuft) + F(2) * np.floor(y / F(tuft)))
    tone = F(0.86) + loops * F(0.05) + cloud(dice, width, height, tuft) * F(0.24)
    return _tinted(tone + cloud(dice, width, height, 50) * F(0.06) - F(0.06), colour)


def marble(dice: Dice, width: int, height: int, scale: float) -> Plane:
    """A pale stone top with grey veins."""
    warp = cloud(dice, width, height, 110) * F(0.5) + cloud(dice, width, height, 24) * F(0.09)
    warp += cloud(dice, width, height, 7) * F(0.03)
    x = np.arange(width, dtype=F)[None, :] / F(width)
    y = np.arange(height, dtype=F)[:, None] / F(width)
    angle = dice.uniform(0, math.pi)
    tone = F(1) - cloud(dice, width, height, 70) * F(0.06)
    for veins, wide, depth in ((1.1, 0.045, 0.2), (2.3, 0.03, 0.12)):
        line = x * F(math.cos(angle)) + y * F(math.sin(angle)) + warp
        vein = np.abs((line * F(veins)) % F(1) - F(0.5))
        fade = np.clip(cloud(dice, width, height, 50) * F(1.6) - F(0.4), F(0), F(1))
        tone -= np.clip(F(1) - vein / F(wide), F(0), F(1)) * fade * F(depth)
        angle += dice.uniform(0.4, 1.0)
    grey = dice.uniform(228, 244)
    return _tinted(tone, (grey, grey, grey * 0.985))


def wall(dice: Dice, width: int, height: int, scale: float) -> Plane:
    """Painted plaster, or boards with grooves, for what hangs."""
    colour = dice.choice(
        (
            (226.0, 222.0, 214.0),
            (196.0, 204.0, 206.0),
            (178.0, 188.0, 176.0),
            (214.0, 192.0, 176.0),
            (164.0, 172.0, 184.0),
            (236.0, 234.0, 230.0),
        )
    )
    tone = F(0.96) + cloud(dice, width, height, 5) * F(0.025) + dice.field(height, width) * F(0.02)
    tone += cloud(dice, width, height, 80) * F(0.05)
    if dice.chance(0.4):
        x = np.arange(width, dtype=F) + F(dice.uniform(0, 20))
        groove = x % F(max(14.0, 13 * scale))
        tone = tone * (F(1) - np.clip(F(1.6) - np.abs(groove - F(2)), F(0), F(1)) * F(0.16))
    return _tinted(tone, colour)


BACKDROPS: dict[str, Callable[[Dice, int, int, float], Plane]] = {
    "studio": studio,
    "paper": paper,
    "wood": wood,
    "bedding": bedding,
    "concrete": concrete,
    "carpet": carpet,
    "marble": marble,
    "wall": wall,
}
