"""An index without its removed rows: the rows that live, numbered anew, in files of their own.

All of it is one change. The files of the next generation are written and flushed beside those of
this one; then one transaction gives every item its new row and says which generation counts.
Readers go on: who has mapped the old files keeps them, and finds at its next look at the database
that rows have other numbers by now. The old files are removed after the commit. A crash leaves the
one generation or the other; the next writer removes what is of neither. The next generation's files
may have another number of rows (`optimizing.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..checks import Progress
from ..errors import StoreError
from . import item_rows, numbers, schema, sealing
from .changes import Written, write_rows
from .kept import renumbered
from .reading import Reading
from .snapshot import Snapshot, State
from .store import Store

#: Bytes of rows that are copied at a time.
_COPY_BYTES = 16 << 20

#: Segments, of two kinds, that are mapped at a time: a process may have some 65,000 maps in all.
_MAPPED = 1024

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
        written = write_generation(
            store, old, old.state.segment_rows, _NOT_COMPACTED, copied=progress
        )
        with store.statements(_NOT_COMPACTED) as sql:
            begin_generation(sql, store, old, written)
    store.tidy()
    return old.state.removed


def write_generation(
    store: Store,
    old: Snapshot,
    segment_rows: int,
    consequence: str,
    *,
    copied: Progress | None = None,
    reduced: Progress | None = None,
    anew: bool = False,
) -> Written:
    """Write the rows that live, in a change, to the files of the next generation.

    Args:
        old: the index as the change found it.
        segment_rows: rows a file of the next generation.
        copied: called with the rows that are copied and those to do.
        reduced: called, for each metric, with the rows that are reduced and those to do.
        anew: reduce them by what is learnt from them; else by what the old ones are reduced by.

    Raises:
        DamagedError: a row that lives is not as it was written.
        StoreError: a full disk, say.
    """
    held = {metric: replace(each, parts=()) for metric, each in old.reduced.items()}
    rows = np.arange(old.state.rows) if old.live is None else np.flatnonzero(old.live)
    state = State(0, 0, 0, old.state.generation + 1, 0, segment_rows)
    return write_rows(
        store, store.files_of(state, held), state, [], len(rows),
        _blocks(store, old, rows, consequence, copied), consequence, held, reduced, anew=anew,
    )  # fmt: skip


def begin_generation(
    sql: sqlite3.Connection, store: Store, old: Snapshot, written: Written
) -> None:
    """Have the rows that `write_generation` wrote, and no others, count from the commit on."""
    if old.live is None:  # each has the number that it had
        sql.execute("UPDATE state SET edits = edits + 1, generation = generation + 1")
    else:
        _renumber(sql, store, np.flatnonzero(old.live))
    sql.execute(
        "UPDATE meta SET value = ? WHERE key = 'segment_rows'", (str(written.segment_rows),)
    )
    sql.execute("DELETE FROM checksums")
    sql.execute("DELETE FROM segments")
    written.note(sql, store)


def _blocks(
    store: Store, old: Snapshot, rows: np.ndarray, consequence: str, progress: Progress | None
) -> Iterator[dict[str, np.ndarray]]:
    """The rows that live, checked, as `SegmentFiles.append` takes them."""
    row_bytes = sum(old.files.kinds[kind].row_bytes for kind in schema.KINDS)
    step = max(1, _COPY_BYTES // max(1, row_bytes))
    for first in range(0, old.state.segments, _MAPPED):
        among = range(first, first + _MAPPED)
        # Files of their own, so that the maps are gone when the rows are copied.
        reading = Reading(
            store.files_of(old.state, {}), old.state.rows, schema.KINDS, [], "always", 1,
            consequence, among=among,
        )  # fmt: skip
        borders = [old.state.segment_rows * segment for segment in (among.start, among.stop)]
        begin, end = np.searchsorted(rows, borders).tolist()
        for start in range(begin, end, step):
            stop = min(start + step, end)
            block = {kind: reading.copied(kind, rows[start:stop]) for kind in schema.KINDS}
            with store.statements(consequence) as sql:
                reading.settle(sql, store.database.file)
            yield block
            if progress:
                progress(stop, len(rows))


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
