"""What changes an index: rows added and removed, items described anew, notes.

Each is one change of the store, or a part of the one that this thread is in (`Store.change`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import Progress
from ..disk.writing import write_error
from ..errors import DamagedError, DuplicateIdError
from . import (
    item_rows,
    numbers,
    reducing,
    schema,
    sealing,
    stored_reductions,
    stored_sketches,
    sums,
)
from .items import Item
from .segments import SegmentFiles, Unflushed
from .snapshot import State
from .store import Store
from .stored_reductions import Held
from .stored_sketches import Covered


def running_sums(
    store: Store,
    sql: sqlite3.Connection,
    files: SegmentFiles,
    starts: Mapping[str, int],
    consequence: str,
) -> dict[str, sums.RunningSums]:
    """The sums that the next rows of kinds go on with, of each of which there are so many. The
    rows of an unfinished granule are checked first: a new sum of it must not make right what is
    damaged."""
    running = {}
    for name, start in starts.items():
        kind = files.kinds[name]
        kept = np.empty(0, np.uint64)
        head = np.empty((0, kind.width), kind.dtype)
        segment, offset = divmod(start, files.segment_rows)
        block, within = divmod(offset, sums.BLOCK_ROWS)
        if within:
            granule = sums.granule_rows(kind)
            rows, values = sums.read(sql, store.database.file, kind, segment, [block])[block]
            whole = within // granule
            kept = values[:whole].astype(np.uint64)
            try:
                head = files.read(name, segment, offset - within % granule, offset)
            except OSError as error:
                raise write_error(files.path(name, segment), error, consequence) from error
            right = rows == within and len(values) == -(-within // granule)
            if not right or (len(head) and sums.sum_of(head) != values[whole]):
                raise _damaged(files, name, segment, offset - len(head), offset)
        running[name] = sums.RunningSums(kind, files.segment_rows, start, kept, head)
    return running


def reader_of(
    store: Store, files: SegmentFiles, rows: int, consequence: str, name: str = "vectors"
) -> Callable[[int, int, int], np.ndarray]:
    """For `Extension`: reads rows of a kind, of a segment from a row to another, that are to be
    sketched or reduced; those of the first `rows` rows are checked. What was read last is
    remembered."""
    kind = files.kinds[name]
    granule = sums.granule_rows(kind)

    last: list[tuple[tuple[int, int, int], np.ndarray]] = []

    def read(segment: int, start: int, stop: int) -> np.ndarray:
        place = segment, start, stop
        if not last or last[0][0] != place:
            values = files.read(name, *place)
            check(segment, start, values)
            last[:] = [(place, values)]
        return last[0][1]

    def check(segment: int, offset: int, values: np.ndarray) -> None:
        old = min(offset + len(values), rows - segment * files.segment_rows)
        # Those of the last, unfinished granule were checked when the addition began.
        first, last = offset // granule, old // granule
        if old == files.segment_rows:
            last = -(-old // granule)
        if old <= offset or first >= last:
            return
        blocks = range(first * granule // sums.BLOCK_ROWS, -(-last * granule // sums.BLOCK_ROWS))
        with store.statements(consequence) as sql:
            lines = sums.read(sql, store.database.file, kind, segment, blocks)
        held = np.concatenate([values for _, values in lines.values()])
        held = held[first - blocks[0] * (sums.BLOCK_ROWS // granule) :][: last - first]
        found = sums.sums_of(
            files.read(name, segment, first * granule, min(last * granule, files.segment_rows)),
            granule,
        )
        if not np.array_equal(found, held):
            raise _damaged(files, name, segment, first * granule, last * granule)

    return read


def _damaged(files: SegmentFiles, kind: str, segment: int, start: int, stop: int) -> DamagedError:
    first = segment * files.segment_rows
    return DamagedError(
        f"{files.path(kind, segment)} is damaged: of rows {first + start} to"
        f" {first + stop - 1} some are not as they were written (checksum)",
        "Nothing was changed",
        sums.CURE,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """Rows that are on the disk, and that the database does not count yet.

    Attributes:
        start: the first of them.
        rows: how many there are with them.
        segment_rows: of the files that they are in.
        running: their sums, by kind.
        sketched: what of them is sketched; None where no sketches are kept.
        plans: what is reduced.
    """

    start: int
    rows: int
    segment_rows: int
    running: dict[str, sums.RunningSums]
    sketched: stored_sketches.Extension | None
    plans: Sequence[reducing.Planned]

    def note(self, sql: sqlite3.Connection, store: Store) -> None:
        """Write what tables `segments`, `checksums` and `kinds` say of them."""
        schema.write_segments(sql, self.segment_rows, self.start, self.rows)
        for plan in self.plans:
            plan.note(sql)
            if plan.extension:
                schema.write_kinds(sql, plan.extension.held.kinds)
        for kind, kept in self.running.items():
            sums.write(sql, kind, kept.lines())
        if self.sketched:
            schema.write_kinds(sql, store.meta.kinds)
            stored_sketches.write(sql, self.sketched)
        if self.plans:
            held = store.reduced(sql, State(self.rows, 0, 0, segment_rows=self.segment_rows))
            stored_reductions.drop_unused(sql, held)


def write_rows(
    store: Store,
    files: SegmentFiles,
    state: State,
    covered: list[Covered],
    count: int,
    blocks: Iterable[dict[str, np.ndarray]],
    consequence: str,
    held: Mapping[str, Held],
    progress: Progress | None = None,
    *,
    anew: bool = False,
) -> Written:
    """Write `count` rows after those of a state to its files; sketch what becomes complete, and
    reduce it.

    Args:
        covered: what is sketched of the state.
        blocks: as `SegmentFiles.append` takes them.
        held: what of the state is reduced.
        progress: called with the rows that are reduced and those to do.
        anew: reduce all rows anew.
    """
    starts = dict.fromkeys(schema.KINDS, state.rows)
    if store.meta.sketched:
        done = stored_sketches.rows_of(covered)
        starts |= {stored_sketches.SKETCHES: done, stored_sketches.FACTS: done}
    with store.statements(consequence) as sql:
        running = running_sums(store, sql, files, starts, consequence)
    with Unflushed() as later:
        files.append(state.rows, blocks, running, consequence, later)
        rows, sketched = state.rows + count, None
        plans: list[reducing.Planned] = []
        if store.meta.sketched:
            read = reader_of(store, files, state.rows, consequence)
            sketched = stored_sketches.Extension(files, covered, rows, read)
            files.append(sketched.start, sketched.blocks(), running, consequence, later)
            reads = {
                "vectors": read,
                "codes": reader_of(store, files, state.rows, consequence, "codes"),
            }
            plans = reducing.plans(
                store, files, held, rows, sketched.covered, reads, consequence, progress, anew=anew
            )
        for extension in (plan.extension for plan in plans if plan.extension):
            starts = dict.fromkeys((kind.name for kind in extension.held.kinds), extension.start)
            with store.statements(consequence) as sql:
                running |= running_sums(store, sql, files, starts, consequence)
            files.append(extension.start, extension.blocks(), running, consequence, later)
        later.flush(consequence)
    return Written(state.rows, rows, files.segment_rows, running, sketched, plans)


class Changes:
    """The changes of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def append(
        self,
        items: Sequence[Item],
        blocks: Iterable[dict[str, np.ndarray]],
        *,
        replace: bool,
        progress: Progress | None = None,
    ) -> None:
        """Add one row an item, in one transaction.

        Args:
            items: checked, their ids all different.
            blocks: the rows by kind, as `SegmentFiles.append` takes them; as many as items.
            replace: replace the items of the same id instead of refusing them.
            progress: called with the rows that are reduced and those to do.

        Raises:
            DuplicateIdError: an id is there already (without `replace`).
            StoreError: nothing was added, and why.
        """
        store = self._store
        consequence = "None of the rows was added, and what the index held is as it was"
        with store.change(consequence):
            with store.statements(consequence) as sql:
                state = sealing.read_state(sql)
                covered, reduced = store.covered(sql, state), store.reduced(sql, state)
                held = item_rows.present(sql, [item.id for item in items])
                if held and not replace:
                    first = next(item.id for item in items if item.id in held)
                    raise DuplicateIdError(
                        f"{store.folder} holds an item {first!r} already",
                        consequence,
                        "Leave it out, remove it first, or pass replace=True",
                    )
                old = store.rows.by_row(sql, held.values())
                if {item.id: row for row, item in old.items()} != held:
                    raise store.rows.damaged("the index of ids names other rows than the items")
            written = write_rows(
                store, store.files, state, covered, len(items), blocks, consequence, reduced,
                progress,
            )  # fmt: skip
            with store.statements(consequence) as sql:
                if not numbers.there(sql):
                    item_rows.number_all(sql, store.rows)
                item_rows.remove(sql, old)
                item_rows.insert(sql, state.rows, items)
                sql.execute(
                    "UPDATE state SET rows = ?, removed = removed + ?, edits = edits + ?",
                    (written.rows, len(old), 1 if old else 0),
                )
                written.note(sql, store)

    def update(self, items: Sequence[Item]) -> None:
        """Replace path, box, metadata and stamp of the items of these ids, in one transaction.

        Raises:
            UnknownIdError: an id that the index does not hold; nothing was changed.
        """
        consequence = "Nothing was changed"
        with self._store.change(consequence), self._store.statements(consequence) as sql:
            found = self._store.found(sql, [item.id for item in items], consequence)
            item_rows.update(sql, found, items)
            sql.execute("UPDATE state SET edits = edits + 1")

    def describe(self, model: dict[str, Any]) -> None:
        """Replace what `meta` says about the model, in one transaction."""
        consequence = "Nothing was changed"
        with self._store.change(consequence), self._store.statements(consequence) as sql:
            sql.execute("UPDATE meta SET value = ? WHERE key = 'model'", (json.dumps(model),))

    def write_note(self, key: str, value: str) -> None:
        """As `Store.write_note`."""
        self._store.write_note(key, value)

    def remove(self, ids: Sequence[str]) -> None:
        """Set a tombstone on the rows of these ids, in one transaction.

        Raises:
            UnknownIdError: an id that the index does not hold; nothing was removed.
        """
        consequence = "Nothing was removed"
        with self._store.change(consequence), self._store.statements(consequence) as sql:
            found = dict(self._store.found(sql, ids, consequence))
            item_rows.remove(sql, found)
            sql.execute("UPDATE state SET removed = removed + ?, edits = edits + 1", (len(found),))
