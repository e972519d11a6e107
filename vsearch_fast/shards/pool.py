"""The shards of a sharded index: opened when first needed, and few of them holding descriptors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import StoreError
from ..index.reading import Checks
from ..index.schema import DATABASE_NAME
from ..index.store import Store
from ..system import may_still_open
from .manifest import Likewise, Manifest

#: Descriptors of a shard that stays open: its folder's and its database's.
_EACH = 2
#: Of the files that a process may yet open, one in so many stands for a shard that stays open.
_SHARE = 8

_CONSEQUENCE = "The sharded index was not opened"


def place_of(folder: Path, path: str) -> Path:
    """Where a shard is that is listed so in this folder."""
    return Path(os.path.normpath(folder / path))


def _may_stay_open(open_now: int) -> int:
    """Shards that keep their descriptors between two uses, where so many have them now: by what
    the process, which may have hundreds of other files and connections, has left."""
    return (may_still_open() + _EACH * open_now) // _SHARE or 1


class Shards(Sequence[Path]):
    """The places of the shards, in order, and their stores, for several threads.

    A store that was opened stays so, with what it has mapped and found right. The first ones keep
    their descriptors (two each), as many as an eighth of the files that the process may yet open,
    which is looked at whenever a shard is opened; those behind them give theirs back after each
    use. Uses go through all shards in turn, so that to keep those that were used last would be to
    keep the wrong ones.

    Args:
        folder: of the list.
        manifest: the list.
        checks: as for `Store`.

    Raises:
        StoreError: a shard is not there.
    """

    def __init__(self, folder: Path, manifest: Manifest, checks: Checks) -> None:
        self._folder, self._likewise, self._checks = folder, manifest.likewise, checks
        self._places = [place_of(folder, shard.path) for shard in manifest.shards]
        self._stores: dict[int, Store] = {}
        self._numbers: dict[str, int] = {}  # by identity, of those that were opened
        self._awake = _may_stay_open(0)
        self._closed = False
        for shard, place in zip(manifest.shards, self._places, strict=True):
            if not os.path.isfile(place / DATABASE_NAME):
                raise StoreError(
                    f"{place}, a shard of {folder}, is not there (or is no index)",
                    f"{_CONSEQUENCE}, because answers would lack its {shard.rows:,} items",
                    "Move it back or restore it from a backup; list the shards anew where they have"
                    " moved (ShardedIndex.create)",
                )

    @classmethod
    def of(cls, folder: Path, manifest: Manifest, stores: Sequence[Store]) -> Shards:
        """Of stores that are open already."""
        made = cls(folder, manifest, "first")
        made._stores = dict(enumerate(stores))
        return made

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> Path:  # type: ignore[override]
        return self._places[number]

    @contextlib.contextmanager
    def use(self, number: int) -> Iterator[Store]:
        """The store of a shard, open for reading.

        Raises:
            StoreError: it is not there, damaged, not like the others, or one of them.
        """
        store = self._stores.get(number)
        if store is None:
            store = self._opened(number)
        try:
            yield store
        finally:
            if number >= self._awake:
                store.rest()

    def each(self) -> Iterator[tuple[int, Store]]:
        """All of them in turn."""
        for number in range(len(self)):
            with self.use(number) as store:
                yield number, store

    def held(self) -> range:
        """Those that keep their descriptors."""
        return range(min(self._awake, len(self)))

    def close(self) -> None:
        """Close what was opened. Does nothing when done already."""
        self._closed = True
        for store in list(self._stores.values()):
            store.close()

    def _opened(self, number: int) -> Store:
        if self._closed:
            raise StoreError(f"{self._folder} was closed", "Nothing was read", "Open it again")
        place = self._places[number]
        store = Store(place, writable=False, checks=self._checks)
        try:
            found = Likewise.of(store.meta)
            self._likewise.refuse_another(found, place, str(self._folder), _CONSEQUENCE)
            identity = store.meta.identity
            other = self._numbers.setdefault(identity, number) if identity else number
            if other != number:
                raise StoreError(
                    f"{place} and {self._places[other]}, both shards of {self._folder}, are the"
                    " same index",
                    f"{_CONSEQUENCE}, because it would find each item twice",
                    "List one of them alone (ShardedIndex.create), or restore the other",
                )
        except BaseException:
            store.close()
            raise
        # Two threads may both have opened it: one of the two serves.
        kept = self._stores.setdefault(number, store)
        if kept is not store:
            store.close()
        self._look_for_room()
        return kept

    def _look_for_room(self) -> None:
        """Decide anew how many keep their descriptors."""
        before = self._awake
        self._awake = _may_stay_open(min(before, len(self._stores)))
        for number in range(self._awake, before):
            if (store := self._stores.get(number)) is not None:
                store.rest()
