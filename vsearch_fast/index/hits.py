"""What a search of an index finds: nearest rows, and the items that they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..checks import PixelBox, Scalar
from ..errors import CompactedError, DamagedError
from ..search.proof import Proof
from .finder import Finder, kinds_of
from .snapshot import Filter
from .store import Store
from .sums import CURE

#: Searches begun anew beside a writer, before it is made to wait for one.
_ATTEMPTS = 3
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
    metadata: Mapping[str, Scalar]


def find_hits(
    store: Store,
    finder: Finder,
    queries: np.ndarray,
    k: int | None,
    metric: str,
    where: Filter | None,
    max_distance: float | None,
    *,
    threads: int | None,
    strategy: str,
    backend: str,
) -> tuple[list[list[Hit]], Proof]:
    """The hits of each query, as `Index.search` returns them, all of one committed state.

    Args:
        queries: (q, dim) float32 or float16, for hamming codes, uint8 (q, ceil(bits / 8)); of
            several views (q, v, ...).
        k: hits a query; None for all within `max_distance`.
        max_distance: hits beyond it are left out; None for no limit.
        metric, where, threads, strategy, backend: checked, as for `Index.search`.
    """

    def attempt() -> tuple[list[list[Hit]], Proof] | None:
        view = store.view(where, kinds_of(metric), "Nothing was searched", metric)
        try:
            if k is None:
                each, every, proof = finder.within(
                    view, view.mask, queries, math.inf if max_distance is None else max_distance,
                    metric, threads=threads, strategy=strategy, backend=backend, limit=MOST,
                )  # fmt: skip
            else:
                distances, rows, proof = finder.nearest(
                    view, view.mask, queries, k, metric,
                    threads=threads, strategy=strategy, backend=backend,
                )  # fmt: skip
                each, every = distances.tolist(), rows.tolist()
            # A hit that has gone meanwhile asks for another search; so does, under a filter, any
            # change, since it may have made a hit of what was none.
            found = {row for line in every for row in line}
            items = store.items(list(found), view.snapshot.state, unchanged=where is not None)
        except CompactedError:
            return None
        if items is None or len(items) < len(found):
            return None
        hits = [
            [
                Hit(item.id, distance, item.path, item.box, item.metadata)
                for distance, item in zip(line, map(items.__getitem__, numbers), strict=True)
                if max_distance is None or distance <= max_distance
            ]
            for line, numbers in zip(each, every, strict=True)
        ]
        return hits, proof

    for _ in range(_ATTEMPTS):
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
