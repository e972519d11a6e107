"""What a store hands to those who search it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .conditions import Condition
from .segments import SegmentFiles
from .stored_reductions import Held, Reducing
from .stored_sketches import Covered


@dataclass(frozen=True, slots=True)
class State:
    """The line of table `state`, and how its rows are cut into files. Two equal states of one index
    are the same content.

    Attributes:
        rows: committed, removed ones included.
        removed: how many of them.
        edits: count of changes to what existed.
        generation: count of compactions: in each of them rows got other numbers, or other files.
        tombs: the sum of the removed rows' numbers (`sealing.tombs`); None in format 1.
        segment_rows: rows a segment file, of `meta`: another generation may have another number.
    """

    rows: int
    removed: int
    edits: int
    generation: int = 0
    tombs: int | None = None
    segment_rows: int = 1

    @property
    def segments(self) -> int:
        """How many segments the rows take."""
        return -(-self.rows // self.segment_rows)


@dataclass(slots=True, eq=False)
class Snapshot:
    """The rows that a search may see: those of one committed state.

    Attributes:
        state: which one.
        files: where its rows are.
        live: bool (rows,), False where a tombstone is; None when there are none.
        covered: what is sketched of each segment.
        reduced: what is reduced, by metric.
        reductions: by metric and id, those that were asked for.
        sketches: as they were handed to searches, by metric and segment (`reading.py`).
        filters: masks of this state by filter, as they were asked for.
    """

    state: State
    files: SegmentFiles
    live: np.ndarray | None
    covered: list[Covered] = field(default_factory=list)
    reduced: dict[str, Held] = field(default_factory=dict)
    reductions: dict[str, dict[int, Reducing]] = field(default_factory=dict)
    sketches: dict[tuple[str, int], tuple[list[Any], Any]] = field(default_factory=dict)
    filters: dict[Condition, np.ndarray] = field(default_factory=dict)
