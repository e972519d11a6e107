"""Files that are whole or as they were: written beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

#: Of a target's name, in that of the file beside it: so that a long one still fits.
_NAMED = 40


@contextlib.contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """A path beside `target`, with its suffix, for a file in the making.

    Nobody else has it, and it begins with a dot. What is there at the end, because it was not
    moved away, is removed.
    """
    name = f".{target.stem[:_NAMED]}.{secrets.token_hex(4)}.new{target.suffix}"
    path = target.with_name(name)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(target: Path, *, flush: bool = False) -> Iterator[Path]:
    """A path beside `target` to write to; it takes the target's place when the block ends well.

    With `flush` it is on the disk before: a power cut leaves the one file or the other.

    Raises:
        OSError: what writing raises; the target is as it was.
    """
    with unfinished(target) as path:
        yield path
        if flush:
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(path, target)


def replace_text(target: Path, text: str, *, errors: str = "strict", flush: bool = False) -> None:
    """`replacing` for a file of UTF-8 text; `errors` as for `open`."""
    with replacing(target, flush=flush) as path:
        path.write_text(text, encoding="utf-8", errors=errors)


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`; a copy of it where no link can be made."""
    with replacing(target) as path:
        try:
            os.link(source, path)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, path)
