"""The list of a sharded index's shards: `shards.json`, which is whole or not there.

::

    {
     "vsearch_fast sharded index": 1,        the format
     "sum": "2d06800538d394c2",              XXH3-64 of all the rest
     "created": "2026-01-31T12:00:00+00:00",
     "dim": 4096, "bits": 4096, "binarize": "zero", "dtype": "float32", "views": ["whole"],
     "model_id": "...",                      what every shard must agree with
     "shards": [{"path": "00000.index", "rows": 25000}, ...],
     "notes": {"threshold l2": "..."}        what was learnt of all shards together
    }

**Order.** A row's place among all is the pair (its shard's place in the list, its row number in
the shard): all rows of a shard count as added before those of the next. So shards are runs of one
order of insertion, and equal distances have the order that one index of the same rows has. A shard
that is listed later goes to the end, and changes nothing of what was there. The number needs to be
stored nowhere, and a shard may grow, lose rows and be compacted on its own.

A path is that of an index's folder, relative to the folder of the list, or whole for one that lies
elsewhere. "rows" are the items that it had when it was listed: what answers would lack without it.

Whoever changes the list holds the write lock of its folder, writes another file beside it, flushes
it, and renames it: readers see the one or the other.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_hexdigest

from ..disk.files import flush_folder
from ..disk.lock import WriteLock
from ..disk.replacing import replace_text
from ..disk.writing import write_error
from ..errors import ArgumentError, DamagedError, ModelMismatchError, StoreError
from ..index.index import Index
from ..index.schema import SHARDS_NAME as FILE_NAME
from ..index.schema import Meta

FORMAT = 1

_FORMAT_KEY = "vsearch_fast sharded index"
_CURE = "Restore the file from a copy, or list the shards anew (ShardedIndex.create)"


@dataclass(frozen=True, slots=True)
class Listed:
    """A shard as it is listed: `path` of its folder, and the `rows` (items) it had then."""

    path: str
    rows: int


@dataclass(frozen=True, slots=True)
class Likewise:
    """What all shards have in common: attributes of `Index`."""

    dim: int
    bits: int
    binarize: str
    dtype: str
    views: tuple[str, ...]
    model_id: str

    @classmethod
    def of(cls, index: Index | Meta) -> Likewise:
        """What others must have in common with this one."""
        return cls(index.dim, index.bits, index.binarize, index.dtype, index.views, index.model_id)

    def refuse_another(self, other: Likewise, folder: Path, whole: str, consequence: str) -> None:
        """Raise unless the index in `folder` may be a part of `whole`, whose rows are like these.

        Raises:
            ModelMismatchError: it is of another model.
            ArgumentError: its rows are of another make.
        """
        if other.model_id != self.model_id:
            raise ModelMismatchError(
                f"{folder} holds features of model {other.model_id or '(unnamed)'}, and {whole}"
                f" those of {self.model_id or '(unnamed)'}",
                f"{consequence}, because distances between the two mean nothing",
                "Use indexes of one model, or index the pictures again",
            )
        for name, own in asdict(self).items():
            found = getattr(other, name)
            if found != own:
                raise ArgumentError(
                    f"{folder} has {name} {_shown(found)}, and {whole} {_shown(own)}",
                    consequence,
                    "Use indexes of the same kind of rows",
                )


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The list; attributes as the module says."""

    created: str
    likewise: Likewise
    shards: tuple[Listed, ...]
    notes: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """As it is stored."""
        body = {
            "created": self.created,
            **asdict(self.likewise),
            "shards": [asdict(shard) for shard in self.shards],
            "notes": self.notes,
        }
        told = {_FORMAT_KEY: FORMAT, "sum": _sum(body), **body}
        return json.dumps(told, indent=1) + "\n"


def _sum(body: dict[str, Any]) -> str:
    return xxh3_64_hexdigest(json.dumps(body, sort_keys=True).encode())


def is_sharded(folder: Path) -> bool:
    """Whether a sharded index lies in the folder."""
    return (folder / FILE_NAME).is_file()


def read(folder: Path) -> Manifest:
    """The list of the sharded index in a folder.

    Raises:
        StoreError: there is none, or one of another format.
        DamagedError: it is not as it was written.
    """
    file, consequence = folder / FILE_NAME, "The sharded index was not opened"
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StoreError(
            f"{folder} is not a sharded index (it has no {FILE_NAME})",
            consequence,
            "Name the folder that `vsearch shard` made, or open an index by Index.open",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedError(f"{file} cannot be read ({error})", consequence, _CURE) from error
    try:
        told = json.loads(text)
        format_ = told.pop(_FORMAT_KEY)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise _damaged(file, "it is no list of shards", consequence) from error
    if format_ != FORMAT:
        raise StoreError(
            f"{file} has format {format_}; this version reads format {FORMAT}",
            consequence,
            "Upgrade vsearch_fast",
        )
    if told.pop("sum", None) != _sum(told):
        raise _damaged(file, "it is not as it was written (checksum)", consequence)
    try:
        return _understood(told)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file, f"{type(error).__name__}: {error}", consequence) from error


def _damaged(file: Path, what: str, consequence: str) -> DamagedError:
    return DamagedError(f"{file} is damaged: {what}", consequence, _CURE)


def _understood(told: dict[str, Any]) -> Manifest:
    """Raises KeyError, TypeError or ValueError for what cannot be a list."""
    shards = tuple(Listed(each["path"], each["rows"]) for each in told["shards"])
    paths = [os.path.normpath(shard.path) for shard in shards]
    if not shards or len(set(paths)) != len(paths):
        raise ValueError("no shards, or one of them twice")
    likewise = Likewise(
        told["dim"], told["bits"], told["binarize"], told["dtype"], tuple(told["views"]),
        told["model_id"],
    )  # fmt: skip
    if min(likewise.dim, likewise.bits) < 1 or min(shard.rows for shard in shards) < 0:
        raise ValueError("a number that cannot be")
    return Manifest(told["created"], likewise, shards, dict(told["notes"]))


def write(folder: Path, manifest: Manifest, consequence: str) -> None:
    """Put the list into its place, on the disk when this returns; for who holds the write lock, or
    works in a folder that nobody else knows.

    Raises:
        StoreError: it could not be written; the one that was there still is.
    """
    try:
        replace_text(folder / FILE_NAME, manifest.text(), flush=True)
        flush_folder(folder)
    except OSError as error:
        raise write_error(folder / FILE_NAME, error, consequence) from error


def write_note(folder: Path, key: str, value: str) -> Manifest:
    """Put a text under a key of "notes"; returns the list as it is then.

    Raises:
        LockedError, StoreError: another writer, or a folder that cannot be written.
    """
    lock = WriteLock(folder, "Nothing was changed", briefly=True)
    try:
        known = read(folder)
        changed = replace(known, notes=known.notes | {key: value})
        write(folder, changed, "Nothing was changed")
        return changed
    finally:
        lock.release()
