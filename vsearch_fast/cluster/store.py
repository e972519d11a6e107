"""What an `Index` reads of its store and finder, asked of the actors of a cluster.

Searches do not come this way: they are one call a group (`index.py`). This is for all else, that
which is learnt of distances included.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import Scalar
from ..errors import StoreError, UnknownIdError
from ..index.conditions import Condition
from ..index.finder import Finder
from ..index.item_reading import column_number
from ..index.items import Item
from ..index.snapshot import Snapshot, State
from ..index.store import View
from ..search.proof import Proof
from ..shards.manifest import Manifest
from ..shards.reading import Numbers, ShardedState, ShardedView
from ..shards.store import ShardedStore, behind, values_together
from .answers import nearest_together, proofs_together
from .asking import Asking, Patience
from .groups import Group
from .host import ROW_BITS

_NOT_READ = "Nothing was read"
#: Items that are read at a time when all are.
_PAGE = 1000


class ClusterStore(ShardedStore):
    """The shards of a connection. Each call reads every shard at one commit of it.

    Args:
        folder: of the list, as it was named.
        manifest: the list.
        asking: of the actors.
        patience: for each call.
        keep: puts a note into the list, where that is.
    """

    def __init__(
        self,
        folder: str,
        manifest: Manifest,
        asking: Asking,
        patience: Patience,
        keep: Callable[[str, str], None],
    ) -> None:
        # Nothing of a store's own is opened here: no database, no files.
        self.folder, self.manifest = Path(folder), manifest
        self.writable, self.checks = False, "first"
        self.asking, self.patience, self._keep = asking, patience, keep
        self._numbered()
        self._calibrating = threading.Lock()
        [meta, *_] = asking.groups[:1]
        found, _ = asking.gather([(meta, "meta", ())], patience, "Nothing was connected")
        self.meta = replace(found[meta], created=manifest.created)

    @property
    def calibrating(self) -> threading.Lock:
        return self._calibrating

    def close(self) -> None:
        for group in self.asking.groups:
            group.close()

    def _each(self, name: str, *arguments: Any) -> dict[int, Any]:
        return self.asking.each(name, *arguments, patience=self.patience, consequence=_NOT_READ)

    def _all(self, name: str, *arguments: Any) -> list[Any]:
        return self.asking.all(name, *arguments, patience=self.patience, consequence=_NOT_READ)

    # One moment

    @contextlib.contextmanager
    def reading(self, consequence: str) -> Iterator[sqlite3.Connection]:
        """What is read within is of the state that was seen first, or refused."""
        moment = self._moment
        moment.depth += 1
        try:
            yield None  # type: ignore[misc]  # there is no one database
        finally:
            moment.depth -= 1
            if not moment.depth:
                moment.state = None

    def state(self) -> State:
        return self._state_of(list(self._each("each", "state").values()))

    # Rows

    def view(
        self, where: Condition | None, kinds: Sequence[str], consequence: str, reduced: str = "",
        elsewhere: Container[str] = (),
    ) -> View:  # fmt: skip
        """The rows that live, without any way to read them but `ClusterFinder`."""
        assert where is None
        found = sorted((line for part in self._all("view") for line in part), key=lambda x: x[0])
        states = [state for _, state, _ in found]
        lives = [
            None if live is None else np.unpackbits(live, count=state.rows).astype(bool)
            for _, state, live in found
        ]
        state = self._state_of(states)
        if self._moment.depth and self._moment.state is None:
            self._moment.state = state
        live = behind(lives, [each.rows for each in states])
        snapshot = Snapshot(state, None, live)  # type: ignore[arg-type]  # files are elsewhere
        return ShardedView(snapshot, live, None)  # type: ignore[arg-type]

    # Items

    def known(self, ids: Sequence[str]) -> dict[str, tuple[int, Item]]:
        """Order and item of those of these ids that are anywhere; of several the first."""
        found: dict[str, tuple[int, Item]] = {}
        for part in self._all("find", list(ids)):
            for id_, (order, item) in part.items():
                if id_ not in found or order < found[id_][0]:
                    found[id_] = order, item
        return found

    def shards_of(self, ids: Sequence[str], consequence: str) -> dict[str, int]:
        """The shard of each of these ids.

        Raises:
            UnknownIdError: one is in none.
        """
        found = self.known(ids)
        self._refuse_unknown_ids(ids, found, consequence)
        return {id_: found[id_][0] >> ROW_BITS for id_ in ids}

    def _refuse_unknown_ids(self, ids: Sequence[str], found: Any, consequence: str) -> None:
        for id_ in ids:
            if id_ not in found:
                raise UnknownIdError(
                    f"{self.folder} holds no item {id_!r}", consequence, "Check the id"
                )

    def find(self, ids: Sequence[str], consequence: str) -> list[tuple[int, Item]]:
        """Orders, which are no row numbers, and items."""
        found = self.known(list(dict.fromkeys(ids)))
        self._refuse_unknown_ids(ids, found, consequence)
        return [found[id_] for id_ in ids]

    def stored(self, kind: str, ids: Sequence[str]) -> np.ndarray:
        """Rows of a kind of these ids: (n, width), of two views (n, 2, width)."""
        numbers = self.shards_of(ids, _NOT_READ)
        width = self.meta.dim if kind == "vectors" else -(-self.meta.bits // 8)
        dtype = np.dtype(self.meta.dtype) if kind == "vectors" else np.dtype(np.uint8)
        views = len(self.meta.views)
        out = np.empty((len(ids), width) if views == 1 else (len(ids), views, width), dtype)
        calls, places = [], {}
        for group in self.asking.groups:
            own = [at for at, id_ in enumerate(ids) if numbers[id_] in group.numbers]
            if own:
                places[group] = own
                calls.append((group, "features", (kind, [ids[at] for at in own])))
        found, _ = self.asking.gather(calls, self.patience, _NOT_READ)
        for group, rows in found.items():
            out[places[group]] = rows
        return out

    def contains(self, id_: str) -> bool:
        return bool(self.known([id_]))

    def iterate(self) -> Iterator[Item]:
        after: int | None = None
        while True:
            items, after = self.page(_PAGE, after, None)
            yield from items
            if after is None:
                return

    def page(
        self, limit: int, after: int | None, where: Condition | None,
        elsewhere: Container[str] = (),
    ) -> tuple[list[Item], int | None]:  # fmt: skip
        if where is not None:
            self.refuse_unknown_columns(where.columns(), _NOT_READ)
        return self._paged(limit, after, len(self.manifest.shards), self._page_of, where)

    def _page_of(
        self, number: int, limit: int, after: int | None, where: Condition | None
    ) -> tuple[list[Item], int | None]:
        group = next(group for group in self.asking.groups if number in group.numbers)
        call = group, "page", (number, limit, after, where)
        found, _ = self.asking.gather([call], self.patience, _NOT_READ)
        page: tuple[list[Item], int | None] = found[group]
        return page

    # Columns

    def refuse_unknown_columns(self, asked: Collection[str], consequence: str) -> None:
        """ArgumentError where no shard has had one of these columns."""
        self._refuse_unknown(asked, self.known_columns(), consequence)

    def known_columns(self) -> set[str]:
        return set().union(*self._each("each", "known_columns").values())

    def columns(self) -> list[str]:
        return sorted(set().union(*self._each("each", "columns").values()))

    def values(self, column: str, limit: int) -> list[tuple[Scalar, int]] | None:
        each = self._each("values", column, limit)
        if not each:
            column_number(dict.fromkeys(self.known_columns(), 0), column, _NOT_READ)
        return values_together(each.values(), limit)

    def grouped(self, column: str, rows: int, consequence: str) -> list[tuple[str, np.ndarray]]:
        state = self._moment.state or self._seen()
        calls = [
            (group, "grouped", (column, [state.parts[number] for number in group.numbers]))
            for group in self.asking.groups
        ]
        answers, _ = self.asking.gather(calls, self.patience, consequence)
        each = {number: own for part in answers.values() for number, own in part.items()}
        if not each:
            column_number(dict.fromkeys(self.known_columns(), 0), column, consequence)
        starts = Numbers([part.rows for part in state.parts]).starts
        found: dict[str, list[np.ndarray]] = {}
        for number, groups in sorted(each.items()):
            for value, own in groups:
                found.setdefault(value, []).append(own + starts[number])
        return [(value, np.concatenate(parts)) for value, parts in sorted(found.items())]

    def boxed(self) -> int:
        return sum(self._each("each", "boxed").values())

    # What was learnt

    def note(self, key: str) -> str | None:
        return self.manifest.notes.get(key)

    def write_note(self, key: str, value: str) -> None:
        self._keep(key, value)
        self.manifest = replace(self.manifest, notes=self.manifest.notes | {key: value})

    # Facts

    def facts(self, state: State) -> dict[str, Any]:
        return self._facts_together(state, list(self._each("facts").values()))

    def change(
        self, consequence: str, *, upgraded: bool = True
    ) -> contextlib.AbstractContextManager[None]:
        raise self.refusal(consequence)

    def refusal(self, consequence: str) -> StoreError:
        """Of what a connection does not do."""
        return StoreError(
            f"{self.folder} is searched on a cluster, and this is done where its files are",
            consequence,
            "Open the shard there: Index.open(shard, ...)",
        )


class ClusterFinder(Finder):
    """The nearest rows among all, for what is learnt of distances."""

    _store: ClusterStore

    def __init__(self, store: ClusterStore, device: str) -> None:
        super().__init__(store)
        self._device = device

    @property
    def device(self) -> str:
        return self._device

    def to(self, device: str) -> None:
        if device != self._device:
            raise self._store.refusal("Nothing was moved")

    def stored(self, view: View, kind: str, rows: np.ndarray) -> np.ndarray:
        state = view.snapshot.state
        assert isinstance(state, ShardedState)
        numbers = Numbers([part.rows for part in state.parts])
        shard = np.searchsorted(numbers.starts, rows, side="right") - 1
        orders = shard.astype(np.int64) << ROW_BITS | (rows - numbers.starts[shard])
        calls: list[tuple[Group, str, tuple[Any, ...]]] = []
        places: dict[Group, Any] = {}
        for group in self._store.asking.groups:
            own = np.flatnonzero(np.isin(shard, group.numbers))
            if len(own) or not calls:  # one call at least says the shape
                places[group] = own
                states = [state.parts[number] for number in group.numbers]
                calls.append((group, "stored", (kind, orders[own], states)))
        found, _ = self._store.asking.gather(calls, self._store.patience, _NOT_READ)
        first = next(iter(found.values()))
        out = np.empty((len(rows), *first.shape[1:]), first.dtype)
        for group, values in found.items():
            out[places[group]] = values
        return out

    def nearest(
        self,
        view: View,
        mask: np.ndarray | None,
        queries: np.ndarray,
        k: int,
        metric: str,
        *,
        threads: int | None = None,
        strategy: str = "auto",
        backend: str = "auto",
        limits: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, Proof]:
        state = view.snapshot.state
        assert isinstance(state, ShardedState)
        starts = Numbers([part.rows for part in state.parts]).starts
        mask = np.ones(state.rows, bool) if mask is None else mask
        calls = []
        for group in self._store.asking.groups:
            states = [state.parts[number] for number in group.numbers]
            own = [mask[starts[number] : starts[number + 1]] for number in group.numbers]
            packed = np.packbits(np.concatenate(own))
            arguments = (states, packed, queries, k, metric, threads, backend)
            calls.append((group, "nearest", arguments))
        found, _ = self._store.asking.gather(calls, self._store.patience, "Nothing was searched")
        parts = list(found.values())
        distances, orders = nearest_together([part[:2] for part in parts], k)
        rows = starts[orders >> ROW_BITS] + (orders & ((1 << ROW_BITS) - 1))
        return distances, rows, proofs_together([part[2] for part in parts])
