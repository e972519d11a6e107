"""What an actor does: the shards of a group, opened in its process, are read and changed.

All of it is called by name through `Host.call`, by several threads at once. Rows are told by their
*order*, one number for all shards: the shard's place in the list, and the row's number there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CompactedError, VsearchError
from ..index import item_rows
from ..index.conditions import Condition
from ..index.finder import Finder, kinds_of
from ..index.hits import Hit, find_hits
from ..index.index import Index
from ..index.items import Item
from ..index.schema import Meta
from ..index.snapshot import State
from ..index.store import Store
from ..search.proof import Proof
from ..search.warming import warm
from ..shards.manifest import Manifest
from ..shards.reading import Numbers, ShardedState
from ..shards.store import ShardedStore
from ..version import __version__
from .copying import borrowed

#: Bits of an order that are the row's number within its shard.
ROW_BITS = 40
_NOT_SEARCHED, _NOT_READ = "Nothing was searched", "Nothing was read"


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A search as it is sent: checked arguments of `find_hits`."""

    queries: np.ndarray
    k: int | None
    metric: str
    where: Condition | None
    max_distance: float | None
    group_by: str | None
    strategy: str
    backend: str
    threads: int | None
    limits: np.ndarray | None = None

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns that it asks for, some shard of which must have them."""
        grouped = frozenset() if self.group_by is None else frozenset({self.group_by})
        return grouped if self.where is None else grouped | self.where.columns()


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What one group answers.

    Attributes:
        hits: of each query, in order.
        orders: of these, int64.
        proof: of the search.
        columns: of those asked for, what these shards have had.
    """

    hits: list[list[Hit]]
    orders: list[NDArray[np.int64]]
    proof: Proof
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class Opened:
    """What an actor says when it has opened its shards."""

    version: str
    process: int


class _GroupStore(ShardedStore):
    """Some shards of all: a column that none of them has is perhaps another group's."""

    def _refuse_unknown(
        self, asked: Collection[str], known: Container[str], consequence: str
    ) -> None:
        pass


class Host:
    """The shards of a group.

    Args:
        folder: of the list, for messages.
        manifest: the list, with the places of all shards on this node.
        numbers: which shards of it are here, ascending.
        lender: who lends shards that are to be copied (`copying.Lender`); None where they are read
            where they are.
        target: the folder of the copies.
    """

    def __init__(
        self, folder: str, manifest: Manifest, numbers: Sequence[int], lender: Any, target: str
    ) -> None:
        self._folder, self._numbers = Path(folder), list(numbers)
        self._lender, self._target = lender, target
        self._manifest = replace(manifest, shards=tuple(manifest.shards[n] for n in numbers))
        self._store: _GroupStore | None = None

    def call(self, name: str, *arguments: Any) -> tuple[Any, VsearchError | None]:
        """What the method of this name returns, or the error that it raises, as a value: it is of
        this package, and is to be raised as it is."""
        try:
            return getattr(self, name)(*arguments), None
        except VsearchError as error:
            return None, error

    # Opening

    def open(self, device: str) -> Opened:
        """Open all shards, after copying those that are to be copied, and load or compile what
        searches by L2 need: it may take longer than an answer may."""
        if self._store is None:
            listed = self._manifest.shards
            if self._lender is not None:
                listed = tuple(
                    replace(shard, path=str(borrowed(self._lender, shard.path, self._target)))
                    for shard in listed
                )
            self._manifest = replace(self._manifest, shards=listed)
            store = _GroupStore(self._folder, manifest=self._manifest)
            for _ in store.shards.each():  # opened, and compared with the list
                pass
            self._finder = Finder(store)
            self._store = store
        self._finder.to(device)
        if device == "cpu":
            warm(["l2"], self._store.meta.dim)
        return Opened(__version__, os.getpid())

    @property
    def _opened(self) -> _GroupStore:
        assert self._store is not None
        return self._store

    def _stores(self) -> Iterator[tuple[int, Store]]:
        """Each shard's number among all, and its store."""
        for place, store in self._opened.shards.each():
            yield self._numbers[place], store

    # Searching

    def search(self, asked: Asked) -> Part:
        """The nearest items of these shards, as `Index.search` has them."""
        store = self._opened
        limits = asked.limits
        if asked.k is not None and asked.max_distance is not None:
            given = np.full(len(asked.queries), np.inf) if limits is None else limits
            limits = np.minimum(given, asked.max_distance)
        columns = asked.columns & store.known_columns()
        found = find_hits(
            store, self._finder, asked.queries, asked.k, asked.metric, asked.where,
            asked.max_distance, asked.group_by, threads=asked.threads, strategy=asked.strategy,
            backend=asked.backend, limits=limits,
        )  # fmt: skip
        assert isinstance(found.state, ShardedState)
        orders = self._orders(found.state, [np.array(line, np.int64) for line in found.rows])
        return Part(found.hits, orders, found.proof, columns)

    def _orders(
        self, state: ShardedState, rows: Sequence[NDArray[np.int64]]
    ) -> list[NDArray[np.int64]]:
        """Orders of rows that are numbered over the shards of the group."""
        starts = Numbers([part.rows for part in state.parts]).starts
        shards = np.array(self._numbers, np.int64)
        found = []
        for line in rows:
            place = np.searchsorted(starts, line, side="right") - 1
            found.append(shards[place] << ROW_BITS | (line - starts[place]))
        return found

    def view(self) -> list[tuple[int, State, NDArray[np.uint8] | None]]:
        """Each shard's number, its state, and its live rows as packed bits (None: all)."""
        view = self._opened.view(None, ("codes",), _NOT_READ)
        found = []
        for number, part in zip(self._numbers, view.parts, strict=True):  # type: ignore[attr-defined]
            live = part.snapshot.live
            found.append((number, part.snapshot.state, None if live is None else np.packbits(live)))
        return found

    def nearest(
        self, states: Sequence[State], mask: NDArray[np.uint8], queries: np.ndarray, k: int,
        metric: str, threads: int | None, backend: str,
    ) -> tuple[np.ndarray, NDArray[np.int64], Proof]:  # fmt: skip
        """`Finder.nearest` among the rows of these states that `mask` (packed bits) leaves;
        distances and orders.

        Raises:
            CompactedError: a shard has other rows by now.
        """
        store = self._opened
        view = store.view(None, kinds_of(metric), _NOT_SEARCHED, metric)
        given = np.unpackbits(mask, count=sum(state.rows for state in states)).astype(bool)
        parts, start = [], 0
        for state, part in zip(states, view.parts, strict=True):  # type: ignore[attr-defined]
            self._refuse_compacted(state, part.snapshot.state)
            own = np.zeros(part.snapshot.state.rows, bool)
            own[: state.rows] = given[start : start + state.rows]
            parts.append(own)
            start += state.rows
        distances, rows, proof = self._finder.nearest(
            view, np.concatenate(parts), queries, k, metric, threads=threads, backend=backend
        )
        state = view.snapshot.state
        assert isinstance(state, ShardedState)
        [orders] = self._orders(state, [rows.ravel()])
        return distances, orders.reshape(rows.shape), proof

    @staticmethod
    def _refuse_compacted(then: State, now: State) -> None:
        if then.generation != now.generation or then.rows > now.rows:
            raise CompactedError(
                "A shard was compacted while all were read", "Nothing was read", "Do it again"
            )

    def stored(self, kind: str, orders: NDArray[np.int64], states: Sequence[State]) -> np.ndarray:
        """Rows of a kind by order, (n, width), of two views (n, 2, width).

        Raises:
            CompactedError: a shard has other rows by now.
        """
        view = self._opened.view(None, (kind,), _NOT_READ)
        found = [part.snapshot.state for part in view.parts]  # type: ignore[attr-defined]
        for then, now in zip(states, found, strict=True):
            self._refuse_compacted(then, now)
        starts = Numbers([state.rows for state in found]).starts
        place = np.searchsorted(self._numbers, orders >> ROW_BITS)
        rows = starts[place] + (orders & ((1 << ROW_BITS) - 1))
        return self._finder.stored(view, kind, rows)

    # Reading

    def each(self, name: str, *arguments: Any) -> dict[int, Any]:
        """What a method of each shard's store returns, by the shard's number."""
        return {number: getattr(store, name)(*arguments) for number, store in self._stores()}

    def facts(self) -> dict[int, dict[str, Any]]:
        """`Store.facts` of each shard, by number."""
        return {number: store.facts(store.state()) for number, store in self._stores()}

    def values(self, column: str, limit: int) -> dict[int, Any]:
        """`Store.values` of the shards that have had this column."""
        return self._of_column(column, lambda store: store.values(column, limit))

    def grouped(self, column: str, states: Sequence[State]) -> dict[int, Any]:
        """`Store.grouped` of the shards that have had this column, which must be in these states.

        Raises:
            CompactedError: one has changed.
        """
        at = dict(zip(self._numbers, states, strict=True))
        found = {}
        for number, store in self._stores():
            with store.reading(_NOT_READ):
                if store.state() != at[number]:
                    raise CompactedError(
                        "A shard was changed while all were read", "Nothing was read", "Do it again"
                    )
                if column in store.known_columns():
                    found[number] = store.grouped(column, at[number].rows, _NOT_READ)
        return found

    def _of_column(self, column: str, read: Callable[[Store], Any]) -> dict[int, Any]:
        return {
            number: read(store)
            for number, store in self._stores()
            if column in store.known_columns()
        }

    def meta(self) -> Meta:
        """Of the first shard."""
        return self._opened.meta

    def page(
        self, number: int, limit: int, after: int | None, where: Condition | None
    ) -> tuple[list[Item], int | None]:
        """A page of one shard, which need not have had the columns of the filter."""
        return self._opened._page_of(self._numbers.index(number), limit, after, where)

    def find(self, ids: Sequence[str]) -> dict[str, tuple[int, Item]]:
        """Order and item of those of these ids that are here; the first shard that has one."""
        found: dict[str, tuple[int, Item]] = {}
        for number, store in self._stores():
            with store.reading(_NOT_READ) as sql:
                own = store.rows.by_id(sql, list(item_rows.present(sql, list(ids))))
            for id_, (row, item) in own.items():
                found.setdefault(id_, (number << ROW_BITS | row, item))
        return found

    def features(self, kind: str, ids: Sequence[str]) -> np.ndarray:
        """Rows of a kind of ids that are here."""
        found, view = self._opened.find_with_view(ids, (kind,), _NOT_READ)
        return self._finder.stored(view, kind, np.array([row for row, _ in found], np.int64))

    # Changing

    def change(
        self, number: int, name: str, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> State:
        """Call a method of one shard's `Index`, open for writing meanwhile; the state after it."""
        place = self._opened.shards[self._numbers.index(number)]
        with Index.open(place, mode="rw") as index:
            getattr(index, name)(*arguments, **options)
            return index._store.state()
