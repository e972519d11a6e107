"""A writer that goes on for ever, and what its index holds after each of its commits."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import fault_truth
from fault_stage import say
from fault_truth import Content, Row

#: Ids that are added, replaced, marked and removed in turn.
_IDS = fault_truth.ids(0, 120)


@lru_cache(8)
def state_after(step: int) -> Content:
    """What the index holds after so many commits."""
    rows: dict[str, Row] = {}
    # Each id is written once in a round of twelve commits: so far back the state reaches.
    for number in range(max(0, step - 36), step):
        _do(rows, number)
    return Content(tuple(rows.values()))


def _do(rows: dict[str, Row], number: int) -> None:
    group = _IDS[number % 12 :: 12]
    if number % 12 == 11:
        for row in list(rows.values())[3::4]:
            del rows[row.id]
        return
    for id_ in group:
        rows.pop(id_, None)
        rows[id_] = Row(id_, number, number)


def keep_writing(folder: Path, step: int) -> None:
    """In an actor: commit after commit, from this one on; says each that has returned."""
    with fault_truth.create(folder) as index:
        say("open")
        while True:
            before, after = state_after(step), state_after(step + 1)
            if before != after:
                fault_truth.advance(index, before, after)
            step += 1
            say(step)
