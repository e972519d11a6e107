"""An index: items with their features on disk, and exact search among them."""

from __future__ import annotations

from .duplicates import Duplicate, DuplicateGroup
from .hit_lists import Answers, Hits
from .hits import Hit
from .index import Index
from .items import Item
from .likeness import Label, Likeness
from .thresholds import Threshold

__all__ = [
    "Answers",
    "Duplicate",
    "DuplicateGroup",
    "Hit",
    "Hits",
    "Index",
    "Item",
    "Label",
    "Likeness",
    "Threshold",
]
