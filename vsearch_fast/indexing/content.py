"""Pictures that an index has already seen, under whatever name, known by their bytes.

A *stamp* is a file's size, its time of change and, where it was read, the BLAKE2 hash of its
bytes: ``SIZE:NANOSECONDS:HASH``. Size and time tell that a file is unchanged without reading it;
the hash tells that another file is the same picture, whose features need not be made again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..checks import PixelBox
from ..disk.hashing import file_hash
from ..index.items import Item
from ..index.stamps import parts_of


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
    """Items of an index by what their features were made of: a file's bytes, and a box."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._ids: dict[tuple[str, str, PixelBox | None], str] = {}
        for item in items:
            size, _, digest = parts_of(item.stamp)
            if digest:
                self._ids.setdefault((size, digest, item.box), item.id)
        self._sizes = {size for size, _, _ in self._ids}

    def find(self, item: Item) -> tuple[str, str] | None:
        """The id of an item of the same picture, and the stamp with its hash; None without one.

        The file is read only where one of its size is known.
        """
        size, _, _ = parts_of(item.stamp)
        if size not in self._sizes:
            return None
        stamp = hashed_stamp(item)
        found = self._ids.get((size, parts_of(stamp)[2], item.box))
        return None if found is None or stamp is None else (found, stamp)
