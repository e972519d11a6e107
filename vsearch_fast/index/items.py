"""What an index keeps about a row beside its vector, and how its values compare."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..checks import PixelBox, Scalar, Value, check_text, check_value
from ..errors import ArgumentError

#: Longer values are compared by their SHA-256, so that the filter's keys stay short.
_LONGEST_FACET = 100


_LARGEST_PIXEL = 2**31


@dataclass(frozen=True, slots=True)
class Item:
    """One row of an index, without its vector.

    Attributes:
        id: unique among the index's live rows; any text.
        path: where its picture is, as the user says it; the index never opens it.
        box: x1, y1, x2, y2 in pixels of the picture, or None for the whole of it.
        metadata: by column name a JSON scalar (str, int, finite float, bool, None), or a list of
            them: a filter is met by any of its values.
        stamp: opaque mark of the source file's state, set by whoever indexes files.
    """

    id: str
    path: str | None = None
    box: PixelBox | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict, hash=False)
    stamp: str | None = None


def check_id(value: object, consequence: str) -> str:
    """`value` when it can be an item's id."""
    text = check_text(value, "An id", consequence)
    if not text:
        raise ArgumentError("An id is the empty string", consequence, "Give every row a name")
    return text


def check_item(item: Item, consequence: str) -> Item:
    """The item with plain values, or ArgumentError that names it and says what is wrong."""
    check_id(item.id, consequence)
    path, box = item.path, item.box
    if path is not None:
        if isinstance(path, os.PathLike):
            path = os.fspath(path)
        check_text(path, f"The path of item {item.id!r}", consequence)
    if item.stamp is not None:
        check_text(item.stamp, f"The stamp of item {item.id!r}", consequence)
    if box is not None:
        box = check_box(box, item.id, consequence)
    metadata = check_metadata(item.metadata, item.id, consequence)
    if path is item.path and box is item.box and metadata is item.metadata:
        return item
    return Item(item.id, path, box, metadata, item.stamp)


def check_box(box: Any, name: str, consequence: str) -> PixelBox:
    """The box as four ints; ArgumentError when it is no box or an empty one."""
    try:
        x1, y1, x2, y2 = (value.__index__() for value in box)
    except (TypeError, ValueError, AttributeError):
        x1 = y1 = x2 = y2 = 0
    if not (x1 < x2 and y1 < y2 and max(map(abs, (x1, y1, x2, y2))) < _LARGEST_PIXEL):
        raise ArgumentError(
            f"The box of item {name!r} is {box!r}, not x1, y1, x2, y2 with x1 < x2 and y1 < y2",
            consequence,
            "Give four whole numbers of pixels, or None for the whole picture",
        )
    return x1, y1, x2, y2


def check_metadata(metadata: object, name: str, consequence: str) -> Mapping[str, Value]:
    """The metadata when it is flat: JSON scalars, or lists of them, by column name; NumPy's scalars
    as Python's."""
    if not isinstance(metadata, Mapping):
        raise ArgumentError(
            f"The metadata of item {name!r} is a {type(metadata).__name__}, not a mapping",
            consequence,
            "Give a dict of column name to value",
        )
    plain: dict[str, Value] = {}
    for column, value in metadata.items():
        if not isinstance(column, str) or not column:
            raise ArgumentError(
                f"A metadata column of item {name!r} has the name {column!r}",
                consequence,
                "Name columns by strings that are not empty",
            )
        check_text(column, f"A metadata column's name of item {name!r}", consequence)
        plain[str(column)] = check_value(
            value, f"Metadata column {column!r} of item {name!r}", consequence
        )
    same = all(plain[column] is value for column, value in metadata.items())
    return metadata if same else plain


def metadata_text(metadata: Mapping[str, Value]) -> str:
    """The metadata as JSON, as it is stored; ASCII, so that any Python string survives."""
    return json.dumps(dict(metadata), separators=(",", ":"))


def facets_of(value: Value) -> set[str]:
    """The facets of what an item has in a column: of a list those of all its values."""
    if isinstance(value, list | tuple):
        return {facet(each) for each in value}
    return {facet(value)}


def value_of(value: Value, key: str) -> Scalar:
    """The one of an item's values in a column that has this facet.

    Raises:
        ValueError: none has.
    """
    for each in value if isinstance(value, list | tuple) else (value,):
        if facet(each) == key:
            return each
    raise ValueError(f"{value!r} has no facet {key}")


def facet(value: Value) -> str:
    """The text by which `where` compares a value: equal exactly when the JSON values are.

    Types are told apart (true, 1 and "1" are three values), numbers compare as numbers
    (1 equals 1.0), and None equals only a value that is there and null. A whole list, too, has one:
    by that lists are compared with each other, not filtered.
    """
    if type(value) is float and value.is_integer():
        value = int(value)  # exact, however large
    text = json.dumps(value)
    if len(text) > _LONGEST_FACET:
        return "#" + hashlib.sha256(text.encode()).hexdigest()  # no JSON text begins with #
    return text
