"""Items, and what filters ask of them, as a `Store` reads them: each call is of one commit."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from xxhash import xxh3_128_digest

from ..checks import Scalar
from ..errors import ArgumentError, CompactedError, UnknownIdError
from . import item_rows, numbers, sealing
from .conditions import Condition
from .item_rows import ItemRows
from .items import Item, value_of
from .snapshot import Snapshot, State

#: Filters whose masks are kept until the next commit.
_KEPT_FILTERS = 16

#: Items that are read at a time by their ids.
_PAGE = 1024

#: Bits of a page's place that are its row; the rest is the index's generation.
_ROW_BITS = 40


class _Met:
    """Ids that were met, in 16 bytes each until it is asked for one."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._known: set[bytes] = set()

    def add(self, ids: Iterable[str]) -> None:
        self._digests += b"".join(_digest(id_) for id_ in ids)

    def __contains__(self, id_: str) -> bool:
        held, self._digests = self._digests, bytearray()
        self._known.update(bytes(held[at : at + 16]) for at in range(0, len(held), 16))
        return _digest(id_) in self._known


def _digest(id_: str) -> bytes:
    return xxh3_128_digest(id_.encode("utf-8", "surrogatepass"))


class _Columns:
    """The columns of one commit, as a `Condition` asks for them. One that there is not has no
    values."""

    def __init__(
        self, reading: ItemReading, sql: sqlite3.Connection, snapshot: Snapshot,
        known: Mapping[str, int],
    ) -> None:  # fmt: skip
        self._reading, self._sql, self._snapshot = reading, sql, snapshot
        self._numbers = known

    def among(self, column: str, facets: Sequence[str]) -> np.ndarray:
        met = np.zeros(self._snapshot.state.rows, bool)
        if column in self._numbers:
            # Removed rows are not among them: they have no facets.
            for found in self._reading.rows.matching(self._sql, self._numbers[column], facets):
                self._reading.refuse_beyond(found, len(met))
                met[found] = True
        return met

    def values(self, column: str) -> list[tuple[str, Scalar]]:
        if column not in self._numbers:
            return []
        return self._reading.rows.values(self._sql, self._numbers[column], column)

    def compared(self, column: str, order: str, than: int | float) -> np.ndarray | None:
        met = np.zeros(self._snapshot.state.rows, bool)
        if column in self._numbers:
            found = numbers.compared(
                self._sql, self._reading.rows.file, self._snapshot.state, self._numbers[column],
                order, than,
            )  # fmt: skip
            if found is None:
                return None
            self._reading.refuse_beyond(found, len(met))
            met[found] = True
        return met

    def live(self) -> np.ndarray:
        live = self._snapshot.live
        return np.ones(self._snapshot.state.rows, bool) if live is None else live


class ItemReading:
    """A part of `Store`, which has the rest."""

    folder: Path
    rows: ItemRows
    _boxed: tuple[State, int] = (State(0, 0, 0), 0)  # as `boxed` has counted last

    def reading(self, consequence: str) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        """As `Store.reading`."""
        raise NotImplementedError

    def refuse_compacted(
        self,
        sql: sqlite3.Connection,
        generation: int,
        consequence: str,
        reduced: Sequence[str] = (),
    ) -> None:
        """As `Store.refuse_compacted`."""
        raise NotImplementedError

    def _refresh(self, sql: sqlite3.Connection) -> Snapshot:
        raise NotImplementedError

    def refuse_beyond(self, found: np.ndarray, rows: int) -> None:
        if not ((found >= 0) & (found < rows)).all():
            raise self.rows.damaged("a facet names a row that is not there")

    def _mask(
        self, sql: sqlite3.Connection, snapshot: Snapshot, where: Condition,
        elsewhere: Container[str],
    ) -> np.ndarray:  # fmt: skip
        mask = snapshot.filters.get(where)
        if mask is None:
            known = item_rows.column_numbers(sql)
            for column in sorted(where.columns()):
                if column not in elsewhere:
                    column_number(known, column, "Nothing was searched")
            mask = where.rows(_Columns(self, sql, snapshot, known))
            if len(snapshot.filters) >= _KEPT_FILTERS:
                snapshot.filters.clear()
            snapshot.filters[where] = mask
        return mask

    def groups(self, column: str, rows: int, consequence: str) -> np.ndarray:
        """A number for each of the first `rows` rows, int64, equal where rows have the same value
        in this column. A row without one, or with null, has a number of its own.

        Raises:
            ArgumentError: a column that the index does not have.
        """
        groups = -1 - np.arange(rows)
        for group, (_, found) in enumerate(self.grouped(column, rows, consequence)):
            groups[found] = group
        return groups

    def grouped(self, column: str, rows: int, consequence: str) -> list[tuple[str, np.ndarray]]:
        """Each value of this column, as `items.facet` writes it, and those of the first `rows` rows
        (int64) that have it.

        Raises:
            ArgumentError: a column that the index does not have.
        """
        with self.reading(consequence) as sql:
            number = column_number(item_rows.column_numbers(sql), column, consequence)
            found = list(self.rows.grouped(sql, number))
        for _, own in found:
            self.refuse_beyond(own, rows)
        return found

    def known_columns(self) -> set[str]:
        """Names of the metadata columns that there have been."""
        with self.reading("Nothing was read") as sql:
            return set(item_rows.column_numbers(sql))

    def items(
        self, rows: Sequence[int], state: State, *, unchanged: bool
    ) -> dict[int, Item] | None:
        """Items by row of a state, for as long as they live.

        With `unchanged`: None when anything but additions was committed since.

        Raises:
            CompactedError: rows have other numbers by now.
        """
        with self.reading("Nothing was read") as sql:
            self.refuse_compacted(sql, state.generation, "Nothing was read")
            now = sealing.read_state(sql)
            if unchanged and now.edits != state.edits:
                return None
            found = self.rows.by_row(sql, rows)
            if now.edits == state.edits and len(found) < len(set(rows)):
                raise self.rows.damaged("an item that should be there is not")
            return found

    def find(self, ids: Sequence[str], consequence: str) -> list[tuple[int, Item]]:
        """Row and item of every id, in order.

        Raises:
            UnknownIdError: names the first id that is not in the index.
        """
        with self.reading(consequence) as sql:
            return self.found(sql, ids, consequence)

    def found(
        self, sql: sqlite3.Connection, ids: Sequence[str], consequence: str
    ) -> list[tuple[int, Item]]:
        """`find` in a transaction that is open."""
        found = self.rows.by_id(sql, ids)
        for id_ in ids:
            if id_ not in found:
                raise UnknownIdError(
                    f"{self.folder} holds no item {id_!r}", consequence, "Check the id"
                )
        return [found[id_] for id_ in ids]

    def contains(self, id_: str) -> bool:
        """Whether a live row has this id."""
        with self.reading("Nothing was read") as sql:
            return bool(item_rows.present(sql, [id_]))

    def _page(self, sql: sqlite3.Connection, row: int, limit: int | None) -> list[tuple[int, Item]]:
        """The items after a row, as `ItemRows.after`, all that there are."""
        snapshot = self._refresh(sql)
        page = self.rows.after(sql, row, limit)
        rows = [row for row, _ in page]
        end = rows[-1] + 1 if page and limit and len(page) == limit else None
        if limit is None and page:
            end = rows[-1] + 1
        stop = snapshot.state.rows if end is None else end
        expected = np.arange(row + 1, stop)
        if snapshot.live is not None:
            expected = expected[snapshot.live[row + 1 : stop]]
        if not np.array_equal(expected, rows):
            raise self.rows.damaged(f"the items after row {row} are not those written")
        return page

    def iterate(self) -> Iterator[Item]:
        """All items by row, each id once. The index may be changed meanwhile: items added are met,
        too."""
        last, id_ = -1, ""
        first: State | None = None
        before: State | None = None
        met = _Met()
        while True:
            with self.reading("Nothing was read") as sql:
                state = self._refresh(sql).state
                if before is not None and before.generation != state.generation:
                    last = self._row_after_compaction(sql, id_, before, state)
                before = state
                page = self._page(sql, last, None)
            if not page:
                return
            last, id_ = page[-1][0], page[-1][1].id
            first = first or state
            items = [item for _, item in page]
            # One that was replaced, or removed and added, has a second row behind the others.
            behind = last >= first.rows or state.generation != first.generation
            if behind and state.edits != first.edits:
                items = [item for item in items if item.id not in met]
            met.add(item.id for item in items)
            yield from items

    def by_id(self, page: int = _PAGE) -> Iterator[Item]:
        """All items in the order of their ids, so many read at a time.

        Raises:
            CompactedError: the index was changed meanwhile.
            DamagedError: the index of ids has not all items.
        """
        last, count, sum_ = "", 0, 0
        first: State | None = None
        while True:
            with self.reading("Nothing was read") as sql:
                state = self._refresh(sql).state
                if first not in (None, state):
                    raise CompactedError(
                        f"{self.folder} was changed while its items were read by their ids",
                        "Some of them were not read",
                        "Begin again",
                    )
                first = state
                lines = self.rows.after_id(sql, last, page)
            if not lines:
                break
            rows = np.array([row for row, _ in lines], np.int64)
            last, count, sum_ = lines[-1][1].id, count + len(rows), sum_ ^ sealing.tombs(rows)
            yield from (item for _, item in lines)
        # The rows that were met and those that were removed are all that there are.
        expected = sealing.tombs_up_to(state.rows) ^ (state.tombs or 0)
        whole = state.tombs is None or sum_ == expected
        if count != state.rows - state.removed or not whole:
            raise self.rows.damaged("the index of ids names other rows than the items")

    def _row_after_compaction(
        self, sql: sqlite3.Connection, id_: str, before: State, state: State
    ) -> int:
        """The new row of the item that was the last to be read.

        Raises:
            CompactedError: items were removed or replaced, too, of which this may be one: a row
                that has its id might be one at the end.
        """
        row = item_rows.present(sql, [id_]).get(id_)
        compactions = state.generation - before.generation
        if row is None or state.edits - before.edits != compactions:
            raise CompactedError(
                f"{self.folder} was changed and compacted while its items were read",
                "Some of them were not read",
                "Begin again",
            )
        return row

    def page(
        self, limit: int, after: int | None, where: Condition | None,
        elsewhere: Container[str] = (),
    ) -> tuple[list[Item], int | None]:  # fmt: skip
        """The first `limit` live items that match `where` after a place, and the place of the
        last of them; None instead where no item follows. `elsewhere`: as for `Store.view`."""
        with self.reading("Nothing was read") as sql:
            snapshot = self._refresh(sql)
            row = -1
            if after is not None:
                generation, row = divmod(after, 1 << _ROW_BITS)
                if generation != snapshot.state.generation:
                    raise CompactedError(
                        f"{self.folder} was compacted since the page before",
                        "Nothing was read",
                        "Begin again with the first page",
                    )
            if where is None:
                lines = self._page(sql, row, limit + 1)
            else:
                mask = self._mask(sql, snapshot, where, elsewhere)
                rows = row + 1 + np.flatnonzero(mask[row + 1 :])[: limit + 1]
                found = self.rows.by_row(sql, rows.tolist())
                if len(found) < len(rows):
                    raise self.rows.damaged("an item that should be there is not")
                lines = sorted(found.items())
            generation = snapshot.state.generation << _ROW_BITS
        more = len(lines) > limit
        lines = lines[:limit]
        return [item for _, item in lines], generation + lines[-1][0] if more else None

    def values(self, column: str, limit: int) -> list[tuple[Scalar, int]] | None:
        """The values that live items have in this column, and how many have each; None where
        there are more than `limit` values."""
        with self.reading("Nothing was read") as sql:
            number = column_number(item_rows.column_numbers(sql), column, "Nothing was read")
            found = self.rows.counted(sql, number, limit + 1)
            if len(found) > limit:
                return None
            items = self.rows.by_row(sql, [row for _, row, _ in found])
        try:
            return [(value_of(items[row].metadata[column], k), count) for k, row, count in found]
        except (KeyError, ValueError):
            raise self.rows.damaged("a facet names a row that does not have it") from None

    def boxed(self) -> int:
        """Items that have a box: their features are those of a part of the picture."""
        with self.reading("Nothing was read") as sql:
            state = self._refresh(sql).state
            known, count = self._boxed
            # To count reads all items. Where some were added alone, they are what is counted.
            if (known.edits, known.generation) != (state.edits, state.generation):
                known, count = State(0, 0, 0), 0
            query = "SELECT count(x1) FROM items WHERE row >= ?"
            count += int(sql.execute(query, (known.rows,)).fetchone()[0])
            self._boxed = state, count
            return count

    def columns(self) -> list[str]:
        """Names of the metadata columns that live items have, sorted."""
        with self.reading("Nothing was read") as sql:
            self._refresh(sql)
            return item_rows.columns_in_use(sql)


def column_number(known: Mapping[str, int], column: str, consequence: str) -> int:
    """The number of a column; ArgumentError, which lists them, where it is none of these."""
    if column not in known:
        names = ", ".join(map(repr, sorted(known))) or "none so far"
        raise ArgumentError(
            f"The index has no metadata column {column!r}", consequence, f"Its columns are: {names}"
        )
    return known[column]
