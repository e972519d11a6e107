"""An index by its folder, whichever kind it is."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from ..errors import StoreError
from ..index.index import Index
from ..index.reading import Checks
from ..index.schema import DATABASE_NAME
from .index import ShardedIndex
from .manifest import FILE_NAME, is_sharded, read


def open_index(
    path: str | os.PathLike[str],
    *,
    model_id: str | None = None,
    checksums: Checks | None = None,
) -> Index:
    """Open an index or a sharded index to search it; arguments and errors as for `Index.open`."""
    kind = ShardedIndex if is_sharded(Path(path)) else Index
    return kind.open(path, model_id=model_id, checksums=checksums)


def file_of(path: Path) -> Path:
    """The file that makes a folder an index, of either kind; whether it is there or not."""
    return path / (FILE_NAME if is_sharded(path) else DATABASE_NAME)


def identity_of(path: Path) -> tuple[int, ...] | None:
    """What tells the index at a path from any other that may lie there later; None where none does.

    Of an index: which folder and database file they are. Nothing else can have the numbers of a
    file that is held open, as a database is. Of a sharded one: which folder, and what list of
    shards, of which the notes are no part.
    """
    try:
        folder, file = os.stat(path), os.stat(file_of(path))
        if not is_sharded(path):
            return folder.st_dev, folder.st_ino, file.st_dev, file.st_ino
        listed = _listed(path, file.st_dev, file.st_ino, file.st_mtime_ns)
        return folder.st_dev, folder.st_ino, listed
    except (OSError, StoreError):
        return None


@lru_cache(16)
def _listed(path: Path, *_file: int) -> int:
    """A number for the list in a folder, read once for each file that it was."""
    found = read(path)
    return hash((found.created, found.likewise, found.shards))
