"""What an item is, whatever the view: category, pattern, dyes, cut and cloth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from .cloth.colours import DENIM, PALETTES, Rgb, dyed, luma, mixed
from .cloth.fabric import FABRICS, texture
from .cloth.patterns import PATTERN_MAKERS, PATTERNS, Print, plain
from .cut.bottoms import jeans, shorts, skirt, trousers
from .cut.onepiece import dress, jumpsuit
from .cut.pieces import Garment, Pose
from .cut.tailored import blazer, coat
from .cut.tops import blouse, cardigan, hoodie, jacket, polo, shirt, sweater, t_shirt, tank_top
from .dice import Dice
from .paint.paint import Cloth, thread_for

MAKERS: dict[str, Callable[[Dice, Pose], Garment]] = {
    "T-shirt": t_shirt,
    "Tank top": tank_top,
    "Shirt": shirt,
    "Blouse": blouse,
    "Polo": polo,
    "Sweater": sweater,
    "Cardigan": cardigan,
    "Hoodie": hoodie,
    "Jacket": jacket,
    "Blazer": blazer,
    "Coat": coat,
    "Dress": dress,
    "Jumpsuit": jumpsuit,
    "Skirt": skirt,
    "Trousers": trousers,
    "Jeans": jeans,
    "Shorts": shorts,
}
CATEGORIES: tuple[str, ...] = tuple(MAKERS)

# Purposes of dice: each aspect of an item has its own, so that changing how one is drawn
# leaves the others as they were.
SCHEDULE, CUT, DYE, WEAVE, GRAIN, STAGE, POSE, GROUND, CAMERA = range(9)


@dataclass(frozen=True, slots=True)
class Design:
    """One item: its names, its dyes (base first; the last is for trim) and their names."""

    seed: int
    number: int
    category: str
    pattern: str
    colours: tuple[str, ...]
    dyes: tuple[Rgb, Rgb, Rgb]

    def garment(self, pose: Pose) -> Garment:
        """The item's cut in a pose."""
        made = MAKERS[self.category](Dice(self.seed, self.number, CUT), pose)
        made.pieces.sort(key=lambda piece: piece.over)  # stable: the others keep their order
        return made


def scheduled(seed: int, number: int) -> tuple[str, str]:
    """Category and pattern of an item.

    Every run of ``len(CATEGORIES)`` items has each category once, in an order of its
    own. Patterns shift by one from run to run (a Latin rectangle), so each run has every
    pattern, and after ``len(PATTERNS)`` runs every category has had each pattern once.
    """
    run, place = divmod(number, len(CATEGORIES))
    category = Dice(seed, SCHEDULE, run).shuffled(range(len(CATEGORIES)))[place]
    start = Dice(seed, SCHEDULE).shuffled(range(len(CATEGORIES)))[category]
    patterns = Dice(seed, SCHEDULE).shuffled(PATTERNS)
    return CATEGORIES[category], patterns[(start + run) % len(PATTERNS)]


@lru_cache(maxsize=64)
def design(seed: int, number: int) -> Design:
    """Item ``number`` of the catalogue drawn from ``seed``."""
    category, pattern = scheduled(seed, number)
    dice = Dice(seed, number, DYE)
    denim = category == "Jeans" and pattern not in ("camouflage", "leopard", "floral")
    names = dice.choice(DENIM if denim else PALETTES)
    if pattern == "leopard" and dice.chance(0.6):
        names = dice.choice((("camel", "black", "cream"), ("beige", "brown", "white")))
    elif pattern == "camouflage" and dice.chance(0.6):
        names = dice.choice((("olive", "brown", "sage"), ("sage", "forest green", "beige")))
    elif pattern != "plain" and not denim and dice.chance(0.25):
        names = (names[1], names[0], names[2])
    dyes = (dyed(names[0], dice), dyed(names[1], dice), dyed(names[2], dice))
    shown = _print(seed, number, pattern, dyes, 4.0).dyes
    return Design(seed, number, category, pattern, names[:shown], dyes)


@lru_cache(maxsize=4)
def cloths(item: Design, fabric: str, ppc: float) -> dict[str, Cloth]:
    """What the pieces of an item are cut from, ``ppc`` canvas pixels a centimetre."""
    base, second, _ = item.dyes
    ground = _ground(item)
    grain = Dice(item.seed, item.number, GRAIN)
    weave, rib = texture(fabric, grain), texture("rib", grain)
    smooth = texture("silk", grain)
    body = FABRICS[fabric]

    def flat(colour: Rgb) -> Print:
        return plain((colour,), grain, ppc)

    def cloth(what: Print, relief_of: str, thread: Rgb) -> Cloth:
        relief = {"weave": weave, "rib": rib, "smooth": smooth}[relief_of]
        kind = body if relief_of == "weave" else FABRICS["rib" if relief_of == "rib" else "twill"]
        return Cloth(what.tile, relief, ppc, kind, thread)

    main = _print(item.seed, item.number, item.pattern, item.dyes, ppc)
    trim = second if abs(luma(second) - luma(ground)) > 30 else mixed(ground, (0, 0, 0), 0.35)
    label = (232.0, 230.0, 224.0) if luma(base) < 150 else (60.0, 60.0, 66.0)
    wood, metal = (176.0, 132.0, 88.0), (150.0, 152.0, 156.0)
    return {
        "main": cloth(main, "weave", thread_for(ground)),
        "ground": cloth(flat(ground), "weave", thread_for(ground)),
        "rib": cloth(flat(ground), "rib", thread_for(ground)),
        "trim": cloth(flat(trim), "weave", thread_for(trim)),
        "lining": cloth(flat(mixed(ground, (215.0, 212.0, 206.0), 0.6)), "smooth", ground),
        "label": cloth(flat(label), "smooth", label),
        "wood": cloth(flat(wood), "smooth", wood),
        "metal": cloth(flat(metal), "smooth", metal),
    }


def _ground(item: Design) -> Rgb:
    """The plain colour that goes with the print: that of most of the cloth."""
    if item.pattern in ("gingham", "tartan"):
        darker = min(item.dyes[:2], key=luma)
        return mixed(darker, item.dyes[0], 0.25)
    return item.dyes[0]


def _print(seed: int, number: int, pattern: str, dyes: tuple[Rgb, Rgb, Rgb], ppc: float) -> Print:
    return PATTERN_MAKERS[pattern](dyes, Dice(seed, number, WEAVE), ppc)
