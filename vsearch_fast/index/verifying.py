"""Everything that an index holds, looked at: what is damaged, and what that means.

The database is copied (a moment's lock) and the copy examined: its pages by SQLite's own check, the
small tables by their seal, items by their sums, facets and the index of ids against the items. Rows
are read from the files, not through a map, so that a disk's error is an error and ends nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import Progress
from ..errors import CompactedError, DamagedError, StoreError
from . import item_rows, numbers, schema, sealing, stored_reductions, sums
from .items import facets_of
from .mixing import mixed
from .segments import SegmentFiles
from .snapshot import State
from .store import Store
from .sums import signed

#: Blocks whose sums are asked for at a time.
_BLOCKS = 64

#: Times that an index is begun anew because it was compacted meanwhile.
_ATTEMPTS = 3

_CONSEQUENCE = "The index was not verified"


@dataclass(frozen=True, slots=True)
class Damage:
    """A part of an index that is not as it was written.

    Attributes:
        file: its name in the folder.
        what: in words.
        kind: of rows ("vectors", "codes", "sketches", "facts", or one of `stored_reductions`), or
            "database".
        first, last: row numbers, or None.
        ids: of the items in these rows that live.
    """

    file: str
    what: str
    kind: str = "database"
    first: int | None = None
    last: int | None = None
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` found.

    Attributes:
        path: the folder.
        checksums: whether the index has any; without them only its structure was looked at.
        rows: that were looked at.
        bytes: of rows that were read.
        damages: empty where all is as it was written.
    """

    path: str
    checksums: bool
    rows: int
    bytes: int
    damages: tuple[Damage, ...]

    @property
    def sound(self) -> bool:
        return not self.damages

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "sound": self.sound}


def verify(store: Store, progress: Progress | None = None) -> Verified:
    """Look at everything; see `Index.verify`."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(CompactedError):
            return _verify(store, progress)
    raise CompactedError(
        f"{store.folder} was compacted time and again meanwhile", _CONSEQUENCE, "Do it again"
    )


def _verify(store: Store, progress: Progress | None) -> Verified:
    damages = list(_database(store))
    read = 0
    with store.reading(_CONSEQUENCE) as sql:
        state = sealing.read_state(sql)
        files = store.files_of(state, {})
        try:
            for each in store.reduced(sql, state).values():
                files.know(each.kinds)
            rows = store.rows_by_kind(sql)
        except DamagedError:  # what is said of the sketches or reduced rows, told above
            rows = dict.fromkeys(schema.KINDS, state.rows)
    total = sum(count * files.kinds[kind].row_bytes for kind, count in rows.items())
    for kind, count in rows.items():
        for segment in range(files.segments(count)):
            held = min(files.segment_rows, count - segment * files.segment_rows)
            for found, size in _segment(store, files, kind, segment, held):
                damages += found
                read += size
                if progress:
                    progress(min(read, total), total)
    return Verified(str(store.folder), store.meta.summed, state.rows, read, tuple(_joined(damages)))


def _segment(
    store: Store, files: SegmentFiles, kind: str, segment: int, rows: int
) -> Iterator[tuple[list[Damage], int]]:
    """Damages of one file, and the bytes that were read, some at a time."""
    name = files.name(kind, segment)
    reduced = [kind] if stored_reductions.is_kind(kind) else []
    try:
        files.check_one(kind, segment)
    except DamagedError as error:
        with store.reading(_CONSEQUENCE) as sql:
            store.refuse_compacted(sql, files.generation, _CONSEQUENCE, reduced)
        yield [_damage(store, files, kind, segment, 0, rows, error.cause)], 0
        return
    row_bytes = files.kinds[kind].row_bytes
    if not store.meta.summed:
        yield [], rows * row_bytes
        return
    granule = sums.granule_rows(files.kinds[kind])
    for start in range(0, rows, _BLOCKS * sums.BLOCK_ROWS):
        stop = min(rows, start + _BLOCKS * sums.BLOCK_ROWS)
        blocks = range(start // sums.BLOCK_ROWS, -(-stop // sums.BLOCK_ROWS))
        found = []
        for block in blocks:
            with store.reading(_CONSEQUENCE) as sql:
                store.refuse_compacted(sql, files.generation, _CONSEQUENCE, reduced)
                try:
                    [(summed, held)] = sums.read(
                        sql, store.database.file, files.kinds[kind], segment, [block]
                    ).values()
                except DamagedError as error:
                    found.append(_unsummed(files, kind, segment, block, rows, error.cause))
                    continue
            first = block * sums.BLOCK_ROWS
            if first + summed < min(rows, first + sums.BLOCK_ROWS):
                what = f"Some rows of {name} have no checksum"
                found.append(_unsummed(files, kind, segment, block, rows, what))
            try:
                values = files.read(kind, segment, first, first + summed)
                made = sums.sums_of(values, granule)
            except (OSError, ValueError) as error:
                what = f"It cannot be read ({error})"
                found.append(_damage(store, files, kind, segment, first, first + summed, what))
                continue
            for bad in np.flatnonzero(made != held).tolist():
                begin = first + bad * granule
                end = min(begin + granule, first + summed)
                what = "Rows are not as they were written"
                found.append(_damage(store, files, kind, segment, begin, end, what))
        yield found, (stop - start) * row_bytes


def _unsummed(
    files: SegmentFiles, kind: str, segment: int, block: int, rows: int, what: str
) -> Damage:
    """Checksums, of one block, that are damaged or missing."""
    first = segment * files.segment_rows
    start = first + block * sums.BLOCK_ROWS
    end = min(start + sums.BLOCK_ROWS, first + rows)
    return Damage(schema.DATABASE_NAME, what, kind, start, end - 1)


def _damage(
    store: Store, files: SegmentFiles, kind: str, segment: int, start: int, stop: int, what: str
) -> Damage:
    first = segment * files.segment_rows
    start, stop = first + start, first + stop
    ids: tuple[str, ...] = ()
    with contextlib.suppress(StoreError), store.reading(_CONSEQUENCE) as sql:
        query = "SELECT id FROM items WHERE row >= ? AND row < ? ORDER BY row"
        ids = tuple(str(id_) for (id_,) in sql.execute(query, (start, stop)))
    return Damage(files.name(kind, segment), what, kind, start, stop - 1, ids)


def _joined(damages: list[Damage]) -> Iterator[Damage]:
    """Damages of neighbouring rows as one."""
    last: Damage | None = None
    for damage in damages:
        if (
            last is not None
            and damage.first is not None
            and last.last is not None
            and (damage.file, damage.what, damage.first) == (last.file, last.what, last.last + 1)
        ):
            last = Damage(
                last.file, last.what, last.kind, last.first, damage.last, last.ids + damage.ids
            )
            continue
        if last is not None:
            yield last
        last = damage
    if last is not None:
        yield last


# The database


def _database(store: Store) -> Iterator[Damage]:
    with tempfile.TemporaryDirectory(prefix="vsearch-") as name:
        copy = Path(name) / schema.DATABASE_NAME
        store.copy_database(copy, _CONSEQUENCE)
        with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as sql:
            for what in _examined(sql, store):
                yield Damage(schema.DATABASE_NAME, what)


def _examined(sql: sqlite3.Connection, store: Store) -> Iterator[str]:
    """What is wrong with a copy of the database, in words."""
    try:
        for (line,) in sql.execute("PRAGMA integrity_check(20)"):
            if line != "ok":
                yield f"SQLite finds: {line}"
        if not store.meta.summed:
            return
        if sealing.held(sql) != sealing.made(sql):
            yield "meta, state, kinds or columns are not as they were written"
        state = sealing.read_state(sql)
        try:
            removed = store.rows.numbers(sql.execute("SELECT row FROM tombstones"))
        except DamagedError:
            removed = np.empty(0, np.int64)
        if len(removed) != state.removed or sealing.tombs(removed) != state.tombs:
            yield "The removed rows are not those written"
        for line in sql.execute("SELECT kind, segment, rows, parameters, sum FROM segments"):
            if sums.segment_sum(*line[:4]) != line[4]:
                yield f"What is said of {line[0]} segment {line[1]} is not as it was written"
        yield from _reductions(sql, store, state)
        yield from _items(sql, store, state, removed)
    except sqlite3.Error as error:
        yield f"SQLite cannot read it: {error}"


def _reductions(sql: sqlite3.Connection, store: Store, state: State) -> Iterator[str]:
    """Reductions against their sums, and what is reduced against them."""
    try:
        known = {
            line.id: line.metric for line in stored_reductions.learnt(sql, store.database.file)
        }
        used = {each.metric: each.ids for each in store.reduced(sql, state).values()}
    except DamagedError as error:
        yield error.cause
        return
    every = set(known.items()) | {(id_, metric) for metric, ids in used.items() for id_ in ids}
    for id_, metric in sorted(every):
        try:
            stored_reductions.read(sql, store.database.file, id_, metric)
        except DamagedError as error:
            yield error.cause


def _items(
    sql: sqlite3.Connection, store: Store, state: State, removed: np.ndarray
) -> Iterator[str]:
    """Items against their sums, and facets and numbers against the items."""
    rows = state.rows
    live = np.ones(rows, bool)
    live[removed[(removed >= 0) & (removed < rows)]] = False
    expected: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
    known = item_rows.column_numbers(sql)
    lines: dict[int, set[tuple[int, int | float]]] = defaultdict(set)
    found = 0
    broken = False
    query = f"SELECT {item_rows.COLUMNS}, sum FROM items ORDER BY row"
    for line in sql.execute(query):
        row = line[0]
        try:
            item = store.rows.item(line)
        except DamagedError as error:
            broken = True
            yield error.cause
            continue
        found += 1
        if not (0 <= row < rows and live[row]):
            yield f"Row {row}, of item {item.id!r}, is no row that lives"
            continue
        live[row] = False
        for place, own in numbers.lines_of([(row, item)], known).items():
            lines[place] |= own
        number = int(mixed(np.array([row], np.int64))[0])
        for column, value in item.metadata.items():
            for key in facets_of(value):
                entry = expected[known.get(column, -1), key]
                entry[0] += 1
                entry[1] ^= number
    if live.any() and not broken:
        yield f"{int(live.sum())} rows have no item, the first of them row {int(live.argmax())}"
    if broken:
        return
    held_numbers = numbers.kept(sql, state)
    made = {place: numbers.packed(place, line) for place, line in lines.items()}
    if held_numbers not in (None, made):
        yield "The numbers that filters are answered from are not those of the items"
    facets: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
    for column, value, row in sql.execute('SELECT "column", value, row FROM facets'):
        entry = facets[column, value]
        entry[0] += 1
        if not isinstance(row, int):
            continue  # and the sum is another
        entry[1] ^= int(mixed(np.array([row], np.int64))[0])
    if facets != expected:
        yield "What filters are answered from is not what the items have"
    held = {line[:2]: list(line[2:]) for line in sql.execute("SELECT * FROM facet_sums")}
    if held != {key: [count, signed(total)] for key, (count, total) in expected.items()}:
        yield "The sums of what filters are answered from are not those of the items"
