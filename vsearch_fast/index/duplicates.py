"""Groups of items that are copies of one another: the same file, the same pixels, or nearly.

::

    stamps ──── same bytes ───────────┐
    rows ────── exact join, radius ───┴──> groups ──> pictures looked at ──> best first, kinds

Items belong together where their files have the same bytes (size, hash and box, as they were
indexed) or where their features are within the radius. What is joined is a state of the index that
stays as it is meanwhile (`Index.snapshot`); of the pairs connected groups keep none.

Pictures of a group are then looked at, where they are there and somebody can (`look`): that tells
the best copy, and which of them have the same pixels. Of others the stored hashes and the features
speak alone. Every copy's distance is that from the best one by the definition of the metric, so
that in a connected group it may lie beyond the radius.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..checks import PixelBox, Progress, Value
from ..errors import ArgumentError, CompactedError, ImageError
from ..kernels.reference import DISTANCE
from ..machine import available_threads
from ..threads import run_ahead
from ..words import plural
from .conditions import Condition
from .finder import Finder, kind_of, kinds_of
from .grouping import Connected, complete, members
from .hits import MOST
from .items import Item
from .stamps import content_of
from .store import Store, View

Kind = Literal["file", "pixels", "near"]
#: Of copies: the same bytes; other bytes, the same pixels; other pixels, features within a radius.
KINDS: tuple[Kind, ...] = ("file", "pixels", "near")

Linkage = Literal["connected", "complete"]
LINKAGES: tuple[Linkage, ...] = ("connected", "complete")

#: Pairs that complete linkage holds at most: about 200 bytes each while they are joined.
PAIRS = 1 << 22

# Items whose stamps, and rows whose numbers, are read at a time.
_ITEMS, _ROWS = 10_000, 512
_NOT_COMPARED = "Nothing was grouped"


class Look(Protocol):
    """What is seen of a picture that is there: `images.Look`."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def sharpness(self) -> float: ...
    @property
    def bytes(self) -> int: ...
    @property
    def file(self) -> str: ...
    @property
    def pixels(self) -> str: ...


#: Looks at a picture, or the part of it in a box; ImageError where that cannot be.
Looking = Callable[[str, PixelBox | None], Look]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A copy in a group.

    Attributes:
        id, path, box, metadata: the item's.
        distance: from the best copy of the group; of that itself 0 (by "ip" its own).
        kind: what it is to the best copy: "file", "pixels" or "near"; of that itself "file".
        width, height, sharpness, bytes: of the picture or its box, where it was looked at; None
            elsewhere, `bytes` then those that it was indexed with.
        seen: whether it was looked at.
        index: where two indexes were compared, the folder of its own.
    """

    id: str
    distance: float | int
    path: str | None
    box: PixelBox | None
    metadata: Mapping[str, Value]
    kind: Kind
    width: int | None = None
    height: int | None = None
    sharpness: float | None = None
    bytes: int | None = None
    seen: bool = False
    index: str | None = None


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Items that are copies of one another.

    Attributes:
        kind: "file" where all files have the same bytes, "pixels" where all have the same pixels,
            else "near".
        items: the best copy, then the others, nearest first: of most pixels, then the sharpest,
            then of most bytes, then the first in the index. Those looked at come before others.
    """

    kind: Kind
    items: tuple[Duplicate, ...]

    @property
    def best(self) -> Duplicate:
        return self.items[0]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A new picture, looked for in an index.

    Attributes:
        path: of its file.
        look: what it looks like.
        there: what the index has of it, the same files first, then the same pixels, each nearest
            first; None where it has nothing. The distances are those from the new picture.
    """

    path: str
    look: Look
    there: DuplicateGroup | None


class Side(NamedTuple):
    """An index of two that are compared, or the only one."""

    store: Store
    finder: Finder
    folder: str


def radius_of(metric: str, similar: float | None, bits: int, consequence: str) -> float:
    """The largest distance of two copies of which a share is alike.

    `similar` S is, for "cosine", a cosine of S or more, a distance of 1 - S; for "hamming" a share
    S or more of the bits the same.

    Raises:
        ArgumentError: a similarity out of range, or of a metric that has none.
    """
    if metric not in ("cosine", "hamming"):
        raise ArgumentError(
            f"no distance is named, and {metric} has no similarity",
            consequence,
            "Name a distance (within), or use cosine or hamming",
        )
    if (
        isinstance(similar, bool)
        or not isinstance(similar, int | float | np.integer | np.floating)
        or not 0 <= similar <= 1
    ):
        raise ArgumentError(
            f"similar is {similar!r}, not a number from 0 to 1", consequence, "Change it"
        )
    if metric == "cosine":
        return 1 - float(similar)
    most = int(bits * (1 - similar))
    # 1 - S is rounded: the definition decides.
    while most > 0 and (bits - most) / bits < similar:
        most -= 1
    while most < bits and (bits - most - 1) / bits >= similar:
        most += 1
    return float(most)


def find_duplicates(
    sides: Sequence[Side],
    metric: str,
    radius: float,
    *,
    where: Condition | None,
    linkage: str,
    look: Looking | None,
    threads: int | None,
    progress: Progress | None,
    looked: Progress | None,
) -> list[DuplicateGroup]:
    """The groups of one index, or of pairs between two, as `Index.duplicates` returns them.

    Args:
        sides: one or two indexes, each held as it is.
        metric, radius, where, linkage: checked.
    """
    rows = _Rows(sides, metric, where)
    groups = Connected(rows.count)
    for i, j in rows.same_files():
        groups.add(i, j)
    same_files = groups.labels().copy()
    kept: list[tuple[NDArray, ...]] = []
    held = 0
    for pairs in rows.joined(radius, threads, progress):
        if linkage == "complete":
            held += len(pairs[0])
            if held > PAIRS:
                raise ArgumentError(
                    f"over {PAIRS:,} pairs lie within {radius:g}",
                    _NOT_COMPARED,
                    "Name a smaller distance, or leave complete linkage out, which holds them all",
                )
            kept.append(pairs)
        else:
            groups.add(*pairs[:2])
    labels = groups.labels()
    if linkage == "complete":
        labels = complete(same_files, *_once(kept))
    found = members(labels)
    total = sum(map(len, found))
    if total > MOST:
        raise ArgumentError(
            f"{total:,} items are in groups, and the limit is {MOST:,}",
            _NOT_COMPARED,
            "Name a smaller distance",
        )
    told = _Told(rows, same_files, look, threads)
    made = list(told.groups(found, looked))
    return sorted(made, key=lambda group: KINDS.index(group.kind))  # else by their first rows


def _once(kept: Sequence[tuple[NDArray, ...]]) -> tuple[NDArray, NDArray, NDArray]:
    """All pairs, each once, at its smallest distance: items of several views may be pairs twice."""
    if not kept:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    i, j, distances = (np.concatenate(each) for each in zip(*kept, strict=True))
    order = np.lexsort((distances, j, i))
    i, j, distances = i[order], j[order], distances[order]
    first = np.ones(len(i), bool)
    first[1:] = (np.diff(i) != 0) | (np.diff(j) != 0)
    return i[first], j[first], distances[first]


class _Rows:
    """The rows of the sides, numbered one side behind the other.

    Attributes:
        sides: the indexes.
        count: rows of all, those removed included.
    """

    def __init__(self, sides: Sequence[Side], metric: str, where: Condition | None) -> None:
        self.sides, self.metric = sides, metric
        self._views: list[View] = [
            side.store.view(where, kinds_of(metric), _NOT_COMPARED, metric) for side in sides
        ]
        self.starts = [0, *itertools.accumulate(v.snapshot.state.rows for v in self._views)]
        self.count = self.starts[-1]

    def side_of(self, row: int) -> int:
        return int(row >= self.starts[1]) if len(self.sides) > 1 else 0

    def joined(
        self, radius: float, threads: int | None, progress: Progress | None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray]]:
        """Pairs of rows within the radius, block by block: of one index, or between two."""
        asked: dict[str, Any] = {"threads": threads, "progress": progress}
        first = self.sides[0].finder
        if len(self.sides) == 1:
            yield from first.joined(self._views[0], radius, self.metric, **asked)
            return
        for i, j, distances in first.crossed(
            self._views[0], self.sides[1].finder, self._views[1], radius, self.metric, **asked
        ):
            yield i, j + self.starts[1], distances

    def same_files(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Pairs of rows whose files had the same bytes, and whose boxes are the same; between two
        indexes those that a picture of the other leads to."""
        known: dict[tuple[int, str, PixelBox | None], list[int]] = {}
        for side in range(len(self.sides)):
            i: list[int] = []
            j: list[int] = []
            for row, item in self._live(side):
                content = content_of(item.stamp)
                if content is None:
                    continue
                key = (*content, item.box)
                if side:
                    there = known.get(key, ())
                    i += there
                    j += [row] * len(there)
                elif key not in known:
                    known[key] = [row]
                elif len(self.sides) > 1:
                    known[key].append(row)
                else:
                    i.append(known[key][0])
                    j.append(row)
            yield np.array(i, np.int64), np.array(j, np.int64)

    def _live(self, side: int) -> Iterator[tuple[int, Item]]:
        """Numbers and items of a side's rows that count."""
        view, start = self._views[side], self.starts[side]
        total = view.snapshot.state.rows
        rows = np.arange(total) if view.mask is None else np.flatnonzero(view.mask)
        for first in range(0, len(rows), _ITEMS):
            found = self._items(side, rows[first : first + _ITEMS].tolist())
            yield from ((start + row, item) for row, item in sorted(found.items()))

    def _items(self, side: int, rows: list[int]) -> dict[int, Item]:
        store, view = self.sides[side].store, self._views[side]
        found = store.items(rows, view.snapshot.state, unchanged=False)
        if found is None or len(found) < len(rows):  # a snapshot stays as it is
            raise CompactedError(
                f"{store.folder} was changed while it was read", _NOT_COMPARED, "Do it again"
            )
        return found

    def items(self, rows: Iterable[int]) -> dict[int, Item]:
        """The items of rows, ascending."""
        found: dict[int, Item] = {}
        for side, own in itertools.groupby(sorted(rows), key=self.side_of):
            start = self.starts[side]
            part = self._items(side, [row - start for row in own])
            found |= {row + start: item for row, item in sorted(part.items())}
        return found

    def _lines(self, side: int, rows: NDArray[np.int64]) -> NDArray:
        """What the metric compares of rows of a side: (n, views, width)."""
        kind = kind_of(self.metric)
        values = self.sides[side].finder.stored(self._views[side], kind, rows)
        if kind == "vectors":
            values = values.astype(np.float32, copy=False)
        return values.reshape(len(rows), -1, values.shape[-1])

    def distances(self, best: int, rows: Sequence[int]) -> dict[int, float | int]:
        """The distance of each row from one of them: of their views the smallest."""
        side = self.side_of(best)
        queries = self._lines(side, np.array([best - self.starts[side]]))[0]
        found: dict[int, float | int] = {}
        for place, own in itertools.groupby(sorted(rows), key=self.side_of):
            numbers = np.array(list(own), np.int64)
            for first in range(0, len(numbers), _ROWS):
                part = numbers[first : first + _ROWS]
                lines = self._lines(place, part - self.starts[place])
                flat = lines.reshape(-1, lines.shape[-1])
                each = np.stack([DISTANCE[self.metric](query, flat) for query in queries])
                nearest = each.reshape(len(queries), len(part), -1).min(axis=(0, 2))
                found |= dict(zip(part.tolist(), nearest.tolist(), strict=True))
        return found


class _Told:
    """Makes groups of rows into groups of items."""

    def __init__(
        self,
        rows: _Rows,
        same_files: NDArray[np.int64],
        look: Looking | None,
        threads: int | None,
    ) -> None:
        self._rows, self._same_files, self._look = rows, same_files, look
        self._threads = threads or available_threads()

    def groups(
        self, found: Sequence[NDArray[np.int64]], looked: Progress | None
    ) -> Iterator[DuplicateGroup]:
        """Groups of rows, each ascending; pictures are looked at ahead, over their borders."""
        ahead: deque[dict[int, Item]] = deque()

        def items() -> Iterator[Item]:
            for numbers in found:
                ahead.append(self._rows.items(numbers.tolist()))
                yield from ahead[-1].values()

        threads = self._threads if self._look else 1
        looks = run_ahead(self._seen, items(), threads=threads, depth=4 * threads)
        total, done = sum(map(len, found)), 0
        with contextlib.closing(looks):
            for numbers in found:
                seen: dict[int, Look | None] = {}
                for row, one in zip(numbers.tolist(), looks, strict=False):
                    seen[row] = one
                    done += 1
                    if looked is not None:
                        looked(done, total)
                yield self._group(ahead.popleft(), seen)

    def _seen(self, item: Item) -> Look | None:
        if self._look is None or item.path is None:
            return None
        try:
            return self._look(item.path, item.box)
        except ImageError:  # gone, or broken: what is stored speaks for it
            return None

    def _group(self, items: Mapping[int, Item], looks: Mapping[int, Look | None]) -> DuplicateGroup:
        """The items of a group, ascending, and what was seen of them."""
        rows = list(items)

        def worth(row: int) -> tuple[float, ...]:
            seen = looks[row]
            if seen is None:
                return 0, 0.0, _indexed_bytes(items[row]) or 0, -row
            return seen.width * seen.height, seen.sharpness, seen.bytes, -row

        best = max(rows, key=worth)
        distances = self._rows.distances(best, rows)
        kinds = {row: self._kind(best, row, items, looks) for row in rows}
        order = sorted(rows, key=lambda row: (row != best, distances[row], row))
        made = [
            self._copy(row, items[row], looks[row], distances[row], kinds[row]) for row in order
        ]
        kind = max(kinds.values(), key=KINDS.index)
        return DuplicateGroup(kind, tuple(made))

    def _kind(
        self, best: int, row: int, items: Mapping[int, Item], looks: Mapping[int, Look | None]
    ) -> Kind:
        """What a row is to the best one."""
        if self._same_files[best] == self._same_files[row]:
            return "file"
        one, two = looks[best], looks[row]
        if one is None or two is None or one.pixels != two.pixels:
            return "near"
        same = one.file == two.file and items[best].box == items[row].box
        return "file" if same else "pixels"

    def _copy(
        self, row: int, item: Item, seen: Look | None, distance: float | int, kind: Kind
    ) -> Duplicate:
        sides = self._rows.sides
        index = sides[self._rows.side_of(row)].folder if len(sides) > 1 else None
        about: dict[str, Any] = {"bytes": _indexed_bytes(item)}
        if seen is not None:
            names = ("width", "height", "sharpness", "bytes")
            about = {name: getattr(seen, name) for name in names}
        return Duplicate(
            item.id, distance, item.path, item.box, item.metadata, kind, **about,
            seen=seen is not None, index=index,
        )  # fmt: skip


def _indexed_bytes(item: Item) -> int | None:
    content = content_of(item.stamp)
    return None if content is None else content[0]


def refuse_unknown(linkage: str, across: bool, consequence: str) -> None:
    """ArgumentError for a linkage that is none, or that two indexes cannot have."""
    if linkage not in LINKAGES:
        raise ArgumentError(
            f"linkage is {linkage!r}", consequence, f"Use one of {', '.join(LINKAGES)}"
        )
    if across and linkage == "complete":
        raise ArgumentError(
            "complete linkage of two indexes asks for pairs within each of them",
            consequence,
            f"Merge them first, or use {LINKAGES[0]}",
        )


def described(groups: Sequence[DuplicateGroup]) -> str:
    """How many groups of each kind, and copies beside the best ones, in words."""
    if not groups:
        return "no duplicates"
    copies = sum(len(group.items) - 1 for group in groups)
    counts = [sum(group.kind == kind for group in groups) for kind in KINDS]
    names = ("of identical files", "of identical pixels", "of near-duplicates")
    each = [f"{count:,} {name}" for count, name in zip(counts, names, strict=True) if count]
    return (
        f"{plural(len(groups), 'group')}: {', '.join(each)}; "
        f"{plural(copies, 'copy', 'copies')} beside the best ones"
    )
