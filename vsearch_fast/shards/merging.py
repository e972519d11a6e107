"""One index of all items of several, in their order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..checks import Progress
from ..errors import ArgumentError, DuplicateIdError, ModelMismatchError
from ..index.index import Index
from ..index.items import Item
from .copying import Block, Copying, like, notes_of, unfinished
from .manifest import Likewise
from .opening import open_index

_CONSEQUENCE = "Nothing was merged"

#: What a model's description says of the folder that pictures came from.
_FOLDER = ("root", "source")


def merge(sources: Sequence[Path], target: Path, progress: Progress | None = None) -> int:
    """Make one index of the items of several, which are left as they are.

    Items are in the order of the indexes, and within each in its own; features, codes and what is
    said of the model (by the first) are copied, removed rows are not. What the first has learnt of
    distances is kept, as if the items of the others had been added to it. Each is copied as it is
    at one moment, whatever is written meanwhile.

    Args:
        sources: indexes and sharded indexes of one model and kind of rows.
        target: new, or an empty folder.
        progress: called with the items that are done and those to do.

    Returns:
        How many items there are.

    Raises:
        ArgumentError, ModelMismatchError: the indexes are not alike.
        DuplicateIdError: an id is in two of them; names it and both.
        DamagedError: a row is not as it was written.
        StoreError: the target is there, or cannot be written; nothing is there then.
    """
    total, roots = _agreed(sources)
    with unfinished(target, _CONSEQUENCE) as place:
        done, made = 0, None
        try:
            for source in sources:
                with open_index(source) as index, index.snapshot() as held:
                    model = held.model
                    if len(roots) > 1:
                        model = {name: told for name, told in model.items() if name not in _FOLDER}
                    if made is None:
                        made, notes = like(held, place, model), notes_of(held)
                        for key, text in notes.items():
                            made._store.write_note(key, text)
                    root = held.model.get("root") if len(roots) > 1 else None
                    for block in Copying(held).blocks(len(held)):
                        _add(made, _whole(block, root), source, sources)
                        done += len(block.items)
                        if progress:
                            progress(done, max(done, total))
        finally:
            if made is not None:
                made.close()
    return done


def _agreed(sources: Sequence[Path]) -> tuple[int, set[Any]]:
    """How many items there are in all, and the folders that paths are below; raises where they
    cannot be in one index."""
    first: Likewise | None = None
    decoder, total = "", 0
    roots: set[Any] = set()
    for source in sources:
        with open_index(source) as index:
            own, total = Likewise.of(index), total + len(index)
            roots.add(index.model.get("root"))
            if first is None:
                first, decoder = own, index.decoder
            first.refuse_another(own, source, str(sources[0]), _CONSEQUENCE)
            if index.decoder != decoder:
                raise ModelMismatchError(
                    f"The pictures in {source} were decoded by {index.decoder}, and those in"
                    f" {sources[0]} by {decoder}",
                    f"{_CONSEQUENCE}, because features of one picture may differ",
                    "Index the pictures of one of them again, by the other's decoder",
                )
    if first is None:
        raise ArgumentError("No index is named", _CONSEQUENCE, "Name one or more")
    return total, roots


def _whole(block: Block, root: str | None) -> Block:
    """The block with paths that are whole, where they are below the folder `root`."""
    if root is None:
        return block

    def whole(item: Item) -> Item:
        return item if item.path is None else replace(item, path=os.path.join(root, item.path))

    return replace(block, items=[whole(item) for item in block.items])


def _add(made: Index, block: Block, source: Path, sources: Sequence[Path]) -> None:
    ids = [item.id for item in block.items]
    try:
        made.add(ids, block.vectors, block.items, codes=block.codes)
    except DuplicateIdError:
        twice = next((id_ for id_ in ids if id_ in made), None)
        if twice is None:  # within the block
            twice = next(id_ for n, id_ in enumerate(ids) if id_ in ids[:n])
        raise DuplicateIdError(
            f"The item {twice!r} is in {_holder(twice, sources)} and in {source}",
            _CONSEQUENCE,
            "Remove it from one of the two (Index.remove), and merge them again",
        ) from None


def _holder(id_: str, sources: Sequence[Path]) -> Path:
    """The first index that has this id."""
    for source in sources:
        with open_index(source) as index:
            if id_ in index:
                return source
    return sources[0]
