"""Items and their rows copied from index to index, some at a time, without embedding anything.

What is read is a snapshot, so that who writes meanwhile neither waits nor is half seen; rows are
compared with their checksums as they are read. Removed rows are left out, and the others keep their
order.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..disk.files import flush_folder, move_folder
from ..disk.writing import write_error
from ..errors import StoreError
from ..index.index import Index
from ..index.items import Item
from ..index.kept import KINDS, renumbered
from ..index.titles import KEY as TITLES
from ..words import JUDGED, ZERO

#: Of rows that are read at a time: bytes of their vectors, and how many at most, since their items
#: take memory as well.
_BLOCK_BYTES = 16 << 20
_BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some items with their rows: vectors and codes as they are stored, of several views
    (n, views, width)."""

    items: list[Item]
    vectors: np.ndarray
    codes: np.ndarray


class Copying:
    """Reads the items of a snapshot, with their rows, in order.

    Attributes:
        most: items that are read at a time.
    """

    def __init__(self, source: Index) -> None:
        self._source = source
        self._after: int | None = None
        row = source.dim * len(source.views) * np.dtype(source.dtype).itemsize
        self.most = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // row))

    def blocks(self, count: int) -> Iterator[Block]:
        """The next `count` items, of which there must be so many."""
        source = self._source
        while count:
            items, self._after = source.page(min(count, self.most), after=self._after)
            ids = [item.id for item in items]
            vectors = source.features(ids).astype(source.dtype, copy=False)
            yield Block(items, vectors, source.codes(ids))
            count -= len(items)


def like(index: Index, path: Path, model: Mapping[str, Any]) -> Index:
    """A new index in the folder `path`, open for writing, for rows of such an index; `model` is
    what is to be said of theirs."""
    model = dict(model)
    if index.binarize != ZERO:  # what was said of the model may have been replaced since
        model |= {"binarize": index.binarize, "bits": index.bits}
    return Index.create(
        path, index.dim, model_id=index.model_id, model=model, dtype=index.dtype,
        views=index.views, segment_rows=index.info()["segment_rows"],
    )  # fmt: skip


def notes_of(index: Index) -> dict[str, str]:
    """What an index has learnt, by key, as it would say it without its removed rows; and which
    columns lead where items are shown."""
    removed = index.info()["removed"]
    found = {}
    for kind in KINDS:
        for metric in JUDGED:
            key = f"{kind} {metric}"
            text = index._store.note(key)
            if text is not None:
                found[key] = renumbered(key, text, removed) or text
    shown = index._store.note(TITLES)
    return found if shown is None else found | {TITLES: shown}


@contextlib.contextmanager
def unfinished(target: Path, consequence: str) -> Iterator[Path]:
    """A folder beside `target` to work in, whose name begins with a dot; it gets the name `target`
    when the block ends well, and is removed otherwise. Whatever ends the process meanwhile leaves
    nothing at `target`.

    Raises:
        StoreError: something is there already, or cannot be written.
    """
    target = target.absolute()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise StoreError(
            f"{target} is there already", consequence, "Name a folder that is new, or empty"
        )
    place = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.new")
    try:
        place.mkdir(parents=True)
        yield place
        flush_folder(place)
        move_folder(place, target)
        with contextlib.suppress(PermissionError):  # one may write in a folder and not list it
            flush_folder(target.parent)
    except OSError as error:
        path = Path(error.filename) if error.filename else place
        raise write_error(path, error, consequence) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
