"""An index without its removed rows: the rows that live, numbered anew, in files of their own.

All of it is one change. The files of the next generation are written and flushed beside those of
this one; then one transaction gives every item its new row and says which generation counts.
Readers go on: who has mapped the old files keeps them, and finds at its next look at the database
that rows have other numbers by now. The old files are removed after the commit. A crash leaves the
one generation or the other; the next writer removes what is of neither.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..checks import Progress
from ..errors import StoreError
from . import item_rows, numbers, schema, sealing
from .changes import write_rows
from .kept import renumbered
from .reading import Reading
from .snapshot import Snapshot, State
from .store import Store

#: Bytes of rows that are copied at a time.
_COPY_BYTES = 16 << 20

_NOT_COMPACTED = "The index was not compacted, and is as it was"


def compact(store: Store, progress: Progress | None = None) -> int:
    """Drop the removed rows of an index that is open for writing; returns how many there were.

    Args:
        progress: called with the rows that are done and those to do.

    Raises:
        DamagedError: a row that lives is not as it was written.
        StoreError: a full disk, say; the index is as it was.
    """
    with store.change(_NOT_COMPACTED):
        if store.database.nested:
            raise StoreError(
                f"{store.folder} is in the midst of a transaction",
                _NOT_COMPACTED,
                "Compact it before or after",
            )
        old = store.found_by_change
        if old.live is None:
            return 0
        _compact(store, old, progress)
    store.tidy()
    return old.state.removed


def _compact(store: Store, old: Snapshot, progress: Progress | None) -> None:
    assert old.live is not None
    held = {metric: replace(each, parts=()) for metric, each in old.reduced.items()}
    rows = np.flatnonzero(old.live)
    state = State(0, 0, 0, old.state.generation + 1, 0)
    files = store.files_of(state, held)
    reading = Reading(old.files, old.state.rows, schema.KINDS, [], "always", 1, _NOT_COMPACTED)
    written = write_rows(
        store, files, state, [], len(rows), _blocks(store, reading, rows, progress),
        _NOT_COMPACTED, held,
    )  # fmt: skip
    with store.statements(_NOT_COMPACTED) as sql:
        _renumber(sql, store, rows)
        sql.execute("DELETE FROM checksums")
        sql.execute("DELETE FROM segments")
        written.note(sql, store)


def _blocks(
    store: Store, reading: Reading, rows: np.ndarray, progress: Progress | None
) -> Iterator[dict[str, np.ndarray]]:
    """The rows that live, checked, as `SegmentFiles.append` takes them."""
    row_bytes = sum(reading.files.kinds[kind].row_bytes for kind in schema.KINDS)
    step = max(1, _COPY_BYTES // max(1, row_bytes))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        block = {kind: reading.copied(kind, part) for kind in schema.KINDS}
        with store.statements(_NOT_COMPACTED) as sql:
            reading.settle(sql, store.database.file)
        yield block
        if progress:
            progress(min(start + step, len(rows)), len(rows))


def _renumber(sql: sqlite3.Connection, store: Store, rows: np.ndarray) -> None:
    """Give the items in these rows, ascending, the rows 0, 1, ... ."""
    state = sealing.read_state(sql)
    sql.execute("DELETE FROM facets")
    sql.execute("DELETE FROM facet_sums")
    numbers.begin(sql)
    last, number = -1, 0
    while page := store.rows.after(sql, last):
        last = page[-1][0]
        found = [row for row, _ in page]
        if not np.array_equal(found, rows[number : number + len(page)]):
            raise store.rows.damaged("the items are not those of the rows that live")
        fresh = range(number, number + len(page))
        # A row's new number is never above its old one, and so is free by then.
        lines = [item_rows.item_line(row, item) for row, (_, item) in zip(fresh, page, strict=True)]
        sql.executemany(
            "UPDATE items SET row = ?, sum = ? WHERE row = ?",
            [(line[0], line[-1], row) for line, row in zip(lines, found, strict=True)],
        )
        item_rows.insert_facets(sql, fresh, [item for _, item in page])
        number += len(page)
    if number != len(rows):
        raise store.rows.damaged("the items are not those of the rows that live")
    sql.execute("DELETE FROM tombstones")
    sql.execute(
        "UPDATE state SET rows = ?, removed = 0, edits = edits + 1, tombs = 0,"
        " generation = generation + 1",
        (len(rows),),
    )
    for key, text in sql.execute("SELECT key, value FROM meta").fetchall():
        changed = renumbered(key, text, state.removed)
        if changed is not None:
            sql.execute("UPDATE meta SET value = ? WHERE key = ?", (changed, key))
