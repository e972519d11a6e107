"""Rows that few numbers tell apart, and sizes by which devices reduce even a few of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from contract_data import NEVER, REDUCED

from vsearch_fast.search.tiling import Tiling

#: Metrics whose rows are reduced on devices.
BOTH = ("l1", "l2")
#: Coarse and fine numbers: fewer and more than a warp's lanes take at once.
SHAPES = {
    "few": (("l2", 1, 4, 16), ("l1", 1, 6, 64)),
    "coarse alone": (("l2", 1, 2, 0), ("l1", 1, 2, 0)),
    "many": (("l2", 1, 34, 208), ("l1", 1, 66, 192)),
}


def cut(shapes: str = "few", **changes: Any) -> Tiling:
    sizes: dict[str, Any] = {
        "device_list": 64,
        "device_rows": 8,
        "sketch_rows": 20,
        "reduced_left": NEVER,
    }
    return Tiling(**{**REDUCED, **sizes, "reduced_shapes": SHAPES[shapes], **changes})


def near_a_plane(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """Rows that few numbers tell well apart."""
    plane = rng.standard_normal((rows, 5)) @ rng.standard_normal((5, dim))
    return (plane + 0.02 * rng.standard_normal((rows, dim))).astype(np.float32)
