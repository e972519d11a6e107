"""What an item's stamp says: ``SIZE:NANOSECONDS:HASH``, of its file as it was indexed.

`indexing/content.py` makes them. Size and time of change tell that a file is unchanged, size and
hash that two files have the same bytes. Whoever adds items in Python may keep other marks: those
say nothing here.
"""

from __future__ import annotations

#: Characters of a hash.
_DIGITS = 32


def parts_of(stamp: str | None) -> tuple[str, str, str]:
    """Size, time and hash, each "" where the stamp does not say."""
    parts = (stamp or "").split(":")
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (parts[0], "", "")


def content_of(stamp: str | None) -> tuple[int, str] | None:
    """Size in bytes and hash of the file; None where the stamp does not say."""
    size, _, digest = parts_of(stamp)
    if not size.isdecimal() or len(digest) != _DIGITS:
        return None
    return int(size), digest
