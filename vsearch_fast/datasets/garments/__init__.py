"""A catalogue of garments that the project draws itself: pictures whose truth is known.

No data set with several views of an item, true boxes and attributes may be shipped with
this package, so this one is rendered: garments cut from pieces of cloth in centimetres,
printed with patterns, folded, lit and photographed on several backdrops. It is good for
demonstrations, for tests, and for measuring what photos cannot tell: whether the *same
item* is found again in another pose, light, scale and surrounding.

::

    design   (seed, item)        -> category, pattern, dyes, cut      design.py, cloth/
    cut      design, pose        -> pieces, seams, folds (cm)         cut/
    paint    pieces, camera      -> cloth in light, mask              paint/
    scene    mask, backdrop      -> photograph, true box              scene.py, backdrop.py
    write    many photographs    -> JPEGs and garments.csv            catalogue.py

The same seed gives the same pixels, whatever the number of items, views or processes.
NumPy and Pillow are all it needs.
"""

from .as_deepfashion import write_deepfashion
from .catalogue import item_id, read, render, render_catalogue
from .cloth.colours import COLOURS
from .cloth.patterns import PATTERNS
from .design import CATEGORIES
from .scene import GarmentInfo

__all__ = [
    "CATEGORIES",
    "COLOURS",
    "PATTERNS",
    "GarmentInfo",
    "item_id",
    "read",
    "render",
    "render_catalogue",
    "write_deepfashion",
]
