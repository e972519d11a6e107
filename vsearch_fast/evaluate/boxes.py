"""How good found boxes are: beside true boxes, and by what cropping does to the matches.

``overlaps`` compares boxes with the true ones of a data set by intersection over union, and so
it does with three that need no network: the whole picture, the centred box with half of its
area, and the centred box with the data's own median width and height, the best that a box
without a look at the picture can hope for. ``cropping`` says whether the nearest picture is
more often of the right category when pictures are cut to their boxes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..checks import PixelBox
from ..datasets.records import Record
from ..embedder.embedder import Embedder
from ..errors import ArgumentError
from ..images.decoding import decode
from ..words import JUDGED
from .neighbours import eligible_neighbours
from .protocol import Bootstrap, Same, judge, share_interval, wilson
from .sampling import Sample

#: What `cropping` compares, besides whole pictures among whole pictures.
CROPPED = ("query cut", "both cut")

#: The overlap from which a box counts as right.
RIGHT = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """Intersection over union of one way to place boxes: float64 ``(n,)``, a picture each."""

    name: str
    values: NDArray[np.float64]

    @property
    def median(self) -> float:
        return float(np.median(self.values))

    @property
    def right(self) -> float:
        """The share of boxes that overlap the true one by `RIGHT` at least."""
        return float((self.values >= RIGHT).mean())

    @property
    def between(self) -> tuple[float, float]:
        """The 95% interval of `right`, as if pictures were independent."""
        return wilson(self.right, len(self.values))


@dataclass(frozen=True, slots=True)
class Cropping:
    """P@1 by one metric, a photo of the query's own group never counting.

    ``whole`` is that of whole pictures, ``between`` its 95% interval. ``gains`` are what `CROPPED`
    add to it, each with the ends of its 95% interval, paired by query, by bootstrap over groups.
    """

    metric: str
    queries: int
    groups: int
    whole: float
    between: tuple[float, float]
    gains: dict[str, tuple[float, float, float]]


def intersection_over_union(found: Sequence[float], true: Sequence[float]) -> float:
    """Shared area over covered area of two boxes x1, y1, x2, y2; 0 where they do not touch."""
    width = min(found[2], true[2]) - max(found[0], true[0])
    height = min(found[3], true[3]) - max(found[1], true[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (found, true))
    return shared / (areas - shared) if shared else 0.0


def overlaps(
    true: Sequence[PixelBox], found: Sequence[PixelBox], sizes: Sequence[tuple[int, int]]
) -> list[Overlap]:
    """Found boxes, then those that need no network, against the true ones.

    `sizes` are the pictures' (width, height); all three are of one length, at least 1.
    """
    shares = np.array(
        [
            ((x2 - x1) / width, (y2 - y1) / height)
            for (x1, y1, x2, y2), (width, height) in zip(true, sizes, strict=True)
        ]
    )
    medians = np.median(shares, axis=0)
    half = math.sqrt(0.5)
    ways: dict[str, list[Sequence[float]]] = {
        "found": list(found),
        "centred, half of the area": [_centred(size, half, half) for size in sizes],
        "centred, median of the true": [
            _centred(size, float(medians[0]), float(medians[1])) for size in sizes
        ],
        "whole picture": [_centred(size, 1, 1) for size in sizes],
    }
    return [
        Overlap(
            name,
            np.array(
                [intersection_over_union(*pair) for pair in zip(boxes, true, strict=True)],
                np.float64,
            ),
        )
        for name, boxes in ways.items()
    ]


def cropping(
    records: Sequence[Record],
    embedder: Embedder,
    *,
    locate: Callable[[Path], PixelBox | None] | None = None,
    leave_out: Sequence[str] = (),
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
    progress: bool = False,
) -> list[Cropping]:
    """P@1 by each metric of whole pictures, of cut queries among whole pictures, and of both cut.

    Every picture with a category (and none of `leave_out`) is a query among all others;
    pictures of its own group are no matches. `locate` finds the boxes, by default
    `embedder.locate`; a picture for which it gives None is left out. Raises ArgumentError when
    fewer than two pictures are left, ImageError for one that cannot be read.
    """
    labelled = [each for each in records if each.category and each.category not in leave_out]
    _enough(len(labelled), len(records), "with a category that is not left out")
    say(f"Finding boxes in {len(labelled):,} pictures and features of both")
    boxes = [(locate or embedder.locate)(each.path) for each in labelled]
    sample = Sample([each for each, box in zip(labelled, boxes, strict=True) if box is not None])
    n = len(sample.records)
    _enough(n, len(labelled), "that can be read")
    paths = [each.path for each in sample.records]
    found = [box for box in boxes if box is not None]
    uncut = embedder.both(paths, progress=progress)
    inside = embedder.both(paths, found, progress=progress)
    features = np.concatenate([uncut[0], inside[0]])
    codes = np.concatenate([uncut[1], inside[1]])
    labels, groups = np.tile(sample.categories, 2), np.tile(sample.groups, 2)
    whole, cut = np.arange(n), np.arange(n, 2 * n)
    among_whole, among_cut = np.arange(2 * n) < n, np.arange(2 * n) >= n
    bootstrap = Bootstrap(sample.groups, sample.categories, seed=seed)
    counted = np.ones(n, bool)
    results = []
    for metric in JUDGED:
        rows = codes if metric == "hamming" else features
        gains = []
        for queries, mask in ((whole, among_whole), (cut, among_whole), (cut, among_cut)):
            (nearest,) = eligible_neighbours(rows, queries, [groups], 1, metric=metric, mask=mask)
            truth = judge(Same(labels), "share", queries, groups, [nearest], ks=(1,), mask=mask)
            gains.append(truth.gains[0][:, 0])
        averages = bootstrap.averages(np.stack(gains, axis=1), counted, "micro")
        results.append(
            Cropping(
                metric,
                n,
                len(np.unique(sample.groups)),
                float(averages.point[0]),
                share_interval(gains[0] > 0, sample.groups, seed=seed),
                {name: averages.difference(i, 0) for i, name in enumerate(CROPPED, 1)},
            )
        )
    return results


def _enough(count: int, of: int, what: str) -> None:
    if count < 2:
        raise ArgumentError(
            f"pictures {what}: {count} of {of:,}",
            "Cropping was not measured, which takes two",
            "Give data with categories; a CSV's columns are named by --column",
        )


def size_of(record: Record, max_pixels: int) -> tuple[int, int]:
    """Width and height of the upright picture; raises ImageError."""
    return decode(record.path, max_pixels=max_pixels).size


def _centred(size: tuple[int, int], across: float, down: float) -> tuple[float, ...]:
    """The centred box with these shares of the picture's width and height."""
    width, height = size
    x, y = width * (1 - across) / 2, height * (1 - down) / 2
    return x, y, width - x, height - y
