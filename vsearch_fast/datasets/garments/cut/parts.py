"""Sleeves, and the folds that cloth falls into."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..curves import Frame, Point, flipped, join, moved, spline
from ..dice import Dice
from .folding import turned_back
from .pieces import Button, Fold, Piece, Pose, Seam


@dataclass(frozen=True, slots=True)
class Sleeve:
    """What `sleeve` needs to know.

    ``shoulder`` and ``armpit`` are on the viewer's right; ``angle`` (radians) is away
    from straight down; ``width`` at the biceps, ``cuff`` half the opening, ``puffed``
    how far the lower part balloons.
    """

    shoulder: Point
    armpit: Point
    angle: float
    length: float
    width: float
    cuff: float
    finish: str = "hem"
    finish_length: float = 2.0
    finish_cloth: str = "main"
    puffed: float = 0.0


def sleeve(shape: Sleeve, side: float, pose: Pose, bend: float) -> list[Piece]:
    """A sleeve and its finish: ``hem``, ``rib``, ``band``, ``elastic``, ``cuff`` (buttoned).

    It reaches in under the body, which is laid over it afterwards, so the join is the
    body's armhole whatever the angle. ``side`` is 1 for the viewer's right, -1 for left.
    """
    angle = max(0.06, shape.angle + pose.spread + pose.dice.uniform(-0.05, 0.05))
    frame = Frame(*shape.shoulder, angle, bend, shape.length)
    inner_top, along_top = frame.point(*shape.armpit)
    outer = max(1.2, min(shape.width + inner_top, 0.22 * shape.width))
    inner = min(outer - shape.width, inner_top + 0.3)
    middle = (outer + inner) / 2 * 0.9
    length, cuff = shape.length, shape.cuff
    back = frame.point(shape.shoulder[0] - 7.0, shape.shoulder[1] - 2.2)
    hem = length - (0.0 if shape.finish == "hem" else shape.finish_length)
    gather = 1.0 + (0.22 if shape.finish in ("rib", "elastic") else 0.06)
    wide = cuff * gather + shape.puffed
    outer_edge = spline(
        [
            back,
            (0.0, 0.0),
            (outer * 0.85, min(0.3 * length, shape.width * 0.55)),
            (
                middle + (outer - middle) * 0.62 + wide * 0.38 + shape.puffed * 0.4,
                0.58 * length,
            ),
            (middle + wide, hem - (2.5 + 0.06 * length if shape.puffed else 1.0)),
            (middle + cuff * (1.0 if shape.puffed else gather), hem),
        ]
    )
    inner_edge = spline(
        [
            (middle - cuff * (1.0 if shape.puffed else gather), hem),
            (middle - wide, hem - (2.5 + 0.06 * length if shape.puffed else 1.0)),
            (
                middle + (inner - middle) * 0.62 - wide * 0.38,
                max(0.58 * length, min(hem - 2.0, along_top + 3.0)),
            ),
            (inner, min(along_top + 1.5, hem - 2.5)),
            (inner_top - 4.0, along_top - 1.0),
        ]
    )
    if length < 16:  # a cap sleeve has no room for an elbow
        outer_edge = spline(
            [back, (0.0, 0.0), (outer * 0.8, 0.5 * length), (middle + cuff * gather, hem)]
        )
        inner_edge = join(
            [(middle - cuff * gather, hem), (inner, min(along_top, hem - 1.0))],
            [(inner_top - 4.0, along_top - 1.0)],
        )
    opening = spline(
        [(middle + cuff * gather, hem), (middle, hem + 0.5), (middle - cuff * gather, hem)]
    )
    body = frame.to_garment(join(outer_edge, opening, inner_edge))
    left = Frame(-frame.x, frame.y, -frame.angle, -frame.bend, frame.length)
    lie = frame if side > 0 else left
    piece = Piece(flipped(body, side), frame=lie, lift=0.5, puff=0.75)
    piece.folds = _sleeve_folds(shape, frame, side, pose, (outer, inner, middle, along_top))
    pieces = [piece]
    at = spline([(middle - cuff, hem), (middle, hem + 0.5), (middle + cuff, hem)])
    if shape.finish == "hem":
        near = moved(at, 0.0, -shape.finish_length)
        piece.seams.append(Seam(flipped(frame.to_garment(near), side), "stitch"))
    else:
        near = moved(at, 0.0, -0.4)
        far = moved(near[::-1] * (0.96, 1.0), middle * 0.04, shape.finish_length + 0.6)
        outline = flipped(frame.to_garment(join(near, far)), side)
        cloth = "rib" if shape.finish == "rib" else shape.finish_cloth
        finish = Piece(outline, cloth, lie, lift=0.15, puff=0.5)
        finish.seams.append(Seam(flipped(frame.to_garment(near), side), "seam", 0.4))
        if shape.finish == "cuff":
            spot = flipped(
                frame.to_garment([(middle - cuff * 0.55, hem + shape.finish_length * 0.5)]), side
            )[0]
            finish.buttons.append(Button(spot[0], spot[1], 0.65, (225.0, 220.0, 210.0)))
        pieces.insert(0, finish)
    if length > 45 and pose.turned[side > 0]:
        reach = length * pose.dice.uniform(0.42, 0.54)
        (x, y) = flipped(frame.to_garment([(middle, reach)]), side)[0].tolist()
        inwards = -side * pose.dice.uniform(1.1, 1.75)
        return turned_back(pieces, (x, y), side * angle, inwards, reach)
    return pieces


def _sleeve_folds(
    shape: Sleeve,
    frame: Frame,
    side: float,
    pose: Pose,
    edges: tuple[float, float, float, float],
) -> list[Fold]:
    """Creases from the armpit, soft tubes along the arm, short ones inside the elbow."""
    dice, length = pose.dice, shape.length
    outer, inner, middle, along_top = edges

    def fold(start: Point, end: Point, width: float, height: float, sag: float = 0.0) -> Fold:
        a, b = flipped(frame.to_garment([start, end]), side)
        return Fold((a[0], a[1]), (b[0], b[1]), width, height * pose.crumple, sag)

    folds = []
    for _ in range(dice.integer(2, 4)):
        reach = dice.uniform(0.25, 0.6) * length
        start = (inner + dice.uniform(0.5, 4.0), along_top - dice.uniform(-1.0, 6.0))
        end = (middle + dice.uniform(-0.3, 0.9) * (outer - middle), along_top * 0.5 + reach)
        folds.append(fold(start, end, dice.uniform(0.9, 2.0), dice.uniform(0.3, 0.7)))
    if length > 30:
        for _ in range(dice.integer(3, 6)):
            v = dice.uniform(0.3, 0.92) * length
            u, run = middle + dice.uniform(-3.0, 3.0), dice.uniform(4.0, 9.0)
            lean = dice.uniform(-4.0, 4.0)
            folds.append(
                fold((u - run / 2, v - lean), (u + run / 2, v + lean), 1.1, dice.uniform(0.2, 0.5))
            )
        for _ in range(dice.integer(1, 3)):
            u = middle + dice.uniform(-2.5, 2.5)
            folds.append(fold((u, 0.2 * length), (u, 0.85 * length), 2.2, 0.5, dice.uniform(-2, 2)))
    if shape.finish in ("rib", "elastic") or shape.puffed:
        for step in range(6):
            u = middle + (step - 2.5) * shape.cuff * 0.36
            run = dice.uniform(4.0, 9.0) * (1.6 if shape.puffed else 1.0)
            foot = length - shape.finish_length
            folds.append(fold((u, foot + 1.0), (u * 1.1, foot - run), 0.8, 0.4))
    return folds


def drape(
    dice: Dice, box: tuple[float, float, float, float], count: int, strength: float
) -> list[Fold]:
    """Loose folds in a box (left, top, right, bottom): mostly downwards, some across."""
    left, top, right, bottom = box
    folds = []
    for _ in range(count):
        x, y = dice.uniform(left, right), dice.uniform(top, bottom)
        run = dice.uniform(0.25, 0.6) * (bottom - top)
        tilt = dice.uniform(-0.5, 0.5) if dice.chance(0.75) else dice.uniform(0.8, 1.4)
        dx, dy = math.sin(tilt) * run / 2, math.cos(tilt) * run / 2
        folds.append(
            Fold(
                (x - dx, y - dy),
                (x + dx, y + dy),
                dice.uniform(1.2, 2.8),
                strength * dice.uniform(0.3, 0.8),
                dice.uniform(-0.12, 0.12) * run,
            )
        )
    return folds


def armpit_folds(dice: Dice, armpit: Point, centre: Point, strength: float) -> list[Fold]:
    """Folds that run from both armpits towards the middle of the body and down."""
    folds = []
    for side in (-1.0, 1.0):
        for _ in range(dice.integer(2, 3)):
            reach = dice.uniform(0.35, 0.8)
            end = (
                side * (armpit[0] + (centre[0] - armpit[0]) * reach),
                armpit[1] + (centre[1] - armpit[1]) * reach * dice.uniform(0.2, 1.2),
            )
            start = (side * (armpit[0] - 0.5), armpit[1] + dice.uniform(-4.0, 3.0))
            folds.append(
                Fold(start, end, dice.uniform(1.0, 1.9), strength * dice.uniform(0.35, 0.75))
            )
    return folds


def flares(
    dice: Dice,
    top: tuple[float, float],
    bottom: tuple[float, float],
    count: int,
    strength: float,
) -> list[Fold]:
    """Folds that open from a waist (half width, y) to a hem (half width, y)."""
    folds = []
    for number in range(count):
        at = (number + 0.5 + dice.uniform(-0.3, 0.3)) / count * 2 - 1
        start = (at * top[0] * 0.92, top[1] + dice.uniform(0.5, 6.0))
        end = (at * bottom[0] * 0.95, bottom[1])
        wide = bottom[0] / count
        folds.append(
            Fold(
                start,
                end,
                wide * 0.35,
                strength * dice.uniform(0.6, 1.2),
                dice.uniform(-1.0, 1.0),
                wide * dice.uniform(0.6, 0.95),
                open_end=True,
            )
        )
    return folds
