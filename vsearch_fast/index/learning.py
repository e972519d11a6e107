"""How an index learns what its distances say of a hit (`likeness.py`).

Of which hits it is learnt is told by `pairs.py`; how, and where it is not known, by `chances.py`.

Rows are the eligible ones, or of more than `sample` of them those of `thresholds.sampled`. What was
learnt is kept in the index, and learnt again as thresholds are; also when a column has come that
was missing then.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import positive
from ..errors import ArgumentError, StoreError
from .chances import chance_of
from .finder import Finder, kind_of, kinds_of
from .kept import LIKENESS, Kept
from .likeness import Chance, Likeness, from_text, to_text
from .pairs import pairs_of
from .snapshot import State
from .store import Store
from .thresholds import CHANGED, check_metric, sampled

#: Share of photos that are taken to show what the catalogue does not have.
ABSENT = 0.5

SAMPLE = 1000

#: Columns that say what is shown, unless others are named.
ITEM, CATEGORY, GROUP = "item", "category", "group"

_NOT_LEARNT = "Nothing was learnt, and what the index knew it still knows"


class Learning:
    """What one opened index learns of its distances."""

    def __init__(self, store: Store, finder: Finder) -> None:
        self._store, self._finder = store, finder
        self._kept = Kept(store, LIKENESS, to_text, from_text)

    def current(
        self, metric: str, *, threads: int | None = None, backend: str = "auto"
    ) -> Likeness | None:
        """What is kept, learnt (again) where there is nothing yet or the index has changed too
        much; None for an empty index.

        Raises:
            ArgumentError: an unknown metric.
        """
        check_metric(metric, _NOT_LEARNT)
        state = self._store.state()
        if state.rows == state.removed:
            return None
        known = self._usable(metric)
        if known is not None:
            return known
        with self._store.calibrating:  # what many threads ask for is learnt once
            known = self._usable(metric)
            if known is not None:
                return known
            old = self._kept.get(metric)
            settings: dict[str, Any] = {
                "item": ITEM, "category": CATEGORY, "group": GROUP, "absent": ABSENT,
                "sample": SAMPLE,
            }  # fmt: skip
            if old is not None:
                settings = {name: getattr(old, name) for name in settings}
            found = self._learnt(metric, **settings, threads=threads, backend=backend)
            try:
                self._kept.keep(found)
            except StoreError:  # a full disk, say: no reason not to search
                self._kept.remember(found)
            return found

    def learn(
        self,
        metric: str,
        *,
        item: str,
        category: str,
        group: str | None,
        absent: float,
        sample: int | None,
        threads: int | None = None,
        backend: str = "auto",
    ) -> Likeness:
        """Learn it and keep it; see `Index.learn`."""
        check_metric(metric, _NOT_LEARNT)
        if sample is not None:
            sample = positive(sample, "sample", _NOT_LEARNT)
        absent = _checked_share(absent)
        known = self._store.known_columns()
        for name, usual in ((item, ITEM), (category, CATEGORY), (group, GROUP)):
            if name is not None and name != usual and name not in known:
                raise ArgumentError(
                    f"The index has no metadata column {name!r}",
                    _NOT_LEARNT,
                    f"Its columns are: {', '.join(map(repr, sorted(known))) or 'none so far'}",
                )
        found = self._learnt(
            metric, item, category, group, absent, sample, threads=threads, backend=backend
        )
        self._kept.keep(found)
        return found

    def kept(self, metric: str) -> Likeness | None:
        """What is known without learning: None where there is nothing, or too much has changed.

        Raises:
            ArgumentError: an unknown metric.
        """
        check_metric(metric, _NOT_LEARNT)
        return self._usable(metric)

    def save(self) -> int:
        """As `Kept.save`."""
        return self._kept.save()

    def facts(self, state: State) -> dict[str, dict[str, Any]]:
        """What is kept, by metric, as plain values, with the `changes` to this state."""
        return {
            metric: {**found.facts(), "changes": found.changes(state.rows, state.removed)}
            for metric, found in self._kept.every().items()
        }

    def _usable(self, metric: str) -> Likeness | None:
        known = self._kept.get(metric)
        if known is None:
            return None
        state = self._store.state()
        if not 0 <= known.changes(state.rows, state.removed) * CHANGED <= known.live:
            return None
        if known.missing and self._store.known_columns().intersection(known.missing):
            return None
        return known

    def _learnt(
        self,
        metric: str,
        item: str,
        category: str,
        group: str | None,
        absent: float,
        sample: int | None,
        *,
        threads: int | None,
        backend: str,
    ) -> Likeness:
        names = [name for name in (item, category, group) if name is not None]
        with self._store.reading(_NOT_LEARNT):
            view = self._store.view(None, kinds_of(metric), _NOT_LEARNT, metric)
            state = view.snapshot.state
            known = self._store.known_columns()
            values = {
                name: self._store.groups(name, state.rows, _NOT_LEARNT)
                for name in names
                if name in known
            }
        live = view.snapshot.live

        def nearest(
            rows: np.ndarray, mask: np.ndarray | None, k: int
        ) -> tuple[np.ndarray, np.ndarray]:
            queries = self._finder.stored(view, kind_of(metric), rows)
            return self._finder.nearest(
                view, mask, queries, k, metric, threads=threads, backend=backend
            )[:2]

        def taught(
            truth: np.ndarray, eligible: np.ndarray, things: np.ndarray, what: str, **owners: Any
        ) -> tuple[Chance | None, str]:
            rows = sampled(state.rows, eligible if live is None else eligible & live, sample)
            pairs = pairs_of(nearest, rows, live, truth, things, absent, **owners)
            return chance_of(pairs, what)

        items, kinds = values.get(item), values.get(category)
        groups = None if group is None else values.get(group)
        same = similar = None
        why_same, why_similar = (f"there is no column {name!r}" for name in (item, category))
        if items is not None:
            several = _held_by(items, live) > 1
            same, why_same = taught(items, several, items, "items of several views")
        if kinds is not None:
            owner = -1 - np.arange(state.rows)
            if items is not None:
                owner = np.where(items >= 0, items, owner)
            if groups is not None:
                owner = np.where(groups >= 0, groups + state.rows, owner)
            similar, why_similar = taught(
                kinds, kinds >= 0, owner, "things of a category", there=owner, views=items
            )
        return Likeness(
            metric, same, similar, why_same, why_similar, item, category, group,
            missing=tuple(name for name in names if name not in known),
            absent=absent, sample=sample, live=state.rows - state.removed,
            rows=state.rows, removed=state.removed,
        )  # fmt: skip


def _held_by(items: np.ndarray, live: np.ndarray | None) -> np.ndarray:
    """How many live rows each row's item has, int64; 0 where the row has no item."""
    known = np.flatnonzero(items >= 0 if live is None else (items >= 0) & live)
    counts = np.zeros(len(items), np.int64)
    if len(known):
        counts[known] = np.bincount(items[known])[items[known]]
    return counts


def _checked_share(value: Any) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.floating)
        or not 0 <= value < 1
    ):
        raise ArgumentError(
            f"absent is {value!r}, not a number from 0 to below 1",
            _NOT_LEARNT,
            f"Change it; {ABSENT} takes half of the photos to show what the index does not have",
        )
    return float(value)
