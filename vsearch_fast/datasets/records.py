"""A picture of a data set and all that is known about it: what every reader returns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import PixelBox, Value
from ..errors import ArgumentError

#: Fields of a record that an index stores beside its metadata, in this order.
ROLES = ("item", "category", "group", "partition")


@dataclass(frozen=True, slots=True)
class Record:
    """One picture, or one box of a picture.

    Attributes:
        id: unique in the data set; the picture's key in an index.
        path: the picture file.
        box: where the thing is, as x1, y1, x2, y2 in pixels (x2 and y2 excluded), or None.
        item: the thing photographed; several pictures may share it.
        category: its kind ("Dress").
        group: sender, product: pictures of one group are never matched with each other
            in an evaluation, because they share more than the item (a background).
        partition: "train", "val" or "test".
        metadata: everything else, flat: JSON scalars, or lists of them, by column name.
    """

    id: str
    path: Path
    box: PixelBox | None = None
    item: str | None = None
    category: str | None = None
    group: str | None = None
    partition: str | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict, hash=False)

    def columns(self) -> dict[str, Value]:
        """What an index stores as metadata: `metadata`, then item, category, group and
        partition where they are known. A field wins over a metadata column of its name.

        NumPy's scalars, as tables of pandas hold them, are Python's values of the same worth;
        a number that is none (NaN), which is how pandas writes an empty cell, is None.
        """
        columns = {name: _plain(value) for name, value in self.metadata.items()}
        for role in ROLES:
            value = _plain(getattr(self, role))
            if value is not None:
                columns[role] = value
        return columns


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def check_left_out(names: Iterable[str], records: Sequence[Record], consequence: str) -> None:
    """Raises ArgumentError for a category to leave out that no record has: a name mistyped."""
    known = {record.category for record in records}
    for name in names:
        if name not in known:
            raise ArgumentError(
                f"there is no category {name!r} to leave out",
                consequence,
                f"The categories are {', '.join(sorted(filter(None, known))) or 'none'}",
            )
