"""Bring an index up to date with a data set: new, changed and vanished pictures.

A picture is known by its id and its *stamp* (`content`), the file's size and time of change (as
make and rsync do): a file with an unchanged stamp is not read again. A new or changed file whose
bytes the index has seen, because it was renamed, moved, copied or touched, is read and not put
through the network again. Work is committed in batches, so that a run that was stopped goes on
where it ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..datasets.records import Record
from ..embedder.bits import BitTally
from ..embedder.embedder import Embedder, Skipped
from ..errors import ArgumentError, DuplicateIdError, ImageError, ModelMismatchError
from ..index.index import Index
from ..index.items import Item, check_item, metadata_text
from ..words import plural
from .content import Seen, hashed_stamp, is_unchanged, stamp_of
from .embedding import embedded, tallied

COMMIT_ROWS = 512
COMMIT_SECONDS = 20.0


@dataclass
class Plan:
    """What differs between an index and a data set."""

    new: list[Item] = field(default_factory=list)
    changed: list[Item] = field(default_factory=list)
    """Another file, or another box: to be read again."""
    described: list[Item] = field(default_factory=list)
    """The same picture with other metadata: its features stay."""
    moved: list[Item] = field(default_factory=list)
    """The same picture under another path, the old one being gone, or with another time of
    change: its features stay."""
    recognised: list[tuple[Item, str]] = field(default_factory=list)
    """A picture whose bytes are those of the item of this id: it takes over its features."""
    refused: list[Skipped] = field(default_factory=list)
    """Pictures that an index cannot name, such as a file name that is no text."""
    vanished: list[str] = field(default_factory=list)
    unchanged: int = 0

    @property
    def nothing(self) -> bool:
        """Whether the index is as the data set is, as far as it can be."""
        return not (
            self.new or self.changed or self.described or self.moved or self.recognised
            or self.vanished
        )  # fmt: skip


@dataclass
class Outcome:
    """What a run did; ``skipped`` are pictures that could not be read, and ``bits`` says where the
    codes of those that were tell little ("" where they do)."""

    added: int = 0
    replaced: int = 0
    described: int = 0
    removed: int = 0
    recognised: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    bits: str = ""


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

    Raises DuplicateIdError when two records have one id.
    """
    known = {item.id: item for item in index}
    kept_apart = tuple(os.path.join(os.path.abspath(folder), "") for folder in unlisted)
    # float16 keeps no features from which all code bits would follow again.
    embedded = Seen(known.values() if index.dtype == "float32" else ())
    result = Plan()
    seen: set[str] = set()
    for position, record in enumerate(records):
        item = item_of(record)
        if item.id in seen:
            raise DuplicateIdError(
                f"two pictures have the id {item.id!r}, one of them {item.path}",
                "Nothing was indexed",
                "Give every picture an id of its own",
            )
        seen.add(item.id)
        try:
            check_item(item, "The picture was left out")
        except ArgumentError as error:
            result.refused.append(Skipped(position, str(item.path), f"{error.cause}. {error.cure}"))
            continue
        before = known.pop(item.id, None)
        if before is None or not _is_as_before(before, item):
            found = embedded.find(item)
            if found is None:
                (result.new if before is None else result.changed).append(item)
                continue
            source, stamp = found
            item = replace(item, stamp=stamp)
            if before is None or source != before.id:
                result.recognised.append((item, source))
            else:
                result.moved.append(item)
            continue
        item = replace(item, stamp=before.stamp)  # with its hash
        # Compared as it is stored: to Python True equals 1.
        if metadata_text(before.metadata) != metadata_text(item.metadata):
            result.described.append(item)
        elif before.path != item.path:
            result.moved.append(item)
        else:
            result.unchanged += 1
    if not keep_missing:
        result.vanished = [
            item.id
            for item in known.values()
            if not (kept_apart and str(item.path).startswith(kept_apart))
        ]
    return result


def _is_as_before(before: Item, item: Item) -> bool:
    """Whether it shows what it showed, as far as is known without reading it."""
    return (
        before.box == item.box
        and is_unchanged(before.stamp, item.stamp)
        and (before.path == item.path or not os.path.exists(str(before.path)))
    )


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
        _take_over(index, todo.recognised)
        outcome.recognised = len(todo.recognised)
        if todo.vanished:
            index.remove(todo.vanished)
            outcome.removed = len(todo.vanished)
        if todo.described or todo.moved:
            index.update(todo.described + todo.moved)
            outcome.described = len(todo.described) + len(todo.moved)

    items = todo.changed + todo.new
    if not items:
        return outcome
    stale = {item.id for item in todo.changed}
    pending = _Pending(index)
    batches = embedded(index, embedder, items, on_error=on_error, progress=progress)
    tally = BitTally(index.bits)
    try:
        for batch in batches:
            tally.add(tallied(batch.codes))
            pending.hold([items[p] for p in batch.positions], batch.features, batch.codes)
            outcome.skipped += batch.skipped
            gone = [items[s.position].id for s in batch.skipped if items[s.position].id in stale]
            if gone:
                index.remove(gone)
                outcome.removed += len(gone)
            if pending.due():
                committed(pending.commit())
    finally:
        # Also on Ctrl-C or a broken picture: what is embedded is paid for.
        committed(pending.commit())
    unread = [items[s.position].id in stale for s in outcome.skipped[len(todo.refused) :]]
    outcome.bits = tally.warning()
    outcome.replaced = len(todo.changed) - sum(unread)
    outcome.added = len(items) - len(unread) - outcome.replaced
    return outcome


def _take_over(index: Index, recognised: Sequence[tuple[Item, str]]) -> None:
    """Add items with the features of others, which are still there when this begins."""
    targets = {item.id for item, _ in recognised}
    # Names that are exchanged: read before any of them is replaced.
    crossed = [pair for pair in recognised if pair[1] in targets]
    sources = [source for _, source in crossed]
    held = (index.features(sources), index.codes(sources)) if crossed else None
    plain = [pair for pair in recognised if pair[1] not in targets]
    for start in range(0, len(plain), COMMIT_ROWS):
        part = plain[start : start + COMMIT_ROWS]
        items = [item for item, _ in part]
        sources = [source for _, source in part]
        features, codes = index.features(sources), index.codes(sources)
        index.add([item.id for item in items], features, items, codes=codes, replace=True)
    if held is not None:
        items = [item for item, _ in crossed]
        index.add([item.id for item in items], held[0], items, codes=held[1], replace=True)


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
