"""Which metadata columns lead where items are shown to people: title, price, link, and the others.

They are kept beside the rows as a note, and change nothing of what is found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ..errors import ArgumentError

#: What a column can be shown as.
ROLES = ("title", "price", "link", "columns")

#: The key of the note.
KEY = "titles"

_CURE = "Write, for instance, --title title=name --title price=price --title columns=brand,size"


@dataclass(frozen=True, slots=True)
class Titles:
    """The columns that were chosen; None where none was.

    Attributes:
        title: what an item is called.
        price: what it costs.
        link: an address, of its product page.
        columns: all others that are to be shown, in this order.
    """

    title: str | None = None
    price: str | None = None
    link: str | None = None
    columns: tuple[str, ...] | None = None

    def facts(self) -> dict[str, str]:
        """Those that were chosen, by role; several between commas."""
        columns = None if self.columns is None else ",".join(self.columns)
        known = {"title": self.title, "price": self.price, "link": self.link, "columns": columns}
        return {role: column for role, column in known.items() if column is not None}

    def text(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self))


def read(text: str | None) -> Titles:
    """What was kept; nothing chosen where nothing was, or what another version has written."""
    try:
        known = json.loads(text or "{}")
        columns = known.get("columns")
        single = {role: known.get(role) for role in ROLES[:3]}
        if not all(value is None or isinstance(value, str) for value in single.values()):
            return Titles()
        return Titles(**single, columns=None if columns is None else tuple(map(str, columns)))
    except (ValueError, TypeError, AttributeError):
        return Titles()


def chosen(pairs: Iterable[tuple[str, str]], consequence: str) -> Titles:
    """What ``role=column`` pairs choose, each role once; ``columns`` are several, between commas.

    Raises:
        ArgumentError: another role, or one that is named twice.
    """
    found: dict[str, str] = {}
    for role, column in pairs:
        if role not in ROLES:
            raise ArgumentError(
                f"--title names {role!r}, not one of {', '.join(ROLES)}", consequence, _CURE
            )
        if role in found:
            raise ArgumentError(f"--title names {role} twice", consequence, "Name it once")
        found[role] = column
    names = None
    if "columns" in found:
        names = tuple(name.strip() for name in found["columns"].split(",") if name.strip())
    return Titles(found.get("title"), found.get("price"), found.get("link"), names)


def over(first: Titles, second: Titles) -> Titles:
    """What the first has chosen, and for the rest the second."""
    return Titles(
        first.title if first.title is not None else second.title,
        first.price if first.price is not None else second.price,
        first.link if first.link is not None else second.link,
        first.columns if first.columns is not None else second.columns,
    )
