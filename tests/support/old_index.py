"""An index of format 1, as version 0.13 and those before made it: without any checksums."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import numpy as np

from vsearch_fast.index import Index, Item

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    rows INTEGER NOT NULL, removed INTEGER NOT NULL, edits INTEGER NOT NULL
);
CREATE TABLE kinds (name TEXT PRIMARY KEY, dtype TEXT NOT NULL, width INTEGER NOT NULL);
CREATE TABLE segments (
    kind TEXT NOT NULL, segment INTEGER NOT NULL, rows INTEGER NOT NULL, parameters TEXT,
    PRIMARY KEY (kind, segment)
) WITHOUT ROWID;
CREATE TABLE items (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, path TEXT,
    x1 INTEGER, y1 INTEGER, x2 INTEGER, y2 INTEGER, metadata TEXT NOT NULL, stamp TEXT
);
CREATE TABLE tombstones (number INTEGER PRIMARY KEY, row INTEGER NOT NULL UNIQUE);
CREATE TABLE columns (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE facets (
    "column" INTEGER NOT NULL, value TEXT NOT NULL, row INTEGER NOT NULL,
    PRIMARY KEY ("column", value, row)
) WITHOUT ROWID;
INSERT INTO state VALUES (1, 0, 0, 0);
"""

#: The tables' lines that format 1 has, too: those of an index of format 2 are copied.
_LINES = {
    "kinds": "name, dtype, width",
    "segments": "kind, segment, rows, parameters",
    "items": "row, id, path, x1, y1, x2, y2, metadata, stamp",
    "tombstones": "number, row",
    "columns": "number, name",
    "facets": '"column", value, row',
}


def make_format_1(
    folder: Path, ids: list[str], rows: np.ndarray, items: list[Item], removed: list[str],
    segment_rows: int = 16,
) -> None:  # fmt: skip
    """Make an index of these items, of which some are removed again."""
    model = {"layer": "fc1"}
    dim = rows.shape[1]
    with Index.create(folder, dim, model_id="m", model=model, segment_rows=segment_rows) as index:
        index.add(ids, rows, items)
        if removed:
            index.remove(removed)
    new, old = folder / "index.sqlite", folder / "old.sqlite"
    with contextlib.closing(sqlite3.connect(old, isolation_level=None)) as sql:
        sql.execute(f"PRAGMA application_id = {0x56534658}")
        sql.execute("PRAGMA user_version = 1")
        sql.executescript(SCHEMA)
        sql.execute("ATTACH ? AS new", (str(new),))
        for table, columns in _LINES.items():
            sql.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
        sql.execute("DELETE FROM main.state")
        sql.execute("INSERT INTO main.state SELECT one, rows, removed, edits FROM new.state")
        meta = {
            "dim": str(dim),
            "segment_rows": str(segment_rows),
            "model_id": "m",
            "model": json.dumps(model),
            "created": "2026-05-04T03:02:01+00:00",
        }
        sql.executemany("INSERT INTO main.meta VALUES (?, ?)", meta.items())
    old.replace(new)
