"""A list of pictures compared with an index, by a merge of both in the order of their ids.

::

    records ──> listed, on the disk ── sorted by id ──┐
                                                      ├─ merge ──> described, moved, vanished
    index ───── its items in the order of ids ────────┘       └──> unknown: not as before, or new
                                                                      │ in the list's order
    index ───── its items whose file has the size of an unknown ──> seen │ by their bytes
                                                                      └──> recognised, moved,
                                                                           changed, new

Nothing of either side is held in memory but a page: what is noted lies in a `Spool`, and is put in
the list's order there. So the list may be longer than memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from ..embedder.embedder import Skipped
from ..errors import ArgumentError, DuplicateIdError
from ..index.index import Index
from ..index.items import Item, check_item, metadata_text
from .content import Seen, is_unchanged
from .plans import Plan
from .spool import PAGE, Line, Part, Spool

T = TypeVar("T")

#: Texts are kept as their bytes, so that a name which is no Unicode text can be told of as well.
#: Bytes have the order of the texts that an index holds, for SQLite as for Python.
_TABLES = """
CREATE TABLE listed (
    n INTEGER PRIMARY KEY, id BLOB NOT NULL, path BLOB, x1, y1, x2, y2, metadata TEXT, stamp TEXT,
    refused INTEGER NOT NULL
);
CREATE TABLE found (kind TEXT NOT NULL, n INTEGER NOT NULL, stamp TEXT, source BLOB);
CREATE TABLE unknown (n INTEGER NOT NULL, known INTEGER NOT NULL);
CREATE TABLE vanished (m INTEGER PRIMARY KEY, id BLOB NOT NULL);
CREATE TABLE parts (
    kind TEXT NOT NULL, m INTEGER NOT NULL, n INTEGER NOT NULL, stamp TEXT, source BLOB,
    PRIMARY KEY (kind, m)
) WITHOUT ROWID;
CREATE TABLE targets (id BLOB PRIMARY KEY) WITHOUT ROWID;
"""
_COLUMNS = "id, path, x1, y1, x2, y2, metadata"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _item(line: Sequence[Any]) -> Item:
    """Of a line of _COLUMNS and a stamp, and whatever follows."""
    id_, path, x1, y1, x2, y2, metadata, stamp = line[:8]
    box = None if x1 is None else (x1, y1, x2, y2)
    return Item(_text(id_), None if path is None else _text(path), box, json.loads(metadata), stamp)


def _with_source(line: Line) -> tuple[Item, str]:
    return _item(line), _text(line[8])


def _is_as_before(before: Item, item: Item) -> bool:
    """Whether it shows what it showed, as far as is known without reading it."""
    return (
        before.box == item.box
        and is_unchanged(before.stamp, item.stamp)
        and (before.path == item.path or not os.path.exists(str(before.path)))
    )


class Comparison:
    """An index and a list of items, compared step by step; `plan` makes all of them.

    Args:
        index: is not changed meanwhile.
        kept_apart: folders, each ending with a separator: of them nobody knows what has vanished.
    """

    def __init__(self, index: Index, kept_apart: Sequence[str] = ()) -> None:
        self._index, self._kept_apart = index, tuple(kept_apart)
        self._spool = Spool(_TABLES)
        self._refused: list[Skipped] = []
        self._unchanged = 0

    def plan(self, items: Iterable[Item], *, keep_missing: bool) -> Plan:
        """What is to be done so that the index has these items.

        Raises:
            DuplicateIdError: two of them have one id.
        """
        self._spool.write(
            "INSERT INTO listed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._listed(items)
        )
        self._spool.write(
            "INSERT INTO vanished (id) VALUES (?)", self._merged(keep_missing=keep_missing)
        )
        self._spool.write("INSERT INTO found VALUES (?, ?, ?, ?)", self._looked_at())
        self._order()
        return Plan(
            self._part("new", _item), self._part("changed", _item),
            self._part("described", _item), self._part("moved", _item),
            self._part("plain", _with_source), self._part("crossed", _with_source),
            self._refused, self._vanished(), self._unchanged,
        )  # fmt: skip

    def _listed(self, items: Iterable[Item]) -> Iterator[Line]:
        """The list, as it is spooled."""
        for position, item in enumerate(items):
            try:
                item, refused = check_item(item, "The picture was left out"), False
            except ArgumentError as error:
                reason = f"{error.cause}. {error.cure}"
                self._refused.append(Skipped(position, str(item.path), reason))
                refused = True
            box = (None,) * 4 if refused or item.box is None else item.box
            metadata = None if refused else metadata_text(item.metadata)
            path = None if item.path is None else _bytes(str(item.path))
            yield (
                position, _bytes(str(item.id)), path, *box, metadata, None if refused else
                item.stamp, refused,
            )  # fmt: skip

    def _merged(self, *, keep_missing: bool) -> Iterator[Line]:
        """Ids that have vanished. What else the two say of each other is noted on the way."""
        notes: list[Line] = []
        unknown: list[Line] = []
        twice: tuple[int, bytes, bytes] | None = None
        last: bytes | None = None
        known = iter(self._index.by_id())
        before = next(known, None)
        lines = self._spool.read(f"SELECT {_COLUMNS}, stamp, n, refused FROM listed ORDER BY id, n")
        for line in lines:
            position, refused = line[8:]
            if line[0] == last and (twice is None or position < twice[0]):
                twice = position, line[0], line[1]
            last = line[0]
            if refused:
                continue  # an item of its id vanishes
            item = _item(line)
            while before is not None and before.id < item.id:
                if self._vanishes(before, keep_missing):
                    yield (_bytes(before.id),)
                before = next(known, None)
            if before is not None and before.id == item.id:
                if _is_as_before(before, item):
                    self._note(notes, position, before, item)
                else:
                    unknown.append((position, True))
                before = next(known, None)
            else:
                unknown.append((position, False))
            if len(notes) + len(unknown) >= PAGE:
                self._write(notes, unknown)
        while before is not None:
            if self._vanishes(before, keep_missing):
                yield (_bytes(before.id),)
            before = next(known, None)
        self._write(notes, unknown)
        if twice is not None:
            raise DuplicateIdError(
                f"two pictures have the id {_text(twice[1])!r}, one of them {_text(twice[2])}",
                "Nothing was indexed",
                "Give every picture an id of its own",
            )

    def _vanishes(self, before: Item, keep_missing: bool) -> bool:
        return not (keep_missing or str(before.path).startswith(self._kept_apart))

    def _note(self, notes: list[Line], position: int, before: Item, item: Item) -> None:
        """Of the same picture: what else has changed. Its stamp is that with the hash."""
        # Compared as it is stored: to Python True equals 1.
        if metadata_text(before.metadata) != metadata_text(item.metadata):
            notes.append(("described", position, before.stamp, None))
        elif before.path != item.path:
            notes.append(("moved", position, before.stamp, None))
        else:
            self._unchanged += 1

    def _write(self, notes: list[Line], unknown: list[Line]) -> None:
        self._spool.write("INSERT INTO found VALUES (?, ?, ?, ?)", notes)
        self._spool.write("INSERT INTO unknown VALUES (?, ?)", unknown)
        notes.clear()
        unknown.clear()

    def _looked_at(self) -> Iterator[Line]:
        """What the pictures are that are new or not as before: a file is read where the index has
        had one of its size."""
        seen = Seen(self._spool)
        # float16 keeps no features from which all code bits would follow again.
        if self._index.dtype == "float32":
            seen.read(self._index, (item for _, _, item in self._unknown()))
        for position, known, item in self._unknown():
            found = seen.find(item)
            if found is None:
                yield "changed" if known else "new", position, item.stamp, None
                continue
            source, stamp = found
            if known and source == item.id:
                yield "moved", position, stamp, None
            else:
                yield "recognised", position, stamp, _bytes(source)

    def _unknown(self) -> Iterator[tuple[int, bool, Item]]:
        query = f"""SELECT u.n, u.known, {_COLUMNS}, stamp
            FROM (SELECT n, known FROM unknown ORDER BY n LIMIT -1) AS u
            CROSS JOIN listed ON listed.n = u.n"""
        for position, known, *line in self._spool.read(query):
            yield position, bool(known), _item(line)

    def _order(self) -> None:
        """Number what was found, each kind in the order of the list."""
        self._spool.run(
            "INSERT INTO targets SELECT id FROM found CROSS JOIN listed ON listed.n = found.n"
            " WHERE kind = 'recognised' ORDER BY id"
        )
        crossed = "source IN (SELECT id FROM targets)"
        query = f"""SELECT CASE WHEN kind != 'recognised' THEN kind
            WHEN {crossed} THEN 'crossed' ELSE 'plain' END AS told, n, stamp, source
            FROM found ORDER BY told, n"""
        self._spool.write("INSERT INTO parts VALUES (?, ?, ?, ?, ?)", self._numbered(query))

    def _numbered(self, query: str) -> Iterator[Line]:
        last, number = "", 0
        for kind, *rest in self._spool.read(query):
            number = number + 1 if kind == last else 0
            last = kind
            yield kind, number, *rest

    def _part(self, kind: str, told: Callable[[Line], T]) -> Part[T]:
        [(size,)] = self._spool.run("SELECT max(m) FROM parts WHERE kind = ?", (kind,))
        query = f"""SELECT {_COLUMNS}, parts.stamp, source
            FROM parts CROSS JOIN listed ON listed.n = parts.n
            WHERE kind = '{kind}' AND m >= ? AND m < ? ORDER BY m"""
        return Part(self._spool, query, 0 if size is None else size + 1, told)

    def _vanished(self) -> Part[str]:
        [(size,)] = self._spool.run("SELECT max(m) FROM vanished")
        query = "SELECT id FROM vanished WHERE m > ? AND m <= ? ORDER BY m"
        return Part(self._spool, query, size or 0, lambda line: _text(line[0]))
