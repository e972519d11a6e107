"""Garments from the shoulders to the legs: dress and jumpsuit."""

from __future__ import annotations

from dataclasses import replace

from ..curves import Frame, flipped, join, moved, spline
from ..dice import Dice
from .bottoms import Legs, legs, skirt_panel
from .parts import Sleeve
from .pieces import Button, Garment, Piece, Pose, Seam
from .torso import BUTTONS, Torso, button_row, placket, shirt_collar, slit


def _bodice(cut: Dice, waist_y: float) -> Torso:
    half = 22.5 * cut.uniform(0.95, 1.06)
    waist = half * cut.uniform(0.78, 0.86)
    return Torso(
        neck=cut.uniform(8.0, 9.4),
        dip=9.0,
        shoulder=(half * 0.84, 4.0),
        armpit=(half, cut.uniform(22.0, 24.0)),
        waist=(waist * 1.06, waist_y - 6.0),
        hem=(waist, waist_y),
        hem_drop=0.6,
    )


def _belt(half: float, y: float, cloth: str, height: float) -> Piece:
    strip = join(
        spline(
            [
                (-half - 0.3, y - height / 2),
                (0.0, y + 0.6 - height / 2),
                (half + 0.3, y - height / 2),
            ]
        ),
        spline(
            [
                (half + 0.3, y + height / 2),
                (0.0, y + 0.6 + height / 2),
                (-half - 0.3, y + height / 2),
            ]
        ),
    )
    return Piece(strip, cloth, lift=0.25, puff=0.6)


def dress(cut: Dice, pose: Pose) -> Garment:
    """A fitted bodice on a flared, pleated or straight skirt; sleeves long, short or none."""
    torso = _bodice(cut, cut.uniform(40, 44))
    torso.shape = cut.choice(("crew", "v", "scoop", "boat"))
    torso.dip = {"crew": 8.5, "v": 16.0, "scoop": 13.0, "boat": 5.0}[torso.shape]
    if torso.shape == "boat":
        torso.neck = 11.5
    sleeves = cut.choice(("none", "short", "puffed", "long"))
    kind = cut.choice(("flared", "flared", "pleated", "straight"))
    length = torso.hem[1] + cut.uniform(42, 74)
    wide = torso.hem[0] * {"flared": 1.9, "pleated": 1.75, "straight": 1.3}[kind]
    belt = cut.choice(("none", "main", "trim", "trim"))
    band = cut.choice(("main", "main", "trim"))
    if sleeves == "none":
        torso.shoulder = (torso.neck + cut.uniform(4.5, 7.0), 2.0)
    angle = cut.uniform(0.5, 0.75)
    front = torso.front(pose, seams=False)
    wx = torso.hem[0]
    for side in (-1.0, 1.0):
        dart = spline([(torso.armpit[0] * 0.55, torso.armpit[1] + 4), (wx * 0.5, torso.hem[1])])
        front.seams.append(Seam(flipped(dart, side), "seam", 0.25))
    panel = skirt_panel((wx, torso.hem[1]), (wide, length), kind, pose)
    pieces = [torso.back(), torso.label(cut)]
    if sleeves == "none":
        front.seams = [s for s in front.seams if s.width == 0.25]
    else:
        long = {"short": 19.0, "puffed": 22.0, "long": 54.0}[sleeves]
        puffed = {"short": 0.0, "puffed": 3.5, "long": 1.0}[sleeves]
        cuff = {"short": 9.0, "puffed": 8.0, "long": 5.5}[sleeves]
        arm = Sleeve(
            torso.shoulder,
            torso.armpit,
            angle,
            long,
            18.5,
            cuff,
            "hem" if sleeves == "short" else "elastic",
            2.2,
            band,
            puffed,
        )
        pieces += torso.sleeves(arm, pose)
    far, near = torso.bound_armholes(1.2, band) if sleeves == "none" else ([], [])
    pieces += [*far, panel, front, *torso.neckband(1.4, band), *near]
    front.seams.append(
        Seam(
            spline([(-wx, torso.hem[1]), (0.0, torso.hem[1] + 0.6), (wx, torso.hem[1])]),
            "seam",
            0.4,
        )
    )
    if belt != "none":
        pieces.append(_belt(wx, torso.hem[1], belt, cut.uniform(2.4, 4.5)))
    fabric = cut.choice(("poplin", "silk", "linen", "jersey"))
    reach = 12 if sleeves == "none" else 17
    return Garment(pieces, fabric, "shoulders", (0, 1.0), reach, 2.5)


def jumpsuit(cut: Dice, pose: Pose) -> Garment:
    """A shirt-like or sleeveless top sewn to long trousers at a belted waist."""
    torso = _bodice(cut, cut.uniform(41, 44))
    torso.hem = (torso.hem[0] + 1.0, torso.hem[1])
    collared = cut.chance(0.5)
    torso.shape, torso.dip = ("crew", 6.2) if collared else ("v", 17.0)
    if collared:
        torso.neck = 7.4
    sleeves = cut.choice(("short", "long") if collared else ("none", "short", "long"))
    if sleeves == "none":
        torso.shoulder = (torso.neck + 6.0, 2.0)
    wide = cut.uniform(17.5, 27.0)
    wx, wy = torso.hem
    shape = Legs(
        wx,
        wx + 6.0,
        19.0,
        cut.uniform(30, 33),
        cut.uniform(96, 104),
        max(20.0, wide * 0.92),
        wide,
        0.08,
    )
    buttons, belt = cut.choice(BUTTONS), cut.choice(("main", "trim"))
    front = torso.front(pose, seams=False)
    pieces = [torso.back(), torso.label(cut)]
    if sleeves != "none":
        long = sleeves == "long"
        arm = Sleeve(
            torso.shoulder,
            torso.armpit,
            0.42 if long else 0.66,
            56.0 if long else 21.0,
            18.5,
            6.0 if long else 8.6,
            "cuff" if long else "hem",
            5.0 if long else 2.0,
        )
        pieces += torso.sleeves(arm, pose)
    else:
        front.seams = []
        pieces += torso.bound_armholes(1.2, "main")[0]
    lower = legs(shape, pose)
    for side, leg in zip((-1.0, 1.0), lower, strict=True):
        leg.seams += [
            Seam(flipped(s.points, side), s.kind, s.width)
            for s in slit([(wx * 0.7, 3.0), (shape.hip * 0.96, 18.0)])
        ]
        _lower(leg, wy - 1.0)
    pieces += [*lower, front]
    if collared:
        leaves = shirt_collar(torso, 5.4, 6.6, "main")
        pieces.insert(1, leaves[0])
        strip = placket(torso.dip, wy + 1.0, 3.2, "main")
        strip.buttons = button_row(torso.dip + 1.6, wy - 5, 5, buttons, 0.7)
        pieces += [strip, *leaves[1:]]
    else:
        pieces += torso.neckband(1.6, "main")
    pieces.append(_belt(wx, wy, belt, 3.6))
    if belt == "main":
        pieces[-1].buttons.append(Button(0.0, wy + 0.6, 1.1, buttons))
    return Garment(
        pieces,
        cut.choice(("twill", "linen", "poplin", "denim")),
        "shoulders",
        (0, -1.0 if collared else 1.0),
        13 if sleeves == "none" else 16,
        2.5,
    )


def _lower(piece: Piece, by: float) -> None:
    """Move a piece and all that is on it down by ``by`` cm."""
    frame = piece.frame
    piece.outline = moved(piece.outline, 0.0, by)
    piece.frame = Frame(frame.x, frame.y + by, frame.angle, frame.bend, frame.length)
    piece.seams = [Seam(moved(s.points, 0.0, by), s.kind, s.width, s.colour) for s in piece.seams]
    piece.folds = [
        replace(f, start=(f.start[0], f.start[1] + by), end=(f.end[0], f.end[1] + by))
        for f in piece.folds
    ]
