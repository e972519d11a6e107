"""The folder of a sharded index in the making.

::

    photos.shards/
        shards.json          the list, there when the first run has ended, then replaced
        00000.index/         a shard: whole, or not there under this name
        unfinished/          what is no longer there when a run has ended
            KEY.block        a finished unit of a shard that is not whole yet
            00000.json       what became of the pictures of a shard that is whole
            commit.json      what is to be done to shards and list, once all is embedded

Whoever works here holds the folder's write lock. Each file is written beside its place and renamed,
so that a run that is killed leaves what it had finished. While ``commit.json`` is there, readers
may see a part of the change; whoever takes the lock next ends it first.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from ..checks import PixelBox
from ..disk.files import flush_folder
from ..disk.lock import FILE_NAMES as LOCK_NAMES
from ..disk.lock import WriteLock
from ..disk.replacing import replace_text
from ..disk.writing import write_error
from ..errors import StoreError
from ..index.index import Index
from ..index.items import Item
from ..index.schema import DATABASE_NAME
from ..shards import manifest as manifests
from ..shards.manifest import Likewise, Listed, Manifest
from ..shards.pool import place_of
from .embedding_units import Blocks

_CONSEQUENCE = "Nothing was indexed"
_WORK, _COMMIT = "unfinished", "commit.json"


@dataclass(frozen=True, slots=True)
class Facts:
    """What became of the pictures of a shard that is whole.

    Attributes:
        key: a hash of all that the shard follows from.
        rows: its items.
        refused: pictures that could not be read: id, path, and the three of the error.
    """

    key: str
    rows: int
    refused: list[tuple[str, str, str, str, str]]


@dataclass(frozen=True, slots=True)
class Commit:
    """What is to be done when all is embedded; each may be done twice.

    Attributes:
        shards: names of shards that are to be listed behind the others, and their items.
        likewise: what all shards are like.
        removed: ids by the listed path of the shard that is to lose them.
        updated: items by that of the shard that holds them.
        described: what is to be said of model and source in all shards that are listed; None:
            what they say.
    """

    shards: list[tuple[str, int]]
    likewise: Likewise
    removed: dict[str, list[str]] = field(default_factory=dict)
    updated: dict[str, list[Item]] = field(default_factory=dict)
    described: dict[str, Any] | None = None

    def text(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def read(cls, text: str) -> Commit:
        told = json.loads(text)
        likewise = told["likewise"]
        return cls(
            [(name, rows) for name, rows in told["shards"]],
            Likewise(**likewise | {"views": tuple(likewise["views"])}),
            told["removed"],
            {path: [_item(each) for each in items] for path, items in told["updated"].items()},
            told["described"],
        )


def _item(told: dict[str, Any]) -> Item:
    box: PixelBox | None = None if told["box"] is None else tuple(told["box"])
    return Item(told["id"], told["path"], box, told["metadata"], told["stamp"])


class Target:
    """The folder, locked until `close`; what an earlier run had begun to commit is committed.

    Raises:
        LockedError: another run, or whoever changes the list, holds the lock.
        StoreError: it holds an index, or something else; or it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / _WORK
        self.blocks = Blocks(self.work)
        self._refuse_others()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(folder, error, _CONSEQUENCE) from error
        self._lock = WriteLock(folder, _CONSEQUENCE)
        try:
            self.work.mkdir(exist_ok=True)
            for left in folder.glob(".*.index.*.new"):  # of a run that was killed
                shutil.rmtree(left, ignore_errors=True)
            self._finish()
        except BaseException:
            self.close()
            raise

    def _refuse_others(self) -> None:
        if (self.folder / DATABASE_NAME).exists():
            raise StoreError(
                f"{self.folder} holds an index of one part, and shards were to be written there",
                _CONSEQUENCE,
                "Name another folder, cut the index by `vsearch shard`, or leave --ray out",
            )
        if manifests.is_sharded(self.folder) or not self.folder.is_dir():
            return
        names = {each.name for each in self.folder.iterdir()} - {*LOCK_NAMES}
        if names and _WORK not in names:
            raise StoreError(
                f"{self.folder} holds other files ({min(names)}) and no sharded index",
                _CONSEQUENCE,
                "Name a folder that is new, or empty",
            )

    def close(self) -> None:
        """Let the next one in."""
        with contextlib.suppress(OSError):  # it holds something for the next run
            self.work.rmdir()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def manifest(self) -> Manifest | None:
        """The list; None before the first run has ended."""
        return manifests.read(self.folder) if manifests.is_sharded(self.folder) else None

    def names(self) -> Iterator[str]:
        """Names for new shards, which no listed one has."""
        known = self.manifest()
        taken = {each.path for each in known.shards} if known else set()
        number = len(taken)
        while True:
            name = f"{number:05d}.index"
            if name not in taken:
                yield name
            number += 1

    # Shards

    def _facts_file(self, name: str) -> Path:
        return self.work / f"{name.removesuffix('.index')}.json"

    def whole(self, name: str, key: str) -> Facts | None:
        """What became of the pictures of the shard of this name and key; None where it is to be
        made. One of another key, of a run for another list, is removed."""
        place, file = self.folder / name, self._facts_file(name)
        if not place.exists():
            return None
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            facts = Facts(told["key"], told["rows"], [tuple(each) for each in told["refused"]])
        except (OSError, ValueError, KeyError, TypeError):
            raise StoreError(
                f"{place} is there already, and is none of this index's shards",
                _CONSEQUENCE,
                "Move it away, or name another folder",
            ) from None
        if facts.key == key:
            return facts
        shutil.rmtree(place)
        return None

    def note(self, name: str, facts: Facts) -> None:
        """Keep what became of a shard's pictures, before the shard gets its name."""
        self._write(self._facts_file(name), json.dumps(asdict(facts)))

    # The end

    def commit(self, commit: Commit) -> None:
        """Do it, at once or, where the process ends meanwhile, in the next run."""
        self._write(self.work / _COMMIT, commit.text())
        self._finish()

    def _finish(self) -> None:
        file = self.work / _COMMIT
        if not file.is_file():
            return
        commit = Commit.read(file.read_text(encoding="utf-8"))
        known = self.manifest()
        listed = known.shards if known else ()
        for shard in listed:
            self._change(shard.path, commit)
        there = {shard.path for shard in listed}
        more = tuple(Listed(name, rows) for name, rows in commit.shards if name not in there)
        if known is None:
            created = datetime.now(UTC).isoformat(timespec="seconds")
            known = Manifest(created, commit.likewise, ())
        if more:
            manifests.write(self.folder, replace(known, shards=(*listed, *more)), _CONSEQUENCE)
        self._remove_unlisted({*there, *(name for name, _ in commit.shards)})
        file.unlink()
        flush_folder(self.work)
        self.clear()
        self.work.mkdir(exist_ok=True)

    def _remove_unlisted(self, listed: set[str]) -> None:
        """Remove shards that a run for another list has left, and those without an item."""
        for facts in self.work.glob("*.json"):
            if (name := f"{facts.stem}.index") not in listed:
                shutil.rmtree(self.folder / name, ignore_errors=True)

    def _change(self, path: str, commit: Commit) -> None:
        removed, updated = commit.removed.get(path, []), commit.updated.get(path, [])
        if not (removed or updated or commit.described is not None):
            return
        with Index.open(place_of(self.folder, path), mode="rw") as index, index.transaction():
            if gone := [id_ for id_ in removed if id_ in index]:
                index.remove(gone)
            if there := [item for item in updated if item.id in index]:
                index.update(there)
            if commit.described is not None and commit.described != index.model:
                index.describe(commit.described)

    def clear(self) -> None:
        """Remove what a run leaves for the next one."""
        shutil.rmtree(self.work, ignore_errors=True)

    def _write(self, file: Path, text: str) -> None:
        try:
            replace_text(file, text, flush=True)
            flush_folder(file.parent)
        except OSError as error:
            raise write_error(file, error, _CONSEQUENCE) from error


def holding(folder: Path, paths: Sequence[str], ids: Sequence[str]) -> dict[str, list[str]]:
    """These ids by the listed path of the shard that holds them."""
    found: dict[str, list[str]] = {}
    left = list(ids)
    for path in paths if left else ():
        with Index.open(place_of(folder, path)) as index:
            here = [id_ for id_ in left if id_ in index]
        if here:
            found[path], gone = here, set(here)
            left = [id_ for id_ in left if id_ not in gone]
    return found
