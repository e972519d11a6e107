"""The statements that read and write items in `index.sqlite` (tables: see `store.py`).

Every function takes the connection of an open transaction and leaves its end to the caller.

What is read is checked. An item has a sum in its line. A facet (column and value) has a line in
table `facet_sums`: how many rows it has, and the XOR of their mixed numbers, which needs no order
and is changed by what is added or removed alone. Of an index of format 1, which has neither,
`summed` is False.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from itertools import chain, groupby
from operator import itemgetter, xor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..checks import Scalar
from ..errors import DamagedError
from . import numbers
from .items import Item, facet, facets_of, metadata_text, value_of
from .mixing import mixed
from .sealing import tombs
from .sums import CURE, line_sum, signed

#: Values in one `IN (...)`; SQLite's own limit was 999 for a long time.
_IN = 500

#: Items whose facets are sorted together before they go in, and items of one page.
_PAGE = 4096
#: Facets that are asked for each by itself; of more, all of the column are read at once.
_EACH = 10_000
#: Row numbers that SQLite joins to one text.
_JOINED = 1 << 20

#: Of table `items`, without the sum.
COLUMNS = "row, id, path, x1, y1, x2, y2, metadata, stamp"

FACET_SUMS = """CREATE TABLE facet_sums (
    "column" INTEGER NOT NULL, value TEXT NOT NULL, rows INTEGER NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY ("column", value)
) WITHOUT ROWID"""

T = TypeVar("T")


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def item_line(row: int, item: Item) -> tuple[Any, ...]:
    """A line of table `items`, its sum at the end."""
    box: Sequence[int | None] = item.box or (None,) * 4
    line = (row, item.id, item.path, *box, metadata_text(item.metadata), item.stamp)
    return (*line, line_sum(*line))


class ItemRows:
    """Items as they are read, and whatever else is read of them.

    Args:
        file: errors name it.
        summed: whether items have sums.
    """

    def __init__(self, file: Path, *, summed: bool) -> None:
        self.file, self.summed = file, summed
        self._columns = f"{COLUMNS}, sum" if summed else COLUMNS

    def damaged(self, what: str) -> DamagedError:
        return DamagedError(f"{self.file} is damaged ({what})", "Nothing was returned", CURE)

    def item(self, line: Sequence[Any]) -> Item:
        """The item of a line of COLUMNS, and where items have one its sum.

        Raises:
            DamagedError: it is not as it was written.
        """
        if self.summed and line[9] != line_sum(*line[:9]):
            raise self.damaged(f"the item of row {line[0]} is not as it was written")
        _, id_, path, x1, y1, x2, y2, metadata, stamp = line[:9]
        box = None if x1 is None else (x1, y1, x2, y2)
        try:
            known = {} if metadata == "{}" else json.loads(metadata)
            return Item(id_, path, box, known, stamp)
        except (TypeError, ValueError) as error:
            raise self.damaged(f"the item of row {line[0]}: {error}") from error

    def numbers(self, lines: Iterable[tuple[Any, ...]]) -> np.ndarray:
        """int64, of lines that hold one row number each.

        Raises:
            DamagedError: something else stands there.
        """
        try:
            return np.fromiter(chain.from_iterable(lines), np.int64)
        except (TypeError, ValueError, OverflowError) as error:
            raise self.damaged(f"a row number: {error}") from error

    def by_row(self, sql: sqlite3.Connection, rows: Iterable[int]) -> dict[int, Item]:
        """The items of these rows, by row; removed rows are left out."""
        found = {}
        for chunk in _chunks(list(set(rows)), _IN):
            query = f"SELECT {self._columns} FROM items WHERE row IN ({_marks(chunk)})"
            for line in sql.execute(query, chunk):
                found[line[0]] = self.item(line)
        return found

    def by_id(self, sql: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[int, Item]]:
        """Row and item by id; unknown ids are left out.

        Raises:
            DamagedError: an id is unknown by the table's index alone.
        """
        found = {}
        for chunk in _chunks(ids, _IN):
            query = f"SELECT {self._columns} FROM items WHERE id IN ({_marks(chunk)})"
            for line in sql.execute(query, chunk):
                found[line[1]] = line[0], self.item(line)
        unknown = next((id_ for id_ in ids if id_ not in found), None)
        if unknown is not None:
            # On the way to an error there is time to look whether it is true.
            query = "SELECT row FROM items NOT INDEXED WHERE id = ?"
            if sql.execute(query, (unknown,)).fetchone():
                raise self.damaged(f"the index of ids does not know {unknown!r}")
        return found

    def after(
        self, sql: sqlite3.Connection, row: int, limit: int | None = None
    ) -> list[tuple[int, Item]]:
        """The next items after this row, in order: `limit` of them at most, by default a page."""
        query = f"SELECT {self._columns} FROM items WHERE row > ? ORDER BY row LIMIT ?"
        return [(line[0], self.item(line)) for line in sql.execute(query, (row, limit or _PAGE))]

    def after_id(self, sql: sqlite3.Connection, id_: str, limit: int) -> list[tuple[int, Item]]:
        """The next items after this id, in the order of ids."""
        query = f"SELECT {self._columns} FROM items WHERE id > ? ORDER BY id LIMIT ?"
        return [(line[0], self.item(line)) for line in sql.execute(query, (id_, limit))]

    def matching(
        self, sql: sqlite3.Connection, column: int, facets: Sequence[str]
    ) -> Iterator[np.ndarray]:
        """Rows (int64) whose value in this column is one of the facets, in several arrays."""
        if len(facets) > _EACH:
            wanted = set(facets)
            lines = sql.execute('SELECT value, row FROM facets WHERE "column" = ?', (column,))
            rows = self.numbers(line[1:] for line in lines if line[0] in wanted)
            if self.summed:
                query = 'SELECT value, rows, sum FROM facet_sums WHERE "column" = ?'
                lines = sql.execute(query, (column,))
                self._check_sums([line[1:] for line in lines if line[0] in wanted], rows)
            yield rows
            return
        for chunk in _chunks(facets, _IN):
            rows = self._joined(sql, column, chunk)
            if self.summed:
                query = (
                    'SELECT rows, sum FROM facet_sums WHERE "column" = ?'
                    f" AND value IN ({_marks(chunk)})"
                )
                self._check_sums(sql.execute(query, (column, *chunk)).fetchall(), rows)
            yield rows

    def _check_sums(self, sums: Sequence[tuple[Any, ...]], rows: np.ndarray) -> None:
        """DamagedError unless rows (int64) are those of the facets of these counts and sums."""
        whole = all(isinstance(value, int) for line in sums for value in line)
        count = sum(held for held, _ in sums) if whole else -1
        total = reduce(xor, (sum_ for _, sum_ in sums), 0) if whole else 0
        if (count, total) != (len(rows), tombs(rows)):
            raise self.damaged("the rows that a filter finds are not those written")

    def _joined(self, sql: sqlite3.Connection, column: int, facets: Sequence[str]) -> np.ndarray:
        """Rows (int64) that have one of these few facets.

        As texts of many numbers: SQLite joins them, and JSON reads them, in a third of the time
        that as many lines would take.
        """
        found = f'FROM facets WHERE "column" = ? AND value IN ({_marks(facets)})'
        last = sql.execute(f"SELECT max(row) {found}", (column, *facets)).fetchone()[0]
        parts = [np.empty(0, np.int64)]
        try:
            for start in range(0, 0 if last is None else last + 1, _JOINED):
                # What is before the first row is damage, and to be seen by those who check.
                within = "row < ?" if start == 0 else f"row < ? AND row >= {start}"
                query = f"SELECT group_concat(row) {found} AND {within}"
                [text] = sql.execute(query, (column, *facets, start + _JOINED)).fetchone()
                part = np.array(json.loads(f"[{text or ''}]"))
                if part.size and (part.ndim != 1 or part.dtype != np.int64):
                    raise ValueError(f"{part.dtype}")
                parts.append(part.astype(np.int64))
        except (TypeError, ValueError, OverflowError) as error:
            raise self.damaged(f"a row number of a facet: {error}") from error
        return np.concatenate(parts)

    def values(self, sql: sqlite3.Connection, column: int, name: str) -> list[tuple[str, Scalar]]:
        """The values of this column, whose name is given, behind their facets."""
        found = self.counted(sql, column, -1)
        long = [(value, row) for value, row, _ in found if value.startswith("#")]
        items = self.by_row(sql, [row for _, row in long])
        try:
            short = json.loads(f"[{','.join(v for v, _, _ in found if not v.startswith('#'))}]")
            of_rows = iter([value_of(items[row].metadata[name], key) for key, row in long])
        except (KeyError, TypeError, ValueError) as error:
            raise self.damaged(f"a value of a column: {error}") from error
        plain = iter(short)
        return [(value, next(of_rows if value.startswith("#") else plain)) for value, _, _ in found]

    def counted(
        self, sql: sqlite3.Connection, column: int, limit: int
    ) -> list[tuple[str, int, int]]:
        """Each facet of this column, a row that has it and how many have, `limit` at most; -1 for
        all."""
        query = (
            'SELECT min(row), count(*), value FROM facets WHERE "column" = ? GROUP BY value LIMIT ?'
        )
        lines = sql.execute(query, (column, limit)).fetchall()
        if self.summed:
            query = 'SELECT value, rows FROM facet_sums WHERE "column" = ? ORDER BY value LIMIT ?'
            held = sql.execute(query, (column, limit)).fetchall()
            if held != [(value, count) for _, count, value in lines]:
                raise self.damaged("the values of a column are not those written")
        return [(value, row, count) for row, count, value in lines]

    def grouped(self, sql: sqlite3.Connection, column: int) -> Iterator[tuple[str, np.ndarray]]:
        """Each value of this column, as `facet` writes it, and the rows (int64) that have it; null
        is none."""
        query = 'SELECT value, row FROM facets WHERE "column" = ? AND value != ? ORDER BY value'
        lines = sql.execute(query, (column, facet(None)))
        sums: dict[str, tuple[int, int]] = {}
        if self.summed:
            query = 'SELECT value, rows, sum FROM facet_sums WHERE "column" = ? AND value != ?'
            sums = {line[0]: line[1:] for line in sql.execute(query, (column, facet(None)))}
        for value, same in groupby(lines, key=itemgetter(0)):
            rows = self.numbers(line[1:] for line in same)
            if self.summed and sums.pop(value, None) != (len(rows), tombs(rows)):
                raise self.damaged("the rows of a column's value are not those written")
            yield value, rows
        if sums:
            raise self.damaged("the values of a column are not those written")


def present(sql: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
    """Row by id, of those ids that the index holds."""
    found: dict[str, int] = {}
    for chunk in _chunks(ids, _IN):
        query = f"SELECT id, row FROM items WHERE id IN ({_marks(chunk)})"
        found.update(sql.execute(query, chunk))
    return found


def column_numbers(sql: sqlite3.Connection) -> dict[str, int]:
    """The number by name of every metadata column that there has been."""
    return dict(sql.execute("SELECT name, number FROM columns"))


def columns_in_use(sql: sqlite3.Connection) -> list[str]:
    """Names of the columns that some live item has, sorted."""
    query = """SELECT name FROM columns WHERE EXISTS
               (SELECT 1 FROM facets WHERE "column" = columns.number) ORDER BY name"""
    return [name for (name,) in sql.execute(query)]


# What follows writes, and needs format 2.


def insert(sql: sqlite3.Connection, start: int, items: Sequence[Item]) -> None:
    """Insert the items as rows start, start + 1, ..."""
    for first in range(0, len(items), _PAGE):
        page = items[first : first + _PAGE]
        rows = range(start + first, start + first + len(page))
        sql.executemany(
            f"INSERT INTO items ({COLUMNS}, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            map(item_line, rows, page),
        )
        insert_facets(sql, rows, page)


def insert_facets(sql: sqlite3.Connection, rows: Sequence[int], items: Sequence[Item]) -> None:
    """Make the facets of these rows' items."""
    known = column_numbers(sql)
    lines = []
    for row, item in zip(rows, items, strict=True):
        for column, value in item.metadata.items():
            number = known.get(column)
            if number is None:
                cursor = sql.execute("INSERT INTO columns (name) VALUES (?)", (column,))
                number = known[column] = cursor.lastrowid or 0
            lines += [(number, key, row) for key in facets_of(value)]
    # In the order of the table's key: neighbours go to the same page.
    lines.sort()
    sql.executemany("INSERT INTO facets VALUES (?, ?, ?)", lines)
    _count_facets(sql, lines, +1)
    numbers.change(sql, zip(rows, items, strict=True), known, there=True)


def _delete_facets(sql: sqlite3.Connection, items: dict[int, Item]) -> None:
    known = column_numbers(sql)
    lines = sorted(
        (known[column], key, row)
        for row, item in items.items()
        for column, value in item.metadata.items()
        for key in facets_of(value)
    )
    sql.executemany('DELETE FROM facets WHERE "column" = ? AND value = ? AND row = ?', lines)
    _count_facets(sql, lines, -1)
    sql.executemany(
        'DELETE FROM facet_sums WHERE "column" = ? AND value = ? AND rows = 0 AND sum = 0',
        {line[:2] for line in lines},
    )
    numbers.change(sql, items.items(), known, there=False)


def _count_facets(
    sql: sqlite3.Connection, lines: Sequence[tuple[int, str, int]], sign: int
) -> None:
    """Take rows into the sums of their facets, or out of them."""
    if not lines:
        return
    changes: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
    orders = mixed(np.array([row for _, _, row in lines], np.int64)).tolist()
    for (column, value, _), number in zip(lines, orders, strict=True):
        change = changes[column, value]
        change[0] += sign
        change[1] ^= number
    # SQLite has no XOR: a ^ b is (a | b) - (a & b), and never overflows.
    sql.executemany(
        "INSERT INTO facet_sums VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " rows = rows + excluded.rows, sum = (sum | excluded.sum) - (sum & excluded.sum)",
        ((*key, count, signed(total)) for key, (count, total) in changes.items()),
    )


def number_all(sql: sqlite3.Connection, reader: ItemRows) -> None:
    """Make table `numbers` of all items."""
    numbers.begin(sql)
    known, last = column_numbers(sql), -1
    while page := reader.after(sql, last):
        last = page[-1][0]
        numbers.change(sql, page, known, there=True)


def sum_facets(sql: sqlite3.Connection) -> None:
    """Sum the facets as they are; there must be no sums yet."""
    lines = sql.execute('SELECT "column", value, row FROM facets')
    while page := lines.fetchmany(_PAGE):
        _count_facets(sql, page, +1)


def update(
    sql: sqlite3.Connection, found: Sequence[tuple[int, Item]], items: Sequence[Item]
) -> None:
    """Put path, box, metadata and stamp of `items` in the place of those of the rows and items
    that were `found`, in the same order."""
    _delete_facets(sql, dict(found))
    rows = [row for row, _ in found]
    sql.executemany(
        "UPDATE items SET path = ?, x1 = ?, y1 = ?, x2 = ?, y2 = ?, metadata = ?, stamp = ?,"
        " sum = ? WHERE row = ?",
        (
            (*line[2:], line[0])
            for line in (item_line(row, item) for row, item in zip(rows, items, strict=True))
        ),
    )
    insert_facets(sql, rows, items)


def remove(sql: sqlite3.Connection, items: dict[int, Item]) -> None:
    """Set a tombstone on these rows and forget their items."""
    _delete_facets(sql, items)
    ordered = [(row,) for row in sorted(items)]
    sql.executemany("INSERT INTO tombstones (row) VALUES (?)", ordered)
    sql.executemany("DELETE FROM items WHERE row = ?", ordered)
    if ordered:
        (held,) = sql.execute("SELECT tombs FROM state").fetchone()
        total = held ^ tombs(np.array(ordered, np.int64).ravel())
        sql.execute("UPDATE state SET tombs = ?", (total,))
