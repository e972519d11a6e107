"""The numbers of metadata, for filters such as ``price < 50``: table `numbers` of `index.sqlite`.

Facets (`item_rows.py`) tell which rows have a value; to compare them each value has to be looked
at. This table has the numbers themselves, so that a range is a comparison of arrays: a line for
each column, block of `_BLOCK` rows and kind of number,

===========  ==================================================================================
`place`      column << 32 | block << 1 | kind: 0 for whole numbers, 1 for others
`rows`       uint16, rows within the block, ascending; one with several numbers comes several times
`numbers`    int64, or float64; whole numbers that int64 does not hold are rounded to float64
===========  ==================================================================================

Texts that are numbers are among them. A line "numbers" in `meta`, under the seal, says of each
column how many lines it has and what the XOR of their sums is, and of which state they are. A
version that does not know the table changes the state and not that line, so that the numbers are
known to be old: then they are not used, and dropped by the next writer that knows them. An index
without them (an older one) gains them with its next addition, compaction or `vsearch optimize`.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import xor
from pathlib import Path
from typing import Protocol

import numpy as np
from xxhash import xxh3_64_intdigest

from ..checks import Value
from ..errors import DamagedError
from .conditions import number_in
from .snapshot import State
from .sums import CURE, line_sum

TABLE = """CREATE TABLE numbers (
    place INTEGER PRIMARY KEY, rows BLOB NOT NULL, numbers BLOB NOT NULL
)"""
#: Of the line in `meta`.
KEY = "numbers"

#: Rows of a block: so many are written again where one of them changes.
_BLOCK = 1024
_WHOLE, _REAL = 0, 1
_TYPES = {_WHOLE: np.dtype("<i8"), _REAL: np.dtype("<f8")}
_ROW = np.dtype("<u2")
#: Whole numbers below this size, either way, are held as they are.
_LIMIT = 1 << 63


class Described(Protocol):
    @property
    def metadata(self) -> Mapping[str, Value]: ...


@dataclass(slots=True)
class _Note:
    """The line in `meta`: of which state, and by column the count of lines and their sum."""

    state: list[int | None]
    columns: dict[str, list[int]]

    def text(self) -> str:
        return json.dumps({"state": self.state, "columns": self.columns})


def _of(state: State) -> list[int | None]:
    return [state.rows, state.removed, state.edits, state.generation, state.tombs]


def _note(sql: sqlite3.Connection) -> _Note | None:
    line = sql.execute("SELECT value FROM meta WHERE key = ?", (KEY,)).fetchone()
    if line is None:
        return None
    try:
        told = json.loads(line[0])
        return _Note(told["state"], told["columns"])
    except (TypeError, ValueError, KeyError):  # of another make
        return None


def _write_note(sql: sqlite3.Connection, note: _Note) -> None:
    sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (KEY, note.text()))


def numbers_of(value: Value) -> Iterator[int | float]:
    """The numbers that an item has in a column, as comparisons see them; those that int64 does not
    hold as float64."""
    for each in value if isinstance(value, list | tuple) else (value,):
        number = number_in(each) if isinstance(each, str) else each
        if number is None or isinstance(number, bool):
            continue
        if isinstance(number, int) and not -_LIMIT <= number < _LIMIT:
            try:
                number = float(number)
            except OverflowError:
                number = math.inf if number > 0 else -math.inf
        yield number + 0.0 if isinstance(number, float) else number  # there is one zero


def lines_of(
    found: Iterable[tuple[int, Described]], columns: Mapping[str, int]
) -> dict[int, set[tuple[int, int | float]]]:
    """The numbers of items, by place; `columns` are the numbers of the columns."""
    lines: dict[int, set[tuple[int, int | float]]] = defaultdict(set)
    for row, item in found:
        block, within = divmod(row, _BLOCK)
        for column, value in item.metadata.items():
            for number in numbers_of(value):
                kind = _REAL if isinstance(number, float) else _WHOLE
                lines[columns.get(column, 0) << 32 | block << 1 | kind].add((within, number))
    return lines


def packed(place: int, line: Iterable[tuple[int, int | float]]) -> tuple[bytes, bytes]:
    """What stands in the table for the rows and numbers of a place."""
    ordered = sorted(line)
    rows = np.array([row for row, _ in ordered], _ROW)
    return rows.tobytes(), np.array([n for _, n in ordered], _TYPES[place & 1]).tobytes()


def _sum(place: int, rows: object, numbers: object) -> int:
    """Of a line; of one that holds something else than bytes another than that of any."""
    if not (isinstance(rows, bytes) and isinstance(numbers, bytes)):
        return 0
    return line_sum(place, xxh3_64_intdigest(rows), xxh3_64_intdigest(numbers))


# Writing


def begin(sql: sqlite3.Connection) -> None:
    """Have an empty table; the numbers of all items are put into it next."""
    sql.execute("DROP TABLE IF EXISTS numbers")
    sql.execute(TABLE)
    _write_note(sql, _Note([], {}))


def there(sql: sqlite3.Connection) -> bool:
    """Whether the table is kept up."""
    return _note(sql) is not None


def drop_old(sql: sqlite3.Connection, state: State) -> None:
    """At the beginning of a change: forget numbers that are of another state than this."""
    note = _note(sql)
    if note is not None and note.state != _of(state):
        sql.execute("DELETE FROM meta WHERE key = ?", (KEY,))
        sql.execute("DROP TABLE IF EXISTS numbers")


def mark(sql: sqlite3.Connection, state: State) -> None:
    """At the end of a change: the numbers are those of this state."""
    note = _note(sql)
    if note is not None and note.state != _of(state):
        note.state = _of(state)
        _write_note(sql, note)


def change(
    sql: sqlite3.Connection, found: Iterable[tuple[int, Described]], columns: Mapping[str, int],
    *, there: bool,
) -> None:  # fmt: skip
    """Put the numbers of these rows' items in, or (not `there`) take them out."""
    note = _note(sql)
    if note is None:
        return
    for place, line in sorted(lines_of(found, columns).items()):
        entry = note.columns.setdefault(str(place >> 32), [0, 0])
        old = sql.execute("SELECT rows, numbers FROM numbers WHERE place = ?", (place,)).fetchone()
        held: set[tuple[int, int | float]] = set()
        if old is not None:
            # What is damaged stays so: its sum is taken out of those written, and does not fit.
            entry[0] -= 1
            entry[1] ^= _sum(place, *old)
            held = _unpacked(place, *old)
        held = held | line if there else held - line
        if held:
            fresh = packed(place, held)
            sql.execute("INSERT OR REPLACE INTO numbers VALUES (?, ?, ?)", (place, *fresh))
            entry[0] += 1
            entry[1] ^= _sum(place, *fresh)
        elif old is not None:
            sql.execute("DELETE FROM numbers WHERE place = ?", (place,))
    _write_note(sql, note)


def _unpacked(place: int, rows: object, numbers: object) -> set[tuple[int, int | float]]:
    if not (isinstance(rows, bytes) and isinstance(numbers, bytes)):
        return set()
    size = min(len(rows) // _ROW.itemsize, len(numbers) // 8)
    arrays = np.frombuffer(rows, _ROW, size), np.frombuffer(numbers, _TYPES[place & 1], size)
    return set(zip(*(array.tolist() for array in arrays), strict=True))


def kept(sql: sqlite3.Connection, state: State) -> dict[int, tuple[bytes, bytes]] | None:
    """All lines, by place; None where they are not those of this state."""
    note = _note(sql)
    if note is None or note.state != _of(state):
        return None
    lines = sql.execute("SELECT place, rows, numbers FROM numbers")
    return {place: (rows, numbers) for place, rows, numbers in lines}


# Reading


def compared(
    sql: sqlite3.Connection, file: Path, state: State, column: int, order: str, than: int | float
) -> np.ndarray | None:
    """Rows (int64) with a number in this column that is before or behind another, exactly; some
    may come several times. None where the numbers of this state are not there, or the other number
    is larger than those that are held as they are.

    Raises:
        DamagedError: the numbers are not those written.
    """
    note = _note(sql) if abs(than) < _LIMIT else None
    if note is None or note.state != _of(state):
        return None
    query = "SELECT place, rows, numbers FROM numbers WHERE place >= ? AND place < ?"
    lines = sql.execute(query, (column << 32, (column + 1) << 32)).fetchall()
    total = reduce(xor, (_sum(*line) for line in lines), 0)
    if [len(lines), total] != note.columns.get(str(column), [0, 0]):
        raise DamagedError(
            f"{file} is damaged (the numbers of a column are not those written)",
            "Nothing was returned",
            CURE,
        )
    kinds = [[line for line in lines if line[0] & 1 == kind] for kind in _TYPES]
    return np.concatenate([_met(*each, order, than) for each in zip(_TYPES, kinds, strict=True)])


def _met(
    kind: int, lines: list[tuple[int, bytes, bytes]], order: str, than: int | float
) -> np.ndarray:
    within = np.frombuffer(b"".join(rows for _, rows, _ in lines), _ROW).astype(np.int64)
    numbers = np.frombuffer(b"".join(numbers for _, _, numbers in lines), _TYPES[kind])
    starts = np.array([(place & 0xFFFFFFFF) >> 1 for place, _, _ in lines], np.int64) * _BLOCK
    counts = [len(rows) // _ROW.itemsize for _, rows, _ in lines]
    order, bound = (_among_whole if kind == _WHOLE else _among_real)(order, than)
    met = {
        "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
    }[order](numbers, bound)  # fmt: skip
    found: np.ndarray = (np.repeat(starts, counts) + within)[met]
    return found


def _among_whole(order: str, than: int | float) -> tuple[str, int]:
    """The same comparison of whole numbers with a whole number."""
    return order, math.ceil(than) if order in ("<", ">=") else math.floor(than)


def _among_real(order: str, than: int | float) -> tuple[str, float]:
    """The same comparison of float64 with a float64."""
    near = float(than)
    if near == than:
        return order, near
    # Nothing lies between them: what is below the one is so far the other's.
    below = order[0] == "<"
    return (order[0] + ("" if (near > than) == below else "=")), near
