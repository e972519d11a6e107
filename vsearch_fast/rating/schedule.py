"""Which task a rater gets when.

A schedule follows from the study and the rater's nickname alone, so that stopping and going on,
on any machine, needs nothing but the judgements made so far. Its draws are SHA-256 values
(`study.digest`), not a library's random numbers, which may change with its version.

**Blocks.** All raters go through the same blocks of `BLOCK` queries in the same order, so that
raters who stop early have the same tasks in common and agreement can be computed. Within a block
each rater has an own order of queries.

**Rounds.** Of each query of the block, one task a round. *Better?* has a round for each pair of
systems, and pairs take turns (`_turns`): after any number of tasks no pair is more than one ahead
of another, and over the block each pair has had each query once. *Match?* goes the same way
through the systems, all first places of rows before all second places. A picture that several
systems found is shown once, when the first of them has its turn, and counts for each of them.
Pairs whose rows are identical are not shown, there being nothing to choose: of what is left,
balance is as near as it can be.

With mode "both" a block's comparisons come before its matches, so that keys change their meaning
once a block, not once a task.

**Sides.** Of the occurrences of a pair in a rater's schedule, every two in turn (first and second,
third and fourth ...) show it once each way round, which one first being drawn: after any number
of tasks each system of a pair was left as often as right, up to one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .study import Study, digest

#: Queries that raters go through before any of them sees the next ones.
BLOCK = 10


@dataclass(frozen=True, slots=True)
class Task:
    """One question to a rater.

    Attributes:
        number: place in the rater's schedule, from 1.
        key: names the question, the same for all raters: ``match QUERY PICTURE`` or
            ``better QUERY SYSTEM SYSTEM``, the lower system first.
        mode: what is asked.
        query: number of the query in the study.
        picture: the result that is asked about, or None.
        sides: the systems at the left and at the right, or None.
    """

    number: int
    key: str
    mode: Literal["match", "better"]
    query: int
    picture: int | None = None
    sides: tuple[int, int] | None = None


def tasks(study: Study, nickname: str) -> list[Task]:
    """All tasks of this rater, in order."""
    found: list[Task] = []
    shown: dict[tuple[int, int], int] = {}  # how often each pair was
    for number, block in enumerate(_blocks(study, nickname)):
        for query, pair in _comparisons(study, nickname, number, block):
            count = shown[pair] = shown.get(pair, -1) + 1
            first = digest(study.settings.seed, nickname, "side", *pair, count // 2) % 2
            sides = pair if (first + count) % 2 else (pair[1], pair[0])
            key = f"better {query} {pair[0]} {pair[1]}"
            found.append(Task(len(found) + 1, key, "better", query, sides=sides))
        for query, picture in _matches(study, nickname, number, block):
            key = f"match {query} {picture}"
            found.append(Task(len(found) + 1, key, "match", query, picture))
    return found


def total(study: Study) -> int:
    """How many tasks each rater has."""
    return len(tasks(study, ""))


def _blocks(study: Study, nickname: str) -> Iterator[list[int]]:
    """The queries of each block, in the rater's order."""
    for start in range(0, len(study.queries), BLOCK):
        block = range(start, min(start + BLOCK, len(study.queries)))
        yield sorted(block, key=lambda q: (digest(study.settings.seed, nickname, "order", q), q))


def _turns(
    study: Study, nickname: str, block: int, length: int, kinds: int
) -> Iterator[tuple[int, int]]:
    """Each place of a block with each of so many kinds, once: (place, kind).

    A round passes all places; kinds follow each other in a circle, through the end of a round.
    Where both numbers have a common divisor the circle would give a place the same kind again, and
    is moved on by one whenever that is due: a whole number of circles is complete then, so that
    counts of kinds never differ by more than one. Where a rater's circle begins is drawn.
    """
    begin = digest(study.settings.seed, nickname, "turns", block, kinds)
    rounds = kinds // math.gcd(kinds, length)  # until the circle meets itself
    for turn in range(kinds):
        for place in range(length):
            yield place, (begin + turn * length + place + turn // rounds) % kinds


def _comparisons(
    study: Study, nickname: str, number: int, block: Sequence[int]
) -> Iterator[tuple[int, tuple[int, int]]]:
    pairs = study.pairs
    if not pairs:
        return
    for place, kind in _turns(study, nickname, number, len(block), len(pairs)):
        if not study.identical(block[place], pairs[kind]):
            yield block[place], pairs[kind]


def _matches(
    study: Study, nickname: str, number: int, block: Sequence[int]
) -> Iterator[tuple[int, int]]:
    if study.settings.mode == "better":
        return
    seen: set[tuple[int, int]] = set()
    for rank in range(study.settings.judged):
        for place, system in _turns(study, nickname, number, len(block), len(study.systems)):
            query = block[place]
            row = study.rows[query][system]
            if rank < len(row) and (query, row[rank]) not in seen:
                seen.add((query, row[rank]))
                yield query, row[rank]
