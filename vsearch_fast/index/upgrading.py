"""An index of format 1, which has no checksums, made one of format 2.

It happens in the transaction of the first change that a version with checksums makes, or by
`vsearch verify --add`: all rows are read once, and what they hold now is what they shall hold.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import numpy as np

from ..disk.writing import write_error
from . import item_rows, stored_sketches, sums
from .sealing import tombs
from .segments import SegmentFiles

#: The first version that reads what this one writes, formats 2 and 3: a version that knows neither
#: tells it of an index that it refuses.
NEEDS = "0.1.0"

#: What format 2 has and format 1 has not.
_CHANGES = (
    "ALTER TABLE state ADD COLUMN generation INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE state ADD COLUMN tombs INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE items ADD COLUMN sum INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE segments ADD COLUMN sum INTEGER NOT NULL DEFAULT 0",
    sums.TABLE,
    item_rows.FACET_SUMS,
    "PRAGMA user_version = 2",
)


def new_identity() -> str:
    """A name that no other index has."""
    return secrets.token_hex(16)


def upgrade(
    sql: sqlite3.Connection,
    file: Path,
    files: SegmentFiles,
    rows: Mapping[str, int],
    consequence: str,
) -> None:
    """Add tables, columns and sums, in the transaction of `sql`.

    Args:
        file: errors name it.
        rows: committed, of each kind.

    Raises:
        StoreError: the rows cannot be read, or the disk is full.
    """
    for statement in _CHANGES:
        sql.execute(statement)
    facts = [("identity", new_identity()), ("needs", NEEDS)]
    sql.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts)
    _sum_items(sql, file)
    removed = np.fromiter(chain.from_iterable(sql.execute("SELECT row FROM tombstones")), np.int64)
    sql.execute("UPDATE state SET tombs = ?", (tombs(removed),))
    for kind, segment, held, parameters in sql.execute(
        "SELECT kind, segment, rows, parameters FROM segments"
    ).fetchall():
        stored_sketches.write_segment(sql, kind, segment, held, parameters)
    for kind, count in rows.items():
        try:
            sum_rows(sql, files, kind, 0, count)
        except OSError as error:
            raise write_error(files.folder.path, error, consequence) from error


def _sum_items(sql: sqlite3.Connection, file: Path) -> None:
    reader = item_rows.ItemRows(file, summed=False)
    last = -1
    while page := reader.after(sql, last):
        last = page[-1][0]
        lines = [item_rows.item_line(row, item) for row, item in page]
        sql.executemany(
            "UPDATE items SET sum = ? WHERE row = ?", [(line[-1], line[0]) for line in lines]
        )
    item_rows.sum_facets(sql)


def sum_rows(
    sql: sqlite3.Connection, files: SegmentFiles, kind: str, start: int, stop: int
) -> None:
    """Take rows `start`, which begins a block, to `stop` as they are on the disk.

    Raises:
        OSError: they cannot be read.
    """
    shape = files.kinds[kind]
    empty = np.empty((0, shape.width), shape.dtype)
    running = sums.RunningSums(shape, files.segment_rows, start, np.empty(0, np.uint64), empty)
    row = start
    while row < stop:
        segment, offset = divmod(row, files.segment_rows)
        end = min(offset + sums.BLOCK_ROWS, files.segment_rows, offset + stop - row)
        rows = files.read(kind, segment, offset, end)
        running.feed(rows)
        row += end - offset
    sums.write(sql, kind, running.lines())
