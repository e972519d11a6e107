"""The statements that read and write items in `index.sqlite` (tables: see `store.py`).

Every function takes the connection of an open transaction and leaves its end to the caller.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np

from .items import Item, facet, metadata_text

#: Values in one `IN (...)`; SQLite's own limit was 999 for a long time.
_IN = 500

#: Items whose facets are sorted together before they go in, and items of one page.
_PAGE = 4096

_COLUMNS = "row, id, path, x1, y1, x2, y2, metadata, stamp"

T = TypeVar("T")


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _item(line: Sequence[Any]) -> Item:
    _, id_, path, x1, y1, x2, y2, metadata, stamp = line
    box = None if x1 is None else (x1, y1, x2, y2)
    return Item(id_, path, box, json.loads(metadata), stamp)


def by_row(sql: sqlite3.Connection, rows: Iterable[int]) -> dict[int, Item]:
    """The items of these rows, by row; removed rows are left out."""
    found = {}
    for chunk in _chunks(list(set(rows)), _IN):
        query = f"SELECT {_COLUMNS} FROM items WHERE row IN ({_marks(chunk)})"
        for line in sql.execute(query, chunk):
            found[line[0]] = _item(line)
    return found


def by_id(sql: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[int, Item]]:
    """Row and item by id; unknown ids are left out."""
    found = {}
    for chunk in _chunks(ids, _IN):
        query = f"SELECT {_COLUMNS} FROM items WHERE id IN ({_marks(chunk)})"
        for line in sql.execute(query, chunk):
            found[line[1]] = line[0], _item(line)
    return found


def present(sql: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
    """Row by id, of those ids that the index holds."""
    found: dict[str, int] = {}
    for chunk in _chunks(ids, _IN):
        query = f"SELECT id, row FROM items WHERE id IN ({_marks(chunk)})"
        found.update(sql.execute(query, chunk))
    return found


def after(sql: sqlite3.Connection, row: int, limit: int | None = None) -> list[tuple[int, Item]]:
    """The next items after this row, in order: `limit` of them at most, by default a page."""
    query = f"SELECT {_COLUMNS} FROM items WHERE row > ? ORDER BY row LIMIT ?"
    return [(line[0], _item(line)) for line in sql.execute(query, (row, limit or _PAGE))]


def column_numbers(sql: sqlite3.Connection) -> dict[str, int]:
    """The number by name of every metadata column that there has been."""
    return dict(sql.execute("SELECT name, number FROM columns"))


def columns_in_use(sql: sqlite3.Connection) -> list[str]:
    """Names of the columns that some live item has, sorted."""
    query = """SELECT name FROM columns WHERE EXISTS
               (SELECT 1 FROM facets WHERE "column" = columns.number) ORDER BY name"""
    return [name for (name,) in sql.execute(query)]


def matching(sql: sqlite3.Connection, column: int, facets: Sequence[str]) -> Iterator[np.ndarray]:
    """Rows (int64) whose value in this column is one of the facets, in several arrays."""
    for chunk in _chunks(facets, _IN):
        query = f'SELECT row FROM facets WHERE "column" = ? AND value IN ({_marks(chunk)})'
        lines = sql.execute(query, (column, *chunk))
        yield np.fromiter(chain.from_iterable(lines), np.int64)


def counted(sql: sqlite3.Connection, column: int, limit: int) -> list[tuple[int, int]]:
    """For each value of this column a row that has it and how many have, `limit` at most."""
    query = 'SELECT min(row), count(*) FROM facets WHERE "column" = ? GROUP BY value LIMIT ?'
    return sql.execute(query, (column, limit)).fetchall()


def grouped(sql: sqlite3.Connection, column: int) -> Iterator[np.ndarray]:
    """Rows (int64) that have the same value in this column, an array a value; null is none."""
    query = 'SELECT value, row FROM facets WHERE "column" = ? AND value != ? ORDER BY value'
    lines = sql.execute(query, (column, facet(None)))
    for _, same in groupby(lines, key=itemgetter(0)):
        yield np.fromiter(map(itemgetter(1), same), np.int64)


def insert(sql: sqlite3.Connection, start: int, items: Sequence[Item]) -> None:
    """Insert the items as rows start, start + 1, ..."""
    numbers = column_numbers(sql)
    for first in range(0, len(items), _PAGE):
        page = items[first : first + _PAGE]
        rows = range(start + first, start + first + len(page))
        sql.executemany(
            f"INSERT INTO items ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (row, item.id, item.path, *(item.box or (None,) * 4), text, item.stamp)
                for row, item in zip(rows, page, strict=True)
                for text in (metadata_text(item.metadata),)
            ),
        )
        _insert_facets(sql, rows, page, numbers)


def _insert_facets(
    sql: sqlite3.Connection, rows: Sequence[int], items: Sequence[Item], numbers: dict[str, int]
) -> None:
    lines = []
    for row, item in zip(rows, items, strict=True):
        for column, value in item.metadata.items():
            number = numbers.get(column)
            if number is None:
                cursor = sql.execute("INSERT INTO columns (name) VALUES (?)", (column,))
                number = numbers[column] = cursor.lastrowid or 0
            lines.append((number, facet(value), row))
    # In the order of the table's key: neighbours go to the same page.
    sql.executemany("INSERT INTO facets VALUES (?, ?, ?)", sorted(lines))


def _delete_facets(sql: sqlite3.Connection, rows: Sequence[int]) -> None:
    numbers = column_numbers(sql)
    lines = [
        (numbers[column], facet(value), row)
        for row, item in by_row(sql, rows).items()
        for column, value in item.metadata.items()
    ]
    sql.executemany('DELETE FROM facets WHERE "column" = ? AND value = ? AND row = ?', lines)


def update(sql: sqlite3.Connection, rows: Sequence[int], items: Sequence[Item]) -> None:
    """Put these items' path, box, metadata and stamp into these rows."""
    _delete_facets(sql, rows)
    sql.executemany(
        "UPDATE items SET path = ?, x1 = ?, y1 = ?, x2 = ?, y2 = ?, metadata = ?, stamp = ?"
        " WHERE row = ?",
        (
            (item.path, *(item.box or (None,) * 4), metadata_text(item.metadata), item.stamp, row)
            for row, item in zip(rows, items, strict=True)
        ),
    )
    _insert_facets(sql, rows, items, column_numbers(sql))


def remove(sql: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Set a tombstone on these rows and forget their items."""
    _delete_facets(sql, rows)
    ordered = [(row,) for row in sorted(rows)]
    sql.executemany("INSERT INTO tombstones (row) VALUES (?)", ordered)
    sql.executemany("DELETE FROM items WHERE row = ?", ordered)
