"""What the small tables of an index hold, under one checksum: the *seal*.

`meta`, `state`, `kinds` and `columns` are read when an index is opened and when something was
committed since. Their checksum (XXH3-64 of all of them as JSON) is a line of `meta` itself, made
as the last part of every change. The large tables have sums of their own: `checksums` and
`segments` by line, `items` by line, `facets` by value, `tombstones` by one sum in `state`.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
from xxhash import xxh3_64_hexdigest

from ..errors import DamagedError
from .mixing import mixed
from .snapshot import State
from .sums import CURE, signed

_KEY = "seal"

_STATE = "SELECT *, (SELECT value FROM meta WHERE key = 'segment_rows') FROM state"


def read_state(sql: sqlite3.Connection) -> State:
    """Table `state`, of either format, and the line of `meta` that follows it."""
    line = sql.execute(_STATE).fetchone()
    if line is None or len(line) not in (5, 7):
        raise sqlite3.DatabaseError("the line of table state")
    state = State(*line[1:-1])
    try:
        return replace(state, segment_rows=segment_rows(line[-1]))
    except ValueError as error:
        raise sqlite3.DatabaseError(str(error)) from error


def segment_rows(text: object) -> int:
    """That line of `meta` as a number.

    Raises:
        ValueError: it is none.
    """
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and int(text)):
        raise ValueError(f"segment_rows is {text!r}")
    return int(text)


def seal(sql: sqlite3.Connection) -> str:
    """Write the seal of what the small tables hold now; returns it."""
    text = made(sql)
    sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_KEY, text))
    return text


def held(sql: sqlite3.Connection) -> str:
    """The seal that is there, "" where none is."""
    line = sql.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchone()
    return "" if line is None else str(line[0])


def check(sql: sqlite3.Connection, file: Path, consequence: str) -> None:
    """DamagedError unless the seal is that of what the tables hold."""
    if held(sql) != made(sql):
        raise DamagedError(
            f"{file} is damaged (meta, state, kinds or columns are not as they were written)",
            consequence,
            CURE,
        )


def made(sql: sqlite3.Connection) -> str:
    """The seal of what the tables hold now."""
    content = [
        sql.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()
        for table, columns in (
            ("state", "*"),
            ("kinds", "name, dtype, width"),
            ("columns", "number, name"),
        )
    ]
    content.append(
        sql.execute("SELECT key, value FROM meta WHERE key != ? ORDER BY 1", (_KEY,)).fetchall()
    )
    return xxh3_64_hexdigest(json.dumps(content, default=repr).encode())


def tombs(rows: np.ndarray) -> int:
    """The sum of a set of rows, whatever their order: XOR of `mixed` of their numbers."""
    return signed(int(np.bitwise_xor.reduce(mixed(rows.astype(np.int64)), initial=np.uint64(0))))


def tombs_up_to(rows: int) -> int:
    """`tombs` of all rows below a number."""
    step = 1 << 20
    total = 0
    for start in range(0, rows, step):
        total ^= tombs(np.arange(start, min(start + step, rows)))
    return total
