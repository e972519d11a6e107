"""What a search of an index finds: nearest rows, and the items that they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..checks import PixelBox, Value
from ..errors import CompactedError, DamagedError
from ..search.proof import Proof
from .conditions import Condition
from .finder import Finder, kinds_of
from .items import facet
from .snapshot import State
from .store import Store
from .sums import CURE

#: Searches, and readings of rows, begun anew beside a writer, before it is made to wait for one.
ATTEMPTS = 3
#: Nearest rows that are asked for, for each thing that is wanted; and how many times as many where
#: they are of too few things.
_VIEWS, _FURTHER = 2, 4
#: Hits within a distance at most: each takes a kilobyte.
MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that a search found.

    Attributes:
        id, path, box, metadata: the item's.
        distance: int (differing bits) for hamming, float otherwise, for ip mostly below 0.
    """

    id: str
    distance: float | int
    path: str | None
    box: PixelBox | None
    metadata: Mapping[str, Value]


def first_of_each(hits: Sequence[Hit], column: str) -> list[int]:
    """The places of the first hit of each thing that a column names, and of each hit that has no
    value there."""
    met: set[str] = set()
    kept = []
    for place, hit in enumerate(hits):
        value = hit.metadata.get(column)
        thing = facet(value)
        if value is None or thing not in met:
            kept.append(place)
            met.add(thing)
    return kept


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a search found in one committed state.

    Attributes:
        hits: of each query.
        rows: their numbers.
        proof: of the search.
        state: of the rows.
    """

    hits: list[list[Hit]]
    rows: list[list[int]]
    proof: Proof
    state: State


def find_hits(
    store: Store,
    finder: Finder,
    queries: np.ndarray,
    k: int | None,
    metric: str,
    where: Condition | None,
    max_distance: float | None,
    group_by: str | None = None,
    *,
    threads: int | None,
    strategy: str,
    backend: str,
    limits: np.ndarray | None = None,
) -> Found:
    """The hits of each query, as `Index.search` returns them, all of one committed state.

    Args:
        queries: (q, dim) float32 or float16, for hamming codes, uint8 (q, ceil(bits / 8)); of
            several views (q, v, ...).
        k: hits a query; None for all within `max_distance`.
        max_distance: hits beyond it are left out; None for no limit.
        group_by: the column whose values tell things apart; None: each item is one.
        metric, where, threads, strategy, backend: checked, as for `Index.search`.
        limits: float64 (q,), distances beyond which there is no hit either, of `k` ones.
    """

    def attempt() -> Found | None:
        view = store.view(where, kinds_of(metric), "Nothing was searched", metric)
        reach = math.inf if max_distance is None else max_distance
        hits: list[list[Hit]] = [[] for _ in queries]
        near: list[list[int]] = [[] for _ in queries]
        asked = np.arange(len(queries))
        wanted = k if k is None or group_by is None else _VIEWS * k
        while True:
            try:
                if wanted is None:
                    each, every, proof = finder.within(
                        view, view.mask, queries, reach,
                        metric, threads=threads, strategy=strategy, backend=backend, limit=MOST,
                    )  # fmt: skip
                else:
                    distances, rows, proof = finder.nearest(
                        view, view.mask, queries[asked], wanted, metric,
                        threads=threads, strategy=strategy, backend=backend,
                        limits=None if limits is None else limits[asked],
                    )  # fmt: skip
                    each, every = distances.tolist(), rows.tolist()
                    if limits is not None:
                        every = [[row for row in line if row >= 0] for line in every]
                        each = [line[: len(own)] for line, own in zip(each, every, strict=True)]
                # A hit that has gone meanwhile asks for another search; so does, under a filter
                # or in groups, any change, since it may have made a hit of what was none.
                found = {row for line in every for row in line}
                alike = where is not None or group_by is not None
                items = store.items(list(found), view.snapshot.state, unchanged=alike)
            except CompactedError:
                return None
            if items is None or len(items) < len(found):
                return None
            more = []
            for query, line, numbers in zip(asked.tolist(), each, every, strict=True):
                own = [
                    Hit(item.id, distance, item.path, item.box, item.metadata)
                    for distance, item in zip(line, map(items.__getitem__, numbers), strict=True)
                    if distance <= reach
                ]
                if group_by is None:
                    hits[query], near[query] = own, numbers[: len(own)]
                    continue
                kept = first_of_each(own, group_by)[:k]
                hits[query] = [own[place] for place in kept]
                near[query] = [numbers[place] for place in kept]
                # Further rows may be of further things, if there are any within reach.
                whole = wanted is None or len(line) < wanted or len(own) < len(line)
                if k is not None and len(kept) < k and not whole:
                    more.append(query)
            if not more or wanted is None:
                return Found(hits, near, proof, view.snapshot.state)
            asked, wanted = np.array(more), wanted * _FURTHER

    for _ in range(ATTEMPTS):
        answer = attempt()
        if answer is not None:
            return answer
    # Items were removed or changed between finding and describing them, time and again.
    # Once more in one transaction, for which writers wait.
    with store.reading("Nothing was searched"):
        answer = attempt()
    if answer is None:
        raise DamagedError(
            f"{store.database.file} is damaged (a row that lives has no item)",
            "Nothing was returned",
            CURE,
        )
    return answer
