"""Lists of the catalogue: items by text, filter and order; values; which columns lead."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import Scalar
from ..errors import ArgumentError, UnknownIdError
from ..index.conditions import All, Condition, all_of
from ..index.filter_language import values_of
from ..index.index import Index
from ..index.items import Item, facet
from ..index.titles import Titles, over
from .current import Current, Opened
from .directory import Column, Directory, Kind, text_of
from .faults import RequestError
from .filters import page, parse_where
from .settings import Settings

#: A list of values to choose from has so many at most; others are searched in `values`.
MOST_VALUES = 200

#: What a listing of columns leads with, where the catalogue has it.
_FIRST = ("category", "kids", "item")

#: A directory that was read within this time is read anew before an answer; another one behind it.
_AT_ONCE = 0.3

#: Between two readings behind answers there are so many times as many seconds as one takes.
_REST = 5

#: Names by which a column is taken for a title, price or link where none was chosen.
_GUESSES = {
    "title": ("title", "name", "product_name", "product", "label", "caption"),
    "price": ("price", "sale_price", "cost"),
    "link": ("link", "url", "product_url", "href", "page"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A directory, the state that it is of, and the seconds that reading it took, and when."""

    directory: Directory
    mark: Hashable
    seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list is to hold: a condition, words, an order."""

    where: Condition | None = None
    text: str = ""
    sort: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """Some items, how many there are in all (None where that is not known), and the cursor behind
    them; None at the end."""

    items: list[Item]
    total: int | None
    next: str | None


@dataclass(frozen=True, slots=True)
class Values:
    """Some values of a column and how many items have each; `distinct` how many there are, and of a
    column of numbers the smallest and the largest."""

    kind: Kind
    values: list[tuple[Scalar, int]]
    distinct: int
    span: tuple[float, float] | None


class Listings:
    """A part of `Catalogue`."""

    _current: Current
    _settings: Settings
    _chosen: Titles

    def __init__(self) -> None:
        self._reading = threading.Lock()

    # The directory

    def directory(self) -> Directory:
        """Of what the catalogue holds now, or held some seconds ago where it is large and changes.

        Raises:
            RequestError: it holds more items than are listed so.
        """
        return self._current.on(self._directory)

    def _directory(self, opened: Opened) -> Directory:
        index = opened.index
        count = len(index)
        if count > self._settings.listed_items:
            raise RequestError(
                "too_many_items",
                f"The catalogue holds {count:,} pictures, and lists are sorted, searched and "
                f"counted of {self._settings.listed_items:,} at most",
                "Nothing was listed",
                "Leave text, sort, offset and group counts out: where, filter and after work",
            )
        mark = index.mark()
        held = opened.directory
        if held is not None and held.mark == mark:
            return held.directory
        if held is not None and held.seconds > _AT_ONCE:
            rested = time.monotonic() - held.at > _REST * held.seconds
            if rested and self._reading.acquire(blocking=False):
                threading.Thread(target=self._read_behind, daemon=True).start()
            return held.directory
        with self._reading:
            held = opened.directory
            if held is None or held.mark != mark:
                held = opened.directory = read(index)
            return held.directory

    def _read_behind(self) -> None:
        """Read the directory anew; the lock of doing so is held, and let go of."""
        try:
            with self._current.use() as opened:
                opened.directory = read(opened.index)
        except Exception:  # whoever asks next meets it, or there is none to meet
            pass
        finally:
            self._reading.release()

    def _known(self, opened: Opened) -> Directory | None:
        """The directory where there may be one."""
        try:
            return self._directory(opened)
        except RequestError:
            return None

    # Filters

    def condition(self, where: Sequence[str], wanted: str | None) -> Condition | None:
        """The filter of a request; see `parse_where`."""
        names = self._current.on(lambda opened: opened.index.columns()) if where else []
        return parse_where(where, wanted, names)

    # Items

    def items(
        self, limit: int, after: str | None, offset: int | None, wanted: Wanted
    ) -> Listed:  # fmt: skip
        """A page of the catalogue.

        Raises:
            RequestError: a cursor of another list; a column that there is not, to sort by; too many
                items for a text, an order or an offset.
        """
        if not (wanted.text or wanted.sort or offset or (after or "").startswith("o")):
            start = None if after is None else int(after)
            return self._current.on(lambda opened: self._page(opened, limit, start, wanted.where))
        if after is not None and (offset or not after.startswith("o")):
            raise RequestError(
                "bad_argument", "`after` is of another list, or given beside `offset`",
                "No page was sent", "Give `after` with the parameters of the page that it is of",
            )  # fmt: skip
        first = offset or int((after or "o0")[1:])
        return self._current.on(lambda opened: self._part(opened, limit, first, wanted))

    def _page(
        self, opened: Opened, limit: int, after: int | None, where: Condition | None
    ) -> Listed:
        items, following = page(opened.index, limit, after, where)
        if where is None:
            total: int | None = len(opened.index)
        else:
            known = self._known(opened)
            total = None if known is None else int(known.having(where).sum())
        return Listed(items, total, None if following is None else str(following))

    def _part(self, opened: Opened, limit: int, first: int, wanted: Wanted) -> Listed:
        directory = self._directory(opened)
        mask = self._mask(opened.index, directory, wanted)
        if wanted.sort:
            name = wanted.sort
            refuse_unknown(directory, name if name in directory.columns else name.lstrip("-"))
        rows = directory.ordered(mask, wanted.sort)
        ids = [directory.ids[row] for row in rows[first : first + limit].tolist()]
        end = first + limit
        return Listed(there(opened.index, ids), len(rows), f"o{end}" if end < len(rows) else None)

    def _mask(self, index: Index, directory: Directory, wanted: Wanted) -> NDArray[np.bool_]:
        """Rows of the directory. A column that it lacks may be one that the index has had."""
        where = wanted.where
        if where is not None and not where.columns() <= directory.columns.keys():
            index.page(1, where=where)  # which refuses it where it never had it
        return directory.having(where, wanted.text)

    def some(self, ids: Sequence[str]) -> list[Item]:
        """The items of these ids; RequestError (404) names one that there is not."""
        try:
            return self._current.on(lambda opened: opened.index.items(ids))
        except UnknownIdError as error:
            unknown = next((id_ for id_ in ids if repr(id_) in error.cause), ids[0])
            raise no_such_item(unknown) from None

    # Columns

    def values(
        self, name: str, wanted: Wanted, text: str, limit: int, keep: Sequence[str] = ()
    ) -> Values:
        """Values of a column, the most common first, that have every word of `text`, with the
        numbers of items that meet all of `wanted` but what it asks of this column alone.

        Those in `keep`, as ``where`` writes them, are there though no item has them.
        """
        return self._current.on(
            lambda opened: self._values(opened, name, wanted, text, limit, keep)
        )

    def _values(
        self, opened: Opened, name: str, wanted: Wanted, text: str, limit: int, keep: Sequence[str]
    ) -> Values:
        directory = self._directory(opened)
        refuse_unknown(directory, name)
        column = directory.columns[name]
        others = Wanted(without_column(wanted.where, name), wanted.text)
        mask = self._mask(opened.index, directory, others)
        counts = directory.counted(name, mask)
        words = text.casefold().split()
        kept = {facet(each) for value in keep for each in values_of(value)}
        met = [
            code
            for code, value in enumerate(column.values)
            if (counts[code] or column.kept(code, kept))
            and all(word in text_of(value).casefold() for word in words)
        ]
        met.sort(key=lambda code: (-counts[code], text_of(column.values[code]).casefold()))
        return Values(
            column.kind, [(column.values[code], int(counts[code])) for code in met[:limit]],
            len(met), directory.span(name, mask) if column.kind == "number" else None,
        )  # fmt: skip

    def _columns(self, opened: Opened) -> list[dict[str, Any]]:
        """What `/api/catalogue` tells of the columns."""
        index = opened.index
        names = index.columns()
        names.sort(key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
        directory = self._known(opened)
        if directory is None:
            return [each for name in names if (each := _of_index(index, name)) is not None]
        everything = directory.live()
        return [
            _of_directory(directory, name, everything)
            for name in names
            if name in directory.columns
        ]

    def _titles(self, opened: Opened, columns: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The columns that lead: those that the server was told, the index keeps, or their names
        say."""
        names = [str(column["name"]) for column in columns]
        told = over(self._chosen, opened.index.titles)
        found: dict[str, Any] = {}
        for role, guesses in _GUESSES.items():
            by_name = {name.casefold().replace(" ", "_"): name for name in reversed(names)}
            guess = next((by_name[each] for each in guesses if each in by_name), None)
            asked = getattr(told, role)
            found[role] = guess if asked is None else asked if asked in names else None
        rest = [name for name in names if name not in found.values()]
        found["columns"] = rest if told.columns is None else [c for c in told.columns if c in names]
        return found

    def linked(self, url: str) -> str | None:
        """The first item whose link is this address; None where none is, or too many items are
        there to know."""

        def find(opened: Opened) -> str | None:
            column = opened.facts.titles.get("link")
            directory = self._known(opened)
            if column is None or directory is None:
                return None
            rows = np.flatnonzero(directory.among(column, [facet(url)]))
            return directory.ids[rows[0]] if len(rows) else None

        return self._current.on(find)

    def views(self, column: str, things: Sequence[Any], where: Condition | None) -> list[Any]:
        """How many items within a filter each of these values of a column has; None where there are
        too many items to know."""

        def count(opened: Opened) -> list[Any]:
            directory = self._known(opened)
            if directory is None or column not in directory.columns:
                return [None] * len(things)
            known = directory.columns[column]
            counts = directory.counted(column, self._mask(opened.index, directory, Wanted(where)))
            codes = [known.facets.get(facet(thing)) for thing in things]
            # Without a value it is a thing of its own.
            return [
                1 if thing is None else None if code is None else int(counts[code])
                for thing, code in zip(things, codes, strict=True)
            ]

        return self._current.on(count)


def read(index: Index) -> Held:
    """The directory of an index, as it was when reading it began, or later."""
    began = time.monotonic()
    mark = index.mark()
    directory = Directory(index)
    ended = time.monotonic()
    return Held(directory, mark, ended - began, ended)


def there(index: Index, ids: Sequence[str]) -> list[Item]:
    """The items of these ids, without those that were removed meanwhile."""
    try:
        return index.items(ids)
    except UnknownIdError:
        return index.items([id_ for id_ in ids if id_ in index])


def without_column(where: Condition | None, name: str) -> Condition | None:
    """A condition without those of its parts, all of which must hold, that ask for a column
    alone."""
    parts = where.parts if isinstance(where, All) else () if where is None else (where,)
    flat: list[Condition] = []
    for part in parts:
        inner = without_column(part, name) if isinstance(part, All) else part
        if inner is not None and inner.columns() != {name}:
            flat.append(inner)
    return all_of(*flat)


def refuse_unknown(directory: Directory, name: str) -> None:
    """ArgumentError for a column that no item has."""
    if name not in directory.columns:
        raise ArgumentError(
            f"No item has the column {name[:80]!r}",
            "Nothing was listed",
            f"Name one of {', '.join(directory.columns)[:400] or 'no columns: there are none'}",
        )


def no_such_item(id_: str) -> RequestError:
    """For an id that the catalogue does not hold; it tells no folder's name."""
    return RequestError(
        "no_such_item",
        f"The catalogue holds no picture {id_[:80]!r}",
        "Nothing was searched or sent",
        "Take an id of /api/items; it may have been removed",
    )


def _few(count: int, name: str, pictures: int) -> bool:
    """Whether so many values are kinds to choose from: as many as there are things are names,
    though there be few things."""
    most = MOST_VALUES if name == "category" else min(MOST_VALUES, max(2, pictures // 4))
    return 1 < count <= most


def _of_directory(directory: Directory, name: str, everything: Any) -> dict[str, Any]:
    column: Column = directory.columns[name]
    values: list[dict[str, Any]] = []
    if _few(len(column.values), name, len(directory)):
        counts = directory.counted(name, everything).tolist()
        pairs = sorted(
            zip(column.values, counts, strict=True), key=lambda pair: (-pair[1], str(pair[0]))
        )
        values = [{"value": value, "count": count} for value, count in pairs]
    span = directory.span(name, everything) if column.kind == "number" else None
    return {
        "name": name, "kind": column.kind, "distinct": len(column.values), "values": values,
        "min": span and span[0], "max": span and span[1],
    }  # fmt: skip


def _of_index(index: Index, name: str) -> dict[str, Any] | None:
    """The same of an index too large for a directory, as far as its values are few."""
    try:
        values = index.values(name, MOST_VALUES)
    except ArgumentError:  # removed meanwhile, with the last that had it
        return None
    few = values is not None and _few(len(values), name, len(index))
    listed = [{"value": value, "count": count} for value, count in values or () if few]
    distinct = None if values is None else len(values)
    return {
        "name": name, "kind": "text", "distinct": distinct, "values": listed, "min": None,
        "max": None,
    }  # fmt: skip
