"""What is searched for and what is found, as it goes through the server."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..checks import PixelBox
from ..index.conditions import Condition
from ..index.hits import Hit
from ..index.likeness import Likeness
from ..words import Metric


@dataclass(frozen=True, slots=True)
class Kept:
    """An uploaded picture: its key, bytes, upright size and, once found, the item's box."""

    key: str
    data: bytes
    width: int
    height: int
    box: PixelBox | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What the network makes of one picture: features (dim,) and its code; of several views of it
    (v, dim) and their codes."""

    features: np.ndarray
    code: np.ndarray

    def by(self, metric: Metric) -> np.ndarray:
        """What this metric compares."""
        return self.code if metric == "hamming" else self.features


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What is searched for, before the network.

    `row` where it is known; otherwise `pixels` (S, S, 3), or (v, S, S, 3) of several views, are
    what the network is to see: queries wait as small as that, however large their pictures are.
    `both`: it is compared as a whole picture, too, where `box` is a part.
    """

    pixels: np.ndarray | None
    row: Row | None
    kept: str | None = None
    id: str | None = None
    width: int | None = None
    height: int | None = None
    box: PixelBox | None = None
    box_from: str | None = None
    both: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SearchRequest:
    """One scan's worth of a query; `where` and `group_by` as `Index.search` takes them, or None.

    Of the nearest those at `max_distance` or nearer; without the items `exclude`, in groups without
    all of their things; of what is left `k`, behind the first `offset`.
    """

    row: Row
    metric: Metric
    k: int
    where: Condition | None
    exclude: tuple[str, ...] = ()
    max_distance: float | None = None
    group_by: str | None = None
    offset: int = 0

    @property
    def depth(self) -> int:
        """Nearest items, or things, among which its matches are."""
        # An item that is left out takes one place, its own or that of its thing.
        return self.offset + self.k + len(self.exclude)


@dataclass(frozen=True, slots=True)
class Found:
    """The hits of a request, and what distances say in the index that they are of, if known."""

    hits: list[Hit]
    likeness: Likeness | None
