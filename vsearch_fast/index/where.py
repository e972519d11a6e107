"""A filter as the command line and the API give it."""

from __future__ import annotations

import json
import math
from typing import Any


def where_in_words(given: list[tuple[str, str]]) -> str:
    """The same filter in words: ``category=lamp or category=shoe, and kids=False``."""
    columns: dict[str, list[str]] = {}
    for column, text in given:
        columns.setdefault(column, []).append(f"{column}={text}")
    return ", and ".join(" or ".join(values) for values in columns.values())


def read_where(given: list[tuple[str, str]]) -> dict[str, list[Any]] | None:
    """Filter of an index. ``7`` asks for the text and for the number."""
    columns: dict[str, list[Any]] = {}
    for column, text in given:
        values = columns.setdefault(column, [])
        values.append(text)
        if text.lower() in ("true", "false"):  # as it is printed, and as any CSV spells it
            values.append(text.lower() == "true")
        try:
            value = json.loads(text)
        except ValueError:
            continue
        if value is None or type(value) is int or (type(value) is float and math.isfinite(value)):
            values.append(value)
    return columns or None
