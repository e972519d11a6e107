"""The parts that most garments share: the torso, its neck, collars, closures, pockets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..cloth.colours import Rgb
from ..curves import (
    Curve,
    Frame,
    Point,
    band,
    both_sides,
    flipped,
    join,
    mirrored,
    moved,
    offset,
    rectangle,
    spline,
)
from ..dice import Dice
from .parts import Sleeve, armpit_folds, drape, sleeve
from .pieces import Button, Fold, Piece, Pose, Seam

METAL: Rgb = (176.0, 172.0, 164.0)
BUTTONS: tuple[Rgb, ...] = (
    (232.0, 228.0, 218.0),
    (70.0, 52.0, 40.0),
    (44.0, 44.0, 48.0),
    (140.0, 100.0, 64.0),
    (120.0, 124.0, 130.0),
)


@dataclass(slots=True)
class Torso:
    """The cut of what covers the chest; points are on the viewer's right.

    ``neck`` is the half width of the neck, ``dip`` how deep the front neckline is and
    ``shape`` its line: ``crew``, ``scoop``, ``v``, ``boat`` or ``wrap`` (a deep V).
    """

    neck: float
    dip: float
    shoulder: Point
    armpit: Point
    waist: Point
    hem: Point
    shape: str = "crew"
    back_dip: float = 2.0
    hem_drop: float = 0.8
    tail: float = 0.0

    def neckline(self) -> Curve:
        """Right half of the front neckline, from the middle up to the shoulder."""
        n, d = self.neck, self.dip
        if self.shape in ("v", "wrap"):
            return spline([(0.0, d), (n * 0.42, d * 0.62), (n * 0.84, d * 0.2), (n, 0.0)])
        if self.shape == "boat":
            return spline([(0.0, d), (n * 0.5, d * 0.9), (n * 0.85, d * 0.5), (n, 0.0)])
        if self.shape == "scoop":
            return spline(
                [(0.0, d), (n * 0.5, d * 0.95), (n * 0.86, d * 0.62), (n * 0.98, d * 0.2), (n, 0)]
            )
        return spline([(0.0, d), (n * 0.48, d * 0.86), (n * 0.83, d * 0.5), (n, 0.0)])

    def armhole(self) -> Curve:
        """From the shoulder's end down to the armpit."""
        (sx, sy), (ax, ay) = self.shoulder, self.armpit
        inwards = min(sx, ax) - 1.2
        return spline(
            [
                (sx, sy),
                (inwards, sy + 0.45 * (ay - sy)),
                (inwards + 1.2, sy + 0.8 * (ay - sy)),
                (ax, ay),
            ]
        )

    def outline(self) -> Curve:
        """The closed front: neckline, shoulders, armholes, sides, hem."""
        shoulder = spline(
            [
                (self.neck, 0.0),
                ((self.neck + self.shoulder[0]) / 2, self.shoulder[1] * 0.44),
                self.shoulder,
            ]
        )
        (ax, ay), (wx, wy), (hx, hy) = self.armpit, self.waist, self.hem
        side = spline(
            [
                (ax, ay),
                ((ax + wx) / 2, (ay + wy) / 2),
                (wx, wy),
                ((wx + hx) / 2, (wy + hy) / 2),
                (hx, hy - self.tail),
            ]
        )
        if self.tail:
            hem = spline(
                [
                    (hx, hy - self.tail),
                    (hx * 0.86, hy - self.tail * 0.45),
                    (hx * 0.55, hy),
                    (0.0, hy + self.hem_drop),
                ]
            )
        else:
            hem = spline([(hx, hy), (hx * 0.5, hy + self.hem_drop * 0.8), (0, hy + self.hem_drop)])
        return both_sides(join(self.neckline(), shoulder, self.armhole(), side, hem))

    def back(self) -> Piece:
        """The inside of the back, seen through the neck, with its label."""
        top = spline(
            [(self.neck, 0.0), (self.neck * 0.55, self.back_dip * 0.85), (0.0, self.back_dip)]
        )
        low = offset(self.neckline(), 2.2)[::-1]
        low[:, 0] = low[:, 0].clip(0.0, self.neck + 1.0)
        low[:, 1] = low[:, 1].clip(1.0, None)
        half = join(top[::-1], [(self.neck + 1.0, 1.2)], low)
        piece = Piece(both_sides(half), "ground", lift=0.0, puff=0.3, shade=0.62)
        tape = join(mirrored(top[::-1]), top[::-1])
        piece.seams.append(Seam(offset(tape, 1.2), "seam", 0.3))
        return piece

    def label(self, dice: Dice) -> Piece:
        """A small woven label under the back of the neck."""
        wide, y = dice.uniform(1.6, 2.4), self.back_dip + 1.0
        return Piece(rectangle(-wide, y, wide, y + 2.2), "label", lift=0.1, puff=0.1, shade=0.85)

    def front(self, pose: Pose, seams: bool = True) -> Piece:
        """The front panel with loose folds, armhole seams and a stitched hem."""
        strength = pose.crumple
        piece = Piece(self.outline(), lift=0.3, puff=0.4)
        middle = (0.0, (self.armpit[1] + self.hem[1]) / 2)
        piece.folds = armpit_folds(pose.dice, self.armpit, middle, strength)
        box = (-self.hem[0] * 0.8, self.armpit[1] - 4, self.hem[0] * 0.8, self.hem[1])
        piece.folds += drape(pose.dice, box, pose.dice.integer(5, 9), strength)
        for side in (-1.0, 1.0):
            piece.seams.append(Seam(flipped(self.armhole(), side), "seam", 0.2))
        if seams:
            self._hem_seam(piece)
        return piece

    def _hem_seam(self, piece: Piece) -> None:
        hx, hy = self.hem
        line = [
            (-hx * 0.99, hy - 2.2),
            (-hx * 0.5, hy - 2.2 + self.hem_drop * 0.8),
            (0.0, hy - 2.2 + self.hem_drop),
            (hx * 0.5, hy - 2.2 + self.hem_drop * 0.8),
            (hx * 0.99, hy - 2.2),
        ]
        if not self.tail:
            piece.seams.append(Seam(spline(line), "stitch"))

    def neckband(self, width: float, cloth: str) -> list[Piece]:
        """A ribbed band around the neck: its far side on the back, its near one on top."""
        half = self.neckline()
        line = join(mirrored(half)[:-1], half)  # left shoulder, middle, right shoulder
        near = Piece(band(line, -width), cloth, lift=0.2, puff=0.5)
        near.seams.append(Seam(offset(line, -width), "stitch"))
        return [near]

    def back_band(self, width: float, cloth: str) -> Piece:
        """The part of a neckband that lies on the back, seen from inside."""
        half = spline(
            [(0.0, self.back_dip), (self.neck * 0.55, self.back_dip * 0.85), (self.neck, 0.0)]
        )
        line = join(mirrored(half)[:-1], half)
        taper = 1.0 - np.abs(line[:, 0] / self.neck) ** 6
        return Piece(band(line, -width * taper), cloth, lift=0.15, puff=0.4, shade=0.76)

    def bound_armholes(self, width: float, cloth: str) -> tuple[list[Piece], list[Piece]]:
        """For no sleeves: the far side of both armholes, and the bindings of the near."""
        hole = self.armhole()
        bulge = np.sin(np.linspace(0.0, math.pi, len(hole)))[:, None] * (1.8, 0.0)
        far, near = [], []
        for side in (-1.0, 1.0):
            crescent = join(hole - (1.0, 0.0), (hole + bulge)[::-1])
            far.append(Piece(flipped(crescent, side), "ground", lift=0.0, shade=0.66))
            edge = join(hole, hole[::-1] - (width, 0.0))
            near.append(Piece(flipped(edge, side), cloth, lift=0.12, puff=0.4))
        return far, near

    def sleeves(self, shape: Sleeve, pose: Pose) -> list[Piece]:
        """Both sleeves, to be laid before the front."""
        return [
            *sleeve(shape, -1.0, pose, pose.bends[0]),
            *sleeve(shape, 1.0, pose, pose.bends[1]),
        ]


def ribbed_hem(torso: Torso, height: float, pull: float = 0.93) -> Piece:
    """A band below the hem that draws the body in."""
    hx, hy = torso.hem
    line = spline(
        [
            (-hx, hy - 0.6),
            (-hx * 0.5, hy - 0.4 + torso.hem_drop * 0.8),
            (0.0, hy - 0.4 + torso.hem_drop),
            (hx * 0.5, hy - 0.4 + torso.hem_drop * 0.8),
            (hx, hy - 0.6),
        ]
    )
    low = moved(line[::-1] * (pull, 1.0), 0.0, height)
    piece = Piece(join(line, low), "rib", lift=0.15, puff=0.6)
    piece.seams.append(Seam(line, "seam", 0.4))
    return piece


def gathers(torso: Torso, dice: Dice, strength: float) -> list[Fold]:
    """Short folds above a ribbed hem."""
    hx, hy = torso.hem
    folds = []
    for _ in range(9):
        x = dice.uniform(-0.9, 0.9) * hx
        folds.append(
            Fold(
                (x, hy + 1.0),
                (x + dice.uniform(-2, 2), hy - dice.uniform(5, 11)),
                0.9,
                0.4 * strength,
            )
        )
    return folds


def shirt_collar(torso: Torso, length: float, spread: float, cloth: str) -> list[Piece]:
    """The far side of a shirt's collar, to be laid after the back, and its two leaves."""
    n, d = torso.neck, torso.dip
    top = spline(
        [(-n - 0.2, -0.6), (-n * 0.6, -2.6), (0.0, -3.3), (n * 0.6, -2.6), (n + 0.2, -0.6)]
    )
    low = spline([(n - 0.3, 0.6), (n * 0.5, 1.5), (0.0, 1.9), (-n * 0.5, 1.5), (-n + 0.3, 0.6)])
    far = Piece(join(top, low), cloth, lift=0.2, puff=0.5, shade=0.8)
    leaves = [far]
    for side in (-1.0, 1.0):
        edge = spline([(0.15, d + 0.2), (n * 0.5, d * 0.62), (n * 0.88, d * 0.18), (n + 0.1, -0.9)])
        outer = spline(
            [(n + 0.1, -0.9), (n + 1.9, 1.0), (n + 1.5, d * 0.55), (spread + 1.2, d + length)]
        )
        tip = (spread, d + length + 0.6)
        shape = join(edge, outer, [tip], [(0.15, d + 0.2)])
        leaf = Piece(flipped(shape, side), cloth, lift=0.7, puff=0.9)
        leaf.frame = Frame(side * 1.3, 0.7, side * 0.75)  # cut along the collar's edge
        inside = join(offset(outer[4:-2], 0.7), [(spread + 0.3, d + length - 0.4), (0.6, d + 1.0)])
        leaf.seams.append(Seam(flipped(inside, side), "stitch"))
        leaves.append(leaf)
    return leaves


def placket(top: float, bottom: float, width: float, cloth: str, shift: float = 0.0) -> Piece:
    """A straight band down the middle with a stitched edge each side."""
    half = width / 2
    piece = Piece(rectangle(shift - half, top, shift + half, bottom), cloth, lift=0.2, puff=0.25)
    for x in (shift - half + 0.5, shift + half - 0.5):
        piece.seams.append(Seam(spline([(x, top), (x, bottom)]), "stitch"))
    return piece


def button_row(
    top: float, bottom: float, count: int, colour: Rgb, radius: float = 0.8, x: float = 0.0
) -> list[Button]:
    """Buttons evenly spaced from ``top`` to ``bottom``."""
    step = (bottom - top) / max(1, count - 1)
    return [Button(x, top + step * i, radius, colour) for i in range(count)]


def patch_pocket(x: float, y: float, width: float, height: float, point: float = 1.2) -> Piece:
    """A sewn-on pocket around (x, y), its opening at the top."""
    half = width / 2
    shape = join(
        [(x - half, y), (x + half, y), (x + half, y + height - point)],
        [(x, y + height), (x - half, y + height - point)],
    )
    piece = Piece(shape, lift=0.22, puff=0.25)
    inner = join(
        [(x - half + 0.5, y + 0.4), (x - half + 0.5, y + height - point - 0.3)],
        [(x, y + height - 0.7), (x + half - 0.5, y + height - point - 0.3)],
        [(x + half - 0.5, y + 0.4)],
    )
    piece.seams.append(Seam(inner, "stitch"))
    piece.seams.append(Seam(spline([(x - half, y + 2.0), (x + half, y + 2.0)]), "stitch"))
    return piece


def flap_pocket(x: float, y: float, width: float, height: float, tilt: float = 0.0) -> Piece:
    """A pocket's flap; ``tilt`` (radians) lowers its outer end."""
    half, drop = width / 2, math.tan(tilt) * width / 2 * (1 if x >= 0 else -1)
    shape = join(
        [(x - half, y - drop), (x + half, y + drop)],
        spline(
            [
                (x + half, y + drop),
                (x + half - 0.2, y + height + drop - 0.8),
                (x + half - 1.2, y + height + drop),
            ]
        ),
        spline(
            [
                (x - half + 1.2, y + height - drop),
                (x - half + 0.2, y + height - drop - 0.8),
                (x - half, y - drop),
            ]
        ),
    )
    piece = Piece(shape, lift=0.32, puff=0.4)
    piece.seams.append(Seam(spline([(x - half, y - drop), (x + half, y + drop)]), "seam", 0.5))
    return piece


def slit(points: list[Point], width: float = 0.5) -> list[Seam]:
    """A pocket's slanted opening: a dark line with stitches beside it."""
    line = spline(points)
    return [Seam(line, "seam", width), Seam(offset(line, 0.9), "stitch")]
