"""Items as a table for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from ..checks import Value
from ..index.items import Item
from .directory import text_of

#: What a table program takes a cell for a formula by.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_of(items: Sequence[Item], titles: Mapping[str, Any]) -> bytes:
    """UTF-8 with the mark that Excel looks for: a line of names, then one an item: its id, title,
    price and link where there are such columns, then every other column that one of them has.

    A text that would be taken for a formula gets an apostrophe before it; a number does not.
    """
    leading = [titles[role] for role in ("title", "price", "link") if titles.get(role)]
    others = dict.fromkeys(titles.get("columns", ()))
    for item in items:
        others |= dict.fromkeys(item.metadata)
    columns = list(dict.fromkeys([*leading, *others]))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["id", *map(safe, columns)])
    for item in items:
        writer.writerow([safe(item.id), *(cell(item.metadata.get(name)) for name in columns)])
    return out.getvalue().encode("utf-8-sig", "replace")


def cell(value: Value) -> str:
    if isinstance(value, list | tuple):
        return safe("; ".join(map(text_of, value)))
    text = text_of(value)  # type: ignore[arg-type]
    return safe(text) if isinstance(value, str) else text


def safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
