"""One photograph of one item: how it lies, on what, in which light, and its true box."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ...checks import PixelBox
from .curves import band, join, moved, rectangle, spline
from .cut.pieces import Button, Garment, Piece, Pose
from .design import CAMERA, GROUND, POSE, STAGE, Design, cloths
from .dice import Dice
from .paint.backdrop import BACKDROPS, cloud
from .paint.paint import SUPER, Light, paint
from .paint.view import Sway, View

F = np.float32
Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class GarmentInfo:
    """What is known about a rendered picture.

    ``mask`` (h, w) bool is where the garment covers at least half of a pixel; ``box`` is
    the smallest that holds it: x1, y1, x2, y2 in pixels, x2 and y2 excluded.
    """

    item: str
    number: int
    view: int
    category: str
    pattern: str
    fabric: str
    colours: tuple[str, ...]
    background: str
    box: PixelBox
    mask: NDArray[np.bool_]


def photograph(
    item: Design, view: int, size: tuple[int, int], name: str
) -> tuple[NDArray[np.uint8], GarmentInfo]:
    """Render a view of an item: RGB (h, w, 3) uint8 and what is true of it."""
    width, height = size
    background = _background(item, view)
    pose_dice = Dice(item.seed, item.number, POSE, view)
    pose = _pose(pose_dice, background == "wall")
    garment = item.garment(pose)
    if background == "wall":
        if garment.hang == "no":
            background, pose = "studio", _pose(Dice(item.seed, item.number, POSE, view), False)
            garment = item.garment(pose)
        else:
            _hang(garment)
    camera = Dice(item.seed, item.number, CAMERA, view)
    lens = _aim(garment, camera, size, background == "wall")
    light = _light(camera)
    creases = _wrinkles(Dice(item.seed, item.number, POSE, view, 1), lens, pose.crumple)
    # The cloth's resolution belongs to the item, not to the view: a tile is drawn once.
    ppc = round(SUPER * max(size) / 115 * 4) / 4
    painted = paint(garment, cloths(item, garment.fabric, max(1.0, ppc)), lens, light, creases)
    rgb, alpha, mask = (_halved(plane) for plane in (painted.rgb, painted.alpha, painted.mask))
    ground = BACKDROPS[background](
        Dice(item.seed, item.number, GROUND, view), width, height, lens.scale
    )
    _cast(ground, alpha, lens, light, background == "wall")
    picture = ground * (F(1) - alpha) + rgb
    covered = mask >= F(0.5)
    info = GarmentInfo(
        name,
        item.number,
        view,
        item.category,
        item.pattern,
        garment.fabric,
        item.colours,
        background,
        bounds(covered),
        covered,
    )
    return _developed(picture, light, camera), info


def bounds(mask: NDArray[np.bool_]) -> PixelBox:
    """The smallest box (x1, y1, x2, y2; x2 and y2 excluded) around a mask's true pixels."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _background(item: Design, view: int) -> str:
    """Each view of an item another backdrop, until all have been used."""
    lap, place = divmod(view, len(BACKDROPS))
    return Dice(item.seed, item.number, STAGE, lap).shuffled(tuple(BACKDROPS))[place]


def _pose(dice: Dice, hanging: bool) -> Pose:
    if hanging:
        spread = dice.uniform(-0.3, -0.12)
        bends = (dice.uniform(-1.5, 1.0), dice.uniform(-1.5, 1.0))
        return Pose(dice, spread, bends, True, dice.uniform(0.8, 1.1))
    spread = dice.uniform(-0.24, 0.22)
    bends = (dice.uniform(-7.0, 5.0), dice.uniform(-7.0, 5.0))
    crumple = dice.uniform(0.75, 1.45)
    turned = (dice.chance(0.2), dice.chance(0.2))
    return Pose(dice, spread, bends, False, crumple, turned)


def _aim(garment: Garment, dice: Dice, size: tuple[int, int], hanging: bool) -> View:
    """A camera that has the whole garment, and its hanger, in the picture."""
    width, height = size
    if hanging:
        turn = dice.uniform(-0.035, 0.035)
    else:
        turn = dice.uniform(-0.2, 0.2) * (2.2 if dice.chance(0.15) else 1.0)
    tilt = (dice.uniform(-0.0007, 0.0007), dice.uniform(-0.0012, 0.0012))
    every = np.concatenate([piece.outline for piece in garment.pieces])
    low, high = every.min(axis=0), every.max(axis=0)
    middle = (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2)
    still = Sway(0.0, 1.0, 0.0)
    trial = View(width, height, middle, (0.0, 0.0), 1.0, turn, tilt, still, still)
    seen = trial.to_canvas(every)
    spans = seen.max(axis=0) - seen.min(axis=0)
    fill = dice.uniform(0.8, 0.96)
    scale = fill * min(width / float(spans[0]), height / float(spans[1]))
    slack = 0.15 if hanging else 1.0
    across = Sway(
        scale * dice.uniform(0.2, 0.8) * slack, scale * dice.uniform(11, 19), dice.uniform(0, 6.28)
    )
    down = Sway(
        scale * dice.uniform(0.2, 0.7) * slack, scale * dice.uniform(11, 19), dice.uniform(0, 6.28)
    )
    lens = replace(trial, scale=scale, across=across, down=down)
    corner = lens.to_canvas(every)
    spare = np.array([width, height]) - (corner.max(axis=0) - corner.min(axis=0))
    margin = np.maximum(spare, 0.0) * (dice.uniform(0.25, 0.75), dice.uniform(0.25, 0.75))
    x, y = (margin - corner.min(axis=0)).tolist()
    # The waves move along with the garment, which keeps what was just measured.
    across = replace(across, phase=across.phase - y / across.length)
    down = replace(down, phase=down.phase - x / down.length)
    return replace(lens, centre=(x, y), across=across, down=down)


def _light(dice: Dice) -> Light:
    """From above on the picture, mostly from one side, soft to fairly hard."""
    angle = dice.uniform(-2.6, -0.5)
    height = dice.uniform(0.62, 0.86)
    flat = math.sqrt(1 - height * height)
    return Light(math.cos(angle) * flat, math.sin(angle) * flat, height, dice.uniform(0.28, 0.5))


def _wrinkles(dice: Dice, lens: View, crumple: float) -> Plane:
    """Small irregular creases over the whole picture: a height field in centimetres."""
    scale, size = lens.scale, (lens.width, lens.height)
    broad = cloud(dice, *size, 9.0 * scale, dice.uniform(0.8, 1.8)) * F(0.9)
    ridges = np.abs(cloud(dice, *size, 5.0 * scale, dice.uniform(0.7, 2.2)) - F(0.5))
    fine = cloud(dice, *size, 2.2 * scale, dice.uniform(0.7, 1.6)) * F(0.16)
    return (broad - ridges * F(0.3) + fine) * F(crumple)


def _hang(garment: Garment) -> None:
    """Put a hanger in: wooden shoulders inside the neck, or a bar with two clips."""
    x, y = garment.top
    if garment.hang == "clips":
        half = garment.half_width * 0.72
        hook = _hook(x, y - 7.0)
        bar = Piece(rectangle(-half - 3, y - 7.4, half + 3, y - 6.2), "metal", lift=0.3, prop=True)
        clips = [
            Piece(
                rectangle(at - 1.4, y - 6.8, at + 1.4, y + 3.4),
                "metal",
                lift=0.4,
                puff=0.6,
                prop=True,
            )
            for at in (-half, half)
        ]
        garment.pieces[:0] = [hook, bar]
        garment.pieces += clips
    else:
        first = 0
        while garment.pieces[first].shade < 1.0:
            first += 1
        half, drop = garment.half_width, garment.drop
        top = spline(
            [
                (-half, drop + 1.5),
                (-half * 0.5, 2.2),
                (0.0, 0.2),
                (half * 0.5, 2.2),
                (half, drop + 1.5),
            ]
        )
        wood = Piece(join(top, moved(top[::-1], 0.0, 2.2)), "wood", lift=0.4, puff=0.6, prop=True)
        garment.pieces[first:first] = [_hook(0.0, 1.0, y - 1.0), wood]


def _hook(x: float, foot: float, above: float | None = None) -> Piece:
    """A wire hook that stands on ``foot`` and bends over on a peg above ``above``."""
    y = min(foot, above if above is not None else foot) - 3.5
    path = spline(
        [
            (x, foot),
            (x, y),
            (x + 1.6, y - 1.8),
            (x + 2.2, y - 3.8),
            (x, y - 5.6),
            (x - 2.2, y - 3.8),
        ]
    )
    wire = Piece(band(path, 0.55), "metal", lift=0.25, puff=0.5, prop=True)
    wire.buttons.append(Button(x, y - 4.2, 1.0, (120.0, 96.0, 70.0), holes=False))
    return wire


def _cast(ground: Plane, alpha: Plane, lens: View, light: Light, hanging: bool) -> None:
    """The garment's shadow: dark where it touches, soft and shifted further out."""
    solid = Image.fromarray((np.minimum(alpha, F(1)) * F(255)).astype(np.uint8))
    far = 3.2 if hanging else 1.5
    shade = np.ones_like(alpha)
    for radius, reach, depth in ((0.5, 0.35, 0.34), (far * 1.1, far, 0.34), (far * 4, far, 0.16)):
        soft = np.asarray(solid.filter(ImageFilter.GaussianBlur(radius * lens.scale)), F)
        dx = round(-light.x * reach * lens.scale / 0.6)
        dy = round(-light.y * reach * lens.scale / 0.6)
        shade *= F(1) - _shifted(soft, dx, dy) * F(depth / 255)
    ground *= shade


def _shifted(plane: Plane, dx: int, dy: int) -> Plane:
    """The plane moved by whole pixels; what comes in from outside is 0."""
    height, width = plane.shape
    out = np.zeros_like(plane)
    out[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] = plane[
        max(0, -dy) : height + min(0, -dy), max(0, -dx) : width + min(0, -dx)
    ]
    return out


def _halved(plane: Plane) -> Plane:
    """Canvas to picture: the mean of each SUPER x SUPER block."""
    total = plane[..., 0::SUPER, 0::SUPER] + plane[..., 0::SUPER, 1::SUPER]
    total += plane[..., 1::SUPER, 0::SUPER]
    total += plane[..., 1::SUPER, 1::SUPER]
    return total * F(1 / SUPER**2)


def _developed(picture: Plane, light: Light, dice: Dice) -> NDArray[np.uint8]:
    """What camera and lamp do to a picture: falloff, exposure, colour cast, noise."""
    _, height, width = picture.shape
    exposure, warmth = dice.uniform(0.86, 1.12), dice.uniform(-0.07, 0.09)
    tint, contrast = dice.uniform(-0.015, 0.02), dice.uniform(0.92, 1.1)
    fall = dice.uniform(0.02, 0.16)
    x = (np.arange(width, dtype=F) / F(width) - F(0.5))[None, :]
    y = (np.arange(height, dtype=F) / F(height) - F(0.5))[:, None]
    lamp = F(1) + (x * F(light.x) + y * F(light.y)) * F(fall * 2)
    lamp -= (x * x + y * y) * F(dice.uniform(0.0, 0.25))
    noise = (dice.field(height, width) + dice.field(height, width) - F(1)) * F(
        dice.uniform(1.0, 6.0)
    )
    out = np.empty((height, width, 3), np.uint8)
    for channel, gain in enumerate((1 + warmth, 1 + tint * 0.5, 1 - warmth)):
        plane = picture[channel] * lamp * F(exposure * gain)
        plane = (plane - F(128)) * F(contrast) + F(128) + noise
        # A soft shoulder instead of burnt-out white.
        plane = np.where(plane > 225, F(225) + (plane - F(225)) * F(0.6), plane)
        out[..., channel] = np.clip(plane + F(0.5), F(0), F(255))
    return out
