"""What a filter asks of metadata, and which values have it: `Condition` and its kinds.

A value of a column is true, false, a number or a text; null is a value, too, which meets nothing
but ``is null`` and an equality with null. An item that lacks a column has no value there. So a
comparison is false of what is missing, and its negation, which is everything else, true.

Numbers are compared with numbers and with texts that are numbers (lists of files know nothing but
texts), exactly; texts with texts, by their Unicode code points: dates as ISO 8601 has them
(2026-05-01) are thus in the order of time.
"""

from __future__ import annotations

import operator
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ..checks import Scalar
from .items import facet

ORDERS: Mapping[str, Callable[[typing.Any, typing.Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_LONGEST_NUMBER = 100


def number_in(text: str) -> int | float | None:
    """The number that a text is, exactly where it is whole; None where it is none."""
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text.strip()):
        return None
    try:
        return int(text)
    except ValueError:
        return float(text)


class Columns(Protocol):
    """What conditions are asked of: the items of one committed state, by row."""

    def among(self, column: str, facets: Sequence[str]) -> np.ndarray:
        """bool (rows,): those that have one of these facets in a column."""

    def values(self, column: str) -> Sequence[tuple[str, Scalar]]:
        """Each value that there is in a column, behind its facet."""

    def compared(self, column: str, order: str, than: int | float) -> np.ndarray | None:
        """bool (rows,): those with a number in a column that is before or behind another, as
        `order`, one of ORDERS, says; None where that is not known without looking at each value."""

    def live(self) -> np.ndarray:
        """bool (rows,): those that are not removed."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that an item meets or does not; hashable, and equal where it is written alike."""

    def rows(self, columns: Columns) -> np.ndarray:
        """bool (rows,): the live rows that meet it."""
        raise NotImplementedError

    def columns(self) -> frozenset[str]:
        """Names of the columns that it asks for."""
        raise NotImplementedError

    def renamed(self, name_of: Callable[[str], str]) -> Condition:
        """The same of columns by other names."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _OfColumn(Condition):
    column: str

    def columns(self) -> frozenset[str]:
        return frozenset({self.column})

    def renamed(self, name_of: Callable[[str], str]) -> Condition:
        return replace(self, column=name_of(self.column))


@dataclass(frozen=True, slots=True)
class Among(_OfColumn):
    """The value is one of these: `facets`, sorted."""

    facets: tuple[str, ...]

    @classmethod
    def of(cls, column: str, values: Sequence[Scalar]) -> Among:
        return cls(column, tuple(sorted({facet(value) for value in values})))

    def rows(self, columns: Columns) -> np.ndarray:
        return columns.among(self.column, self.facets)


@dataclass(frozen=True, slots=True)
class _OfValues(_OfColumn):
    """A condition that looks at each value by itself."""

    def accepts(self, value: Scalar) -> bool:
        raise NotImplementedError

    def rows(self, columns: Columns) -> np.ndarray:
        met = [key for key, value in columns.values(self.column) if self.accepts(value)]
        return columns.among(self.column, met)


@dataclass(frozen=True, slots=True)
class Compared(_OfValues):
    """The value is before or behind another, as `order`, one of ORDERS, says; both numbers, or
    both texts."""

    order: str
    than: int | float | str

    def accepts(self, value: Scalar) -> bool:
        if isinstance(self.than, str):
            return isinstance(value, str) and ORDERS[self.order](value, self.than)
        number = number_in(value) if isinstance(value, str) else value
        if number is None or isinstance(number, bool):
            return False
        return ORDERS[self.order](number, self.than)

    def rows(self, columns: Columns) -> np.ndarray:
        met = None
        if not isinstance(self.than, str):
            met = columns.compared(self.column, self.order, self.than)
        return super(Compared, self).rows(columns) if met is None else met


@dataclass(frozen=True, slots=True)
class Containing(_OfValues):
    """The value, a text, has this one in it, whatever their case."""

    text: str

    def accepts(self, value: Scalar) -> bool:
        return isinstance(value, str) and self.text.casefold() in value.casefold()


@dataclass(frozen=True, slots=True)
class Missing(_OfColumn):
    """There is no value, or null."""

    def rows(self, columns: Columns) -> np.ndarray:
        there = [key for key, value in columns.values(self.column) if value is not None]
        return columns.live() & ~columns.among(self.column, there)


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """The other is not met."""

    part: Condition

    def rows(self, columns: Columns) -> np.ndarray:
        return columns.live() & ~self.part.rows(columns)

    def columns(self) -> frozenset[str]:
        return self.part.columns()

    def renamed(self, name_of: Callable[[str], str]) -> Condition:
        return Not(self.part.renamed(name_of))


@dataclass(frozen=True, slots=True)
class _OfParts(Condition):
    parts: tuple[Condition, ...]

    def columns(self) -> frozenset[str]:
        return frozenset().union(*(part.columns() for part in self.parts))

    def renamed(self, name_of: Callable[[str], str]) -> Condition:
        return type(self)(tuple(part.renamed(name_of) for part in self.parts))


@dataclass(frozen=True, slots=True)
class All(_OfParts):
    """Each of one or more is met."""

    def rows(self, columns: Columns) -> np.ndarray:
        met = self.parts[0].rows(columns)
        for part in self.parts[1:]:
            met = met & part.rows(columns)
        return met


@dataclass(frozen=True, slots=True)
class Any(_OfParts):
    """One or more is met."""

    def rows(self, columns: Columns) -> np.ndarray:
        met = self.parts[0].rows(columns)
        for part in self.parts[1:]:
            met = met | part.rows(columns)
        return met


def all_of(*conditions: Condition | None) -> Condition | None:
    """All of those that are there; None where none is."""
    there = tuple(condition for condition in conditions if condition is not None)
    return there[0] if len(there) == 1 else All(there) if there else None
