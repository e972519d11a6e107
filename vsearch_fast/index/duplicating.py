"""What an `Index` offers to find copies among its items."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from ..checks import Progress
from ..errors import ArgumentError, ModelMismatchError
from ..words import METRICS, Metric
from . import arguments
from .duplicates import (
    DuplicateGroup,
    Linkage,
    Looking,
    Side,
    find_duplicates,
    radius_of,
    refuse_unknown,
)
from .finder import Finder
from .upkeep import Upkeep

#: The cosine of two copies at least, and the share of their bits that are the same, unless
#: something else is named: `benchmarks/duplicates.py` measures what they find.
SIMILAR = {"cosine": 0.98, "hamming": 0.94}

_NOT_COMPARED = "Nothing was compared"


def copies_within(metric: str, within: Any, similar: Any, bits: int) -> float:
    """The largest distance of two copies in an index of codes of so many bits, as
    `Index.duplicates` takes it.

    Raises:
        ArgumentError: an unknown metric, a number out of range, or both numbers.
    """
    if metric not in METRICS:
        raise ArgumentError(
            f"metric is {metric!r}", _NOT_COMPARED, f"Use one of {', '.join(METRICS)}"
        )
    if within is not None:
        arguments.refuse_both(similar, "similar", "within", _NOT_COMPARED)
        return arguments.distance(within, metric, _NOT_COMPARED, "within")
    if similar is None:
        similar = SIMILAR.get(metric)
    return radius_of(metric, similar, bits, _NOT_COMPARED)


class Duplicating(Upkeep):
    """A part of `Index`."""

    bits: int
    model_id: str
    _finder: Finder

    def duplicates(
        self,
        *,
        metric: Metric = "cosine",
        within: float | None = None,
        similar: float | None = None,
        across: Duplicating | None = None,
        linkage: Linkage = "connected",
        where: arguments.Where = None,
        look: Looking | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
        looked: Progress | None = None,
    ) -> list[DuplicateGroup]:
        """Groups of items that are copies of one another, each with its best copy first.

        Two items belong together where their files had the same bytes when they were indexed (and
        their boxes are the same), or where their distance is at most a radius: an exact self-join,
        every pair compared once, whatever the number of pairs (a number a row is kept of them).

        Args:
            metric: as for `search`.
            within: the radius, a distance of this metric.
            similar: instead of it, for "cosine" the cosine of two copies at least, S: a distance of
                1 - S; for "hamming" the share of bits that are the same at least. Where neither is
                given, 0.98 and 0.94 (`duplicating.SIMILAR`).
            across: another index of the same model: pairs of an item here and one there are
                looked for, and none within an index.
            linkage: "connected": a chain of pairs makes a group. "complete": every two of a group
                are a pair, but for those of identical files; it holds up to 4 million pairs.
            where: only items with this metadata, as for `search`; with `across`, in both.
            look: looks at pictures of groups: `images.look`. It tells sizes, sharpness and
                identical pixels. Without it, and where a picture is gone, the stored hash and the
                features speak alone, and the best copy is that of most bytes.
            threads: as for `search`; pictures are looked at in as many.
            progress: called with the rows that are compared and those there are.
            looked: called with the items of groups that are told and those to tell.

        Returns:
            The groups: of identical files, of identical pixels, the others; each kind in the order
            of its first items.

        Raises:
            ArgumentError: both or out of range: `within`, `similar`; an unknown metric, linkage or
                column; over a million items in groups, or 4 million pairs with complete linkage.
            ModelMismatchError: another model's index.
        """
        radius = copies_within(metric, within, similar, self.bits)
        refuse_unknown(linkage, across is not None, _NOT_COMPARED)
        wanted = arguments.where(where, _NOT_COMPARED)
        if across is not None:
            self._refuse_other(across)
        with contextlib.ExitStack() as held:
            sides = []
            for index in (self, *(() if across is None else (across,))):
                still = index.snapshot()
                held.callback(still._store.close)
                sides.append(Side(still._store, still._finder, str(index._store.folder)))
            return find_duplicates(
                sides, metric, radius, where=wanted, linkage=linkage, look=look, threads=threads,
                progress=progress, looked=looked,
            )  # fmt: skip

    def _refuse_other(self, other: Duplicating) -> None:
        """Refuse to compare with an index of another model, or with itself."""
        if not isinstance(other, Duplicating):
            raise ArgumentError(
                f"across is a {type(other).__name__}", _NOT_COMPARED, "Pass an index that is open"
            )
        here, there = self._store.folder, other._store.folder
        if os.path.realpath(here) == os.path.realpath(there):
            raise ArgumentError(
                f"{there} was to be compared with itself",
                _NOT_COMPARED,
                "Leave across out, to find copies within it",
            )
        one, two = self._store.meta, other._store.meta
        if (one.model_id, one.dim, one.bits) != (two.model_id, two.dim, two.bits):
            raise ModelMismatchError(
                f"{there} holds features of model {two.model_id or '(unnamed)'}, and {here} those "
                f"of {one.model_id or '(unnamed)'}",
                "Nothing was compared, because their distances mean nothing",
                "Use indexes of one model, or index the pictures again",
            )
