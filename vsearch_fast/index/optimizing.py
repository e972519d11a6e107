"""An index's rows reduced anew, all of them by what is learnt from all of them; and in few large
files, where they stood in many small ones.

An index that grows keeps for old rows what was learnt when there were few; one that was made before
there were reductions has none. All of it is one change: files of other names are written beside
those that are there, and one transaction says which count. A crash leaves the one or the other.
Small segment files are joined by writing all rows that live to the next generation, as a compaction
does (`compacting.py`), with another number of rows a file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..checks import Progress
from ..errors import StoreError
from . import item_rows, numbers, schema, sealing, stored_reductions
from .changes import write_rows
from .compacting import begin_generation, write_generation
from .joining import segment_rows_for
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


def optimize(
    store: Store, progress: Progress | None = None, segment_rows: int | None = None
) -> list[Optimized]:
    """Reduce all rows anew, in files of another size where that is due; see `Index.optimize`."""
    if segment_rows is not None:
        segment_rows = schema.checked_segment_rows(segment_rows, _NOT_OPTIMIZED)
    with store.change(_NOT_OPTIMIZED):
        if store.database.nested:
            raise StoreError(
                f"{store.folder} is in the midst of a transaction",
                _NOT_OPTIMIZED,
                "Optimise it before or after",
            )
        old = store.found_by_change
        wanted = segment_rows or segment_rows_for(store.meta, old.state)
        joined = wanted != old.state.segment_rows
        if joined:
            written = write_generation(
                store, old, wanted, _NOT_OPTIMIZED, copied=progress, reduced=progress, anew=True
            )
        else:
            written = write_rows(
                store, store.files, old.state, old.covered, 0, iter(()), _NOT_OPTIMIZED,
                old.reduced, progress, anew=True,
            )  # fmt: skip
        with store.statements(_NOT_OPTIMIZED) as sql:
            if joined:
                begin_generation(sql, store, old, written)
            else:
                if written.plans:
                    sql.execute("UPDATE state SET edits = edits + 1")
                written.note(sql, store)
            if not numbers.there(sql):
                item_rows.number_all(sql, store.rows)
            state = sealing.read_state(sql)
            held = store.reduced(sql, state)
            told = stored_reductions.newest(sql, store.database.file)
    store.tidy()
    made = []
    for plan in written.plans:
        found, before = held.get(plan.metric), old.reduced.get(plan.metric)
        facts = told[plan.metric].told
        made.append(
            Optimized(
                plan.metric,
                state.rows * store.views,
                found.lines(store.views) if found else 0,
                facts.get("bytes", 0),
                tuple(facts["left"]) if "left" in facts else None,
                before.lines(store.views) if before else 0,
            )
        )
    return made
