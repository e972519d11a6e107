"""Bring an index up to date with a data set: new, changed and vanished pictures.

A picture is known by its id and its *stamp* (`content`), the file's size and time of change (as
make and rsync do): a file with an unchanged stamp is not read again. A new or changed file whose
bytes the index has seen, because it was renamed, moved, copied or touched, is read and not put
through the network again. Work is committed in batches, so that a run that was stopped goes on
where it ended.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from ..datasets.records import Record
from ..embedder.bits import BitTally
from ..embedder.embedder import Embedder
from ..errors import ArgumentError, ImageError, ModelMismatchError
from ..index.index import Index
from ..index.items import Item
from ..words import plural
from .content import hashed_stamp, stamp_of
from .embedding import embedded, tallied
from .joining import Comparison
from .plans import Outcome, Plan
from .spool import Chain

T = TypeVar("T")

COMMIT_ROWS = 512
COMMIT_SECONDS = 20.0


def open_index(
    path: Path,
    embedder: Embedder,
    model: Path,
    origin: str,
    dtype: str | None = None,
    *,
    views: Sequence[str] | None = None,
    root: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> Index:
    """Open the index at ``path`` for writing, or make it for this model (and ``dtype``, ``views``).

    A new one notes ``model``, the embedder's file, where searches will look for it, its
    decoder, which searches will use, ``origin``, what it is made of in words, and of that the
    folder ``root`` and its own names of ``columns``, by what they became. Raises
    ModelMismatchError for another model's, and for one whose pictures another decoder read.
    """
    described = embedder.description | _notes(model, origin, root, columns)
    index = Index.create(
        path,
        embedder.dim,
        model_id=embedder.model_id,
        model=described,
        dtype=dtype,
        views=views,
        exist_ok=True,
    )
    try:
        check_decoder(index, embedder.decoder)
    except ModelMismatchError:
        index.close()
        raise
    return index


def check_decoder(index: Index, decoder: str) -> None:
    """Raise ModelMismatchError unless ``decoder`` is the one that the index was made with."""
    if decoder != index.decoder:
        raise ModelMismatchError(
            f"the pictures in {index.path} were decoded by {index.decoder}, not by {decoder}",
            "Nothing was indexed, because decoders round differently and bits would differ",
            f"Use {index.decoder} (leave --decoder out), or make another index with {decoder}",
        )


def _notes(
    model: Path, origin: str, root: Path | None, columns: Mapping[str, str] | None
) -> dict[str, Any]:
    notes: dict[str, Any] = {"file": os.path.abspath(model), "source": origin}
    if root is not None:
        notes["root"] = os.path.abspath(root)
    if columns:
        notes["columns"] = dict(columns)
    return notes


def adopt(
    index: Index,
    todo: Plan,
    origin: str,
    model: Path,
    *,
    root: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> None:
    """Note that the index now follows ``origin``, and where its model is; as for `open_index`.

    Raises ArgumentError when it was made of something else and would lose pictures or
    metadata: forgetting to name a list must not empty an index.
    """
    refuse_another_source(index, todo, origin)
    described = described_anew(index, origin, model, root=root, columns=columns)
    if described != index.model:
        index.describe(described)


def refuse_another_source(index: Index, todo: Plan, origin: str) -> None:
    """Raise ArgumentError when ``index`` was made of something else than ``origin``, and would lose
    pictures or metadata by ``todo``."""
    before = index.model.get("source")
    if before != origin and (todo.vanished or todo.described):
        made = f"was made from {before}" if before else "does not say what it was made from"
        raise ArgumentError(
            f"{index.path} {made}; in {origin} {plural(len(todo.vanished), 'picture')} of it "
            f"{'is' if len(todo.vanished) == 1 else 'are'} missing and {len(todo.described)} "
            f"{'has' if len(todo.described) == 1 else 'have'} other metadata",
            "Nothing was changed",
            "Name the source as before, add --keep-missing to add this one to it, or name "
            "another index",
        )


def described_anew(
    index: Index,
    origin: str,
    model: Path,
    *,
    root: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What is said of an index's model and source where it follows ``origin`` from now on."""
    kept = {name: value for name, value in index.model.items() if name not in ("root", "columns")}
    return kept | _notes(model, origin, root, columns)


def item_of(record: Record) -> Item:
    """A record as an index keeps it; a missing file has no stamp, and is found when read."""
    if record.address:
        return Item(record.id, record.address, record.box, record.columns(), record.stamp)
    path = os.path.abspath(record.path)
    return Item(record.id, path, record.box, record.columns(), stamp_of(path))


def plan(
    index: Index,
    records: Iterable[Record],
    *,
    keep_missing: bool = False,
    unlisted: Iterable[str] = (),
) -> Plan:
    """Compare; a picture is read only where one of its size may be the same.

    ``keep_missing`` leaves vanished pictures in. Those below a folder of ``unlisted``, which
    could not be listed, are left in anyway: nobody knows whether they have vanished.

    Memory stays the same however long the list is (`joining.py`), and however many items the index
    has; the index must not be changed meanwhile.

    Raises DuplicateIdError when two records have one id.
    """
    kept_apart = [os.path.join(os.path.abspath(folder), "") for folder in unlisted]
    return Comparison(index, kept_apart).plan(map(item_of, records), keep_missing=keep_missing)


def apply(
    index: Index,
    embedder: Embedder,
    todo: Plan,
    *,
    on_error: Literal["skip", "raise"] = "skip",
    progress: bool = False,
    committed: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Carry a plan out; ``committed`` hears the count after every commit.

    Interrupted at any point, the index holds what was committed last, and planning again
    finds the rest. With ``on_error="skip"`` a picture that cannot be read is reported, and
    what the index held of it is removed; with ``"raise"`` it ends the run.
    """
    if todo.refused and on_error == "raise":
        first = todo.refused[0]
        raise ImageError(first.reason, "Nothing was indexed", f"Rename {first.name}")
    outcome = Outcome(skipped=list(todo.refused))
    # One transaction: a renamed picture is never there twice, nor not at all.
    with index.transaction():
        # First: their features are those of items that are replaced or removed below.
        _take_over(index, todo)
        outcome.recognised = len(todo.recognised)
        for gone in _blocks(todo.vanished):
            index.remove(gone)
        outcome.removed = len(todo.vanished)
        for part in (todo.described, todo.moved):
            for items in _blocks(part):
                index.update(items)
            outcome.described += len(part)

    left = Chain(todo.changed, todo.new)
    if not left:
        return outcome
    stale = len(todo.changed)  # so many are the first
    pending = _Pending(index)
    batches = embedded(index, embedder, left, on_error=on_error, progress=progress)
    tally = BitTally(index.bits)
    unread = 0  # of those that the index holds
    try:
        for batch in batches:
            tally.add(tallied(batch.codes))
            pending.hold([left[p] for p in batch.positions.tolist()], batch.features, batch.codes)
            outcome.skipped += batch.skipped
            gone = [left[s.position].id for s in batch.skipped if s.position < stale]
            if gone:
                index.remove(gone)
                outcome.removed += len(gone)
                unread += len(gone)
            if pending.due():
                committed(pending.commit())
    finally:
        # Also on Ctrl-C or a broken picture: what is embedded is paid for.
        committed(pending.commit())
    outcome.bits = tally.warning()
    outcome.replaced = stale - unread
    outcome.added = len(left) - (len(outcome.skipped) - len(todo.refused)) - outcome.replaced
    return outcome


def _take_over(index: Index, todo: Plan) -> None:
    """Add items with the features of others, which are still there when this begins."""
    with tempfile.TemporaryFile() as file:
        # Names that are exchanged: read before any of them is replaced.
        for pairs in _blocks(todo.crossed):
            for array in _features(index, pairs):
                np.save(file, array)
        for pairs in _blocks(todo.plain):
            _add(index, pairs, *_features(index, pairs))
        file.seek(0)
        for pairs in _blocks(todo.crossed):
            _add(index, pairs, np.load(file), np.load(file))


def _features(index: Index, pairs: Sequence[tuple[Item, str]]) -> tuple[np.ndarray, np.ndarray]:
    """Features and codes that these items take over."""
    sources = [source for _, source in pairs]
    return index.features(sources), index.codes(sources)


def _add(
    index: Index, pairs: Sequence[tuple[Item, str]], features: np.ndarray, codes: np.ndarray
) -> None:
    items = [item for item, _ in pairs]
    index.add([item.id for item in items], features, items, codes=codes, replace=True)


def _blocks(entries: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(entries), COMMIT_ROWS):
        yield entries[start : start + COMMIT_ROWS]


class _Pending:
    """Rows that are embedded and not yet committed."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._items: list[Item] = []
        self._features: list[np.ndarray] = []
        self._codes: list[np.ndarray] = []
        self._since = time.monotonic()
        self._done = 0

    def hold(self, items: Sequence[Item], features: np.ndarray, codes: np.ndarray) -> None:
        self._items += items
        self._features.append(features)
        self._codes.append(codes)

    def due(self) -> bool:
        waited = time.monotonic() - self._since
        return len(self._items) >= COMMIT_ROWS or waited >= COMMIT_SECONDS

    def commit(self) -> int:
        """One transaction for all that is held; returns how many rows this run has committed."""
        if self._items:
            # Its file was just read: to hash it costs little.
            items = [replace(item, stamp=hashed_stamp(item)) for item in self._items]
            self._index.add(
                [item.id for item in items],
                np.concatenate(self._features),
                items,
                codes=np.concatenate(self._codes),
                replace=True,
            )
            self._done += len(self._items)
        self._items, self._features, self._codes = [], [], []
        self._since = time.monotonic()
        return self._done
