"""Garments with lapels and two overlapping fronts: blazer and coat."""

from __future__ import annotations

from ..curves import Curve, Frame, flipped, join, offset, spline
from ..dice import Dice
from .parts import Sleeve, armpit_folds, drape
from .pieces import Garment, Piece, Pose, Seam
from .torso import BUTTONS, Torso, button_row, flap_pocket, slit


def _panel(torso: Torso, side: float, overlap: float, cutaway: float, pose: Pose) -> Piece:
    """One front: it reaches ``overlap`` over the middle, ``cutaway`` rounds its corner."""
    (ax, ay), (wx, wy), (hx, hy) = torso.armpit, torso.waist, torso.hem
    sides = spline(
        [
            (ax, ay),
            ((ax + wx) / 2 - 0.4, (ay + wy) / 2),
            (wx, wy),
            ((wx + hx) / 2, (wy + hy) / 2),
            (hx, hy),
        ]
    )
    edge = spline(
        [
            (cutaway, hy + torso.hem_drop),
            (cutaway * 0.3 - overlap * 0.7, hy - cutaway),
            (-overlap, hy - cutaway * 2 - 4.0),
            (-overlap, torso.dip + 4.0),
            (-overlap, torso.dip),
        ]
    )
    shoulder = spline([(torso.neck, 0.0), torso.shoulder])
    shape = join(
        torso.neckline(), shoulder, torso.armhole(), sides, [(hx * 0.5, hy + torso.hem_drop)], edge
    )
    piece = Piece(flipped(shape, side), lift=0.4, puff=0.5)
    middle = (0.0, (ay + hy) / 2)
    piece.folds = [
        fold
        for fold in armpit_folds(pose.dice, torso.armpit, middle, pose.crumple * 0.8)
        if fold.start[0] * side > 0
    ]
    low, high = sorted((side * hx * 0.1, side * hx * 0.85))
    piece.folds += drape(pose.dice, (low, ay, high, hy), pose.dice.integer(2, 5), pose.crumple)
    piece.seams.append(Seam(flipped(torso.armhole(), side), "seam", 0.35))
    piece.seams.append(Seam(flipped(offset(edge, 0.8), side), "stitch"))
    dart = spline([(ax * 0.5, ay + 4), (wx * 0.46, wy), (ax * 0.5, min(wy + 18, hy - 8))])
    piece.seams.append(Seam(flipped(dart, side), "seam", 0.2))
    return piece


def _lapels(torso: Torso, wide: float, peak: float, cloth: str) -> list[Piece]:
    """Far collar, then a lapel and a collar leaf for each side, the right one on top."""
    n, d = torso.neck, torso.dip
    top = spline([(-n - 0.3, -0.8), (-n * 0.6, -3.0), (0, -3.8), (n * 0.6, -3.0), (n + 0.3, -0.8)])
    low = spline([(n - 0.2, 0.8), (n * 0.5, 1.4), (0.0, 1.8), (-n * 0.5, 1.4), (-n + 0.2, 0.8)])
    pieces = [Piece(join(top, low), cloth, lift=0.2, puff=0.5, shade=0.82)]
    gorge = (n * 0.72, 9.0)
    roll: Curve = spline([(-0.6, d + 0.5), (n * 0.38, d * 0.58), gorge])
    for side in (-1.0, 1.0):
        outer = spline(
            [
                (wide, 13.0 - peak),
                (wide * 0.86, 13.0 + (d - 13.0) * 0.4),
                (wide * 0.45, d * 0.84),
                (-0.6, d + 0.5),
            ]
        )
        lapel = Piece(flipped(join(roll, outer), side), cloth, lift=0.8, puff=0.8)
        # Turned over at the roll line: its grain runs along that, not down the front.
        lapel.frame = Frame(side * 1.7, 0.8, -side * 0.36)
        lapel.seams.append(Seam(flipped(offset(outer, 0.7), side), "stitch"))
        notch = (gorge[0] + (wide - gorge[0]) * 0.62, 9.0 + (13.0 - peak - 9.0) * 0.62)
        leaf_tip = (notch[0] + 1.0, notch[1] - 3.4 + peak * 0.4)
        edge = spline([leaf_tip, (n + 3.6, 3.0), (n + 2.2, 0.4), (n + 0.2, -1.6)])
        inside = spline([(n + 0.2, -1.6), (n - 0.6, 2.0), gorge])
        leaf = Piece(flipped(join([gorge, notch], edge, inside), side), cloth, lift=0.7, puff=0.8)
        leaf.frame = Frame(side * 0.9, 2.3, side * 0.9)
        pieces += [lapel, leaf]
    return pieces


def blazer(cut: Dice, pose: Pose) -> Garment:
    """Notched or peaked lapels, one to three buttons, two flap pockets and a slit."""
    half = 25.0 * cut.uniform(0.94, 1.06)
    double = cut.chance(0.25)
    torso = Torso(
        neck=7.6,
        dip=cut.uniform(29, 37),
        shoulder=(half * 0.86, 4.2),
        armpit=(half, 25.0),
        waist=(half * 0.9, 46.0),
        hem=(half * cut.uniform(1.0, 1.06), cut.uniform(69, 76)),
        shape="wrap",
    )
    arm = Sleeve(torso.shoulder, torso.armpit, cut.uniform(0.2, 0.32), 62.0, 16.5, 6.2)
    overlap = 7.0 if double else 1.8
    collar = cut.choice(("main", "main", "main", "main", "trim"))
    lapels = _lapels(torso, cut.uniform(10.5, 13.5), 4.5 if double else 0.0, collar)
    buttons, rows = cut.choice(BUTTONS[1:]), cut.choice((1, 2, 2, 3))
    pieces = [torso.back(), lapels[0], torso.label(cut), *torso.sleeves(arm, pose)]
    left = _panel(torso, -1.0, overlap, 0.5 if double else 6.0, pose)
    right = _panel(torso, 1.0, overlap, 0.5 if double else 6.0, pose)
    first, last = torso.dip + 1.0, torso.dip + (12.0 if double else 4.0 + 9.0 * (rows - 1))
    if double:
        for x in (-overlap + 2.0, overlap - 1.0):
            right.buttons += button_row(first + 2, last + 2, 2, buttons, 1.1, x)
    elif rows == 1:
        right.buttons += button_row(first, first, 1, buttons, 1.1)
    else:
        right.buttons += button_row(first, min(last, torso.hem[1] - 16), rows, buttons, 1.1)
    pieces += [left, right]
    for side in (-1.0, 1.0):
        pieces.append(flap_pocket(side * half * 0.56, torso.hem[1] - 23, 13.5, 5.2, 0.08))
    pieces[-3].seams.extend(slit([(half * 0.36, 24.0), (half * 0.72, 22.8)], 0.8))
    pieces += lapels[1:]
    return Garment(
        pieces, cut.choice(("wool", "twill", "linen", "corduroy")), "shoulders", (0, -2.0), 20
    )


def coat(cut: Dice, pose: Pose) -> Garment:
    """Long, wide lapels, single or double breasted, often belted."""
    half = 26.5 * cut.uniform(0.94, 1.06)
    double, belted = cut.chance(0.55), cut.chance(0.5)
    torso = Torso(
        neck=8.2,
        dip=cut.uniform(24, 32),
        shoulder=(half * 0.86, 4.6),
        armpit=(half, 26.0),
        waist=(half * (0.86 if belted else 0.96), 50.0),
        hem=(half * cut.uniform(1.08, 1.25), cut.uniform(98, 112)),
        shape="wrap",
    )
    arm = Sleeve(
        torso.shoulder,
        torso.armpit,
        cut.uniform(0.18, 0.3),
        63.0,
        18.0,
        7.0,
        "cuff" if cut.chance(0.4) else "hem",
        6.0,
    )
    overlap = 8.0 if double else 2.4
    lapels = _lapels(
        torso,
        cut.uniform(12.5, 15.0),
        cut.choice((0.0, 4.0)),
        cut.choice(("main", "main", "main", "trim")),
    )
    buttons = cut.choice(BUTTONS[1:])
    slanted = cut.chance(0.5)
    pieces = [torso.back(), lapels[0], torso.label(cut), *torso.sleeves(arm, pose)]
    right = _panel(torso, 1.0, overlap, 0.5, pose)
    end = torso.dip + cut.uniform(34, 44)
    for x in (-overlap + 2.4, overlap - 1.0) if double else (0.0,):
        right.buttons += button_row(torso.dip + 3, end, 4, buttons, 1.4, x)
    pieces += [_panel(torso, -1.0, overlap, 0.5, pose), right]
    for side in (-1.0, 1.0):
        if slanted:
            welt = join(
                [(half * 0.5, 60.0), (half * 0.62, 59.0)], [(half * 0.82, 74.0), (half * 0.7, 75.2)]
            )
            pieces.append(Piece(flipped(welt, side), lift=0.3, puff=0.4))
        else:
            pieces.append(flap_pocket(side * half * 0.6, 64.0, 15.0, 6.5, 0.04))
    if belted:
        wx, wy = torso.waist
        strap = join(
            spline([(-wx - 0.4, wy - 2.4), (0.0, wy - 1.8), (wx + 0.4, wy - 2.4)]),
            spline([(wx + 0.4, wy + 2.4), (0.0, wy + 3.0), (-wx - 0.4, wy + 2.4)]),
        )
        belt = Piece(strap, lift=0.4, puff=0.5)
        belt.seams += [
            Seam(spline([(-wx, wy + dy), (0, wy + dy + 0.5), (wx, wy + dy)]), "stitch")
            for dy in (-1.5, 1.6)
        ]
        end_piece = join(
            [(-1.5, wy - 1.0), (3.0, wy - 0.5)],
            spline([(3.0, wy - 0.5), (7.0, wy + 12), (7.5, wy + 22)]),
            spline([(3.4, wy + 23), (2.5, wy + 12), (-1.5, wy + 2.5)]),
        )
        pieces += [Piece(end_piece, lift=0.5, puff=0.6), belt]
    pieces += lapels[1:]
    return Garment(pieces, cut.choice(("wool", "wool", "twill")), "shoulders", (0, -2.0), 20)
