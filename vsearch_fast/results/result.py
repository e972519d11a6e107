"""The hits of one query by one metric, and how they are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..checks import PixelBox
from ..index.hits import Hit
from ..index.likeness import Label, Likeness
from ..index.thresholds import Threshold


@dataclass(frozen=True)
class Result:
    """The hits of one query by one metric.

    ``box`` is the part of the photo searched for; ``item``, where it is known what the photo
    shows, marks the hits with the same metadata column ``item``. With ``only_matches`` hits
    beyond the index's ``threshold`` were left out (None: the index is empty, nothing matches).
    ``likeness`` is what the index's distances say.
    ``max_distance`` is a distance that was asked for, and ``where`` a filter, in words.
    """

    query: str
    metric: str
    hits: Sequence[Hit]
    box: PixelBox | None = None
    item: str | None = None
    only_matches: bool = False
    threshold: Threshold | None = None
    max_distance: float | None = None
    where: str = ""
    likeness: Likeness | None = None

    def label(self, hit: Hit) -> Label | None:
        """What the hit is called; None where the index cannot tell."""
        return None if self.likeness is None else self.likeness.label(hit.distance)

    @property
    def nothing(self) -> str:
        """What to say where there are no hits."""
        among = f" among the pictures with {self.where}" if self.where else ""
        if self.only_matches:
            if self.threshold is None:
                return "no match: the index is empty"
            return f"no match: nothing within {self.threshold}{among}"
        if self.max_distance is not None:
            return f"nothing within the distance {self.max_distance:g}{among}"
        return f"no picture has {self.where}" if self.where else "the index is empty"

    def shows_same(self, hit: Hit) -> bool:
        """Whether the hit is known to be the very thing that the query shows."""
        return self.item is not None and hit.metadata.get("item") == self.item


def value_text(value: object) -> str:
    """A value as people read it; of several, one behind the other."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def caption(metadata: Mapping[str, object]) -> list[tuple[str, object]]:
    """Metadata as a tile tells it: nothing empty, no group that only repeats the item."""
    return [
        (name, value_text(value) if isinstance(value, list) else value)
        for name, value in metadata.items()
        if value not in (None, "", []) and not (name == "group" and value == metadata.get("item"))
    ]
