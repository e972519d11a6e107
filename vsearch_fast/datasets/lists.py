"""Columns whose cells hold several values, such as ``gingham; belted``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import cast

from ..checks import Scalar, Value
from ..errors import ArgumentError
from .records import Record
from .tables import CONSEQUENCE


def split_lists(records: Iterable[Record], separators: Mapping[str, str]) -> list[Record]:
    """Records whose texts in these metadata columns are lists of what stands between separators.

    Spaces around a value are none of it, and an empty one is none; a column without any text is
    an empty list.

    Args:
        separators: by column.

    Raises:
        ArgumentError: a column that no record has, or an empty separator.
    """
    read = list(records)
    known = {name for record in read for name in record.metadata}
    for column, separator in separators.items():
        if not separator:
            raise ArgumentError(
                f"The values of the column {column!r} have no separator", CONSEQUENCE,
                f"Name one, such as {column}=;",
            )  # fmt: skip
        if column not in known:
            raise ArgumentError(
                f"There is no column {column!r} to make lists of", CONSEQUENCE,
                f"Columns of metadata are {', '.join(sorted(known)) or 'none'}",
            )  # fmt: skip
    return [
        replace(record, metadata=dict(record.metadata) | {
            column: _split(record.metadata[column], separator)
            for column, separator in separators.items() if column in record.metadata
        })
        for record in read
    ] if separators else read  # fmt: skip


def _split(value: Value, separator: str) -> Value:
    if value is None:
        return []
    if isinstance(value, str):
        parts: list[Scalar] = [part.strip() for part in value.split(separator)]
        return [part for part in parts if part]
    return value if isinstance(value, list | tuple) else [cast(Scalar, value)]
