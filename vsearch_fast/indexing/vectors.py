"""An index brought up to date with vectors made elsewhere, a block at a time.

As with pictures: a row whose id is new is added, one whose numbers are others replaces what was
there, one whose description changed is described anew, and what the file no longer lists goes.
Each block is a transaction; run again after a stop, what is there already is compared and passed
over.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.vectors import Described, Vectors
from ..embedder.embedder import Embedder
from ..errors import ArgumentError, DatasetError, ModelMismatchError
from ..index.index import Index
from ..index.items import Item, metadata_text
from ..words import ZERO, plural

#: What an index says of itself whose rows are of no network that is known: the file's name.
NOTE = "vectors"

_CONSEQUENCE = "Nothing was indexed"


@dataclass
class Brought:
    """Rows by what became of them."""

    added: int = 0
    replaced: int = 0
    described: int = 0
    removed: int = 0
    unchanged: int = 0


def open_for_vectors(
    path: Path, vectors: Vectors, file: Path, embedder: Embedder | None, dtype: str | None
) -> Index:
    """Open the index at ``path`` for these vectors, or make it.

    ``embedder`` is the network that they are of, where it is known: searches by a photo then use
    it. Raises ModelMismatchError where the index holds something else, or the network gives
    other vectors.
    """
    model: dict[str, Any] = {NOTE: file.name, "source": os.path.abspath(file)}
    if embedder is not None:
        if embedder.dim != vectors.dim:
            raise ModelMismatchError(
                f"{file} has {vectors.dim} numbers a row, and {embedder!r} gives {embedder.dim}",
                _CONSEQUENCE,
                "Name the model that made these vectors, or leave --model out",
            )
        if embedder.binarize != ZERO:
            raise ModelMismatchError(
                f"Codes of {embedder!r} follow the rule {embedder.binarize}, which vectors alone "
                "do not tell",
                _CONSEQUENCE,
                "Leave --model out, or take the model without --binarize",
            )
        model = embedder.description | model
    index = Index.create(
        path, vectors.dim, model_id=embedder.model_id if embedder else "", model=model,
        dtype=dtype, exist_ok=True,
    )  # fmt: skip
    if NOTE not in index.model or len(index.views) > 1:
        index.close()
        raise ModelMismatchError(
            f"{path} is an index of pictures, not of vectors made elsewhere",
            _CONSEQUENCE,
            "Name another index",
        )
    return index


def bring(
    index: Index,
    vectors: Vectors,
    file: Path,
    *,
    keep_missing: bool = False,
    committed: Callable[[int], None] = lambda rows: None,
) -> Brought:
    """Make the index hold these vectors; ``committed`` hears how many rows are done.

    Raises:
        DatasetError: a list of another length, an id named twice, numbers that are not finite.
        ArgumentError: the index was made of another file, of which it would lose rows.
    """
    vanished = _vanished(index, vectors, file)
    before = index.model.get("source")
    if before != os.path.abspath(file) and vanished and not keep_missing:
        raise ArgumentError(
            f"{index.path} was made of {before}, and {file} lacks {plural(len(vanished), 'row')} "
            "of it",
            "Nothing was changed",
            "Name the file as before, add --keep-missing to add this one to it, or name another "
            "index",
        )
    brought = Brought()
    done = 0
    for start, rows, described in vectors.blocks():
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if bad.size:
            raise DatasetError(
                f"{file}: row {start + int(bad[0]) + 1} ({described[int(bad[0])].id}) holds NaN or "
                "infinity",
                "The rows before this block are indexed, and no others",
                "Correct it, or leave it out",
            )
        _bring_block(index, rows, described, brought)
        done += len(rows)
        committed(done)
    if vanished and not keep_missing:
        index.remove(vanished)
        brought.removed = len(vanished)
    if before != os.path.abspath(file):
        index.describe({**index.model, NOTE: file.name, "source": os.path.abspath(file)})
    return brought


def _vanished(index: Index, vectors: Vectors, file: Path) -> list[str]:
    """Ids of the index that the file lists no more; what is wrong with its ids is told here,
    before anything is written."""
    seen: set[str] = set()
    for number, id_ in enumerate(vectors.ids(), 1):
        if id_ in seen:
            raise DatasetError(
                f"two rows have the id {id_!r}, one of them row {number} of {file}",
                _CONSEQUENCE,
                "Give every row an id of its own",
            )
        seen.add(id_)
    if len(seen) != vectors.rows:
        raise DatasetError(
            f"{file} has {plural(vectors.rows, 'row')}, and its list {plural(len(seen), 'id')}",
            _CONSEQUENCE,
            "Name the list that was made with it: a line a row, in the same order",
        )
    return [item.id for item in index if item.id not in seen]


def _bring_block(
    index: Index, rows: np.ndarray, described: list[Described], brought: Brought
) -> None:
    items = [Item(each.id, each.path, None, each.metadata) for each in described]
    known = [i for i, item in enumerate(items) if item.id in index]
    changed: list[int] = []
    again: list[Item] = []
    if known:
        stored = index.features([items[i].id for i in known])
        # As an index rounds: to float32, then to what it stores.
        now = rows[known].astype(np.float32).astype(index.dtype).astype(np.float32)
        same = (stored == now).all(axis=1)
        for i, equal in zip(known, same, strict=True):
            held, item = index.get(items[i].id), items[i]
            if not equal:
                changed.append(i)
            elif held.path != item.path or (
                metadata_text(held.metadata) != metadata_text(item.metadata)
            ):
                again.append(item)
    brought.replaced += len(changed)
    brought.added += len(items) - len(known)
    changed = sorted(changed + list(set(range(len(items))).difference(known)))
    brought.described += len(again)
    brought.unchanged += len(items) - len(changed) - len(again)
    with index.transaction():
        if changed:
            index.add(
                [items[i].id for i in changed], rows[changed], [items[i] for i in changed],
                replace=True,
            )  # fmt: skip
        if again:
            index.update(again)
