"""What a store hands to those who search it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .stored_sketches import Covered

#: A filter as the store takes it: the facets that are wanted, by column.
Filter = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class State:
    """The line of table `state`. Two equal states of one index are the same content."""

    rows: int
    removed: int
    edits: int


@dataclass(slots=True, eq=False)
class Snapshot:
    """The rows that a search may see: those of one committed state.

    Attributes:
        state: which one.
        live: bool (rows,), False where a tombstone is; None when there are none.
        covered: what is sketched of each segment.
        filters: masks of this state by filter, as they were asked for.
    """

    state: State
    live: np.ndarray | None
    covered: list[Covered] = field(default_factory=list)
    filters: dict[tuple[tuple[str, tuple[str, ...]], ...], np.ndarray] = field(default_factory=dict)
