"""Metadata columns by the name that the user's own list has for them."""

from __future__ import annotations

from collections.abc import Mapping

from ..datasets.records import ROLES
from ..index.index import Index


def own_names(columns: Mapping[str, str]) -> dict[str, str]:
    """What an index notes of ``--column ROLE=NAME``: the list's names of what becomes metadata.

    The column of ids says which thing is shown, and is kept as the item.
    """
    named = {role: columns[role] for role in ROLES if columns.get(role, role) != role}
    if "id" in columns and "item" not in columns:
        named["item"] = columns["id"]
    return named


def column_named(index: Index, name: str) -> str:
    """The index's column for a name: its own, or the one that a list's column became.

    A name that is neither stays as it is, for the index to refuse.
    """
    if name in index.columns():
        return name
    known = index.model.get("columns")
    if isinstance(known, dict):
        for role, own in known.items():
            if own == name:
                return str(role)
    return name
