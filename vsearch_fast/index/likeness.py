"""What a distance says of a hit: the same item, similar, or not similar, and how probably.

Learnt of the catalogue itself, for each metric (`learning.py`). A hit at a distance is

- *same item*: its item is that of the photo;
- *similar*: its category is that of the photo, and it is another thing;
- *not similar*: neither.

Its label is the same item where that is at least as probable as not; else similar, where one of
the two is; not similar where that is at least 85% probable, for it is worse to call a true view so
than to say nothing; else there is no label. What the catalogue cannot teach is not said:
without items of several views nothing is called the same, and without categories nothing similar
or not.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .isotonic import Curve

#: Of what is stored; another version's is learnt again.
VERSION = 1

#: Chances from which on a hit is said to be the same or similar, and not to be.
_EVEN, _CLEAR = 0.5, 0.85

Words = Literal["same item", "similar", "not similar"]


@dataclass(frozen=True, slots=True)
class Label:
    """What a hit is to the photo.

    Attributes:
        words: "same item", "similar" or "not similar".
        probability: that it is so, from 0.5 to 1 (below 1).
    """

    words: Words
    probability: float

    def __str__(self) -> str:
        return f"{self.words} ({percent(self.probability)})"


def percent(chance: float) -> str:
    """A chance in words; never that it is certain, or out of the question."""
    if chance > 0.99:
        return "over 99%"
    if chance < 0.01:
        return "under 1%"
    return f"{round(100 * chance)}%"


@dataclass(frozen=True, slots=True)
class Chance:
    """How probable one thing is by distance, and how that was learnt.

    Attributes:
        curve: the chance by distance.
        pairs: hits that it was learnt of.
        true: those of them for which it was so.
        things: items (or groups, or rows that have neither) whose hits they are.
        right: share of hits of things held out for which the likelier of the two was right.
        brier: mean square error of the chance at these, 0 to 1.
        blind: the same error without any distance, of the share of true ones alone.
    """

    curve: Curve
    pairs: int
    true: int
    things: int
    right: float
    brier: float
    blind: float

    def __str__(self) -> str:
        return (
            f"right for {percent(self.right)} of hits held out (mean square error "
            f"{self.brier:.3f}, {self.blind:.3f} without distances; {self.pairs:,} hits of "
            f"{self.things:,} things)"
        )


@dataclass(frozen=True, slots=True)
class Likeness:
    """What the distances of one metric say in one index.

    Attributes:
        metric: "l2", "l1" or "hamming".
        same: how probable the same item is by distance; None where that cannot be known.
        similar: how probable the same category is, of another thing; None likewise.
        why_same, why_similar: why it cannot be known; "" where it is.
        item, category, group: the columns it was learnt by; group may be None.
        missing: those of them that the index did not have.
        absent: share of photos that were taken to show what the catalogue does not have.
        sample: rows that it was to be learnt from at most; None: from all.
        live: items that the index had then.
        rows, removed: the index's counts (`Index.info`) then.
    """

    metric: str
    same: Chance | None
    similar: Chance | None
    why_same: str
    why_similar: str
    item: str
    category: str
    group: str | None
    missing: tuple[str, ...]
    absent: float
    sample: int | None
    live: int
    rows: int
    removed: int

    def chances(self, distance: float) -> tuple[float | None, float | None]:
        """How probable it is that a hit at this distance shows the same item, and that it shows
        the same item or a similar one; None where that cannot be known."""
        same = None if self.same is None else float(self.same.curve.at(distance))
        if self.similar is None:
            return same, None
        return same, max(float(self.similar.curve.at(distance)), same or 0.0)

    def label(self, distance: float) -> Label | None:
        """What a hit at this distance is called; None where nothing can be said."""
        same, similar = self.chances(distance)
        if same is not None and same >= _EVEN:
            return Label("same item", same)
        if similar is None:
            return None
        if similar >= _EVEN:
            return Label("similar", similar)
        return Label("not similar", 1 - similar) if 1 - similar >= _CLEAR else None

    def changes(self, rows: int, removed: int) -> int:
        """Items added and items removed since, of an index that has these counts now; one
        that was replaced counts as both."""
        return (rows - self.rows) + (removed - self.removed)

    def lines(self) -> list[str]:
        """What is known, and what is not and why, in words."""
        told = [
            ("same item", self.same, self.why_same),
            ("similar", self.similar, self.why_similar),
        ]
        return [
            f"{self.metric} {name}: {f'not told: {why}' if chance is None else chance}"
            for name, chance, why in told
        ]

    def facts(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


def to_text(likeness: Likeness) -> str:
    """As it is stored."""
    return json.dumps({"version": VERSION, **likeness.facts()})


def from_text(text: str) -> Likeness | None:
    """A stored one; None for one of another version."""
    try:
        values = json.loads(text)
        if values.pop("version") != VERSION:
            return None
        for name in ("same", "similar"):
            if values[name] is not None:
                curve = values[name].pop("curve")
                points = {
                    key: tuple(map(float, curve.pop(key))) for key in ("distances", "chances")
                }
                values[name] = Chance(curve=Curve(**points, **curve), **values[name])
        return Likeness(**{**values, "missing": tuple(values["missing"])})
    except (TypeError, ValueError, KeyError, AttributeError):
        return None
