"""Garments that hang from the waist: skirts, shorts, trousers and jeans.

The origin is the middle of the waistband's upper edge.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..cloth.colours import Rgb
from ..curves import (
    Frame,
    Point,
    both_sides,
    ellipse,
    flipped,
    join,
    mirrored,
    moved,
    rectangle,
    spline,
)
from ..dice import Dice
from .parts import drape, flares
from .pieces import Button, Fold, Garment, Piece, Pose, Seam
from .torso import BUTTONS, METAL, slit

COPPER: Rgb = (178.0, 112.0, 72.0)


@dataclass(frozen=True, slots=True)
class Legs:
    """The cut of a pair of legs, half widths: ``waist``, ``hip`` (at ``hip_y``), then one
    leg's whole width at ``knee`` and ``hem``; ``crotch`` and ``length`` from the waist."""

    waist: float
    hip: float
    hip_y: float
    crotch: float
    length: float
    knee: float
    hem: float
    angle: float


def legs(cut: Legs, pose: Pose, finish: str = "stitch") -> list[Piece]:
    """Two legs, right one on top, each with its folds, its cloth turned along the leg."""
    pieces = []
    for side, bend in zip((-1.0, 1.0), pose.bends, strict=True):
        angle = cut.angle + pose.spread * 0.35 + pose.dice.uniform(-0.015, 0.02)
        top = (cut.hip * 0.5, cut.crotch - 4.0)
        frame = Frame(*top, max(0.01, angle), bend * 0.5, cut.length - cut.crotch)
        run = cut.length - top[1]
        knee = run * 0.46
        edge = frame.to_garment(
            spline([(cut.hip * 0.5 - 0.2, 4.0), (cut.knee * 0.54, knee), (cut.hem * 0.5, run)])
        )
        inner = frame.to_garment(
            spline([(-cut.hem * 0.5, run), (-cut.knee * 0.49, knee), (-cut.hip * 0.5 + 0.8, 8.0)])
        )
        hem = frame.to_garment(
            spline([(cut.hem * 0.5, run), (0.0, run + 0.6), (-cut.hem * 0.5, run)])
        )
        outer = spline(
            [
                (cut.waist, 0.0),
                ((cut.waist + cut.hip) / 2 + 0.6, cut.hip_y * 0.5),
                (cut.hip, cut.hip_y),
                tuple(edge[2]),
            ]
        )
        rise = spline([(-0.4, cut.crotch + 0.5), (-0.2, cut.crotch * 0.6), (-0.2, 0.0)])
        shape = join(outer, edge[3:], hem, inner, rise)
        lie = frame if side > 0 else Frame(-top[0], top[1], -frame.angle, -frame.bend, frame.length)
        piece = Piece(flipped(shape, side), frame=lie, lift=0.3, puff=0.7)
        piece.folds = _leg_folds(cut, frame, run, side, pose)
        rim = frame.to_garment(
            spline([(cut.hem * 0.5, run - 2.4), (0.0, run - 1.9), (-cut.hem * 0.5, run - 2.4)])
        )
        piece.seams.append(Seam(flipped(rim, side), finish))
        pieces.append(piece)
    return pieces


def _leg_folds(cut: Legs, frame: Frame, run: float, side: float, pose: Pose) -> list[Fold]:
    """Whiskers from the crotch, creases behind the knee, cloth stacked above the hem."""
    dice, folds = pose.dice, []

    def add(start: Point, end: Point, width: float, height: float, local: bool = True) -> None:
        pair = frame.to_garment([start, end]) if local else join([start, end])
        a, b = flipped(pair, side)
        folds.append(Fold((a[0], a[1]), (b[0], b[1]), width, height * pose.crumple))

    for _ in range(dice.integer(3, 5)):
        rise = dice.uniform(-9.0, 8.0)
        start = (dice.uniform(0.3, 1.5), cut.crotch + dice.uniform(-3.5, 1.0))
        end = (cut.hip * dice.uniform(0.55, 0.95), cut.crotch + rise)
        add(start, end, dice.uniform(0.8, 1.5), dice.uniform(0.3, 0.6), local=False)
    if run > 45:
        for _ in range(dice.integer(2, 5)):
            v, lean = run * dice.uniform(0.36, 0.6), dice.uniform(-4.0, 4.0)
            half = cut.knee * dice.uniform(0.25, 0.48)
            add((-half, v - lean), (half, v + lean), 1.2, dice.uniform(0.25, 0.5))
        for _ in range(dice.integer(1, 4)):
            v, lean = run * dice.uniform(0.86, 0.97), dice.uniform(-2.5, 2.5)
            add((-cut.hem * 0.45, v - lean), (cut.hem * 0.45, v + lean), 1.0, 0.35)
    for _ in range(dice.integer(2, 4)):
        u, v = dice.uniform(-0.3, 0.3) * cut.knee, run * dice.uniform(0.05, 0.5)
        add((u, v), (u + dice.uniform(-2, 2), v + run * dice.uniform(0.2, 0.5)), 2.0, 0.45)
    return folds


def waistband(half: float, height: float, cloth: str, loops: bool, stitch: bool = True) -> Piece:
    """A curved band from the waist upwards to y = 0, with belt loops if asked."""
    top = spline([(-half, 0.0), (0.0, 0.9), (half, 0.0)])
    low = spline([(half + 0.3, height), (0.0, height + 0.9), (-half - 0.3, height)])
    piece = Piece(join(top, low), cloth, lift=0.22, puff=0.6)
    if stitch:
        piece.seams.append(Seam(moved(top, 0.0, 0.7), "stitch"))
        piece.seams.append(Seam(moved(low, 0.0, -0.7), "stitch"))
    if loops:
        for x in (-0.78, -0.4, 0.4, 0.78):
            line = spline([(x * half, 0.2), (x * half, height + 1.2)])
            piece.seams.append(Seam(line, "seam", 1.1))
    return piece


def _inside_waist(half: float) -> Piece:
    """The far side of the waistband, seen over the near one."""
    top = spline([(-half, 0.2), (-half * 0.5, -1.1), (0.0, -1.5), (half * 0.5, -1.1), (half, 0.2)])
    return Piece(join(top, [(half, 1.6), (0, 2.4), (-half, 1.6)]), "ground", lift=0.0, shade=0.6)


def _fly(depth: float) -> list[Seam]:
    curve = spline([(3.0, 3.0), (3.0, depth * 0.7), (2.0, depth * 0.92), (0.2, depth)])
    return [Seam(curve, "stitch"), Seam(spline([(0.0, 3.0), (0.0, depth + 2)]), "seam", 0.4)]


def trousers(cut: Dice, pose: Pose) -> Garment:
    """Tailored: slanted pockets, a crease down each leg, straight, slim or wide."""
    fit = cut.choice(("slim", "straight", "wide"))
    knee, hem = {"slim": (19.0, 15.0), "straight": (21.5, 19.5), "wide": (24.5, 27.0)}[fit]
    waist = cut.uniform(19.0, 21.0)
    shape = Legs(
        waist,
        waist + 5.0,
        20.0,
        cut.uniform(27, 30),
        cut.uniform(102, 109),
        knee * cut.uniform(0.95, 1.05),
        hem * cut.uniform(0.95, 1.05),
        {"slim": 0.075, "straight": 0.085, "wide": 0.1}[fit],
    )
    crease, pleats = cut.chance(0.7), cut.chance(0.4)
    buttons, cuffed = cut.choice(BUTTONS), cut.chance(0.3)
    pair = legs(shape, pose, "seam" if cuffed else "stitch")
    for side, leg in zip((-1.0, 1.0), pair, strict=True):
        if crease:
            frame = leg.frame
            line = frame.to_garment(spline([(0.0, 2.0), (0.0, shape.length - shape.crotch + 2)]))
            ends = (tuple(line[0]), tuple(line[-1]))
            leg.folds.append(Fold(ends[0], ends[1], 1.5, 0.55, open_end=True))
        leg.seams += [
            Seam(flipped(s.points, side), s.kind, s.width)
            for s in slit([(waist * 0.72, 4.0), (shape.hip * 0.97, 19.0)])
        ]
        if pleats:
            for x in (0.36, 0.52):
                start, end = (side * waist * x, 4.0), (side * waist * (x + 0.03), 20.0)
                leg.folds.append(Fold(start, end, 1.0, 0.6))
                leg.seams.append(Seam(spline([start, (start[0], 8.0)]), "seam", 0.3))
    pair[1].seams += _fly(17.0)
    pieces = [_inside_waist(waist), *pair, waistband(waist, 4.0, "main", True)]
    pieces[-1].buttons.append(Button(0.6, 2.6, 0.9, buttons))
    return Garment(
        pieces, cut.choice(("wool", "twill", "linen", "corduroy")), "clips", (0, 0.0), waist
    )


def jeans(cut: Dice, pose: Pose) -> Garment:
    """Denim: five pockets with rivets, a fly, contrast stitches, worn thighs."""
    fit = cut.choice(("slim", "straight", "wide", "flared"))
    knee, hem = {
        "slim": (18.5, 14.5),
        "straight": (21.5, 19.5),
        "wide": (24.0, 25.0),
        "flared": (19.5, 26.0),
    }[fit]
    waist = cut.uniform(19.0, 21.0)
    shape = Legs(
        waist,
        waist + 4.8,
        19.0,
        cut.uniform(25, 28),
        cut.uniform(102, 109),
        knee * cut.uniform(0.95, 1.05),
        hem * cut.uniform(0.95, 1.05),
        0.085,
    )
    thread: Rgb = cut.choice(((206.0, 148.0, 76.0), (206.0, 148.0, 76.0), (222.0, 214.0, 196.0)))
    worn, ripped = cut.uniform(0.0, 1.0), cut.chance(0.25)
    pair = legs(shape, pose)
    for side, leg in zip((-1.0, 1.0), pair, strict=True):
        mouth = spline(
            [
                (waist * 0.42, 3.4),
                (waist * 0.5, 8.0),
                (waist * 0.78, 10.6),
                (shape.hip * 0.94, 11.0),
            ]
        )
        leg.seams.append(Seam(flipped(mouth, side), "seam", 0.6))
        leg.seams.append(Seam(flipped(moved(mouth, -0.5, 0.9), side), "stitch"))
        side_seam = spline([(shape.hip * 0.93, 11), (shape.hip * 0.95, 20), (shape.hip * 0.93, 30)])
        leg.seams.append(Seam(flipped(side_seam, side), "stitch"))
        for x, y in ((waist * 0.44, 4.6), (shape.hip * 0.9, 11.4)):
            leg.buttons.append(Button(side * x, y, 0.55, COPPER, holes=False))
        leg.seams[0] = Seam(leg.seams[0].points, "stitch")
    pair[1].seams += _fly(16.0)
    pieces = [_inside_waist(waist), *pair]
    if worn > 0.45:  # thighs and knees bleached by wear
        for side, leg in zip((-1.0, 1.0), pair, strict=True):
            for u, v, rx, ry in ((0.4, 14.0, 5.2, 15.0), (0.0, 40.0, 4.6, 9.0)):
                at = leg.frame.to_garment([(side * u, v)])[0]
                fade = Piece(ellipse(at[0], at[1], rx, ry), "main", leg.frame, 0.0, 0.0)
                fade.shade, fade.soft, fade.folds = 1.0 + 0.3 * worn, 2.6, leg.folds
                pieces.append(fade)
    if ripped:
        leg = pair[cut.integer(0, 1)]
        at = leg.frame.to_garment([(0.0, 38.0)])[0]
        hole = Piece(ellipse(at[0], at[1], 5.0, 1.5), "lining", leg.frame, 0.0, 0.4, 0.9)
        hole.seams = [
            Seam(
                spline([(at[0] - 4.5, at[1] + dy), (at[0] + 4.5, at[1] + dy * 0.6)]),
                "cord",
                0.3,
                (226.0, 224.0, 218.0),
            )
            for dy in (-0.8, 0.1, 0.9)
        ]
        pieces.append(hole)
    pieces.append(waistband(waist, 4.0, "main", True))
    pieces[-1].buttons.append(Button(0.6, 2.6, 1.0, METAL, holes=False))
    for piece in pieces:
        piece.seams = [
            Seam(s.points, s.kind, s.width, thread) if s.kind == "stitch" else s
            for s in piece.seams
        ]
    return Garment(pieces, "denim", "clips", (0, 0.0), waist)


def shorts(cut: Dice, pose: Pose) -> Garment:
    """Above the knee: tailored with a button, or sporty with an elastic waist and a cord."""
    sporty = cut.chance(0.45)
    waist = cut.uniform(19.0, 21.5)
    length = cut.uniform(43, 56)
    shape = Legs(
        waist,
        waist + 5.5,
        19.0,
        cut.uniform(25, 28),
        length,
        26.0,
        cut.uniform(23.5, 26.5),
        cut.uniform(0.13, 0.19),
    )
    buttons, cord = cut.choice(BUTTONS), cut.choice(((236.0, 234.0, 230.0), (52.0, 52.0, 56.0)))
    pair = legs(shape, pose)
    for side, leg in zip((-1.0, 1.0), pair, strict=True):
        leg.seams += [
            Seam(flipped(s.points, side), s.kind, s.width)
            for s in slit([(waist * 0.74, 4.0), (shape.hip * 0.98, 18.0)])
        ]
    pieces = [_inside_waist(waist), *pair]
    if sporty:
        pieces.append(waistband(waist, 4.6, cut.choice(("rib", "trim")), False, stitch=False))
        for leg in pair:
            leg.folds += flares(pose.dice, (waist, 4.0), (waist + 2.0, 15.0), 8, 0.25)
        for side in (-1.0, 1.0):
            end = (side * pose.dice.uniform(2.0, 5.0), pose.dice.uniform(13, 19))
            path = spline([(side * 1.2, 2.4), (side * 2.4, 7.0), end])
            pieces[-1].seams.append(Seam(path, "cord", 0.7, cord))
        return Garment(pieces, cut.choice(("fleece", "nylon", "jersey")), "clips", (0, 0), waist)
    pair[1].seams += _fly(15.0)
    pieces.append(waistband(waist, 4.0, "main", True))
    pieces[-1].buttons.append(Button(0.6, 2.6, 0.9, buttons))
    return Garment(pieces, cut.choice(("twill", "linen", "denim")), "clips", (0, 0.0), waist)


def skirt(cut: Dice, pose: Pose) -> Garment:
    """A-line with loose flares, pleated, or a straight one with a slit or buttons."""
    kind = cut.choice(("flared", "flared", "pleated", "straight", "buttoned"))
    waist = cut.uniform(16.5, 19.0)
    length = cut.uniform(42, 76) if kind != "straight" else cut.uniform(48, 64)
    wide = {"flared": 1.75, "pleated": 1.6, "straight": 1.2, "buttoned": 1.45}[kind]
    hem = waist * wide + (length - 42) * 0.18 * (kind != "straight")
    pieces = [_inside_waist(waist), skirt_panel((waist, 2.0), (hem, length), kind, pose)]
    if kind == "buttoned":
        strip = Piece(rectangle(-1.8, 3.0, 1.8, length + 1.4), lift=0.2, puff=0.3)
        for x in (-1.3, 1.3):
            strip.seams.append(Seam(spline([(x, 3.0), (x, length + 1.2)]), "stitch"))
        count = max(4, round(length / 9))
        colour = cut.choice(BUTTONS)
        strip.buttons = [
            Button(0.0, 6.0 + i * (length - 10) / count, 0.9, colour) for i in range(count + 1)
        ]
        pieces.append(strip)
    elif kind == "straight":
        side = cut.sign()
        line = spline([(side * hem * 0.4, length * 0.62), (side * hem * 0.42, length + 1.2)])
        pieces[-1].seams.append(Seam(line, "seam", 0.7))
    pieces.append(waistband(waist, 3.6, cut.choice(("main", "main", "trim")), False))
    fabric = {
        "flared": ("poplin", "silk", "linen"),
        "pleated": ("wool", "silk"),
        "straight": ("twill", "wool", "denim"),
        "buttoned": ("corduroy", "denim", "twill"),
    }
    return Garment(pieces, cut.choice(fabric[kind]), "clips", (0, 0.0), waist)


def skirt_panel(
    top: tuple[float, float], bottom: tuple[float, float], kind: str, pose: Pose
) -> Piece:
    """The front of a skirt from (half width, y) to (half width, y): ``flared``,
    ``pleated``, ``straight`` or ``buttoned``."""
    (tx, ty), (bx, by) = top, bottom
    hip = tx + (bx - tx) * (0.62 if kind == "straight" else 0.34) + 1.0
    edge = spline(
        [(tx, ty), (hip, ty + (by - ty) * 0.3), (bx * 0.96, ty + (by - ty) * 0.85), (bx, by)]
    )
    waves = 5 if kind in ("flared", "pleated") else 1
    hem: list[Point] = []
    for step in range(waves * 2 + 1):
        at = 1 - step / (waves * 2)
        depth = 1.6 * (1 - at * at) + (0.45 if step % 2 else -0.25) * (waves > 1)
        hem.append((bx * at, by + depth))
    half = join([(0.0, ty + 0.8)], edge, spline(hem, 4))
    piece = Piece(both_sides(half), lift=0.3, puff=0.6)
    if kind == "pleated":
        count = 11
        for number in range(count):
            at = (number + 0.5) / count * 2 - 1
            start, end = (at * tx, ty + 1.0), (at * bx * 0.98, by + 1.5)
            piece.folds.append(Fold(start, end, tx / count, 0.7, 0.0, bx / count * 0.95, True))
            line = spline([(start[0] + tx / count, ty), (end[0] + bx / count, by + 1.0)])
            piece.seams.append(Seam(line, "seam", 0.3))
    elif kind == "flared":
        count = pose.dice.integer(6, 9)
        piece.folds = flares(pose.dice, top, bottom, count, 1.1 * pose.crumple)
    else:
        box = (-bx * 0.8, ty + 6, bx * 0.8, by)
        piece.folds = drape(pose.dice, box, pose.dice.integer(4, 7), pose.crumple)
        piece.folds += flares(pose.dice, top, bottom, 3, 0.4 * pose.crumple)
    near = spline([(x * 0.99, y - 2.2) for x, y in hem], 4)
    piece.seams.append(Seam(join(near, mirrored(near)[1:]), "stitch"))
    return piece
