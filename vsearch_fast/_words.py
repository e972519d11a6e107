"""Numbers in sentences."""

from __future__ import annotations


def plural(number: int, one: str, several: str = "") -> str:
    """``1 picture``, ``2,000 pictures``; `several` where it is not `one` and an s."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"
