"""What of an index is reduced, and by what, as a `Store` reads it."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

from ..disk.database import Database
from . import sealing, stored_reductions
from .schema import Meta
from .snapshot import Snapshot, State
from .stored_reductions import Held, Reducing


class ReducedReading:
    """A part of `Store`, which has the rest."""

    database: Database
    meta: Meta
    _whole: bool
    _reductions: dict[tuple[int, int], Reducing]  # by id and sum

    def reading(self, consequence: str) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        """As `Store.reading`."""
        raise NotImplementedError

    @property
    def views(self) -> int:
        """Of an item."""
        return len(self.meta.views)

    def reduced(self, sql: sqlite3.Connection, state: State) -> dict[str, Held]:
        """What is reduced, by metric.

        Raises:
            DamagedError: what is said of it is not as it was written.
        """
        if not (self.meta.sketched and self.meta.summed):
            return {}
        return stored_reductions.held(sql, self.database.file, state.segments, whole=self._whole)

    def reduction(self, sql: sqlite3.Connection, id_: int, metric: str) -> Reducing | None:
        """A reduction of this index, always the same object; None: of an unknown layout.

        Raises:
            DamagedError: it is not as it was written.
        """
        key = id_, stored_reductions.sum_of(sql, id_)
        known = self._reductions.get(key)
        if known is None:
            known = stored_reductions.read(sql, self.database.file, id_, metric)
            if known is not None:
                known = self._reductions.setdefault(key, known)
        return known

    def reductions_of(
        self, sql: sqlite3.Connection, snapshot: Snapshot, metric: str
    ) -> dict[int, Reducing]:
        """Those that a snapshot's rows are reduced by, by id; read when they are first asked for.

        Raises:
            DamagedError: one is not as it was written.
        """
        found = snapshot.reductions.get(metric)
        if found is None:
            held, found = snapshot.reduced.get(metric), {}
            for id_ in held.ids if held else ():
                reduction = self.reduction(sql, id_, metric)
                if reduction is not None and held and held.fits(reduction.widths, self.views):
                    found[id_] = reduction
            snapshot.reductions[metric] = found
        return found

    def reduction_facts(self) -> dict[str, Any]:
        """What `Index.info` tells: see `stored_reductions.facts`."""
        with self.reading("Nothing was read") as sql:
            held = self.reduced(sql, sealing.read_state(sql))
            lines = stored_reductions.learnt(sql, self.database.file)
        return stored_reductions.facts(lines, held, self.views)
