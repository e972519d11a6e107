"""A damaged index made sound: what can be derived is made again, the rest embedded or dropped.

In this order, all of it in one change:

1. A segment file that is missing, cut or without its header gets its length and header back; what
   it held is damaged, and known as such by its sums.
2. The database: indexes are built anew; items that are not as they were written are dropped (their
   rows get a tombstone); tombstones, facets and their sums are made anew of the items. Checksums
   that are damaged themselves are taken of the rows as they are.
3. Vectors are lost with their granule. Their items are embedded again where their pictures can be
   read. If that gives the very bytes that were written they go to their old place; else the items
   get new rows. What cannot be embedded is dropped, and named.
4. Codes are derived from the vectors. Where the codes of a granule were given by the user (most of
   them are not the derived ones), the rows whose codes differ are lost like those of 3; where they
   are made by a rule of the model, all rows of the granule.
5. Sketches are made anew of the vectors, and reduced rows and what reduces them; sums of codes
   where any codes are damaged.

Bytes that are restored are those that the sums tell, so that a crash in between does no harm; they
are put into a copy of the file, which takes its place by a rename, so that a reader of the old one
is not disturbed.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import Progress
from ..disk.writing import write_error
from ..errors import ArgumentError, DamagedError
from ..kernels.reference import pack_bits
from ..words import ZERO
from . import item_rows, numbers, schema, sealing, stored_reductions, stored_sketches, sums
from .changes import Changes, reader_of, running_sums, write_rows
from .items import Item
from .sealing import tombs
from .segments import SegmentFiles
from .store import Store
from .stored_sketches import FACTS, SKETCHES
from .upgrading import sum_rows
from .verifying import Damage, Verified, verify
from .views import as_lines, as_rows

_CONSEQUENCE = "The index was not repaired"

#: Bytes that are copied at a time.
_COPY_BYTES = 16 << 20

#: By id, of those items whose pictures could be read: features (dim,), or (views, dim) where the
#: index has several; or these and the code, which an index whose codes are made by a rule of the
#: model needs.
Row = np.ndarray | tuple[np.ndarray, np.ndarray]
Embed = Callable[[Sequence[Item]], Mapping[str, Row]]


@dataclass(frozen=True, slots=True)
class Repaired:
    """What `repair` did.

    Attributes:
        before, after: what was found before and after.
        restored: rows whose codes or vectors are again those that were written.
        embedded: ids of items that were embedded anew, and have new rows.
        dropped: ids of items that are lost; "row N" for one whose id is.
    """

    before: Verified
    after: Verified
    restored: int = 0
    embedded: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "restored": self.restored,
            "embedded": list(self.embedded),
            "dropped": list(self.dropped),
        }


@dataclass
class _Work:
    restored: int = 0
    embedded: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def repair(store: Store, embed: Embed | None = None, progress: Progress | None = None) -> Repaired:
    """Make a damaged index sound; see `Index.repair`."""
    found = verify(store, progress)
    if found.sound:
        return Repaired(found, found)
    work = _Work()
    try:
        with store.change(_CONSEQUENCE):
            exact = verify(store) if _mend_lengths(store) else found
            _Repair(store, work, embed).run(exact.damages)
        store.tidy()
    except OSError as error:
        path = Path(error.filename) if error.filename else store.folder
        raise write_error(path, error, _CONSEQUENCE) from error
    after = verify(store)
    return Repaired(
        found, after, work.restored, tuple(work.embedded), tuple(dict.fromkeys(work.dropped))
    )


def _mend_lengths(store: Store) -> bool:
    """Whether a file had to be given its length or header."""
    mended = False
    with store.reading(_CONSEQUENCE) as sql:
        rows = store.rows_by_kind(sql)
    for kind, count in rows.items():
        for segment in range(store.files.segments(count)):
            with contextlib.suppress(DamagedError):
                store.files.check_one(kind, segment)
                continue
            held = min(store.files.segment_rows, count - segment * store.files.segment_rows)
            with _patched(store.files, kind, segment, held) as file:
                file.seek(0)
                file.write(store.files.kinds[kind].header(store.files.segment_rows))
            mended = True
    return mended


@contextlib.contextmanager
def _patched(files: SegmentFiles, kind: str, segment: int, rows: int) -> Any:
    """A copy of a segment file with so many rows, opened to be written to; at the end it takes the
    place of the file."""
    path = files.path(kind, segment)
    copy = path.with_name(f"{path.name}.repaired")
    try:
        with open(copy, "w+b") as file:
            # The rows alone: what lies beyond is a hole, and takes no room.
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as damaged:
                shape = files.kinds[kind]
                left = len(shape.header(files.segment_rows)) + rows * shape.row_bytes
                while part := damaged.read(min(left, _COPY_BYTES)):
                    file.write(part)
                    left -= len(part)
            file.truncate(files.length(files.kinds[kind]))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(copy, path)
        files.folder.sync()
    finally:
        copy.unlink(missing_ok=True)


class _Repair:
    """One change that repairs."""

    def __init__(self, store: Store, work: _Work, embed: Embed | None) -> None:
        self.store, self.work, self.embed = store, work, embed
        self.files = store.files
        self._ruled = store.meta.binarize != ZERO
        self._changes = Changes(store)

    def run(self, damages: Sequence[Damage]) -> None:
        database = [d for d in damages if d.file == schema.DATABASE_NAME]
        sketches = any(d.kind in (SKETCHES, FACTS) for d in damages)
        if database:
            with self.store.statements(_CONSEQUENCE) as sql:
                sketches |= self._database(sql, database)
        reduced = self._forget_reduced(damages)
        vectors, codes = (self._granules(damages, kind) for kind in schema.KINDS)
        self._prove_codes(codes, vectors)
        embedded = self._embedded(self._rows_in("vectors", vectors))
        self._prove_vectors(vectors, embedded)
        self._prove_codes(codes, vectors)
        lost = self._rows_in("vectors", vectors) | self._guess_codes(codes, vectors)
        embedded |= self._embedded(lost)
        items = self._items_in(lost)
        if items:
            self._changes.remove([item.id for item in items])
        self._take("vectors", vectors)
        self._take("codes", codes)
        self._put_anew([item for item in items if item.id in embedded], embedded)
        self.work.dropped += [item.id for item in items if item.id not in embedded]
        if sketches and self.store.meta.sketched:
            self._sketch()
        if reduced:
            self._reduce()

    def _granules(self, damages: Sequence[Damage], kind: str) -> set[tuple[int, int]]:
        """Segment and granule of what is damaged."""
        granule = sums.granule_rows(self.files.kinds[kind])
        found = set()
        for damage in damages:
            if damage.kind == kind and damage.file != schema.DATABASE_NAME:
                assert damage.first is not None and damage.last is not None
                for row in range(damage.first, damage.last + 1):
                    segment, line = divmod(row, self.files.segment_rows)
                    found.add((segment, line // granule))
        return found

    # The database

    def _database(self, sql: sqlite3.Connection, damages: Sequence[Damage]) -> bool:
        """Make it sound; returns whether sketches must be made anew."""
        sql.execute("REINDEX")
        left = [line for (line,) in sql.execute("PRAGMA integrity_check(3)") if line != "ok"]
        if left:
            raise DamagedError(
                f"{self.store.database.file} is damaged beyond repair ({left[0]})",
                _CONSEQUENCE,
                "Restore the folder from a backup, or index again",
            )
        self._items(sql)
        for damage in damages:
            if damage.kind in self.files.kinds and damage.first is not None:
                assert damage.last is not None
                sum_rows(sql, self.files, damage.kind, damage.first, damage.last + 1)
        return self._segments(sql)

    def _items(self, sql: sqlite3.Connection) -> None:
        """Drop items that are damaged, and make of the others all that is made of items."""
        state = sealing.read_state(sql)
        live = np.zeros(state.rows, bool)
        named: set[int] = set()
        for line in sql.execute(f"SELECT {item_rows.COLUMNS}, sum FROM items").fetchall():
            try:
                self.store.rows.item(line)
                sound = 0 <= line[0] < state.rows
            except DamagedError:
                sound = False
            if sound:
                live[line[0]] = True
            else:
                named.add(line[0])
                sql.execute("DELETE FROM items WHERE row = ?", (line[0],))
                self.work.dropped.append(
                    line[1] if isinstance(line[1], str) and line[1] else f"row {line[0]}"
                )
        held = {row for (row,) in sql.execute("SELECT row FROM tombstones")}
        removed = np.flatnonzero(~live)
        missed = set(removed.tolist()) - held - named
        self.work.dropped += [f"row {row}" for row in sorted(missed)]
        sql.execute("DELETE FROM tombstones")
        sql.executemany(
            "INSERT INTO tombstones (number, row) VALUES (?, ?)",
            enumerate(removed.tolist(), 1),
        )
        sql.execute(
            "UPDATE state SET removed = ?, tombs = ?, edits = edits + 1",
            (len(removed), tombs(removed)),
        )
        sql.execute("DELETE FROM facets")
        sql.execute("DELETE FROM facet_sums")
        numbers.begin(sql)
        last = -1
        while page := self.store.rows.after(sql, last):
            last = page[-1][0]
            item_rows.insert_facets(sql, [row for row, _ in page], [item for _, item in page])

    def _segments(self, sql: sqlite3.Connection) -> bool:
        rows = sealing.read_state(sql).rows
        schema.write_segments(sql, self.files.segment_rows, 0, rows)
        if not self.store.meta.sketched:
            return False
        try:
            covered = stored_sketches.read(
                sql, self.store.database.file, self.files.segments(rows), summed=True
            )
        except DamagedError:
            sql.execute("DELETE FROM segments WHERE kind IN (?, ?)", (SKETCHES, FACTS))
            return True
        for segment, part in enumerate(covered):
            if part.rows:
                stored_sketches.write_segment(sql, FACTS, segment, part.rows, None)
        return False

    # Rows

    def _content(self, kind: str, segment: int, granule: int) -> np.ndarray:
        """The rows of a granule, as they are on the disk; those that are committed."""
        size = sums.granule_rows(self.files.kinds[kind])
        stop = min(self._held(segment), (granule + 1) * size)
        return self.files.read(kind, segment, granule * size, stop)

    def _held(self, segment: int) -> int:
        """Rows of a segment."""
        with self.store.statements(_CONSEQUENCE) as sql:
            rows = sealing.read_state(sql).rows
        return min(self.files.segment_rows, rows - segment * self.files.segment_rows)

    def _right(self, kind: str, segment: int, granule: int, content: np.ndarray) -> bool:
        """Whether this content is what was written."""
        each = sums.BLOCK_ROWS // sums.granule_rows(self.files.kinds[kind])
        block, place = divmod(granule, each)
        with self.store.statements(_CONSEQUENCE) as sql:
            lines = sums.read(
                sql, self.store.database.file, self.files.kinds[kind], segment, [block]
            )
        return sums.sum_of(np.ascontiguousarray(content)) == lines[block][1][place]

    def _write(self, kind: str, segment: int, granules: dict[int, np.ndarray]) -> None:
        shape = self.files.kinds[kind]
        size = sums.granule_rows(shape)
        header = len(shape.header(self.files.segment_rows))
        with _patched(self.files, kind, segment, self._held(segment)) as file:
            for granule, content in granules.items():
                file.seek(header + granule * size * shape.row_bytes)
                file.write(np.ascontiguousarray(content).tobytes())

    def _rows_in(self, kind: str, granules: set[tuple[int, int]]) -> set[int]:
        """Row numbers."""
        size = sums.granule_rows(self.files.kinds[kind])
        rows: set[int] = set()
        for segment, granule in granules:
            first = segment * self.files.segment_rows + granule * size
            rows |= set(range(first, min(first + size, (segment + 1) * self.files.segment_rows)))
        return rows

    def _items_in(self, rows: set[int]) -> list[Item]:
        """The items of these rows that live, by row."""
        with self.store.statements(_CONSEQUENCE) as sql:
            return [item for _, item in sorted(self.store.rows.by_row(sql, rows).items())]

    def _embedded(self, rows: set[int]) -> dict[str, Row]:
        items = self._items_in(rows)
        return dict(self.embed(items)) if self.embed and items else {}

    def _prove_codes(self, codes: set[tuple[int, int]], vectors: set[tuple[int, int]]) -> None:
        """Put codes back that the sums prove to be those that were written, out of the set."""
        if self._ruled:
            return  # nothing is known but the codes themselves
        damaged = self._rows_in("vectors", vectors)
        proved: dict[int, dict[int, np.ndarray]] = defaultdict(dict)
        for segment, granule in sorted(codes):
            if self._rows_in("codes", {(segment, granule)}) & damaged:
                continue
            derived = self._derived(segment, granule)
            if self._right("codes", segment, granule, derived):
                proved[segment][granule] = derived
        self._put_back("codes", codes, proved)

    def _derived(self, segment: int, granule: int) -> np.ndarray:
        """The codes of a granule, made of the vectors as they are."""
        start = granule * sums.granule_rows(self.files.kinds["codes"])
        stop = start + len(self._content("codes", segment, granule))
        return self._packed(self.files.read("vectors", segment, start, stop))

    def _packed(self, vectors: np.ndarray) -> np.ndarray:
        """The codes of rows of vectors, where they are made by no rule of the model."""
        views = len(self.store.meta.views)
        return as_rows(pack_bits(as_lines(vectors, views).astype(np.float32)), views)

    def _guess_codes(self, codes: set[tuple[int, int]], vectors: set[tuple[int, int]]) -> set[int]:
        """Derive the codes of what is left, where those of most rows are the derived ones; returns
        the rows whose codes are lost: those that differ where most differ, given by the user."""
        damaged = self._rows_in("vectors", vectors)
        size = sums.granule_rows(self.files.kinds["codes"])
        lost: set[int] = set()
        for segment, granule in sorted(codes):
            first = segment * self.files.segment_rows + granule * size
            if self._ruled:
                held = len(self._content("codes", segment, granule))
                lost |= set(range(first, first + held))
                continue
            content = self._content("codes", segment, granule)
            derived = self._derived(segment, granule)
            sound = np.array([first + i not in damaged for i in range(len(content))])
            same = (content == derived).all(axis=1)
            if same[sound].sum() * 2 >= sound.sum():
                content[sound] = derived[sound]
                self._write("codes", segment, {granule: content})
                self.work.restored += int((sound & ~same).sum())
            else:
                lost |= {first + int(i) for i in np.flatnonzero(sound & ~same)}
        return lost

    def _prove_vectors(self, vectors: set[tuple[int, int]], embedded: dict[str, Row]) -> None:
        """Put vectors back where the embedded ones are those that were written."""
        dtype = self.files.kinds["vectors"].dtype
        proved: dict[int, dict[int, np.ndarray]] = defaultdict(dict)
        for segment, granule in sorted(vectors) if embedded else ():
            rows = self._rows_in("vectors", {(segment, granule)})
            content = self._content("vectors", segment, granule)
            with self.store.statements(_CONSEQUENCE) as sql:
                items = self.store.rows.by_row(sql, rows)
            for row, item in items.items():
                if item.id in embedded:
                    content[row - min(rows)] = _features(embedded[item.id]).astype(dtype)
            if self._right("vectors", segment, granule, content):
                proved[segment][granule] = content
        self._put_back("vectors", vectors, proved)

    def _put_back(
        self,
        kind: str,
        damaged: set[tuple[int, int]],
        proved: dict[int, dict[int, np.ndarray]],
    ) -> None:
        for segment, granules in proved.items():
            self._write(kind, segment, granules)
            self.work.restored += sum(map(len, granules.values()))
            damaged -= {(segment, granule) for granule in granules}

    def _put_anew(self, items: list[Item], embedded: dict[str, Row]) -> None:
        """Give these items, which were removed, new rows."""
        if not items:
            return
        dtype = self.files.kinds["vectors"].dtype
        values = np.stack([_features(embedded[item.id]) for item in items]).astype(dtype)
        codes = self._packed(values)
        if self._ruled:
            codes = np.stack([self._code(embedded[item.id]) for item in items])
        self._changes.append(items, iter([{"vectors": values, "codes": codes}]), replace=False)
        self.work.embedded += [item.id for item in items]

    def _take(self, kind: str, granules: set[tuple[int, int]]) -> None:
        """Sum what nobody misses any more as it is."""
        each = sums.BLOCK_ROWS // sums.granule_rows(self.files.kinds[kind])
        with self.store.statements(_CONSEQUENCE) as sql:
            rows = sealing.read_state(sql).rows
            for segment, block in sorted({(s, granule // each) for s, granule in granules}):
                first = segment * self.files.segment_rows + block * sums.BLOCK_ROWS
                end = min(first + sums.BLOCK_ROWS, (segment + 1) * self.files.segment_rows, rows)
                sum_rows(sql, self.files, kind, first, end)

    def _sketch(self) -> None:
        """All sketches anew; the vectors are sound by now."""
        with self.store.statements(_CONSEQUENCE) as sql:
            state = sealing.read_state(sql)
            for table in ("segments", "checksums"):
                sql.execute(f"DELETE FROM {table} WHERE kind IN (?, ?)", (SKETCHES, FACTS))
            starts = {SKETCHES: 0, FACTS: 0}
            running = running_sums(self.store, sql, self.files, starts, _CONSEQUENCE)
        read = reader_of(self.store, self.files, state.rows, _CONSEQUENCE)
        extension = stored_sketches.Extension(self.files, [], state.rows, read)
        self.files.append(0, extension.blocks(), running, _CONSEQUENCE)
        with self.store.statements(_CONSEQUENCE) as sql:
            for kind in (SKETCHES, FACTS):
                sums.write(sql, kind, running[kind].lines())
            stored_sketches.write(sql, extension)

    def _forget_reduced(self, damages: Sequence[Damage]) -> bool:
        """Whether reduced rows of a metric, or what reduces them, are damaged: they are known no
        more."""
        damaged, file = {damage.kind for damage in damages}, self.store.database.file
        with self.store.statements(_CONSEQUENCE) as sql:
            state = sealing.read_state(sql)
            held = self.store.reduced(sql, state)
            metrics = {m for m, each in held.items() if damaged & {k.name for k in each.kinds}}
            if "codes" in damaged:  # what takes their place may have other sums
                metrics.add("hamming")
            try:
                segments = self.files.segments(state.rows)
                for metric, each in stored_reductions.held(sql, file, segments).items():
                    for id_ in each.ids:
                        stored_reductions.read(sql, file, id_, metric)
                stored_reductions.learnt(sql, file)
            except DamagedError:
                metrics = set(stored_reductions.METRICS)
            for metric in metrics:
                stored_reductions.forget(sql, metric)
        return bool(metrics)

    def _reduce(self) -> None:
        """Reduce anew what is not; the sketches are sound by now."""
        with self.store.statements(_CONSEQUENCE) as sql:
            state = sealing.read_state(sql)
            covered, held = self.store.covered(sql, state), self.store.reduced(sql, state)
        written = write_rows(
            self.store, self.files, state, covered, 0, iter(()), _CONSEQUENCE, held
        )
        with self.store.statements(_CONSEQUENCE) as sql:
            written.note(sql, self.store)
            sql.execute("UPDATE state SET edits = edits + 1")

    def _code(self, embedded: Row) -> np.ndarray:
        if isinstance(embedded, tuple):
            return embedded[1].ravel()
        raise ArgumentError(
            f"`embed` returned features without codes, and those of {self.store.folder} are made "
            f"by the rule {self.store.meta.binarize}, which its model's file alone knows",
            _CONSEQUENCE,
            "Return pairs of features and code, as Embedder.both makes them",
        )


def _features(embedded: Row) -> np.ndarray:
    return (embedded[0] if isinstance(embedded, tuple) else embedded).ravel()
