"""What a garment is made of, before anything is painted: pieces, seams, buttons, folds.

All lengths are centimetres in garment coordinates (see `curves`). A garment is a
list of pieces in the order of laying them on the table: the inside of the back first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..cloth.colours import Rgb
from ..curves import Curve, Frame, Point
from ..dice import Dice


@dataclass(frozen=True, slots=True)
class Fold:
    """A ridge in the cloth from ``start`` to ``end``, tapering at both ends.

    ``width`` and ``end_width`` are half widths; ``height`` is negative for a crease;
    ``sag`` bows it sideways; an ``open_end`` keeps its full height to the end (a hem).
    """

    start: Point
    end: Point
    width: float
    height: float
    sag: float = 0.0
    end_width: float | None = None
    open_end: bool = False


@dataclass(frozen=True, slots=True)
class Seam:
    """A line along a piece: a dark ``seam``, ``stitch``-es of a thread, a ``cord``, a ``zip``."""

    points: Curve
    kind: str = "seam"
    width: float = 0.35
    colour: Rgb | None = None


@dataclass(frozen=True, slots=True)
class Button:
    """A round button (or rivet, when ``holes`` is false)."""

    x: float
    y: float
    radius: float
    colour: Rgb
    holes: bool = True


@dataclass(slots=True)
class Piece:
    """One piece of cloth.

    ``cloth`` names what it is cut from: ``main``, ``trim`` (a second plain colour),
    ``rib``, ``lining``, ``ground`` (the main cloth's colour without its pattern).
    ``lift`` is how high it lies above what is below (cm, the depth of its shadow);
    ``puff`` how much its own edge is rounded; ``shade`` a factor on its brightness.
    ``soft`` (cm) blurs its edge, for what is bleached rather than sewn; a ``prop`` (a
    hanger) is painted but is no part of the garment's mask; what lies ``over`` all others
    (a turned sleeve) is laid last.
    """

    outline: Curve
    cloth: str = "main"
    frame: Frame = field(default_factory=Frame)
    lift: float = 0.35
    puff: float = 0.3
    shade: float = 1.0
    soft: float = 0.0
    prop: bool = False
    over: bool = False
    folds: list[Fold] = field(default_factory=list)
    seams: list[Seam] = field(default_factory=list)
    buttons: list[Button] = field(default_factory=list)


@dataclass(slots=True)
class Garment:
    """A finished cut: pieces in order, the fabric of the main cloth, and how to hang it.

    ``hang`` is ``"shoulders"``, ``"clips"`` or ``"no"``; ``top`` is the point a hanger's hook is
    above; ``half_width`` is how far the hanger reaches; ``drop`` how far its ends fall.
    """

    pieces: list[Piece]
    fabric: str
    hang: str
    top: Point
    half_width: float
    drop: float = 4.0


@dataclass(slots=True)
class Pose:
    """How one view lays a garment down; ``dice`` decides about its folds.

    ``spread`` (radians) is added to the angle of sleeves and legs, ``bends`` (cm) is how
    far the left and right one curve; ``hanging`` is true on a hanger; ``turned`` says
    whether the left and the right long sleeve are folded over the body.
    """

    dice: Dice
    spread: float = 0.0
    bends: tuple[float, float] = (0.0, 0.0)
    hanging: bool = False
    crumple: float = 1.0
    turned: tuple[bool, bool] = (False, False)
