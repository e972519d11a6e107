"""What is to be done to an index, by its definition: all items in a dict, one record at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from vsearch_fast.datasets.records import Record
from vsearch_fast.errors import ArgumentError, DuplicateIdError
from vsearch_fast.index import Index, Item
from vsearch_fast.index.items import check_item, metadata_text
from vsearch_fast.indexing.content import hashed_stamp, is_unchanged
from vsearch_fast.indexing.sync import item_of


def planned(
    index: Index, records: Iterable[Record], *, keep_missing: bool = False, unlisted: Iterable[str]
) -> dict[str, Any]:
    """The attributes of a `Plan`; `refused` by position, `vanished` in the order of ids.

    Raises:
        DuplicateIdError: two records have one id.
    """
    known = {item.id: item for item in index}
    apart = tuple(os.path.join(os.path.abspath(folder), "") for folder in unlisted)
    hashed: dict[tuple[str, str, Any], str] = {}
    if index.dtype == "float32":
        for item in known.values():
            size, _, digest = (f"{item.stamp}" + "::").split(":")[:3]
            if digest:
                hashed.setdefault((size, digest, item.box), item.id)
    result: dict[str, Any] = {
        name: []
        for name in ("new", "changed", "described", "moved", "recognised", "refused", "vanished")
    }
    result["unchanged"] = 0
    seen = set()
    for position, record in enumerate(records):
        item = item_of(record)
        if item.id in seen:
            raise DuplicateIdError(f"{item.id!r}", f"{item.path}", "")
        seen.add(item.id)
        try:
            check_item(item, "")
        except ArgumentError:
            result["refused"].append(position)
            continue
        before = known.pop(item.id, None)
        if before is None or not as_before(before, item):
            stamp = hashed_stamp(item)
            size, _, digest = (f"{stamp}" + "::").split(":")[:3]
            source = hashed.get((size, digest, item.box))
            if source is None:
                result["new" if before is None else "changed"].append(item)
            elif before is None or source != before.id:
                result["recognised"].append((replace(item, stamp=stamp), source))
            else:
                result["moved"].append(replace(item, stamp=stamp))
            continue
        item = replace(item, stamp=before.stamp)
        if metadata_text(before.metadata) != metadata_text(item.metadata):
            result["described"].append(item)
        elif before.path != item.path:
            result["moved"].append(item)
        else:
            result["unchanged"] += 1
    if not keep_missing:
        result["vanished"] = sorted(
            item.id for item in known.values() if not (apart and str(item.path).startswith(apart))
        )
    return result


def as_before(before: Item, item: Item) -> bool:
    return (
        before.box == item.box
        and is_unchanged(before.stamp, item.stamp)
        and (before.path == item.path or not os.path.exists(str(before.path)))
    )
