"""Pictures that an index has already seen, under whatever name, known by their bytes.

A *stamp* is a file's size, its time of change and, where it was read, the BLAKE2 hash of its
bytes: ``SIZE:NANOSECONDS:HASH``. Size and time tell that a file is unchanged without reading it;
the hash tells that another file is the same picture, whose features need not be made again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from ..checks import PixelBox
from ..disk.hashing import file_hash
from ..index.items import Item
from ..index.stamps import parts_of
from .spool import Spool


def stamp_of(path: str | os.PathLike[str]) -> str | None:
    """Size and time of change; None where there is no such file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return f"{status.st_size}:{status.st_mtime_ns}"


def is_unchanged(before: str | None, now: str | None) -> bool:
    """Whether a stored stamp is that of a file as it is; ``now`` has no hash."""
    return now is not None and before is not None and (before + ":").startswith(now + ":")


def hashed_stamp(item: Item) -> str | None:
    """The item's stamp with its file's hash; without, where the file is no longer as it says."""
    if item.stamp is None or item.stamp.count(":") != 1 or item.path is None:
        return item.stamp
    try:
        digest = file_hash(item.path)
    except OSError:
        return item.stamp
    return f"{item.stamp}:{digest}" if stamp_of(item.path) == item.stamp else item.stamp


class Seen:
    """Items of an index by what their features were made of: a file's bytes, and a box.

    They are in a spool, those alone that can be asked for: of the sizes of the files that will be.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        for table in (
            "sizes (size TEXT PRIMARY KEY) WITHOUT ROWID",
            "hashed (size TEXT NOT NULL, hash TEXT NOT NULL, box TEXT NOT NULL, id BLOB NOT NULL)",
            "seen (size TEXT NOT NULL, hash TEXT NOT NULL, box TEXT NOT NULL, id BLOB NOT NULL,"
            " PRIMARY KEY (size, hash, box)) WITHOUT ROWID",
        ):
            spool.run(f"CREATE TABLE {table}")

    def read(self, items: Iterable[Item], asked: Iterable[Item]) -> None:
        """Take in those items, in the order of their rows, that `find` may find for the ones that
        will be asked for. Of several with the same bytes it is the first."""
        sizes = ((parts_of(item.stamp)[0],) for item in asked)
        self._spool.write("INSERT OR IGNORE INTO sizes VALUES (?)", sizes)
        if not self._spool.run("SELECT 1 FROM sizes LIMIT 1"):
            return
        self._spool.write(
            "INSERT INTO hashed SELECT ?1, ?2, ?3, ?4 WHERE EXISTS"
            " (SELECT 1 FROM sizes WHERE size = ?1)",
            _hashed(items),
        )
        self._spool.run(
            "INSERT OR IGNORE INTO seen SELECT size, hash, box, id FROM hashed"
            " ORDER BY size, hash, box, rowid"
        )

    def find(self, item: Item) -> tuple[str, str] | None:
        """The id of an item of the same picture, and the stamp with its hash; None without one.

        The file is read only where one of its size is known.
        """
        size, _, _ = parts_of(item.stamp)
        if not self._spool.run("SELECT 1 FROM seen WHERE size = ? LIMIT 1", (size,)):
            return None
        stamp = hashed_stamp(item)
        query = "SELECT id FROM seen WHERE size = ? AND hash = ? AND box = ?"
        found = self._spool.run(query, (size, parts_of(stamp)[2], _box_text(item.box)))
        return (found[0][0].decode(), stamp) if found and stamp is not None else None


def _hashed(items: Iterable[Item]) -> Iterator[tuple[str, str, str, bytes]]:
    for item in items:
        size, _, digest = parts_of(item.stamp)
        if digest:
            yield size, digest, _box_text(item.box), item.id.encode()


def _box_text(box: PixelBox | None) -> str:
    return "" if box is None else ",".join(map(str, box))
