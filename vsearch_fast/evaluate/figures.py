"""What one number of the table is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the table, with its 95% interval.

    Attributes:
        scope: "all categories", or those that a top-N model knows.
        row, distance: the model and "l1", "l2" or "hamming"; the control has no distance.
        measure: "P", "item recall", "pattern", ...; ``k`` neighbours.
        rule: whom a query may be matched with.
        average: "micro" or "macro".
        queries: how many it is taken over; ``unmatched`` of them had no eligible match.
    """

    scope: str
    row: str
    distance: str
    measure: str
    k: int
    rule: str
    average: str
    value: float
    low: float
    high: float
    queries: int
    unmatched: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Row less another, by the same distance, with the paired 95% interval."""

    scope: str
    row: str
    other: str
    distance: str
    measure: str
    k: int
    rule: str
    average: str
    value: float
    low: float
    high: float
