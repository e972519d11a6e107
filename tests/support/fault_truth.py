"""What an index must answer, to the bit, from the ids alone: the truth that faults are judged by.

A row's features follow from its id and the *version* of them, its path, box, metadata and stamp
from the id and a *mark*. So whatever an index returns can be told from what it must not: another
id's vector, an older one, half a commit.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np

from vsearch_fast.index import Index, Item
from vsearch_fast.kernels import reference
from vsearch_fast.search import Metric

DIM = 24
#: So few that a small index has several segments, and sketches of those that are full.
SEGMENT_ROWS = 64
MODEL_ID = "truth"
MODEL = {"layer": "fc1", "note": "x"}
METRICS: tuple[Metric, ...] = ("l2", "l1", "hamming")
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True, slots=True)
class Row:
    """A live row: its id, which features, which metadata."""

    id: str
    version: int = 0
    mark: int = 0

    def vector(self) -> np.ndarray:
        """float32 (DIM,). Ids that end in 1 have the features of those that end in 0: ties."""
        name = self.id[:-1] + "0" if self.id.endswith("1") else self.id
        seed = zlib.crc32(f"{name}/{self.version}".encode())
        return np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)

    def item(self) -> Item:
        number = zlib.crc32(f"{self.id}/{self.mark}".encode())
        metadata: dict[str, Any] = {"colour": COLOURS[number % 3], "mark": self.mark}
        if number % 2:
            metadata["price"] = number / 8
        box = (0, 0, 1 + number % 50, 9) if number % 5 == 0 else None
        return Item(self.id, f"photos/{self.id}.jpg", box, metadata, f"{number}:{self.mark}")


def vectors(rows: Sequence[Row]) -> np.ndarray:
    """float32 (n, DIM)."""
    return np.stack([row.vector() for row in rows]) if rows else np.empty((0, DIM), np.float32)


@dataclass(frozen=True)
class Content:
    """All that one committed state of an index answers.

    Attributes:
        rows: the live ones, in the order in which they were added.
        thresholds: metrics that have a threshold in the index.
        note: what it says about the model.
    """

    rows: tuple[Row, ...] = ()
    thresholds: frozenset[str] = frozenset()
    note: str = "x"

    def __repr__(self) -> str:
        marks = sorted({(row.version, row.mark) for row in self.rows})
        return f"<{len(self.rows)} rows, {marks}, {set(self.thresholds)}, {self.note}>"

    # What the calls of `Index` make of it

    def added(self, rows: Iterable[Row]) -> Self:
        """With these rows at the end, where their ids had none or another."""
        fresh = tuple(rows)
        ids = {row.id for row in fresh}
        kept = tuple(row for row in self.rows if row.id not in ids)
        return replace(self, rows=kept + fresh)

    def removed(self, ids: Iterable[str]) -> Self:
        gone = set(ids)
        return replace(self, rows=tuple(r for r in self.rows if r.id not in gone))

    def marked(self, ids: Iterable[str], mark: int) -> Self:
        """With other metadata of these ids."""
        which = set(ids)
        rows = tuple(replace(r, mark=mark) if r.id in which else r for r in self.rows)
        return replace(self, rows=rows)

    # What it answers

    def items(self) -> list[Item]:
        return [row.item() for row in self.rows]

    def hits(self, queries: np.ndarray, k: int, metric: Metric, colour: str | None) -> list[Any]:
        """Of each query (id, distance) of its nearest, by the definition of distances."""
        data = features_of(self)
        mask = None
        if colour is not None:
            mask = np.array([row.item().metadata["colour"] == colour for row in self.rows], bool)
        if not len(data):
            return [[] for _ in queries]
        if metric == "hamming":
            queries, data = np.packbits(queries > 0, axis=-1), np.packbits(data > 0, axis=-1)
        distances, found = reference.topk(queries, data, k, metric=metric, mask=mask)
        return [
            [(self.rows[row].id, distance) for row, distance in zip(line, values, strict=True)]
            for line, values in zip(found.tolist(), distances.tolist(), strict=True)
        ]


#: What an index is asked, and what it must find.
Asked = list[tuple[dict[str, Any], list[Any]]]


@lru_cache(None)
def features_of(content: Content) -> np.ndarray:
    """float32 (n, DIM)."""
    return vectors(content.rows)


@lru_cache(None)
def searches(content: Content) -> Asked:
    """Searches of an index in this state, and what each finds."""
    asked = []
    rows = content.rows
    near = [row.vector() for row in (rows[-1:] + rows[len(rows) // 2 :][:1])]
    queries = np.stack([*near, np.ones(DIM, np.float32)]) * np.float32(1.03)
    for metric in METRICS:
        plans: list[tuple[int, str | None, str]] = [
            (5, None, "scan"), (5, "red", "auto"), (len(rows) + 1, None, "auto"),
        ]  # fmt: skip
        if metric != "hamming":
            plans += [(3, None, "sketch"), (3, "green", "sketch")]
        for k, colour, strategy in plans:
            where = None if colour is None else {"colour": colour}
            answer = content.hits(queries, k, metric, colour)
            options = {"k": k, "metric": metric, "where": where, "strategy": strategy}
            asked.append(({"queries": queries, **options}, answer))
    return asked


class WrongError(AssertionError):
    """An index answered something that no committed state has: what must never happen."""


def check(folder: Path, allowed: Sequence[Content]) -> Content:
    """Open the index and compare everything with the states that it may be in; returns which.

    Raises:
        WrongError: it is in none of them.
        StoreError: it says itself that it is damaged.
    """
    with Index.open(folder) as index:
        return check_open(index, allowed)


def check_open(index: Index, allowed: Sequence[Content]) -> Content:
    """`check` of an index that is open."""
    items = list(index)
    kept = index.info()["thresholds"]
    for content in allowed:
        if (
            items == content.items()
            and set(kept) == content.thresholds
            and index.model.get("note") == content.note
        ):
            _check(index, content)
            return content
    raise WrongError(f"{_told(items)}, {sorted(kept)}, {index.model}: none of {list(allowed)}")


def _told(items: Sequence[Item]) -> str:
    return f"{len(items)} items, {[item.id for item in items[:3]]} to {items[-1:]}"


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise WrongError(f"{what}: {str(found)[:400]} instead of {str(expected)[:400]}")


def _check(index: Index, content: Content) -> None:
    """The rest that it answers, when its items are those of the content."""
    ids = [row.id for row in content.rows]
    _same("len", len(index), len(ids))
    _same("dim", (index.dim, index.dtype, index.model_id), (DIM, "float32", MODEL_ID))
    _same("model", index.model, {**MODEL, "note": content.note})
    if not ids:
        return
    stored = index.features(ids)
    wrong = np.flatnonzero((stored != features_of(content)).any(axis=1))
    _same("features", [ids[row] for row in wrong], [])
    for options, answer in searches(content):
        hits = index.search(**options, threads=1)
        found = [[(hit.id, hit.distance) for hit in line] for line in hits]
        told = {name: value for name, value in options.items() if name != "queries"}
        _same(f"search {told}", found, answer)
    items = content.items()
    by_id = {item.id: item for item in items}
    for hit in index.search(np.ones(DIM, np.float32), len(ids))[0]:
        item = by_id[hit.id]
        _same("hit", (hit.path, hit.box, hit.metadata), (item.path, item.box, item.metadata))
    for colour in COLOURS:
        first, _ = index.page(1000, where={"colour": colour})
        _same(f"page {colour}", first, [i for i in items if i.metadata["colour"] == colour])
        counts = dict(index.values("colour") or [])
        _same("values", counts.get(colour, 0), len(first))
    _same("get", index.get(ids[0]), items[0])
    for metric in METRICS:
        if metric in content.thresholds:
            _check_threshold(index, metric)


def _check_threshold(index: Index, metric: Metric) -> None:
    """What is kept is what the rows give, unless they have changed since."""
    info = index.info()
    kept = info["thresholds"][metric]
    if any(kept[name] != info[name] for name in ("rows", "removed")):
        return
    with Index.open(index.path) as other:
        fresh = other.calibrate(metric, quantile=kept["quantile"], sample=kept["sample"], threads=1)
    _same("threshold", kept["distance"], fresh.distance)


# An index to begin with


def ids(start: int, stop: int) -> list[str]:
    return [f"id{number:04d}" for number in range(start, stop)]


def put(index: Index, rows: Sequence[Row], *, replace: bool = False) -> None:
    """Add these rows."""
    items = [row.item() for row in rows]
    index.add([row.id for row in rows], vectors(rows), items, replace=replace)


def create(folder: Path) -> Index:
    return Index.create(
        folder, DIM, model_id=MODEL_ID, model=MODEL, segment_rows=SEGMENT_ROWS, exist_ok=True
    )


@lru_cache
def history(seed: int = 0) -> tuple[Content, ...]:
    """The states that `make_base` commits one after the other."""
    empty = Content()
    first = empty.added(Row(id_, seed) for id_ in ids(0, 90))
    replaced = first.added(Row(id_, seed + 1, 1) for id_ in ids(20, 32))
    removed = replaced.removed(ids(0, 40)[::4])
    second = removed.added(Row(id_, seed) for id_ in ids(90, 150))
    return empty, first, replaced, removed, second, second.marked(ids(60, 70), 2)


def base(seed: int = 0) -> Content:
    return history(seed)[-1]


#: What `make_base` has made after so many commits is kept beside it as it was then.
OLDER = 3


def make_base(folder: Path, seed: int = 0, older: Path | None = None) -> None:
    """Make the index of these states (with other features by another seed).

    Args:
        older: where to put a copy of it as it was after `OLDER` commits.
    """
    with create(folder) as index:
        for step, (before, after) in enumerate(pairwise(history(seed))):
            if step == OLDER and older is not None:
                shutil.copytree(folder, older)
            advance(index, before, after)


def advance(index: Index, before: Content, after: Content) -> None:
    """The one call that makes a content of the one before."""
    old = {row.id: row for row in before.rows}
    gone = [id_ for id_ in old if id_ not in {row.id for row in after.rows}]
    fresh = [r for r in after.rows if r.id not in old or old[r.id].version != r.version]
    changed = [r for r in after.rows if r not in fresh and old[r.id].mark != r.mark]
    if gone:
        index.remove(gone)
    elif fresh:
        put(index, fresh, replace=True)
    else:
        index.update([row.item() for row in changed])


def next_states(content: Content) -> list[Content]:
    """This state, and those that `go_on` makes of it."""
    added = content.added(Row(f"more{n}", 7) for n in range(70))
    replaced = added.added(Row(row.id, 8, 8) for row in added.rows[3:60:7])
    return [content, added, replaced, replaced.removed(r.id for r in replaced.rows[2:50:5])]


def go_on(folder: Path, content: Content) -> Content:
    """Write to an index in this state, of each kind something; check it as it stands and again
    when opened anew. Returns the state that it is in then."""
    states = next_states(content)
    with Index.open(folder, mode="rw") as index:
        for before, after in pairwise(states):
            advance(index, before, after)
        check_open(index, states[-1:])
    return check(folder, states[-1:])
