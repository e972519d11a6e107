"""An index's rows reduced anew, all of them by what is learnt from all of them.

An index that grows keeps for old rows what was learnt when there were few; one that was made before
there were reductions has none. All of it is one change: files of other names are written beside
those that are there, and one transaction says which count. A crash leaves the one or the other.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..checks import Progress
from ..errors import StoreError
from . import item_rows, numbers, stored_reductions
from .changes import write_rows
from .store import Store

_NOT_OPTIMIZED = "The index was not optimised, and is as it was"


@dataclass(frozen=True, slots=True)
class Optimized:
    """What `optimize` did for a metric.

    Attributes:
        metric: of the searches that it is for.
        rows: that the index has, of several views each one counted.
        reduced: how many of them are reduced.
        bytes: of a reduced row, of all the rows of a sketch 1 a number.
        left: shares of a sample's rows that coarse numbers leave to be compared by fine ones, and
            these to be compared by sketches; of codes, that sums of bits leave to be read to the
            half, and the first halves to be read whole. None where there can be none of such rows.
        before: rows that were reduced.
    """

    metric: str
    rows: int
    reduced: int
    bytes: int
    left: tuple[float, ...] | None
    before: int

    @property
    def pays(self) -> bool:
        """Whether rows are reduced: where the sample shows that it would not pay, none are."""
        return self.reduced > 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "pays": self.pays}


def optimize(store: Store, progress: Progress | None = None) -> list[Optimized]:
    """Reduce all rows anew; see `Index.optimize`."""
    views = len(store.meta.views)
    with store.change(_NOT_OPTIMIZED):
        if store.database.nested:
            raise StoreError(
                f"{store.folder} is in the midst of a transaction",
                _NOT_OPTIMIZED,
                "Optimise it before or after",
            )
        old = store.found_by_change
        written = write_rows(
            store, store.files, old.state, old.covered, 0, iter(()), _NOT_OPTIMIZED, old.reduced,
            progress, anew=True,
        )  # fmt: skip
        with store.statements(_NOT_OPTIMIZED) as sql:
            if written.plans:
                sql.execute("UPDATE state SET edits = edits + 1")
            written.note(sql, store)
            if not numbers.there(sql):
                item_rows.number_all(sql, store.rows)
            held = store.reduced(sql, old.state)
            told = stored_reductions.newest(sql, store.database.file)
    store.tidy()
    made = []
    for plan in written.plans:
        found, before = held.get(plan.metric), old.reduced.get(plan.metric)
        facts = told[plan.metric].told
        made.append(
            Optimized(
                plan.metric,
                old.state.rows * views,
                found.lines(views) if found else 0,
                facts.get("bytes", 0),
                tuple(facts["left"]) if "left" in facts else None,
                before.lines(views) if before else 0,
            )
        )
    return made
