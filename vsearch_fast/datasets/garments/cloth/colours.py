"""The catalogue's colours: a table of names and the palettes that garments are dyed in."""

from __future__ import annotations

from ..dice import Dice

COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (240, 240, 237),
    "cream": (236, 226, 204),
    "beige": (211, 191, 160),
    "camel": (186, 142, 92),
    "brown": (104, 70, 48),
    "rust": (170, 81, 42),
    "orange": (222, 124, 48),
    "mustard": (205, 158, 52),
    "yellow": (236, 206, 92),
    "olive": (108, 108, 62),
    "sage": (154, 172, 142),
    "green": (52, 128, 82),
    "forest green": (36, 76, 58),
    "mint": (172, 214, 194),
    "teal": (32, 112, 118),
    "sky blue": (150, 192, 224),
    "blue": (54, 98, 176),
    "navy": (36, 46, 82),
    "denim blue": (78, 104, 146),
    "lavender": (176, 164, 208),
    "purple": (98, 64, 128),
    "pink": (230, 170, 182),
    "fuchsia": (198, 58, 118),
    "coral": (228, 120, 102),
    "red": (186, 42, 48),
    "burgundy": (108, 32, 50),
    "light grey": (192, 194, 196),
    "grey": (128, 131, 136),
    "charcoal": (66, 68, 74),
    "black": (38, 38, 42),
}
"""Name of a colour to its sRGB values, as the cloth looks in neutral light."""

# Base, second and third colour. Each row is a combination that shops sell; every colour
# is a base at least once, and neighbours differ enough to read as a pattern.
PALETTES: tuple[tuple[str, str, str], ...] = (
    ("white", "navy", "red"),
    ("white", "black", "grey"),
    ("white", "sky blue", "navy"),
    ("white", "green", "coral"),
    ("cream", "rust", "forest green"),
    ("cream", "navy", "burgundy"),
    ("cream", "brown", "mustard"),
    ("beige", "brown", "white"),
    ("beige", "black", "red"),
    ("camel", "brown", "cream"),
    ("camel", "black", "white"),
    ("brown", "cream", "orange"),
    ("rust", "cream", "navy"),
    ("orange", "white", "teal"),
    ("mustard", "navy", "white"),
    ("mustard", "charcoal", "cream"),
    ("yellow", "white", "sky blue"),
    ("yellow", "black", "white"),
    ("olive", "cream", "rust"),
    ("olive", "black", "camel"),
    ("sage", "white", "forest green"),
    ("green", "white", "navy"),
    ("green", "cream", "yellow"),
    ("forest green", "navy", "mustard"),
    ("forest green", "cream", "red"),
    ("mint", "white", "coral"),
    ("teal", "cream", "orange"),
    ("teal", "navy", "mint"),
    ("sky blue", "white", "navy"),
    ("blue", "white", "yellow"),
    ("blue", "navy", "sky blue"),
    ("navy", "white", "red"),
    ("navy", "sky blue", "cream"),
    ("navy", "green", "burgundy"),
    ("denim blue", "white", "rust"),
    ("lavender", "white", "purple"),
    ("purple", "lavender", "cream"),
    ("pink", "white", "fuchsia"),
    ("pink", "burgundy", "cream"),
    ("fuchsia", "white", "black"),
    ("coral", "white", "teal"),
    ("red", "white", "black"),
    ("red", "black", "forest green"),
    ("burgundy", "pink", "cream"),
    ("burgundy", "navy", "camel"),
    ("light grey", "charcoal", "pink"),
    ("grey", "white", "burgundy"),
    ("charcoal", "light grey", "mustard"),
    ("charcoal", "red", "white"),
    ("black", "white", "red"),
    ("black", "camel", "cream"),
)

DENIM: tuple[tuple[str, str, str], ...] = (
    ("denim blue", "white", "navy"),
    ("denim blue", "navy", "cream"),
    ("navy", "sky blue", "white"),
    ("sky blue", "white", "denim blue"),
    ("black", "grey", "white"),
    ("charcoal", "light grey", "black"),
    ("light grey", "charcoal", "denim blue"),
)

Rgb = tuple[float, float, float]


def dyed(name: str, dice: Dice) -> Rgb:
    """The table's colour as one dye lot gives it: up to 5% lighter or darker, 3% shifted."""
    lightness = dice.uniform(0.95, 1.05)
    red, green, blue = COLOURS[name]
    return (
        min(246.0, red * lightness * dice.uniform(0.97, 1.03)),
        min(246.0, green * lightness * dice.uniform(0.97, 1.03)),
        min(246.0, blue * lightness * dice.uniform(0.97, 1.03)),
    )


def mixed(a: Rgb, b: Rgb, share: float) -> Rgb:
    """``share`` of b in a."""
    return (
        a[0] + (b[0] - a[0]) * share,
        a[1] + (b[1] - a[1]) * share,
        a[2] + (b[2] - a[2]) * share,
    )


def luma(colour: Rgb) -> float:
    """Rec. 601 brightness, 0 to 255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
