"""What an index is on disk: one SQLite file and append-only segment files in a folder.

::

    index.sqlite          everything but the numbers of the rows (below)
    vectors-00000.npy     float32 or float16 (segment_rows, dim), the features; then -00001, ...
    codes-00000.npy       uint8 (segment_rows, ceil(dim / 8)), np.packbits(features > 0)
    sketches-00000.npy    8-bit sketches of the vectors, and
    facts-00000.npy       what bounds distances by them: see `stored_sketches.py`
    write.lock            flocked by the one writer; holds its process id

**Rows** are numbered from 0 in the order in which they were added and keep their number for
ever: row r is line r % segment_rows of segment r // segment_rows, in every kind of segment.
Removing a row sets a tombstone; adding its id again makes a new row.

**index.sqlite** has the application id 0x56534658 ("VSFX") and `user_version` = FORMAT:

=============  ============================================================================
`meta`         key, value: dim, segment_rows, model_id, model (JSON), created (UTC), and
               notes such as "threshold l2" (JSON: see `thresholds.py`), once there are any
`state`        one line: `rows` (committed, removed ones included), `removed`, `edits`
               (count of changes to what existed: removals, replacements, updates)
`kinds`        name, dtype (NumPy's string), width: what a row of each kind of segment holds
`segments`     kind, segment, rows (committed in that file), parameters (JSON or null)
`items`        row, id, path, x1, y1, x2, y2, metadata (JSON), stamp: the live rows
`tombstones`   number (1, 2, ... in order of removal), row: the removed rows
`columns`      number, name: every metadata column there has been
`facets`       column, value, row: the metadata again, ordered for `where`; `value` is the
               text that `items.facet` makes, which is equal when the JSON values are
=============  ============================================================================

**Writing.** Rows are written to the segments and flushed, then one SQLite transaction makes
them exist (rollback journal, synchronous=EXTRA). Whatever a crash leaves beyond
`state.rows` is no part of the index: the next writer removes or overwrites it.

**Reading** needs no permission to write. State is re-read at every search (one line), so
that a reader sees what was committed since; `(rows, edits)` changes with every commit.

**Kinds.** A reader ignores kinds that it does not know, and a writer extends only those that it
knows; so a kind other than vectors and codes may hold fewer rows than `state.rows` (`segments`
says how many), and is filled up by whoever knows it. Sketches are such kinds: an index that
was made before there were any gets them with its next addition.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import Scalar
from ..disk.database import Database
from ..errors import ArgumentError, DuplicateIdError, StoreError, UnknownIdError
from ..search.sketches import Sketch
from . import item_rows, schema, stored_sketches
from .items import Item
from .segments import SegmentFiles
from .snapshot import Filter, Snapshot, State
from .stored_sketches import Covered

#: Filters whose masks are kept until the next commit.
_KEPT_FILTERS = 16


class Store:
    """An opened index folder: rows and items in, masks and items out.

    Safe to use from several threads at once. In a forked child a store opened for reading
    goes on with a connection of its own; one opened for writing refuses.

    Args:
        folder: made by `create`.
        writable: hold the write lock, and drop what an unfinished add has left.

    Raises:
        StoreError: no index there, a damaged one, another format.
        LockedError: another writer.
    """

    def __init__(self, folder: Path, *, writable: bool) -> None:
        self.folder = folder.absolute()
        self.writable = writable
        schema.refuse_what_is_no_index(self.folder)
        self._database = Database(self.folder / schema.DATABASE_NAME, writable=writable)
        self.transaction = self._database.transaction
        self._snapshot = Snapshot(State(0, 0, 0), None)
        self._tombstones = np.empty(0, np.int64)
        try:
            with self.transaction("The index was not opened") as sql:
                self.meta = schema.read_meta(sql, self.folder)
                self.files = SegmentFiles(self.folder, self.meta.kinds, self.meta.segment_rows)
                rows = self._rows_by_kind(sql)
            self.files.check(rows)
            if writable:
                self.files.drop_tail(rows)
        except BaseException:
            self._database.close()
            raise

    @property
    def calibrating(self) -> threading.Lock:
        """Around the making of a threshold."""
        return self._database.making

    def close(self) -> None:
        """Close the files and release the write lock. Does nothing when done already."""
        with self._database.changing:  # a change that another thread has begun ends first
            self._database.close()
            self.files.close()

    # Reading

    def _read_state(self, sql: sqlite3.Connection) -> State:
        return State(*sql.execute("SELECT rows, removed, edits FROM state").fetchone())

    def _covered(self, sql: sqlite3.Connection) -> list[Covered]:
        segments = self.files.segments(self._read_state(sql).rows)
        return stored_sketches.read(sql, segments) if self.meta.sketched else []

    def _rows_by_kind(self, sql: sqlite3.Connection) -> dict[str, int]:
        """Committed rows of each kind that is known here."""
        rows = dict.fromkeys(schema.KINDS, self._read_state(sql).rows)
        if self.meta.sketched:
            covered = stored_sketches.rows_of(self._covered(sql))
            rows |= {stored_sketches.SKETCHES: covered, stored_sketches.FACTS: covered}
        return rows

    def state(self) -> State:
        """The committed state of this moment."""
        with self.transaction("Nothing was read") as sql:
            return self._read_state(sql)

    def snapshot(self, where: Filter | None) -> tuple[Snapshot, np.ndarray | None]:
        """The rows of this moment, and a bool mask (rows,) of those that are live and match
        `where` (at least one column); None when all are. Masks are kept until something is
        committed.

        Raises:
            ArgumentError: a column that the index does not have.
        """
        with self.transaction("Nothing was searched") as sql:
            snapshot = self._refresh(sql)
            if where is None:
                return snapshot, snapshot.live
            key = tuple((column, tuple(where[column])) for column in sorted(where))
            mask = snapshot.filters.get(key)
            if mask is None:
                mask = self._filter_mask(sql, snapshot.state.rows, where)
                if len(snapshot.filters) >= _KEPT_FILTERS:
                    snapshot.filters.clear()
                snapshot.filters[key] = mask
            return snapshot, mask

    def _refresh(self, sql: sqlite3.Connection) -> Snapshot:
        state = self._read_state(sql)
        if state != self._snapshot.state:
            known = len(self._tombstones)
            if state.removed != known:
                lines = sql.execute("SELECT row FROM tombstones WHERE number > ?", (known,))
                fresh = np.fromiter(chain.from_iterable(lines), np.int64)
                self._tombstones = np.concatenate([self._tombstones, fresh])
            live = None
            if state.removed:
                live = np.ones(state.rows, bool)
                live[self._tombstones] = False
            self._snapshot = Snapshot(state, live, self._covered(sql))
        return self._snapshot

    def _filter_mask(self, sql: sqlite3.Connection, rows: int, where: Filter) -> np.ndarray:
        mask = np.ones(rows, bool)
        numbers = item_rows.column_numbers(sql)
        for column, facets in where.items():
            number = _column_number(numbers, column, "Nothing was searched")
            match = np.zeros(rows, bool)
            for found in item_rows.matching(sql, number, facets):
                match[found] = True
            mask &= match
        return mask  # removed rows are out of it: they have no facets

    def groups(self, column: str, rows: int, consequence: str) -> np.ndarray:
        """A number for each of the first `rows` rows, int64, equal where rows have the same value
        in this column. A row without one, or with null, has a number of its own.

        Raises:
            ArgumentError: a column that the index does not have.
        """
        groups = -1 - np.arange(rows)
        with self.transaction(consequence) as sql:
            number = _column_number(item_rows.column_numbers(sql), column, consequence)
            for group, found in enumerate(item_rows.grouped(sql, number)):
                groups[found] = group
        return groups

    def sketches(self, snapshot: Snapshot) -> list[Sketch] | None:
        """The sketches of a snapshot's segments, memory-mapped; None where none are kept."""
        if not self.meta.sketched:
            return None
        return stored_sketches.mapped(self.files, snapshot.covered, snapshot.state.rows)

    def items(self, rows: Iterable[int], edits: int | None = None) -> dict[int, Item] | None:
        """Items by row. With `edits`: None when anything but additions was committed since
        the state that has this count."""
        with self.transaction("Nothing was read") as sql:
            if edits is not None and self._read_state(sql).edits != edits:
                return None
            return item_rows.by_row(sql, rows)

    def find(self, ids: Sequence[str], consequence: str) -> list[tuple[int, Item]]:
        """Row and item of every id, in order.

        Raises:
            UnknownIdError: names the first id that is not in the index.
        """
        with self.transaction(consequence) as sql:
            found = item_rows.by_id(sql, ids)
        for id_ in ids:
            if id_ not in found:
                raise UnknownIdError(
                    f"{self.folder} holds no item {id_!r}", consequence, "Check the id"
                )
        return [found[id_] for id_ in ids]

    def contains(self, id_: str) -> bool:
        """Whether a live row has this id."""
        with self.transaction("Nothing was read") as sql:
            return bool(item_rows.present(sql, [id_]))

    def iterate(self) -> Iterator[Item]:
        """All items by row. The index may be changed meanwhile: items added are met, too."""
        last = -1
        while True:
            with self.transaction("Nothing was read") as sql:
                page = item_rows.after(sql, last)
            if not page:
                return
            last = page[-1][0]
            for _, item in page:
                yield item

    def page(self, limit: int, after: int, where: Filter | None) -> tuple[list[Item], int | None]:
        """The first `limit` live items that match `where` in rows above `after`, and the row of
        the last of them; None instead where no item follows."""
        with self.transaction("Nothing was read") as sql:
            if where is None:
                lines = item_rows.after(sql, after, limit + 1)
            else:
                _, mask = self.snapshot(where)
                assert mask is not None
                rows = after + 1 + np.flatnonzero(mask[after + 1 :])[: limit + 1]
                lines = sorted(item_rows.by_row(sql, rows.tolist()).items())
        more = len(lines) > limit
        lines = lines[:limit]
        return [item for _, item in lines], lines[-1][0] if more else None

    def values(self, column: str, limit: int) -> list[tuple[Scalar, int]] | None:
        """The values that live items have in this column, and how many have each; None where
        there are more than `limit` values."""
        with self.transaction("Nothing was read") as sql:
            number = _column_number(item_rows.column_numbers(sql), column, "Nothing was read")
            found = item_rows.counted(sql, number, limit + 1)
            if len(found) > limit:
                return None
            items = item_rows.by_row(sql, [row for row, _ in found])
        return [(items[row].metadata[column], count) for row, count in found]

    def columns(self) -> list[str]:
        """Names of the metadata columns that live items have, sorted."""
        with self.transaction("Nothing was read") as sql:
            return item_rows.columns_in_use(sql)

    def note(self, key: str) -> str | None:
        """What `write_note` has put under this key, by whichever writer."""
        with self.transaction("Nothing was read") as sql:
            line = sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if line is None else line[0]

    def bytes_on_disk(self) -> int:
        """Disk space that the index takes."""
        with self.transaction("Nothing was read") as sql:
            rows = self._rows_by_kind(sql)
        return self._database.file.stat().st_blocks * 512 + self.files.bytes_on_disk(rows)

    def facts(self, state: State) -> dict[str, Any]:
        """What `Index.info` tells of the files and rows."""
        return {
            "path": str(self.folder),
            "format": schema.FORMAT,
            "created": self.meta.created,
            "dim": self.meta.dim,
            "dtype": self.meta.dtype,
            "model": self.meta.model,
            "model_id": self.meta.model_id,
            "rows": state.rows,
            "live": state.rows - state.removed,
            "removed": state.removed,
            "segments": self.files.segments(state.rows),
            "segment_rows": self.meta.segment_rows,
            "bytes": self.bytes_on_disk(),
            "columns": self.columns(),
        }

    # Writing

    def _check_writable(self) -> None:
        if not self.writable:
            raise StoreError(
                f"{self.folder} was opened for reading",
                "Nothing was changed",
                'Open it with Index.open(..., mode="rw")',
            )

    def append(
        self,
        items: Sequence[Item],
        blocks: Iterable[dict[str, np.ndarray]],
        *,
        replace: bool,
    ) -> None:
        """Add one row an item, in one transaction.

        Args:
            items: checked, their ids all different.
            blocks: the rows by kind, as `SegmentFiles.append` takes them; as many as items.
            replace: replace the items of the same id instead of refusing them.

        Raises:
            DuplicateIdError: an id is there already (without `replace`).
            StoreError: nothing was added, and why.
        """
        self._check_writable()
        consequence = "None of the rows was added, and what the index held is as it was"
        with self._database.changing:
            with self.transaction(consequence) as sql:
                start = self._read_state(sql).rows
                covered = self._covered(sql)
                held = item_rows.present(sql, [item.id for item in items])
            if held and not replace:
                first = next(item.id for item in items if item.id in held)
                raise DuplicateIdError(
                    f"{self.folder} holds an item {first!r} already",
                    consequence,
                    "Leave it out, remove it first, or pass replace=True",
                )
            self.files.append(start, blocks, consequence)
            try:
                sketched = None
                if self.meta.sketched:
                    sketched = stored_sketches.Extension(self.files, covered, start + len(items))
                    self.files.append(sketched.start, sketched.blocks(), consequence)
                with self.transaction(consequence, write=True) as sql:
                    item_rows.remove(sql, list(held.values()))
                    item_rows.insert(sql, start, items)
                    self._count(sql, start, len(items), removed=len(held))
                    if sketched:
                        schema.write_kinds(sql, self.meta.kinds)
                        stored_sketches.write(sql, sketched)
            except BaseException:
                # The disk may be full: give back the segments that this call began. The state
                # is asked for, because a commit that reports an error may have been one.
                with contextlib.suppress(StoreError), self.transaction(consequence) as sql:
                    self.files.drop_tail(self._rows_by_kind(sql))
                raise

    def _count(self, sql: sqlite3.Connection, start: int, added: int, removed: int) -> None:
        rows = start + added
        sql.execute(
            "UPDATE state SET rows = ?, removed = removed + ?, edits = edits + ?",
            (rows, removed, 1 if removed else 0),
        )
        for segment in range(start // self.meta.segment_rows, self.files.segments(rows)):
            held = min(rows - segment * self.meta.segment_rows, self.meta.segment_rows)
            sql.executemany(
                "INSERT INTO segments (kind, segment, rows) VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET rows = excluded.rows",
                [(kind, segment, held) for kind in schema.KINDS],
            )

    def update(self, items: Sequence[Item]) -> None:
        """Replace path, box, metadata and stamp of the items of these ids, in one transaction.

        Raises:
            UnknownIdError: an id that the index does not hold; nothing was changed.
        """
        self._check_writable()
        consequence = "Nothing was changed"
        with self._database.changing, self.transaction(consequence, write=True) as sql:
            found = self.find([item.id for item in items], consequence)
            item_rows.update(sql, [row for row, _ in found], items)
            sql.execute("UPDATE state SET edits = edits + 1")

    def describe(self, model: dict[str, Any]) -> None:
        """Replace what `meta` says about the model, in one transaction."""
        self._check_writable()
        with self._database.changing, self.transaction("Nothing was changed", write=True) as sql:
            sql.execute("UPDATE meta SET value = ? WHERE key = 'model'", (json.dumps(model),))
        self.meta = replace(self.meta, model=model)

    def write_note(self, key: str, value: str) -> None:
        """Put a text under a key of `meta` that is none of an index's own, in one transaction.

        Versions that do not know the key leave it alone; the state of the rows stays the same.
        """
        self._check_writable()
        with self._database.changing, self.transaction("Nothing was changed", write=True) as sql:
            sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def remove(self, ids: Sequence[str]) -> None:
        """Set a tombstone on the rows of these ids, in one transaction.

        Raises:
            UnknownIdError: an id that the index does not hold; nothing was removed.
        """
        self._check_writable()
        consequence = "Nothing was removed"
        with self._database.changing, self.transaction(consequence, write=True) as sql:
            rows = [row for row, _ in self.find(ids, consequence)]
            item_rows.remove(sql, rows)
            sql.execute("UPDATE state SET removed = removed + ?, edits = edits + 1", (len(rows),))


def _column_number(numbers: Mapping[str, int], column: str, consequence: str) -> int:
    if column not in numbers:
        names = ", ".join(map(repr, sorted(numbers))) or "none so far"
        raise ArgumentError(
            f"The index has no metadata column {column!r}", consequence, f"Its columns are: {names}"
        )
    return numbers[column]
