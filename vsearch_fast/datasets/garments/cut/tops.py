"""Garments that hang from the shoulders and end above the knee, without lapels.

Each function takes the item's `Dice` (its cut, the same in every view) and the
view's `Pose`, and returns a `Garment`.
"""

from __future__ import annotations

from ..curves import both_sides, flipped, join, rectangle, spline
from ..dice import Dice
from .parts import Sleeve, flares
from .pieces import Button, Garment, Piece, Pose, Seam
from .torso import (
    BUTTONS,
    METAL,
    Torso,
    button_row,
    flap_pocket,
    gathers,
    patch_pocket,
    placket,
    ribbed_hem,
    shirt_collar,
    slit,
)


def _torso(cut: Dice, width: float, length: float, waist: float = 0.95) -> Torso:
    """A torso ``width`` (half) wide at the chest, loosened and lengthened by the dice."""
    half = width * cut.uniform(0.93, 1.07)
    long = length * cut.uniform(0.94, 1.06)
    drop = cut.uniform(4.0, 5.6)
    return Torso(
        neck=cut.uniform(8.2, 9.6),
        dip=cut.uniform(10.0, 11.5),
        shoulder=(half * cut.uniform(0.83, 0.88), drop),
        armpit=(half, drop + cut.uniform(18.5, 21.0)),
        waist=(half * waist, long * 0.62),
        hem=(half * cut.uniform(0.97, 1.03), long),
    )


def _arm(torso: Torso, angle: float, length: float, width: float, cuff: float) -> Sleeve:
    return Sleeve(torso.shoulder, torso.armpit, angle, length, width, cuff)


def _finish(sleeve: Sleeve, kind: str, length: float, cloth: str = "main") -> Sleeve:
    return Sleeve(
        sleeve.shoulder,
        sleeve.armpit,
        sleeve.angle,
        sleeve.length,
        sleeve.width,
        sleeve.cuff,
        kind,
        length,
        cloth,
        sleeve.puffed,
    )


def t_shirt(cut: Dice, pose: Pose) -> Garment:
    """Short sleeves, a ribbed crew or V neck, sometimes a chest pocket."""
    torso = _torso(cut, 26, 70)
    torso.shape = cut.choice(("crew", "crew", "v"))
    torso.dip += 4.5 if torso.shape == "v" else 0.0
    band_cloth = cut.choice(("rib", "rib", "trim"))
    arm = _arm(torso, cut.uniform(0.72, 0.95), cut.uniform(21, 25), 20, cut.uniform(8.6, 10.0))
    if cut.chance(0.3):
        arm = _finish(arm, "rib" if band_cloth == "rib" else "band", 2.2, "trim")
    pocket = cut.chance(0.35)
    front = torso.front(pose)
    pieces = [torso.back(), torso.back_band(1.8, band_cloth), torso.label(cut)]
    pieces += [*torso.sleeves(arm, pose), front, *torso.neckband(2.0, band_cloth)]
    if pocket:
        pieces.append(patch_pocket(11.0, 24.0, 10.5, 12.0))
    return Garment(pieces, cut.choice(("jersey", "jersey", "linen")), "shoulders", (0, 1.0), 19)


def tank_top(cut: Dice, pose: Pose) -> Garment:
    """No sleeves, broad straps, deep armholes with a binding."""
    torso = _torso(cut, 23.5, 66)
    torso.neck, torso.shape = cut.uniform(8.4, 9.6), "scoop"
    torso.dip, torso.back_dip = cut.uniform(14, 19), cut.uniform(4, 7)
    torso.shoulder = (torso.neck + cut.uniform(4.0, 6.5), 1.8)
    torso.armpit = (torso.armpit[0], torso.armpit[1] + cut.uniform(2.0, 5.0))
    trim = cut.choice(("rib", "trim"))
    front = torso.front(pose)
    front.seams = [seam for seam in front.seams if seam.kind == "stitch"]
    pieces = [torso.back(), torso.back_band(1.5, trim), torso.label(cut)]
    far, near = torso.bound_armholes(1.4, trim)
    pieces += [*far, front, *torso.neckband(1.5, trim), *near]
    return Garment(pieces, cut.choice(("jersey", "rib")), "shoulders", (0, 2.0), 12, 2.0)


def shirt(cut: Dice, pose: Pose) -> Garment:
    """Collar with two leaves, buttoned placket, cuffs, curved tails, chest pocket."""
    torso = _torso(cut, 26.5, 74)
    torso.neck, torso.dip, torso.tail = cut.uniform(7.0, 7.8), 6.2, cut.uniform(3.0, 7.0)
    collar = cut.choice(("main", "main", "main", "trim"))
    buttons = cut.choice(BUTTONS)
    arm = _arm(torso, cut.uniform(0.36, 0.52), cut.uniform(60, 64), 17.0, cut.uniform(5.4, 6.2))
    arm = _finish(arm, "cuff", 6.0, collar)
    if cut.chance(0.25):
        arm = Sleeve(torso.shoulder, torso.armpit, 0.8, 25.0, 20.0, 9.5)
    leaves = shirt_collar(torso, cut.uniform(5.0, 6.5), cut.uniform(5.6, 7.4), collar)
    pockets = cut.choice((0, 1, 1, 2))
    back = torso.back()
    front = torso.front(pose)
    strip = placket(torso.dip, torso.hem[1] + torso.hem_drop, 3.4, "main")
    strip.buttons = button_row(torso.dip + 1.4, torso.hem[1] - 11, 7, buttons, 0.75)
    pieces = [back, leaves[0], torso.label(cut), *torso.sleeves(arm, pose), front, strip]
    for side in (1.0, -1.0)[:pockets]:
        pocket = patch_pocket(side * 11.5, 23.0, 10.5, 12.0)
        pocket.buttons.append(Button(side * 11.5, 24.2, 0.6, buttons))
        pieces.append(pocket)
    pieces += leaves[1:]
    for side in (-1.0, 1.0):
        yoke = spline([(torso.neck, 1.2), (torso.shoulder[0], torso.shoulder[1] + 1.6)])
        front.seams.append(Seam(flipped(yoke, side), "stitch"))
    fabric = cut.choice(("poplin", "poplin", "linen", "twill"))
    return Garment(pieces, fabric, "shoulders", (0, -1.5), 19)


def blouse(cut: Dice, pose: Pose) -> Garment:
    """Full sleeves gathered at the wrist, a soft V with a bow or a round neck with buttons."""
    torso = _torso(cut, 24.5, 62, 0.9)
    bow = cut.chance(0.5)
    torso.shape, torso.dip = ("v", 13.0) if bow else ("crew", 5.5)
    torso.neck = 8.0 if bow else 7.4
    torso.hem = (torso.hem[0] * 1.08, torso.hem[1])
    puffed = cut.uniform(3.0, 5.0)
    length = cut.uniform(50, 56) if cut.chance(0.65) else cut.uniform(27, 32)
    arm = Sleeve(
        torso.shoulder,
        torso.armpit,
        cut.uniform(0.5, 0.68),
        length,
        21.0,
        4.4 if length > 40 else 7.2,
        "elastic",
        3.0,
        "main",
        puffed,
    )
    buttons = cut.choice(BUTTONS)
    front = torso.front(pose)
    front.folds += flares(pose.dice, (torso.neck, torso.dip + 4), torso.hem, 5, 0.6 * pose.crumple)
    pieces = [torso.back(), torso.label(cut), *torso.sleeves(arm, pose), front]
    if bow:
        pieces += torso.neckband(2.0, "main")
        pieces += _bow(torso.dip + 0.5, cut)
    else:
        strip = placket(torso.dip, torso.hem[1], 2.6, "main")
        strip.buttons = button_row(torso.dip + 2, torso.hem[1] - 6, 8, buttons, 0.6)
        pieces += [strip, *_peter_pan(torso, cut.choice(("main", "trim", "trim")))]
    return Garment(pieces, cut.choice(("silk", "silk", "poplin")), "shoulders", (0, 1.0), 17)


def _bow(y: float, cut: Dice) -> list[Piece]:
    """A tied ribbon: two tails, two loops and the knot."""
    long = cut.uniform(15, 24)
    pieces = []
    for side in (-1.0, 1.0):
        tail = join(
            spline([(0.4, y), (3.2, y + long * 0.5), (3.6, y + long)]),
            spline([(6.6, y + long + 1.6), (5.4, y + long * 0.5), (1.6, y - 0.4)]),
        )
        pieces.append(Piece(flipped(tail, side), lift=0.4, puff=0.7))
    for side in (-1.0, 1.0):
        loop = spline(
            [(0.3, y), (4.5, y - 3.4), (8.8, y - 2.6), (9.2, y + 1.6), (4.4, y + 2.2), (0.3, y)]
        )
        pieces.append(Piece(flipped(loop, side), lift=0.45, puff=1.1))
    knot = spline(
        [(-1.5, y - 1.6), (1.5, y - 1.6), (1.8, y + 1.6), (-1.8, y + 1.6), (-1.5, y - 1.6)]
    )
    return [*pieces, Piece(knot, lift=0.4, puff=0.9)]


def _peter_pan(torso: Torso, cloth: str) -> list[Piece]:
    """A flat collar with round ends."""
    n, d = torso.neck, torso.dip
    pieces = []
    for side in (-1.0, 1.0):
        inner = spline([(0.1, d + 0.1), (n * 0.5, d * 0.84), (n * 0.85, d * 0.45), (n, -0.6)])
        outer = spline(
            [
                (n, -0.6),
                (n + 3.4, 2.2),
                (n + 2.2, d + 2.0),
                (n * 0.7, d + 6.2),
                (1.4, d + 5.2),
                (0.1, d + 0.1),
            ]
        )
        leaf = Piece(flipped(join(inner, outer), side), cloth, lift=0.35, puff=0.6)
        pieces.append(leaf)
    return pieces


def polo(cut: Dice, pose: Pose) -> Garment:
    """A knitted collar, a short placket, short sleeves with ribbed ends."""
    torso = _torso(cut, 26, 71)
    torso.neck, torso.dip = cut.uniform(7.6, 8.4), 6.6
    trim = cut.choice(("rib", "trim", "trim"))
    arm = _arm(torso, cut.uniform(0.7, 0.9), cut.uniform(21, 24), 20, cut.uniform(8.2, 9.2))
    arm = _finish(arm, "band", 2.6, trim)
    leaves = shirt_collar(torso, cut.uniform(5.0, 6.2), cut.uniform(6.2, 7.8), trim)
    strip = placket(torso.dip, torso.dip + 14.0, 3.4, cut.choice(("main", trim)))
    strip.seams.append(Seam(spline([(-1.7, torso.dip + 13.4), (1.7, torso.dip + 13.4)]), "stitch"))
    strip.buttons = button_row(
        torso.dip + 2.0, torso.dip + 11, cut.choice((2, 3)), cut.choice(BUTTONS), 0.75
    )
    pieces = [torso.back(), leaves[0], torso.label(cut), *torso.sleeves(arm, pose)]
    pieces += [torso.front(pose), strip]
    if cut.chance(0.3):
        pieces.append(patch_pocket(11.5, 25.0, 10.5, 11.5))
    pieces += leaves[1:]
    return Garment(pieces, cut.choice(("jersey", "knit")), "shoulders", (0, -1.5), 19)


def sweater(cut: Dice, pose: Pose) -> Garment:
    """Knitted, with ribbed neck, cuffs and hem; crew, V or roll neck."""
    torso = _torso(cut, 25.5, 61)
    neck = cut.choice(("crew", "crew", "v", "roll"))
    torso.shape = "v" if neck == "v" else "crew"
    torso.dip = {"crew": 9.5, "v": 18.0, "roll": 5.0}[neck]
    torso.neck = 8.2 if neck == "roll" else cut.uniform(8.6, 9.6)
    arm = _arm(torso, cut.uniform(0.36, 0.52), cut.uniform(59, 63), 17.5, 5.0)
    arm = _finish(arm, "rib", cut.uniform(6, 8))
    front = torso.front(pose, seams=False)
    front.folds += gathers(torso, pose.dice, pose.crumple)
    pieces = [torso.back(), torso.back_band(2.8, "rib")]
    pieces += [*torso.sleeves(arm, pose), ribbed_hem(torso, cut.uniform(6, 8)), front]
    if neck == "roll":
        tube = join(
            spline([(-8.6, 3.0), (-8.0, -4.0), (-7.6, -9.0)]),
            spline([(-7.6, -9.0), (0.0, -10.2), (7.6, -9.0)]),
            spline([(7.6, -9.0), (8.0, -4.0), (8.6, 3.0)]),
            spline([(8.6, 3.0), (5.0, 5.6), (0.0, 6.6), (-5.0, 5.6), (-8.6, 3.0)]),
        )
        collar = Piece(tube, "rib", lift=0.3, puff=1.0)
        fold = spline([(-8.2, -1.6), (0.0, 0.2), (8.2, -1.6)])
        collar.seams.append(Seam(fold, "seam", 0.6))
        pieces.append(collar)
    else:
        pieces += torso.neckband(2.8, "rib")
    fabric = cut.choice(("knit", "knit", "cable"))
    return Garment(pieces, fabric, "shoulders", (0, 0.0), 19)


def cardigan(cut: Dice, pose: Pose) -> Garment:
    """A deep V that buttons down the middle, ribbed edges, often two pockets."""
    torso = _torso(cut, 25, 62)
    torso.shape, torso.dip = "v", cut.uniform(24, 32)
    trim = cut.choice(("rib", "rib", "trim"))
    arm = _arm(torso, cut.uniform(0.34, 0.5), cut.uniform(59, 63), 16.5, 5.0)
    arm = _finish(arm, "rib", 6.0)
    back = torso.back()
    front = torso.front(pose, seams=False)
    front.folds += gathers(torso, pose.dice, pose.crumple)
    end = torso.hem[1] + 5.5
    strip = placket(torso.dip - 1.0, end, 3.6, trim)
    strip.seams = []
    strip.buttons = button_row(
        torso.dip + 2, end - 4, cut.choice((4, 5, 6)), cut.choice(BUTTONS), 1.0
    )
    pieces = [back, torso.back_band(2.6, trim), torso.label(cut), *torso.sleeves(arm, pose)]
    pieces += [ribbed_hem(torso, 6.0), front, *torso.neckband(3.2, trim), strip]
    if cut.chance(0.6):
        for side in (-1.0, 1.0):
            x = side * torso.hem[0] * 0.52
            pieces.append(patch_pocket(x, torso.hem[1] - 18, 12.5, 14.0, 0.3))
    return Garment(pieces, cut.choice(("knit", "knit", "cable")), "shoulders", (0, 1.0), 19)


def hoodie(cut: Dice, pose: Pose) -> Garment:
    """A hood with drawstrings, a kangaroo pocket, ribbed cuffs and hem, at times a zip."""
    torso = _torso(cut, 26.5, 63)
    torso.neck, torso.dip = 9.5, 9.0
    zipped = cut.chance(0.4)
    tall, wide = cut.uniform(23, 27), cut.uniform(14.5, 16.5)
    arm = _arm(torso, cut.uniform(0.34, 0.5), cut.uniform(61, 65), 18.5, 5.4)
    arm = _finish(arm, "rib", 7.0)
    cord = cut.choice(((235.0, 233.0, 228.0), (60.0, 60.0, 64.0), (150.0, 150.0, 150.0)))
    front = torso.front(pose, seams=False)
    front.folds += gathers(torso, pose.dice, pose.crumple)
    outside = both_sides(
        spline(
            [
                (0.0, -tall),
                (wide * 0.6, -tall * 0.93),
                (wide * 0.98, -tall * 0.55),
                (wide, -tall * 0.1),
                (wide * 0.8, 4.0),
                (4.0, 9.5),
                (0.0, 11.5),
            ]
        )
    )
    hood = Piece(outside, lift=0.5, puff=1.2)
    hood.folds = flares(pose.dice, (5, -tall), (wide * 0.7, 2.0), 4, 0.4 * pose.crumple)
    inside = both_sides(
        spline(
            [
                (0.0, -tall + 3.4),
                (wide * 0.42, -tall + 5.0),
                (wide * 0.6, -tall * 0.45),
                (wide * 0.5, -1.0),
                (wide * 0.22, 5.5),
                (0.0, 8.6),
            ]
        )
    )
    opening = Piece(inside, "ground", lift=0.0, puff=1.4, shade=0.6)
    rim = Seam(join(inside * 1.0, inside[:1]), "seam", 0.7)
    hood.seams.append(Seam(join(inside * (1.13, 1.06), inside[:1] * (1.13, 1.06)), "stitch"))
    opening.seams.append(rim)
    pieces = [*torso.sleeves(arm, pose), ribbed_hem(torso, 7.0), front, hood, opening]
    top, bottom, half = torso.hem[1] - 22, torso.hem[1] + 0.5, torso.hem[0] * 0.62
    shape = join(
        [(-half * 0.62, top), (half * 0.62, top)],
        spline([(half * 0.62, top), (half * 0.86, top + 6), (half, top + 13)]),
        [(half, bottom), (-half, bottom)],
        spline([(-half, top + 13), (-half * 0.86, top + 6), (-half * 0.62, top)]),
    )
    pocket = Piece(shape, lift=0.4, puff=0.55)
    for side in (-1.0, 1.0):
        mouth = spline([(half * 0.58, top), (half * 0.82, top + 6.4), (half * 0.95, top + 13)])
        pocket.seams.append(Seam(flipped(mouth, side), "stitch"))
    pieces.insert(-2, pocket)
    strings = Piece(rectangle(-0.1, 10, 0.1, 11), "main", lift=0.0)
    if zipped:
        line = spline([(0.0, 11.0), (0.0, torso.hem[1] + 6.5)])
        strings.seams.append(Seam(line, "zip", 1.0, METAL))
    for side, length in ((-1.0, cut.uniform(17, 24)), (1.0, cut.uniform(17, 24))):
        sway = pose.dice.uniform(-2.0, 2.0)
        path = spline([(2.6, 7.0), (3.6, 12.0), (3.8 + sway, 7.0 + length)])
        strings.seams.append(Seam(flipped(path, side), "cord", 0.75, cord))
    pieces.append(strings)
    return Garment(pieces, "fleece", "no", (0, -tall), 19)


def jacket(cut: Dice, pose: Pose) -> Garment:
    """A short jacket: a zipped bomber with ribbed edges, or a buttoned denim-style one."""
    torso = _torso(cut, 26.5, 60)
    bomber = cut.chance(0.5)
    torso.neck, torso.dip = 8.2, 6.5
    arm = _arm(torso, cut.uniform(0.34, 0.48), cut.uniform(60, 64), 18.5, 5.8)
    arm = _finish(arm, "rib", 6.5) if bomber else _finish(arm, "cuff", 5.0)
    front = torso.front(pose, seams=False)
    end = torso.hem[1] + 6.0
    pieces = [torso.back(), torso.label(cut), *torso.sleeves(arm, pose)]
    if bomber:
        front.folds += gathers(torso, pose.dice, pose.crumple * 1.5)
        pieces += [ribbed_hem(torso, 6.5), front, *torso.neckband(3.4, "rib")]
        front.seams += [s for side in (-1, 1) for s in slit([(side * 13, 38), (side * 18.5, 53)])]
        closing = Piece(rectangle(-0.9, 8.0, 0.9, end), "ground", lift=0.2, shade=0.85)
        closing.seams.append(Seam(spline([(0.0, 8.0), (0.0, end)]), "zip", 0.9, METAL))
        pieces.append(closing)
        return Garment(pieces, cut.choice(("nylon", "nylon", "twill")), "shoulders", (0, 0), 19)
    leaves = shirt_collar(torso, 6.5, 8.0, cut.choice(("main", "main", "trim")))
    pieces.insert(1, leaves[0])
    hx, hy = torso.hem
    band = Piece(rectangle(-hx * 0.99, hy - 1.0, hx * 0.99, hy + 4.5), lift=0.2, puff=0.4)
    band.seams.append(Seam(spline([(-hx * 0.98, hy - 0.2), (hx * 0.98, hy - 0.2)]), "stitch"))
    strip = placket(torso.dip, hy + 4.5, 4.2, "main")
    strip.buttons = button_row(torso.dip + 2, hy + 1.8, 6, METAL, 0.95)
    yoke = spline([(-torso.armpit[0] + 2, 17.5), (0, 18.5), (torso.armpit[0] - 2, 17.5)])
    front.seams.append(Seam(yoke, "stitch"))
    for side in (-1.0, 1.0):
        for start, stop in ((8.0, 6.0), (15.0, 11.5)):
            line = spline([(start, 19.0), (stop, hy - 1)])
            front.seams.append(Seam(flipped(line, side), "stitch"))
    pieces += [band, front, strip]
    for side in (-1.0, 1.0):
        flap = flap_pocket(side * 12.0, 18.4, 11.0, 5.0)
        flap.buttons.append(Button(side * 12.0, 21.8, 0.8, METAL, holes=False))
        pieces.append(flap)
    pieces += leaves[1:]
    return Garment(pieces, cut.choice(("denim", "corduroy", "twill")), "shoulders", (0, -1.5), 19)
