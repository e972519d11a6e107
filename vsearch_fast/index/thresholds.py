"""How far the nearest item may be before a query has no match: thresholds of an index.

The nearest item of a query is always *something*. A threshold is taken from the catalogue
itself, for each metric: an item of it, were it not in it, would have found its nearest at some
distance, and almost all items (95%) would have found theirs within the threshold. A query whose
nearest is farther looks like nothing in the catalogue.

**Definition.** The *leave-one-out nearest distance* of a live row is the distance, as `topk`
defines it, to the nearest other live row. The row itself is left out by its number: a second
copy of its picture is another row, at distance 0. With a `group` column, rows that share the
row's value there are left out too: pictures of one sender or product share more than what they
show, so that without it the threshold says how near another view of the *same* thing is, and
with it how near *another* thing is. A row without a value there (or with null) is a group of its
own; a row that is left without any other has no distance. So: without a group to ask whether the
catalogue has this very thing (and several views of each), with one to ask whether it has
anything of its kind, which is the harder question by far (`benchmarks/no_match.py` measures both).

Of an index of two views a row is an item all the same: its distances are of the nearest views.

Rows are the live ones, or of more than `sample` of them those with the smallest
`mixed(row number)`: always the same ones, spread over the catalogue, and mostly the same ones
when rows come and go. Of n distances, in order, the threshold is the one in place
ceil(quantile · n), counted from 1: the smallest of them within which at least that share of them
lies (NumPy's "inverted_cdf"). So it is always a distance that occurs, and a hit at it is a match.

**Kept** in the index (a line of table `meta` for each metric) with what it was taken from. It is
used until more than a tenth of the rows that it was taken among were added or removed since;
then it is taken again, with the same quantile, sample and group.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ..checks import positive
from ..errors import ArgumentError, StoreError
from ..words import JUDGED, METRICS
from .finder import Finder, kind_of, kinds_of
from .kept import THRESHOLD, Kept
from .leaving_out import nearest_others
from .mixing import mixed
from .snapshot import State
from .store import Store

QUANTILE = 0.95
SAMPLE = 2000

#: A threshold is taken again when over 1 / CHANGED of the rows have come or gone.
CHANGED = 10

#: Neighbours asked for beyond the nearest where a row's whole group is left out.
_SPARE = 15

#: Rows that are searched for together: 32 MiB of 4096 float32.
_BLOCK = 2048

_NOT_CALIBRATED = "No threshold was made"


@dataclass(frozen=True, slots=True)
class Threshold:
    """The farthest distance at which a hit counts as a match.

    Attributes:
        metric: "l2", "l1" or "hamming".
        distance: float for l1 and l2, int (differing bits) for hamming; inclusive.
        quantile: share of the leave-one-out nearest distances within it, at least.
        sample: rows that it was to be taken from at most; None: from all.
        group: the column whose values are left out together, or None.
        measured: leave-one-out distances that it was taken from.
        live: items that the index had then.
        rows, removed: the index's counts (`Index.info`) then.
    """

    metric: str
    distance: float | int
    quantile: float
    sample: int | None
    group: str | None
    measured: int
    live: int
    rows: int
    removed: int

    def changes(self, rows: int, removed: int) -> int:
        """Items added and items removed since, of an index that has these counts now; one
        that was replaced counts as both."""
        return (rows - self.rows) + (removed - self.removed)

    @property
    def beyond(self) -> int:
        """Of the distances that it was taken from, how many are in the places behind its own."""
        return self.measured - place(self.quantile, self.measured)

    def __str__(self) -> str:
        shown = self.distance if isinstance(self.distance, int) else f"{self.distance:.5g}"
        other = "" if self.group is None else f" of another {self.group}"
        return (
            f"{self.metric} {shown} ({100 * self.quantile:g}% of {self.measured:,} items have "
            f"their nearest{other} within it)"
        )


def sampled(rows: int, live: np.ndarray | None, count: int | None) -> np.ndarray:
    """The rows to measure, int64, ascending: the `count` live ones of the smallest `mixed`.

    Args:
        rows: how many there are, removed ones included.
        live: bool (rows,), or None when all live.
        count: at most so many; None for all that live.
    """
    kept = np.empty(0, np.int64)
    block = rows if count is None else 1 << 20  # so that a sample of many takes little memory
    for start in range(0, rows, max(1, block)):
        stop = min(start + block, rows)
        fresh = np.arange(start, stop)
        if live is not None:
            fresh = fresh[live[start:stop]]
        kept = np.concatenate([kept, fresh])
        if count is not None and len(kept) > count:
            kept = kept[np.argpartition(mixed(kept), count - 1)[:count]]
    return np.sort(kept)


def place(quantile: float, count: int) -> int:
    """ceil(quantile · count), of the decimal number that `quantile` is written as: 0.07 of 100
    is 7, and not the 8 that binary rounding makes of it."""
    return math.ceil(Fraction(repr(quantile)) * count)


class Thresholds:
    """The thresholds of one opened index."""

    def __init__(self, store: Store, finder: Finder) -> None:
        self._store = store
        self._finder = finder
        self._kept = Kept(store, THRESHOLD, _text, _parsed)

    def current(
        self, metric: str, *, threads: int | None = None, backend: str = "auto"
    ) -> Threshold | None:
        """What "auto" means now: the one that is kept, taken (again) where there is none or the
        index has changed too much; None for an empty index.

        Raises:
            ArgumentError: too few items, or an unknown metric.
        """
        check_metric(metric, _NOT_CALIBRATED)
        state = self._store.state()
        if state.rows == state.removed:
            return None
        known = self._usable(metric)
        if known is not None:
            return known
        with self._store.calibrating:  # what many threads ask for is made once
            known = self._usable(metric)
            if known is not None:
                return known
            old = self._kept.get(metric)
            settings: dict[str, Any] = {"quantile": QUANTILE, "sample": SAMPLE, "group": None}
            if old is not None:
                settings = {name: getattr(old, name) for name in settings}
            found = self._measured(metric, **settings, threads=threads, backend=backend)
            try:
                self._kept.keep(found)
            except StoreError:  # a full disk, say: no reason not to search
                self._kept.remember(found)
            return found

    def calibrate(
        self,
        metric: str,
        quantile: float,
        sample: int | None,
        group: str | None,
        *,
        threads: int | None = None,
        backend: str = "auto",
    ) -> Threshold:
        """Take the metric's threshold and keep it; see `Index.calibrate`."""
        check_metric(metric, _NOT_CALIBRATED)
        if sample is not None:
            sample = positive(sample, "sample", _NOT_CALIBRATED)
        quantile = _checked_quantile(quantile)
        found = self._measured(metric, quantile, sample, group, threads=threads, backend=backend)
        self._kept.keep(found)
        return found

    def save(self) -> int:
        """As `Kept.save`."""
        return self._kept.save()

    def facts(self, state: State) -> dict[str, dict[str, Any]]:
        """Those that are kept, by metric, as plain values, with the `changes` to this state."""
        return {
            metric: {**asdict(found), "changes": found.changes(state.rows, state.removed)}
            for metric, found in self._kept.every().items()
        }

    def _usable(self, metric: str) -> Threshold | None:
        """The one that is kept, unless too much has changed since."""
        known = self._kept.get(metric)
        if known is None:
            return None
        state = self._store.state()
        changes = known.changes(state.rows, state.removed)
        return known if 0 <= changes * CHANGED <= known.live else None

    def _measured(
        self,
        metric: str,
        quantile: float,
        sample: int | None,
        group: str | None,
        *,
        threads: int | None,
        backend: str,
    ) -> Threshold:
        with self._store.reading(_NOT_CALIBRATED):
            view = self._store.view(None, kinds_of(metric), _NOT_CALIBRATED, metric)
            state, live = view.snapshot.state, view.snapshot.live
            groups = None
            if group is not None:
                groups = self._store.groups(group, state.rows, _NOT_CALIBRATED)

        def nearest(
            rows: np.ndarray, mask: np.ndarray | None, k: int
        ) -> tuple[np.ndarray, np.ndarray]:
            queries = self._finder.stored(view, kind_of(metric), rows)
            return self._finder.nearest(
                view, mask, queries, k, metric, threads=threads, backend=backend
            )[:2]

        rows = sampled(state.rows, live, sample)
        blocks = [np.empty(0)]
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            spare = 1 if groups is None else _SPARE
            [(near, _)] = nearest_others(nearest, part, live, [groups], 1, spare=spare)
            blocks.append(near[np.isfinite(near)])
        distances = np.sort(np.concatenate(blocks))
        if not len(distances):
            raise self._too_few(state, group)
        distance = distances[place(quantile, len(distances)) - 1].item()
        if metric == "hamming":
            distance = int(distance)
        return Threshold(
            metric, distance, quantile, sample, group,
            measured=len(distances), live=state.rows - state.removed,
            rows=state.rows, removed=state.removed,
        )  # fmt: skip

    def _too_few(self, state: State, group: str | None) -> ArgumentError:
        live = state.rows - state.removed
        items = "1 item" if live == 1 else f"{live} items"
        alike = f", all of one {group}" if group is not None and live > 1 else ""
        return ArgumentError(
            f"{self._store.folder} holds {items}{alike}: none has another to be compared with",
            f"{_NOT_CALIBRATED}, so that nothing tells a match from none",
            "Add items" + (" or leave the group out" if alike else "") + ", or name a distance",
        )


def check_metric(metric: str, consequence: str) -> None:
    if metric in METRICS and metric not in JUDGED:
        raise ArgumentError(
            f"thresholds and labels are kept for {', '.join(JUDGED)}, and metric is {metric!r}",
            consequence,
            "Use one of those, or search with a max_distance of your own",
        )
    if metric not in JUDGED:
        raise ArgumentError(f"metric is {metric!r}", consequence, f"Use one of {', '.join(JUDGED)}")


def _checked_quantile(value: Any) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.floating)
        or not 0 < value <= 1
    ):
        raise ArgumentError(
            f"quantile is {value!r}, not a number above 0 and at most 1",
            _NOT_CALIBRATED,
            f"Change it; {QUANTILE} lets 95% of the catalogue through",
        )
    return float(value)


def _text(threshold: Threshold) -> str:
    return json.dumps(asdict(threshold))


def _parsed(text: str) -> Threshold | None:
    """A stored threshold; None for one of another make, which is taken again."""
    try:
        return Threshold(**json.loads(text))
    except (TypeError, ValueError):
        return None
