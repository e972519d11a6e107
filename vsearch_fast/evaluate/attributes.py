"""What else a good match shares with the query: the item, the pattern, the fabric.

The category says shirt; whether a model can tell flannel from gingham shows in the pattern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..datasets.deepfashion import attributes_by_type
from ..datasets.deepfashion_types import ATTRIBUTE_TYPES
from ..datasets.records import Record
from ..errors import ArgumentError
from .protocol import Jaccard, Kind, Relation, Same

#: Metadata columns that are compared by default, where a data set has them (garments do).
COLUMNS = ("pattern", "colour")


@dataclass(frozen=True, slots=True)
class Measure:
    """A question asked of every list of neighbours.

    Attributes:
        name: with ``@k`` it names a column of the table.
        own_group: whether pictures of the query's own group are eligible: where the item is
            looked for they must be, for its views are in its group.
        title: what the name means.
    """

    name: str
    relation: Relation
    kind: Kind
    ks: tuple[int, ...]
    own_group: bool
    title: str


def codes(values: Sequence[object]) -> NDArray[np.int64]:
    """A number for each distinct value, -1 for None and the empty text."""
    numbers: dict[object, int] = {}
    return np.array(
        [
            -1 if value is None or value == "" else numbers.setdefault(value, len(numbers))
            for value in values
        ],
        np.int64,
    )


def check_columns(records: Sequence[Record], columns: Sequence[str]) -> None:
    """ArgumentError for a column of `columns` that no record has a value in."""
    there = {name for each in records for name, value in each.metadata.items() if value != ""}
    for column in columns:
        if column not in there:
            raise ArgumentError(
                f"no picture has an attribute {column!r}",
                "Nothing was evaluated",
                f"The attributes are {', '.join(sorted(there)) or 'none'}",
            )


def measures(
    records: Sequence[Record],
    columns: Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
) -> list[Measure]:
    """The measures beyond the category that these records allow.

    Item recall where an item has two pictures or more; agreement in each of ``columns`` (by
    default those of `COLUMNS` that the records have); with ``types``, DeepFashion's attribute
    types by name, the Jaccard index of positive attributes of each type.
    """
    found: list[Measure] = []
    items = codes([record.item for record in records])
    if len(np.unique(items[items >= 0])) < np.count_nonzero(items >= 0):
        title = "a picture of the same item is among the first k"
        found.append(Measure("item recall", Same(items), "found", (1, 10), True, title))
    for column in COLUMNS if columns is None else columns:
        labels = codes([record.metadata.get(column) for record in records])
        if (labels >= 0).any():
            title = f"share of the first k with the query's {column}"
            found.append(Measure(column, Same(labels), "share", (1, 10), False, title))
    if types:
        found += _jaccard(records, types)
    return found


def _jaccard(records: Sequence[Record], types: Mapping[str, str]) -> list[Measure]:
    sets = [attributes_by_type(record, types) for record in records]
    found = []
    for kind in ATTRIBUTE_TYPES:
        names = sorted({name for each in sets for name in each[kind]})
        if not names:
            continue
        place = {name: column for column, name in enumerate(names)}
        positive = np.zeros((len(records), len(names)), bool)
        for row, each in enumerate(sets):
            positive[row, [place[name] for name in each[kind]]] = True
        title = f"mean Jaccard index of {kind} attributes with the first k"
        found.append(Measure(f"{kind}", Jaccard(positive), "share", (1, 10), False, title))
    return found
