"""What is rated: systems, queries, and what each system found for each query.

A study is made once, from the indexes, and is complete in itself afterwards: what people judged
stays what they saw, whatever becomes of the indexes.

**Queries** are items that all indexes hold. Those with the smallest SHA-256 of (seed, id) are
taken, so the same ones whatever the order of the items, and with a larger number the same ones
and more. **Results** are the first `results` items of an exact search with the query's stored
features; the query itself is left out, and with `group` all items that share its value in that
metadata column. An item without a value there is a group of its own.

**Pictures** are numbered in an order without order, so that a picture's number, which raters'
browsers see, says nothing of who found it or at which place.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from ..checks import PixelBox
from ..errors import ArgumentError, ImageError
from ..images.decoding import upright_size
from ..index.hits import Hit
from ..index.index import Index
from ..index.items import Item, facet
from ..shards.opening import open_index
from ..words import Metric, plural

Mode = Literal["match", "better", "both"]

QUERIES = 50
RESULTS = 5

#: Neighbours asked for beyond a row's length, for the query's own group. Doubled where too few.
_SPARE = 59

_NOT_MADE = "No study was made"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a study is made by.

    Attributes:
        mode: what people are asked: "match", "better", or "both".
        queries: how many.
        results: length of a row.
        judged: results of a row that are asked about one by one (match), nearest first.
        group: items that share the query's value in this metadata column are left out.
        category: metadata column of the automatic measure.
        seed: of the choice of queries and of all schedules.
    """

    mode: Mode = "match"
    queries: int = QUERIES
    results: int = RESULTS
    judged: int = 1
    group: str | None = None
    category: str = "category"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("queries", "results", "judged"):
            if getattr(self, name) < 1:
                raise ArgumentError(
                    f"{name} is {getattr(self, name)}", _NOT_MADE, "Use a number of at least 1"
                )
        if self.judged > self.results:
            raise ArgumentError(
                f"judged is {self.judged}, more than the {self.results} results of a row",
                _NOT_MADE,
                "Ask for longer rows (--results) or judge fewer",
            )


@dataclass(frozen=True, slots=True)
class System:
    """An index searched by a metric; ``name`` tells it from the study's others."""

    name: str
    index: str
    model_id: str
    metric: Metric


@dataclass(frozen=True, slots=True)
class Picture:
    """An item that is shown.

    Attributes:
        id, path: the item's, its path absolute.
        category: or None.
        region: left, top, right and bottom of the item's box as shares of the upright picture's
            width and height, or None for the whole of it.
    """

    id: str
    path: str
    category: str | None
    region: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """A study, complete in itself.

    Attributes:
        name: of the first index's folder; raters never see it.
        settings, systems: what it was made by and of.
        pictures: by number.
        queries: picture number of each query.
        rows: ``rows[query][system]`` are picture numbers, nearest first.
        distances: of the same shape.
    """

    name: str
    settings: Settings
    systems: tuple[System, ...]
    pictures: tuple[Picture, ...]
    queries: tuple[int, ...]
    rows: tuple[tuple[tuple[int, ...], ...], ...]
    distances: tuple[tuple[tuple[float, ...], ...], ...]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every two systems that are compared, by number; none where none are."""
        if self.settings.mode == "match":
            return []
        return list(combinations(range(len(self.systems)), 2))

    def identical(self, query: int, pair: tuple[int, int]) -> bool:
        """Both found the same pictures in the same order: there is nothing to choose."""
        return self.rows[query][pair[0]] == self.rows[query][pair[1]]

    def finders(self, query: int, picture: int) -> list[int]:
        """The systems among whose judged results for the query the picture is."""
        judged = self.settings.judged
        return [s for s, row in enumerate(self.rows[query]) if picture in row[:judged]]


def digest(*parts: object) -> int:
    """A number without pattern from these parts, the same on every machine and in every version
    of Python: the first 8 bytes of a SHA-256."""
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def make(
    paths: Sequence[str | os.PathLike[str]],
    metrics: Sequence[Metric] = ("l2",),
    settings: Settings | None = None,
    *,
    threads: int | None = None,
    backend: str = "auto",
    say: Callable[[str], None] = lambda line: None,
) -> Study:
    """Search the indexes at `paths` by each metric, and keep what raters will be shown.

    Raises:
        ArgumentError: indexes of different items, fewer than two systems to compare, no item
            with a picture, a column that no item has.
        StoreError: an index that cannot be read.
    """
    settings = settings or Settings()
    known = systems(paths, metrics)
    if settings.mode != "match" and len(known) < 2:
        raise ArgumentError(
            f"There is one system only, {known[0].name}, and mode {settings.mode} compares two",
            _NOT_MADE,
            "Name a second index or another --metric, or use --mode match",
        )
    indexes = [open_index(path) for path in dict.fromkeys(map(os.path.abspath, paths))]
    try:
        for index in indexes:
            _check_columns(index, settings)
        names = _queries(indexes, settings)
        say(
            f"{plural(len(names), 'query', 'queries')}: a search each by "
            f"{plural(len(known), 'system')}."
        )
        found: dict[int, list[list[Hit]]] = {}  # by system
        for number, system in enumerate(known):
            index = next(i for i in indexes if os.path.abspath(i.path) == system.index)
            found[number] = _rows(
                index, names, system.metric, settings, threads=threads, backend=backend
            )
        return _study(known, settings, [indexes[0].get(name) for name in names], found)
    finally:
        for index in indexes:
            index.close()


def systems(
    paths: Sequence[str | os.PathLike[str]], metrics: Sequence[Metric]
) -> tuple[System, ...]:
    """Every index by every metric, each once; indexes in folders of one name are told apart by
    their whole paths.

    Raises:
        StoreError: no index there.
    """
    places = list(dict.fromkeys(os.path.abspath(path) for path in paths))
    short = [Path(place).name.removesuffix(".index") or place for place in places]
    names = short if len(set(short)) == len(short) else places
    result = []
    for name, place in zip(names, places, strict=True):
        with open_index(place) as index:
            result += [
                System(f"{name} {metric}", place, index.model_id, metric)
                for metric in dict.fromkeys(metrics)
            ]
    return tuple(result)


def _check_columns(index: Index, settings: Settings) -> None:
    if settings.group is not None and settings.group not in index.columns():
        columns = ", ".join(index.columns()) or "none"
        raise ArgumentError(
            f"No item of {index.path} has a metadata column {settings.group!r}; it has {columns}",
            _NOT_MADE,
            "Name another --group, or leave it out",
        )


def _queries(indexes: Sequence[Index], settings: Settings) -> list[str]:
    """Ids of the queries, in their order; see the module."""
    items = {item.id: item.path is not None for item in indexes[0]}
    for other in indexes[1:]:
        ids = {item.id for item in other}
        for here, there, missing in (
            (indexes[0], other, items.keys() - ids),
            (other, indexes[0], ids - items.keys()),
        ):
            if missing:
                raise ArgumentError(
                    f"{here.path} holds {len(missing):,} items that {there.path} does not, such as "
                    f"{min(missing)!r}",
                    f"{_NOT_MADE}: a system cannot find what its index lacks",
                    "Index the same pictures in both",
                )
    shown = [name for name, has_picture in items.items() if has_picture]
    if len(shown) < 2:
        raise ArgumentError(
            f"{indexes[0].path} holds {len(shown)} items with a picture",
            _NOT_MADE,
            "Index pictures with vsearch index",
        )
    return heapq.nsmallest(
        settings.queries, shown, key=lambda name: (digest(settings.seed, "query", name), name)
    )


def _rows(
    index: Index,
    names: Sequence[str],
    metric: Metric,
    settings: Settings,
    *,
    threads: int | None,
    backend: str,
) -> list[list[Hit]]:
    """For each query the first eligible hits. What a longer list drops is not nearer than what
    it keeps, so a full row is the exact one; queries with shorter rows are asked again."""
    asked = index.codes(names) if metric == "hamming" else index.features(names)
    items = [index.get(name) for name in names]
    rows: list[list[Hit]] = [[] for _ in names]
    pending = list(range(len(names)))
    k = settings.results + _SPARE
    while pending:
        lists = index.search(asked[pending], k=k, metric=metric, threads=threads, backend=backend)
        for place, hits in zip(pending, lists, strict=True):
            eligible = (hit for hit in hits if _eligible(items[place], hit, settings.group))
            rows[place] = [hit for hit, _ in zip(eligible, range(settings.results), strict=False)]
        if len(lists[0]) < k:  # every item was ranked
            break
        pending = [place for place in pending if len(rows[place]) < settings.results]
        k *= 4
    return rows


def _eligible(query: Item, hit: Hit, group: str | None) -> bool:
    if hit.id == query.id or hit.path is None:
        return False
    mine = None if group is None else query.metadata.get(group)
    if group is None or mine is None or hit.metadata.get(group) is None:
        return True
    return facet(mine) != facet(hit.metadata[group])


def _region(path: str, box: PixelBox | None) -> tuple[float, float, float, float] | None:
    """The box as shares of the picture; None also where the picture is gone, and cannot be shown
    anyway."""
    if box is None:
        return None
    try:
        width, height = upright_size(path)
    except ImageError:
        return None
    x1, x2 = (min(max(x / width, 0.0), 1.0) for x in box[::2])
    y1, y2 = (min(max(y / height, 0.0), 1.0) for y in box[1::2])
    return x1, y1, x2, y2


def _study(
    known: tuple[System, ...],
    settings: Settings,
    queries: Sequence[Item],
    found: dict[int, list[list[Hit]]],
) -> Study:
    def category(item: Item | Hit) -> str | None:
        value = item.metadata.get(settings.category)
        return None if value is None or value == "" else str(value)

    shown: dict[str, Picture] = {}
    seen: list[Item | Hit] = [*queries]
    seen += [hit for rows in found.values() for row in rows for hit in row]
    for item in seen:
        if item.id not in shown:
            assert item.path is not None
            path = os.path.abspath(item.path)
            shown[item.id] = Picture(item.id, path, category(item), _region(path, item.box))
    order = sorted(shown, key=lambda name: (digest(settings.seed, "picture", name), name))
    number = {name: place for place, name in enumerate(order)}

    def by_query(value: Callable[[Hit], Any]) -> Any:
        return tuple(
            tuple(tuple(value(hit) for hit in found[s][q]) for s in range(len(known)))
            for q in range(len(queries))
        )

    return Study(
        name=Path(known[0].index).name,
        settings=settings,
        systems=known,
        pictures=tuple(shown[name] for name in order),
        queries=tuple(number[item.id] for item in queries),
        rows=by_query(lambda hit: number[hit.id]),
        distances=by_query(lambda hit: hit.distance),
    )
