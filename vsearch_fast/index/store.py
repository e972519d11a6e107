"""What an index is on disk: one SQLite file and append-only segment files in a folder.

::

    index.sqlite          everything but the numbers of the rows (below)
    vectors-00000.npy     float32 or float16 (segment_rows, dim), the features; then -00001, ...
    codes-00000.npy       uint8 (segment_rows, ceil(bits / 8)), np.packbits(features > 0)
    sketches-00000.npy    8-bit sketches of the vectors, and
    facts-00000.npy       what bounds distances by them: see `stored_sketches.py`
    coarse-00000.npy      rows of few numbers, of long vectors where that pays, and so on:
                          see `stored_reductions.py`
    write.lock            flocked by the one writer; holds its process id

**Rows** are numbered from 0 in the order in which they were added and keep their number until the
index is compacted: row r is line r % segment_rows of segment r // segment_rows, in every kind of
segment. Removing a row sets a tombstone; adding its id again makes a new row. A compaction drops
the removed rows and numbers those that live anew, in their order: that is another *generation*,
whose files are named `vectors-GENERATION-00000.npy` and may have other segment_rows.

**index.sqlite** has the application id 0x56534658 ("VSFX") and `user_version` = FORMAT:

=============  ============================================================================
`meta`         key, value: dim, segment_rows, model_id, model (JSON), created (UTC), identity
               (random), seal (`sealing.py`), and notes such as "threshold l2" and "likeness l2"
               (JSON: see `kept.py`), once there are any
`state`        one line: `rows` (committed, removed ones included), `removed`, `edits`
               (count of changes to what existed: removals, replacements, updates),
               `generation`, `tombs` (the sum of the removed rows' numbers)
`kinds`        name, dtype (NumPy's string), width: what a row of each kind of segment holds
`segments`     kind, segment, rows (committed in that file), parameters (JSON or null), sum
`items`        row, id, path, x1, y1, x2, y2, metadata (JSON), stamp, sum: the live rows
`tombstones`   number (1, 2, ... in order of removal), row: the removed rows
`columns`      number, name: every metadata column there has been
`facets`       column, value, row: the metadata again, ordered for `where`; `value` is the
               text that `items.facet` makes, which is equal when the JSON values are
`facet_sums`   column, value, rows, sum: how many rows each facet has (`item_rows.py`)
`numbers`      place, rows, numbers: those among the metadata, for ranges (`numbers.py`)
`checksums`    kind, segment, block, rows, sums, sum: of the segments' rows (`sums.py`)
`reductions`   maps of rows to few numbers, once there are any (`stored_reductions.py`)
=============  ============================================================================

Format 3 is that of an index of two views an item (`views.py`): as 2, with a line "views" in `meta`,
and both views' numbers one behind the other in each line of the segments. A row is an item all the
same.

Format 1 lacks what has to do with sums, `generation` and `identity`; it is read, and becomes
format 2 with its first change (`upgrading.py`).

**Writing.** One change is: SQLite's write lock (`BEGIN IMMEDIATE`), the check that folder,
database and `write.lock` are those that were opened, then the rows' bytes, flushed, and then the
statements and the commit that make them exist (rollback journal, synchronous=EXTRA). Whatever a
crash leaves beyond `state.rows` is no part of the index: the next writer removes or overwrites it.

**Reading** needs no permission to write. State is re-read at every search (one line), so
that a reader sees what was committed since; `(rows, edits)` changes with every commit.

**Kinds.** A reader ignores kinds that it does not know, and a writer extends only those that it
knows; so a kind other than vectors and codes may hold fewer rows than `state.rows` (`segments`
says how many), and is filled up by whoever knows it. Sketches are such kinds: an index that
was made before there were any gets them with its next addition; so are reduced rows.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..disk.database import Database
from ..disk.files import room_of
from ..disk.folder import Folder
from ..disk.writing import write_error
from ..errors import (
    CompactedError,
    DamagedError,
    ReplacedError,
    StoreError,
)
from . import joining, numbers, schema, sealing, stored_sketches
from .conditions import Condition
from .item_reading import ItemReading
from .item_rows import ItemRows
from .items import Item
from .notes import Notes
from .reading import Checks, Reading
from .reduced_reading import ReducedReading
from .segments import SegmentFiles
from .snapshot import Snapshot, State
from .stored_reductions import Held, Reducing
from .stored_sketches import FACTS, SKETCHES, Covered
from .upgrading import upgrade


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What one search sees.

    Attributes:
        snapshot: the rows that there are.
        mask: bool (rows,), of those that are live and match the filter; None for all.
        reading: the rows themselves.
    """

    snapshot: Snapshot
    mask: np.ndarray | None
    reading: Reading


class Store(ItemReading, ReducedReading, Notes):
    """An opened index folder: rows and items as they are read, and what a change
    begins and ends with (`changes.py` makes them).

    Safe to use from several threads at once. In a forked child a store opened for reading
    goes on with a connection of its own; one opened for writing refuses.

    Args:
        folder: made by `create`.
        writable: hold the write lock, and drop what an unfinished add has left.
        checks: when rows are checked against their sums (`reading.py`).
        database: the folder of its database, where that is another (`frozen.py`).
        whole: refuse what is damaged. Otherwise it can be opened to be verified and repaired.
        briefly: the write lock is held for a moment, which other writers wait for.

    Attributes:
        folder: as it was named, absolute.
        meta: of the index.
        found_by_change: the rows when the change that is under way began.

    Raises:
        StoreError: no index there, a damaged one, another format.
        LockedError: another writer.
    """

    def __init__(
        self,
        folder: Path,
        *,
        writable: bool,
        checks: Checks = "first",
        database: Path | None = None,
        whole: bool = True,
        briefly: bool = False,
    ) -> None:
        self.folder = folder.absolute()
        self.writable, self.checks, self._whole = writable, checks, whole
        schema.refuse_what_is_no_index(self.folder)
        try:
            self.place = Folder(self.folder)
            held = self.place if database is None else Folder(database)
        except OSError as error:
            raise write_error(self.folder, error, "The index was not opened") from error
        try:
            self.database = Database(held, schema.DATABASE_NAME, writable=writable, briefly=briefly)
        except BaseException:
            self.place.close()
            raise
        self._identity = ""  # as `Meta.identity`, once that is read
        self._refreshing = threading.Lock()
        self._tombstones = np.empty(0, np.int64)
        self._committed: dict[str, int] = {}  # rows by kind, when the change began
        self._changes_before = 0
        self._sealed_model: dict[str, Any] = {}
        self._reductions: dict[tuple[int, int], Reducing] = {}  # by id and sum
        try:
            with self.reading("The index was not opened") as sql:
                self._read_meta(sql)
                state = sealing.read_state(sql)
                files = self.files_of(state, self.reduced(sql, state))
                self._snapshot = Snapshot(State(0, 0, 0), files, None)
                self.found_by_change = self._snapshot
                rows = self.rows_by_kind(sql)
                if whole:
                    self._snapshot.files.check(rows)
            if writable:
                with self.change("The index was not opened", upgraded=False):
                    self._snapshot.files.drop_tail(self._committed)
        except BaseException:
            self.close()
            raise

    def _read_meta(self, sql: sqlite3.Connection) -> None:
        self.meta = schema.read_meta(sql, self.folder)
        self._identity = self.meta.identity
        self.rows = ItemRows(self.database.file, summed=self.meta.summed)

    def files_of(self, state: State, held: Mapping[str, Held]) -> SegmentFiles:
        """Segment files of a state's generation, none of them mapped yet."""
        kinds = [*self.meta.kinds, *(kind for each in held.values() for kind in each.kinds)]
        return SegmentFiles(self.place, kinds, state.segment_rows, state.generation)

    @property
    def files(self) -> SegmentFiles:
        """Of the state that was read last."""
        return self._snapshot.files

    @property
    def calibrating(self) -> threading.Lock:
        """Around the making of a threshold."""
        return self.database.making

    def close(self) -> None:
        """Close the files and release the write lock. Does nothing when done already."""
        self.database.close()
        self.database.folder.close()
        self.place.close()

    def rest(self) -> None:
        """Hold no descriptor until it is next used; for who holds many, to read."""
        self.database.rest(self.place)

    def writer(self) -> Store:
        """The same index, open for writing for a moment."""
        return Store(self.folder, writable=True, briefly=True)

    # Reading

    @contextlib.contextmanager
    def reading(self, consequence: str) -> Iterator[sqlite3.Connection]:
        """A transaction that reads one commit: `Database.reading`.

        Raises:
            ReplacedError: another index has the place.
            StoreError: what SQLite objects to.
        """
        with self.database.reading(consequence) as sql:
            self._refuse_another(sql, consequence)
            yield sql

    def covered(self, sql: sqlite3.Connection, state: State) -> list[Covered]:
        """What is sketched of each segment."""
        if not self.meta.sketched:
            return []
        file, segments = self.database.file, state.segments
        try:
            return stored_sketches.read(sql, file, segments, summed=self.meta.summed)
        except DamagedError:
            if self._whole:
                raise
            return [Covered(0, ())] * segments

    def rows_by_kind(self, sql: sqlite3.Connection) -> dict[str, int]:
        """Committed rows of each kind that is known here."""
        state = sealing.read_state(sql)
        rows = dict.fromkeys(schema.KINDS, state.rows)
        if self.meta.sketched:
            covered = stored_sketches.rows_of(self.covered(sql, state))
            rows |= {SKETCHES: covered, FACTS: covered}
        for each in self.reduced(sql, state).values():
            rows |= {kind.name: each.rows for kind in each.kinds}
        return rows

    def tidy(self) -> None:
        """After a compaction: remove the old files, and the room in the database that it has left.

        What cannot be done now the next writer does.
        """
        with contextlib.suppress(StoreError):
            with self.change("", upgraded=False):
                self.files.drop_tail(self._committed)
            self.database.vacuum()

    def state(self) -> State:
        """The committed state of this moment."""
        with self.reading("Nothing was read") as sql:
            return self._refresh(sql).state

    def view(
        self,
        where: Condition | None,
        kinds: Sequence[str],
        consequence: str,
        reduced: str = "",
        elsewhere: Container[str] = (),
    ) -> View:
        """What a search sees that reads these kinds of rows: those of this moment, and of them
        the ones that are live and match `where`. Masks are kept until something is committed.

        Args:
            reduced: the metric whose reduced rows it reads, too.
            elsewhere: columns that `where` may name though no item here has had them: those of
                other shards.

        Raises:
            ArgumentError: a column that the index does not have.
            DamagedError: a file of the rows is missing or cut.
        """
        with self.reading(consequence) as sql:
            snapshot = self._refresh(sql)
            mask = snapshot.live if where is None else self._mask(sql, snapshot, where, elsewhere)
            reading = Reading(
                snapshot.files, snapshot.state.rows,
                [kind for kind in kinds if kind in snapshot.files.kinds],
                snapshot.covered, self.checks if self.meta.summed else "never",
                self.views, consequence, snapshot.reduced.get(reduced),
                self.reductions_of(sql, snapshot, reduced), snapshot.sketches,
            )  # fmt: skip
            return View(snapshot, mask, reading)

    def settle(self, view: View, consequence: str) -> None:
        """Compare what was read of a view for the first time with its checksums.

        Raises:
            DamagedError: names file, rows and cure.
            CompactedError: the rows are not there any more.
        """
        if view.reading.open:
            with self.reading(consequence) as sql:
                self.refuse_compacted(
                    sql, view.snapshot.state.generation, consequence, view.reading.reduced_kinds
                )
                view.reading.settle(sql, self.database.file)

    def refuse_compacted(
        self,
        sql: sqlite3.Connection,
        generation: int,
        consequence: str,
        reduced: Sequence[str] = (),
    ) -> None:
        """CompactedError where rows have other numbers than in this generation, or are reduced
        anew: these kinds are known no more."""
        known = {name for (name,) in sql.execute("SELECT name FROM kinds")} if reduced else set()
        if sealing.read_state(sql).generation != generation or not known.issuperset(reduced):
            raise CompactedError(
                f"{self.folder} was compacted meanwhile", consequence, "Do it again"
            )

    def _refuse_another(self, sql: sqlite3.Connection, consequence: str) -> None:
        """ReplacedError where another index was copied over the database."""
        if not self._identity:
            return
        line = sql.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()
        if line is None or line[0] != self._identity:
            raise ReplacedError(
                f"{self.database.file} holds another index by now",
                consequence,
                "Open the index again",
            )

    def _refresh(self, sql: sqlite3.Connection) -> Snapshot:
        with self._refreshing:  # a reader and a writer of this process may both come
            return self._refreshed(sql)

    def _refreshed(self, sql: sqlite3.Connection) -> Snapshot:
        state = sealing.read_state(sql)
        if state == self._snapshot.state:
            return self._snapshot
        if (state.tombs is None) == self.meta.summed:  # a writer has made it format 2 meanwhile
            self._read_meta(sql)
        elif self.meta.summed:
            sealing.check(sql, self.database.file, "Nothing was read")
        files = self._snapshot.files
        held = self.reduced(sql, state)
        if files.generation != state.generation:
            files = self.files_of(state, held)
            self._tombstones = np.empty(0, np.int64)
        for each in held.values():
            files.know(each.kinds)
        self._read_tombstones(sql, state)
        live = None
        if state.removed:
            live = np.ones(state.rows, bool)
            live[self._tombstones] = False
        self._snapshot = Snapshot(state, files, live, self.covered(sql, state), held)
        return self._snapshot

    def _read_tombstones(self, sql: sqlite3.Connection, state: State) -> None:
        """Those that came since; where that does not fit (a repair), all."""
        for known in (self._tombstones, np.empty(0, np.int64)):
            lines = sql.execute("SELECT row FROM tombstones WHERE number > ?", (len(known),))
            try:
                rows = np.concatenate([known, self.rows.numbers(lines)])
            except DamagedError:
                if self._whole:
                    raise
                rows = known
            right = len(rows) == state.removed and state.tombs in (None, sealing.tombs(rows))
            if right and ((rows >= 0) & (rows < state.rows)).all():
                break
        else:
            self._tombstones = np.empty(0, np.int64)
            if self._whole:
                raise self.rows.damaged("the removed rows are not those written")
            rows = rows[(rows >= 0) & (rows < state.rows)]
        self._tombstones = rows

    def find_with_view(
        self, ids: Sequence[str], kinds: Sequence[str], consequence: str
    ) -> tuple[list[tuple[int, Item]], View]:
        """`find`, and a view of the same state."""
        with self.reading(consequence) as sql:
            return self.found(sql, ids, consequence), self.view(None, kinds, consequence)

    def copy_database(self, target: Path, consequence: str) -> None:
        """Copy the database as it is at this moment, page by page."""
        with self.reading(consequence) as sql, contextlib.closing(sqlite3.connect(target)) as copy:
            sql.backup(copy)

    def bytes_on_disk(self) -> int:
        """Disk space that the index takes."""
        with self.reading("Nothing was read") as sql:
            rows = self.rows_by_kind(sql)
            files = self._refresh(sql).files
            database = room_of(self.database.folder.stat(schema.DATABASE_NAME))
            return database + files.bytes_on_disk(rows)

    def facts(self, state: State) -> dict[str, Any]:
        """What `Index.info` tells of the files and rows."""
        return {
            "path": str(self.folder),
            "format": self.meta.format,
            "created": self.meta.created,
            "dim": self.meta.dim,
            "dtype": self.meta.dtype,
            "views": ",".join(self.meta.views),
            "model": self.meta.model,
            "model_id": self.meta.model_id,
            "rows": state.rows,
            "live": state.rows - state.removed,
            "removed": state.removed,
            **joining.facts(self.meta, state),
            "bytes": self.bytes_on_disk(),
            "columns": self.columns(),
            "boxed": self.boxed(),
            "reductions": self.reduction_facts(),
            "checksums": self.meta.summed,
        }

    # Changing

    def change(
        self, consequence: str, *, upgraded: bool = True
    ) -> contextlib.AbstractContextManager[None]:
        """One change, of this thread: `Database.change`. With `upgraded` it finds format 2.

        Raises:
            LockedError, ReplacedError, StoreError: nothing was changed.
        """
        if not self.writable:
            raise StoreError(
                f"{self.folder} was opened for reading",
                "Nothing was changed",
                'Open it with Index.open(..., mode="rw")',
            )
        return self._change(consequence, upgraded)

    @contextlib.contextmanager
    def _change(self, consequence: str, upgraded: bool) -> Iterator[None]:
        with self.database.change(consequence, self):
            if upgraded:
                with self.statements(consequence) as sql:
                    self._upgrade(sql, consequence)
            yield

    def statements(self, consequence: str) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        """For some statements of a change: `Database.statements`."""
        return self.database.statements(consequence)

    def _upgrade(self, sql: sqlite3.Connection, consequence: str) -> None:
        if not self.database.nested:
            numbers.drop_old(sql, sealing.read_state(sql))
        if sql.execute("PRAGMA user_version").fetchone()[0] >= schema.FORMAT:
            return
        # `meta` and `rows` are of format 1 until it is committed: readers use them meanwhile.
        upgrade(sql, self.database.file, self._snapshot.files, self._committed, consequence)

    def begun(self, sql: sqlite3.Connection) -> None:
        """As `Seals.begun`: the database is the one that was opened."""
        self._refuse_another(sql, "Nothing was changed")
        self._changes_before = sql.total_changes
        self.found_by_change = self._refresh(sql)
        self._committed = self.rows_by_kind(sql)

    def seal(self, sql: sqlite3.Connection) -> str:
        """As `Seals.seal`."""
        self._sealed_model = schema.read_model(sql)
        if sql.total_changes == self._changes_before:
            return sealing.held(sql)
        numbers.mark(sql, sealing.read_state(sql))
        return sealing.seal(sql)

    held = staticmethod(sealing.held)

    def committed(self) -> None:
        """As `Seals.committed`: what else follows the database is read with each state."""
        with self._refreshing:  # a reader of this process may just see the format change
            if self._sealed_model != self.meta.model:
                self.meta = replace(self.meta, model=self._sealed_model)

    def undone(self) -> None:
        """As `Seals.undone`: the disk may be full, so give back the segments that were begun."""
        self._snapshot.files.drop_tail(self._committed)
