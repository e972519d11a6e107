"""Which segment files are so small, and so many, that they are worth joining (`optimizing.py`)."""

from __future__ import annotations

from .schema import Meta, default_segment_rows
from .snapshot import State

#: How many times as many files as a new index would have are worth the copying of all rows.
_MANY = 4


def segment_rows_for(meta: Meta, state: State) -> int:
    """Rows a segment file that an index shall have: those of a new index, where the present ones
    are fewer and make more than `_MANY` times as many files; else those it has."""
    usual = default_segment_rows(meta.dim * len(meta.views))
    few = -(-(state.rows - state.removed) // usual)
    worth = usual > state.segment_rows and state.segments > _MANY * max(1, few)
    return usual if worth else state.segment_rows


def facts(meta: Meta, state: State) -> dict[str, int]:
    """What `Index.info` tells: segments, segment_rows, and joined, the segments that `optimize`
    would leave: as many as there are where it would join none."""
    wanted, segments = segment_rows_for(meta, state), state.segments
    if wanted != state.segment_rows:
        segments = -(-(state.rows - state.removed) // wanted)
    return {"segments": state.segments, "segment_rows": state.segment_rows, "joined": segments}
