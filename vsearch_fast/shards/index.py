"""A sharded index: several ordinary indexes, searched as one.

::

    photos.shards/
        shards.json        the list of the shards, in order (`manifest.py`)
        00000.index/       each an index that is complete in itself
        00001.index/
    ShardedIndex ── Index, that reads by a ──> ShardedStore ──> Shards ──> a Store each

A search takes a view of each shard, hands all their segments to `topk` as if they were those of one
index, and asks each shard for the items that it found. So all that bounds the rows of one shard
bounds those of the others, and the answer is that of one index by the same definition.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from ..checks import Progress
from ..disk.lock import WriteLock
from ..disk.writing import write_error
from ..errors import ArgumentError, ModelMismatchError
from ..index.frozen import FrozenStore
from ..index.index import Index
from ..index.reading import Checks, checks_wanted
from ..index.schema import DATABASE_NAME
from ..index.store import Store
from ..index.verifying import Damage, Verified, verify
from . import manifest as manifests
from .manifest import Likewise, Listed, Manifest
from .pool import place_of
from .store import ShardedStore
from .twice import found_twice

_NOT_LISTED = "No shard was listed"


class ShardedIndex(Index):
    """Several indexes, opened by `ShardedIndex.open` and read as one: an `Index` that cannot be
    changed, and has the same answers, to the bit, as one index of the same rows; equal distances
    have the order of the shards, and within each that of insertion.

    Each shard is changed, verified, backed up, moved and compacted on its own, by
    ``Index.open(shard)``; what is committed there is seen by the next search, each shard as it was
    at one moment. An id should be in one shard alone: `verify` looks at that.

    Attributes:
        shards: the folders of the indexes, in order.
    """

    _store: ShardedStore

    @classmethod
    def create(  # type: ignore[override]
        cls, path: str | os.PathLike[str], shards: Iterable[str | os.PathLike[str]]
    ) -> Self:
        """List indexes, where they are, as the shards of a new one, and open it. A list that is
        there is replaced.

        Args:
            path: folder of the list, which may hold the shards, too.
            shards: folders of indexes of one model and kind of rows, in the order of their items.

        Raises:
            ArgumentError, ModelMismatchError: the indexes are not alike, or one comes twice.
            StoreError: one cannot be opened, or the list not be written.
        """
        folder = Path(path)
        listed, likewise = _listed(folder, list(shards), None)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(folder, error, _NOT_LISTED) from error
        lock = WriteLock(folder, _NOT_LISTED)
        try:
            manifests.write(folder, Manifest(created, likewise, listed), _NOT_LISTED)
        finally:
            lock.release()
        return cls.open(folder)

    @classmethod
    def extend(cls, path: str | os.PathLike[str], shards: Iterable[str | os.PathLike[str]]) -> None:
        """List further indexes behind those of a sharded index. Their items come after all others;
        who has it open goes on with those that it had.

        Raises:
            as `create`.
        """
        folder = Path(path)
        lock = WriteLock(folder, _NOT_LISTED)
        try:
            known = manifests.read(folder)
            held = [place_of(folder, shard.path) for shard in known.shards]
            listed, _ = _listed(folder, list(shards), known.likewise, held)
            manifests.write(folder, replace(known, shards=known.shards + listed), _NOT_LISTED)
        finally:
            lock.release()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        mode: Literal["r", "rw"] = "r",
        model_id: str | None = None,
        checksums: Checks | None = None,
        damaged: bool = False,
    ) -> Self:
        """Open a sharded index to search it. The list is read and each shard looked for; shards
        are opened when they are first needed.

        Args:
            path: the folder of the list.
            mode: "r". Shards are changed on their own.
            model_id, checksums: as for `Index.open`.
            damaged: False; a damaged shard is opened and mended on its own.

        Raises:
            ModelMismatchError: `model_id` is given and not the shards'.
            StoreError: no sharded index there, a shard missing, or a damaged list.
        """
        if mode != "r" or damaged:
            raise ArgumentError(
                f"{path} is a sharded index, and was to be opened to be changed or mended",
                "Nothing was opened",
                "Open the shard that is to be: Index.open(shard, ...)",
            )
        store = ShardedStore(Path(path), checks_wanted(checksums))
        own = store.manifest.likewise.model_id
        if model_id is not None and model_id != own:
            store.close()
            raise ModelMismatchError(
                f"{path} holds features of model {own or '(unnamed)'},"
                f" not of {model_id or '(unnamed)'}",
                "Nothing was opened, because their distances mean nothing",
                "Use the model that made the index, or index the pictures again",
            )
        return cls(store)

    def __repr__(self) -> str:
        return f"<ShardedIndex {str(self.path)!r}, {len(self.shards)} shards, dim {self.dim}>"

    @property
    def shards(self) -> list[Path]:
        return list(self._store.shards)

    def snapshot(self) -> Self:
        """As `Index.snapshot`: of each shard as it is now. It keeps a copy of each one's
        database, and of the pages of the shards' files."""
        stores: list[Store] = []
        try:
            for _, store in self._store.shards.each():
                stores.append(FrozenStore(store))
                stores[-1].rest()
            return type(self)(ShardedStore(self.path, held=(self._store.manifest, stores)))
        except BaseException:
            for made in stores:
                made.close()
            raise

    def verify(self, progress: Progress | None = None) -> Verified:
        """As `verify_each`, of all shards together; files of a shard are named with its folder."""
        each = self.verify_each(progress)
        damages = [
            replace(damage, file=os.path.relpath(Path(verified.path, damage.file), self.path))
            for verified in each
            for damage in verified.damages
        ]
        return Verified(
            str(self.path), all(verified.checksums for verified in each),
            sum(verified.rows for verified in each), sum(verified.bytes for verified in each),
            tuple(damages),
        )  # fmt: skip

    def verify_each(self, progress: Progress | None = None) -> list[Verified]:
        """Verify every shard, as `Index.verify` does, and that no id is in two of them: that is a
        damage of the second.

        Args:
            progress: called with the shards that are done and those to do.
        """
        found: dict[Path, Verified] = {}
        for number, place in enumerate(self.shards, 1):
            made = Store(place, writable=False, whole=False)
            try:
                found[place] = verify(made)
            finally:
                made.close()
            if progress:
                progress(number, len(self.shards))
        readable = [place for place, verified in found.items() if verified.sound]
        for id_, first, second in found_twice(readable):
            damage = Damage(DATABASE_NAME, f"the item is in {first}, too", ids=(id_,))
            found[second] = replace(found[second], damages=(*found[second].damages, damage))
        return list(found.values())


def _listed(
    folder: Path,
    shards: Sequence[str | os.PathLike[str]],
    likewise: Likewise | None,
    held: Sequence[Path] = (),
) -> tuple[tuple[Listed, ...], Likewise]:
    """Indexes as they are to be listed in a folder, beside those that are `held`, and what all of
    them are like."""
    known = {os.path.realpath(place) for place in held}
    listed = []
    for shard in shards:
        place = os.path.realpath(shard)
        if place in known:
            raise ArgumentError(f"{shard} is named twice", _NOT_LISTED, "Name each shard once")
        known.add(place)
        with Index.open(shard) as index:
            own = Likewise.of(index)
            likewise = likewise or own
            likewise.refuse_another(own, Path(shard), str(folder), _NOT_LISTED)
            rows = len(index)
        below = os.path.relpath(place, os.path.realpath(folder))
        inside = below != os.curdir and below.split(os.sep)[0] != os.pardir
        listed.append(Listed(below if inside else place, rows))
    if likewise is None:
        raise ArgumentError(
            "No shard is named", _NOT_LISTED, "Name one index or more: their folders"
        )
    return tuple(listed), likewise
