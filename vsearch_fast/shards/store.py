"""The stores of all shards, read as if they were one."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_64_intdigest

from ..checks import Scalar
from ..errors import CompactedError, StoreError, UnknownIdError
from ..index import item_rows, sealing
from ..index.conditions import Condition
from ..index.item_reading import column_number
from ..index.items import Item, facet
from ..index.reading import Checks
from ..index.snapshot import Snapshot, State
from ..index.store import Store, View
from . import manifest as manifests
from .manifest import FILE_NAME, FORMAT, Manifest
from .pool import Shards
from .reading import Numbers, ShardedReading, ShardedState, ShardedView

#: Bits of a page's place that say the shard, and which list it is of.
_SHARD_BITS, _MARK_BITS = 20, 24


class _Moment(threading.local):
    """Of a thread that is `reading`: how deep, and the state that it saw first."""

    depth = 0
    state: ShardedState | None = None


class ShardedStore(Store):
    """What an `Index` reads of its store, of many: rows are numbered, and items follow each other,
    one shard behind the other. Nothing can be changed through it but notes, which are the list's.

    Each call reads every shard at one commit of it. Safe to use from several threads, and in a
    child that was forked.

    Args:
        folder: of the list.
        checks: as for `Store`.
        held: of a snapshot, the list and the open stores of the shards.
        manifest: the list, where it is not that in the folder.

    Raises:
        StoreError: no sharded index there, a shard missing, damaged or of another kind.
    """

    def __init__(
        self, folder: Path, checks: Checks = "first",
        held: tuple[Manifest, Sequence[Store]] | None = None, manifest: Manifest | None = None,
    ) -> None:  # fmt: skip
        self.folder = folder.absolute()
        self.writable, self.checks = False, checks
        if held is None:
            self.manifest = manifests.read(self.folder) if manifest is None else manifest
            self.shards = Shards(self.folder, self.manifest, checks)
        else:
            self.manifest = held[0]
            self.shards = Shards.of(self.folder, *held)
        self._frozen = held is not None
        self._manifest_file = self._file_found()
        self._numbered()
        try:
            with self.shards.use(0) as first:
                self.meta = replace(first.meta, created=self.manifest.created)
                self.database = first.database
        except BaseException:
            self.shards.close()
            raise

    def _numbered(self) -> None:
        """What numbers rows over all shards, and says what a thread has seen of them."""
        self._moment = _Moment()
        self._generations = itertools.count(1)
        self._generation: tuple[tuple[Any, ...], int] = ((), 0)

    def close(self) -> None:
        self.shards.close()

    # One moment

    @contextlib.contextmanager
    def reading(self, consequence: str) -> Iterator[sqlite3.Connection]:
        """A transaction of each shard that keeps its descriptors. What is read of others within it
        is compared with what was seen of them first, and refused where it has changed."""
        moment = self._moment
        with contextlib.ExitStack() as entered:
            first: sqlite3.Connection | None = None
            for number in self.shards.held():
                store = entered.enter_context(self.shards.use(number))
                sql = entered.enter_context(store.reading(consequence))
                first = first or sql
            moment.depth += 1
            try:
                assert first is not None
                yield first
            finally:
                moment.depth -= 1
                if not moment.depth:
                    moment.state = None

    def _changed(self, consequence: str) -> StoreError:
        return StoreError(
            f"{self.folder} was changed time and again while it was read",
            consequence,
            "Do it again when less is being written",
        )

    def _state_of(self, parts: Sequence[State]) -> ShardedState:
        """All states together."""
        # Rows that the last shard gains change no other row's number.
        numbering = (
            *((part.generation, part.rows) for part in parts[:-1]), parts[-1].generation,
        )  # fmt: skip
        known, count = self._generation
        if numbering != known:
            count = next(self._generations)
            self._generation = numbering, count
        rows, removed, edits = (
            sum(getattr(part, name) for part in parts) for name in ("rows", "removed", "edits")
        )
        return ShardedState(rows, removed, edits, count, parts=tuple(parts))

    def state(self) -> State:
        return self._state_of([store.state() for _, store in self.shards.each()])

    # Rows

    def view(
        self, where: Condition | None, kinds: Sequence[str], consequence: str, reduced: str = "",
        elsewhere: Container[str] = (),
    ) -> View:  # fmt: skip
        asked = where.columns() if where is not None else frozenset()
        known: set[str] = set()
        parts = []
        for _, store in self.shards.each():
            with store.reading(consequence):
                known |= asked & store.known_columns()
                parts.append(store.view(where, kinds, consequence, reduced, asked))
        self._refuse_unknown(asked, known, consequence)
        return self._joined(parts, kinds)

    def _refuse_unknown(
        self, asked: Collection[str], known: Container[str], consequence: str
    ) -> None:
        for column in sorted(asked):
            if column not in known:
                column_number(dict.fromkeys(self.known_columns(), 0), column, consequence)

    def _joined(self, parts: Sequence[View], kinds: Sequence[str]) -> ShardedView:
        state = self._state_of([part.snapshot.state for part in parts])
        if self._moment.depth and self._moment.state is None:
            self._moment.state = state
        rows = [part.snapshot.state.rows for part in parts]
        reading = ShardedReading([part.reading for part in parts], rows, kinds[0], self.views)
        # `files` of a snapshot are for its own store, which none of these is asked of.
        snapshot = Snapshot(
            state, parts[0].snapshot.files, behind([part.snapshot.live for part in parts], rows)
        )
        mask = behind([part.mask for part in parts], rows)
        return ShardedView(snapshot, mask, reading, tuple(parts))

    def settle(self, view: View, consequence: str) -> None:
        assert isinstance(view, ShardedView)
        for number, part in enumerate(view.parts):
            if part.reading.open:
                with self.shards.use(number) as store:
                    try:
                        store.settle(part, consequence)
                    except CompactedError as error:
                        if self._moment.depth:
                            raise self._changed(consequence) from error
                        raise

    # Items

    def items(
        self, rows: Sequence[int], state: State, *, unchanged: bool
    ) -> dict[int, Item] | None:
        assert isinstance(state, ShardedState)
        numbers = Numbers([part.rows for part in state.parts])
        asked = {
            shard: own for shard, _, own in numbers.parts(np.asarray(list(rows), dtype=np.int64))
        }
        found: dict[int, Item] = {}
        # Under a filter those without a hit count, too: a change may have made one.
        for shard in range(len(self.shards)) if unchanged else asked:
            own = asked.get(shard, np.empty(0, np.int64)).tolist()
            with self.shards.use(shard) as store:
                try:
                    items = store.items(own, state.parts[shard], unchanged=unchanged)
                except CompactedError as error:
                    if self._moment.depth:
                        raise self._changed("Nothing was read") from error
                    raise
            if items is None or len(items) < len(own):
                if self._moment.depth:
                    raise self._changed("Nothing was read")
                return None
            found |= {row + int(numbers.starts[shard]): item for row, item in items.items()}
        return found

    def find(self, ids: Sequence[str], consequence: str) -> list[tuple[int, Item]]:
        return self._found(ids, (), consequence)[0]

    def find_with_view(
        self, ids: Sequence[str], kinds: Sequence[str], consequence: str
    ) -> tuple[list[tuple[int, Item]], View]:
        found, parts = self._found(ids, kinds, consequence)
        return found, self._joined(parts, kinds)

    def _found(
        self, ids: Sequence[str], kinds: Sequence[str], consequence: str
    ) -> tuple[list[tuple[int, Item]], list[View]]:
        """Rows among all and items of these ids, and the views by which they are so."""
        left, start = list(dict.fromkeys(ids)), 0
        found: dict[str, tuple[int, Item]] = {}
        parts = []
        for _, store in self.shards.each():
            with store.reading(consequence) as sql:
                own = store.rows.by_id(sql, list(item_rows.present(sql, left)))
                if kinds:
                    parts.append(store.view(None, kinds, consequence))
                rows = sealing.read_state(sql).rows
            found |= {id_: (start + row, item) for id_, (row, item) in own.items()}
            left = [id_ for id_ in left if id_ not in own]
            start += rows
        if left:
            for _, store in self.shards.each():  # it may be the index of ids that is damaged
                with store.reading(consequence) as sql:
                    store.rows.by_id(sql, left[:1])
            raise UnknownIdError(
                f"{self.folder} holds no item {left[0]!r}", consequence, "Check the id"
            )
        return [found[id_] for id_ in ids], parts

    def contains(self, id_: str) -> bool:
        return any(store.contains(id_) for _, store in self.shards.each())

    def iterate(self) -> Iterator[Item]:
        for _, store in self.shards.each():
            yield from store.iterate()

    def by_id(self, page: int = 64) -> Iterator[Item]:
        def of(number: int) -> Iterator[Item]:
            items: Iterator[Item] | None = None
            while True:
                with self.shards.use(number) as store:  # not held while others are read
                    items = items or store.by_id(page)
                    some = list(itertools.islice(items, page))
                if not some:
                    return
                yield from some

        return heapq.merge(*map(of, range(len(self.shards))), key=attrgetter("id"))

    def page(
        self, limit: int, after: int | None, where: Condition | None,
        elsewhere: Container[str] = (),
    ) -> tuple[list[Item], int | None]:  # fmt: skip
        asked = where.columns() if where is not None else frozenset()
        if asked:
            self._refuse_unknown(asked, self.known_columns(), "Nothing was read")
        return self._paged(limit, after, len(self.shards), self._page_of, where)

    def _page_of(
        self, number: int, limit: int, after: int | None, where: Condition | None
    ) -> tuple[list[Item], int | None]:
        """`Store.page` of one shard, which need not have had the columns of the filter."""
        with self.shards.use(number) as store:
            asked = where.columns() if where is not None else ()
            return store.page(limit, after, where, asked)

    def _paged(
        self, limit: int, after: int | None, shards: int, page_of: Callable[..., Any],
        where: Condition | None,
    ) -> tuple[list[Item], int | None]:  # fmt: skip
        """A page of so many shards, of which `page_of` has those of each."""
        # A place is that in its shard, plus 1 (0: its beginning), the shard, and the list's mark.
        own = self._mark()
        known, mark = (0, own) if after is None else divmod(after, 1 << _MARK_BITS)
        place, shard = divmod(known, 1 << _SHARD_BITS)
        if mark != own:
            raise CompactedError(
                f"{self.folder} is another catalogue than that of the page before",
                "Nothing was read",
                "Begin again with the first page",
            )
        if shard >= shards:
            raise CompactedError(
                f"{self.folder} has fewer shards than for the page before",
                "Nothing was read",
                "Begin again with the first page",
            )
        items: list[Item] = []
        for number in range(shard, shards):
            begin = place - 1 if number == shard and place else None
            # With the page full, whether anything follows is all that is asked.
            page, following = page_of(number, max(1, limit - len(items)), begin, where)
            if len(items) == limit:
                if page:
                    return items, number << _MARK_BITS | own
                continue
            items += page
            if following is not None:
                found = (following + 1) << _SHARD_BITS | number
                return items, found << _MARK_BITS | own
        return items, None

    def _mark(self) -> int:
        """A number that tells this list from others; shards that are listed later do not change
        it."""
        told = f"{self.manifest.created}\0{self.manifest.shards[0].path}"
        return xxh3_64_intdigest(told.encode("utf-8", "surrogatepass")) % (1 << _MARK_BITS)

    # Columns

    def known_columns(self) -> set[str]:
        return set().union(*(store.known_columns() for _, store in self.shards.each()))

    def columns(self) -> list[str]:
        return sorted(set().union(*(store.columns() for _, store in self.shards.each())))

    def values(self, column: str, limit: int) -> list[tuple[Scalar, int]] | None:
        known = False

        def each() -> Iterator[list[tuple[Scalar, int]] | None]:
            nonlocal known
            for _, store in self.shards.each():
                if column in store.known_columns():
                    known = True
                    yield store.values(column, limit)

        found = values_together(each(), limit)
        if not known:
            column_number(dict.fromkeys(self.known_columns(), 0), column, "Nothing was read")
        return found

    def grouped(self, column: str, rows: int, consequence: str) -> list[tuple[str, np.ndarray]]:
        state = self._moment.state or self._seen()
        start = 0
        found: dict[str, list[np.ndarray]] = {}
        known = False
        for number, store in self.shards.each():
            part = state.parts[number]
            with store.reading(consequence):
                if store.state() != part:
                    raise self._changed(consequence)
                if column in store.known_columns():
                    known = True
                    for value, own in store.grouped(column, part.rows, consequence):
                        found.setdefault(value, []).append(own + start)
            start += part.rows
        if not known:
            column_number(dict.fromkeys(self.known_columns(), 0), column, consequence)
        return [(value, np.concatenate(each)) for value, each in sorted(found.items())]

    def _seen(self) -> ShardedState:
        state = self.state()
        assert isinstance(state, ShardedState)
        return state

    def boxed(self) -> int:
        return sum(store.boxed() for _, store in self.shards.each())

    # What was learnt

    def _file_found(self) -> tuple[int, int, int] | None:
        with contextlib.suppress(OSError):
            found = os.stat(self.folder / FILE_NAME)
            return found.st_dev, found.st_ino, found.st_mtime_ns
        return None

    def note(self, key: str) -> str | None:
        """Of the list as it is now; where that is gone, or this is a snapshot, as it was."""
        file = None if self._frozen else self._file_found()
        if file is not None and file != self._manifest_file:
            self.manifest = replace(self.manifest, notes=manifests.read(self.folder).notes)
            self._manifest_file = file
        return self.manifest.notes.get(key)

    def write_note(self, key: str, value: str) -> None:
        """Put a text under a key of the list, in a file that takes its place."""
        changed = manifests.write_note(self.folder, key, value)
        self.manifest = replace(self.manifest, notes=changed.notes)
        self._manifest_file = self._file_found()

    def writer(self) -> Store:
        return self

    # Facts

    def facts(self, state: State) -> dict[str, Any]:
        return self._facts_together(
            state, [store.facts(store.state()) for _, store in self.shards.each()]
        )

    def _facts_together(self, state: State, each: Sequence[dict[str, Any]]) -> dict[str, Any]:
        summed = {
            name: sum(facts[name] for facts in each)
            for name in ("segments", "joined", "bytes", "boxed")
        }
        return {
            **each[0],
            "path": str(self.folder),
            "format": FORMAT,
            "created": self.manifest.created,
            "shards": len(each),
            "rows": state.rows,
            "live": state.rows - state.removed,
            "removed": state.removed,
            **summed,
            "columns": sorted(set().union(*(facts["columns"] for facts in each))),
            "reductions": {},
            "checksums": all(facts["checksums"] for facts in each),
        }

    # What cannot be

    def change(
        self, consequence: str, *, upgraded: bool = True
    ) -> contextlib.AbstractContextManager[None]:
        """Refused: each shard is changed on its own."""
        raise StoreError(
            f"{self.folder} is a sharded index, which is open for reading",
            consequence,
            'Open the shard that is to be changed: Index.open(shard, mode="rw")',
        )

    def copy_database(self, target: Path, consequence: str) -> None:
        """Refused: there is one in each shard."""
        raise StoreError(
            f"{self.folder} is a sharded index, whose database is that of each shard",
            consequence,
            "Do it shard by shard: Index.open(shard)",
        )


def values_together(
    each: Iterable[list[tuple[Scalar, int]] | None], limit: int
) -> list[tuple[Scalar, int]] | None:
    """The values of a column and how many items have each, of those of the shards; None where
    there are more than `limit`, or a shard has."""
    found: dict[str, tuple[Scalar, int]] = {}
    for own in each:
        for value, count in own or ():
            first, before = found.get(facet(value), (value, 0))
            found[facet(value)] = first, before + count
        if own is None or len(found) > limit:
            return None
    return list(found.values())


def behind(masks: Sequence[np.ndarray | None], rows: Sequence[int]) -> np.ndarray | None:
    """Masks behind each other; None where each of them is."""
    if all(mask is None for mask in masks):
        return None
    return np.concatenate(
        [
            np.ones(count, bool) if mask is None else mask
            for mask, count in zip(masks, rows, strict=True)
        ]
    )
