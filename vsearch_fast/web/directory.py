"""What the catalogue holds beside its features, column by column in memory.

An index answers which rows a filter leaves. A list that is sorted, begins in its middle, or says
how many items have each value under the other filters asks more, and of every kind of index the
same: so a `Directory` is read from one once, and again when it has changed. It takes some hundred
bytes an item: ids, each distinct value once, and for each item its values' numbers.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..checks import Scalar
from ..index.conditions import ORDERS, Condition, number_in
from ..index.items import Item, facet

#: Below it float64 holds every whole number.
_EXACT = 2**53

Kind = Literal["text", "number", "list"]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A metadata column.

    Attributes:
        kind: "number" where every value is one, or a text that is; "list" where an item has
            several values; else "text".
        values: the distinct ones; their places are the codes.
        codes, rows: int32 (m,) each: the item of this row has the value of this code; by row.
    """

    kind: Kind
    values: list[Scalar]
    facets: dict[str, int]
    codes: NDArray[np.int32]
    rows: NDArray[np.int32]

    def kept(self, code: int, facets: Container[str]) -> bool:
        """Whether the value of a code is one of these."""
        return facet(self.values[code]) in facets if facets else False

    def numbers(self) -> NDArray[np.float64]:
        """The values as numbers; NaN where one is none."""
        return np.array([_number(value) for value in self.values], np.float64)

    def comparable(self) -> NDArray[np.float64] | None:
        """The same; None where float64 does not hold each of them as it is."""
        found = [_number_of(value) for value in self.values]
        if any(number is not None and not abs(number) < _EXACT for number in found):
            return None
        return np.array([np.nan if number is None else number for number in found], np.float64)

    def having(self, met: NDArray[np.bool_], rows: int) -> NDArray[np.bool_]:
        """bool (rows,): the items that have one of the values whose codes are `met`."""
        found = np.zeros(rows, bool)
        found[self.rows[met[self.codes]]] = True
        return found

    def order(self) -> NDArray[np.int64]:
        """The rank of each value, by code: numbers, then texts, as people sort them; null last."""

        def key(code: int) -> tuple[int, float, str, str]:
            value = self.values[code]
            number = _number(value)
            if number == number:
                return 0, number, "", ""
            if value is None:
                return 2, 0.0, "", ""
            text = text_of(value)
            return 1, 0.0, text.casefold(), text

        ranks = np.empty(len(self.values), np.int64)
        ranks[sorted(range(len(self.values)), key=key)] = np.arange(len(self.values))
        return ranks


class Directory:
    """The items of one committed state of an index, by row: the order in which they were added.

    Args:
        items: all of them, in that order.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.ids: list[str] = []
        gathered: dict[str, _Gathered] = {}
        for row, item in enumerate(items):
            self.ids.append(item.id)
            for name, value in item.metadata.items():
                gathered.setdefault(name, _Gathered()).add(row, value)
        self.columns = {name: gathered[name].column() for name in sorted(gathered)}
        folded = [id_.casefold() for id_ in self.ids]
        self._comparable: dict[str, NDArray[np.float64] | None] = {}
        self._text = "\n".join(folded)  # words hold no white space, so none goes over a border
        lengths = np.array([len(text) + 1 for text in folded], np.int64)
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    # As `Condition` asks

    def among(self, column: str, facets: Sequence[str]) -> NDArray[np.bool_]:
        """As `conditions.Columns`."""
        known = self.columns.get(column)
        if known is None:
            return np.zeros(len(self), bool)
        met = np.zeros(len(known.values), bool)
        met[[known.facets[each] for each in facets if each in known.facets]] = True
        return known.having(met, len(self))

    def values(self, column: str) -> list[tuple[str, Scalar]]:
        """As `conditions.Columns`."""
        known = self.columns.get(column)
        if known is None:
            return []
        return list(zip(known.facets, known.values, strict=True))

    def compared(self, column: str, order: str, than: int | float) -> NDArray[np.bool_] | None:
        """As `conditions.Columns`."""
        known = self.columns.get(column)
        if known is None:
            return np.zeros(len(self), bool)
        if column not in self._comparable:
            self._comparable[column] = known.comparable()
        numbers = self._comparable[column]
        if numbers is None or abs(than) >= _EXACT:
            return None
        return known.having(np.asarray(ORDERS[order](numbers, than)), len(self))

    def live(self) -> NDArray[np.bool_]:
        """As `conditions.Columns`: all."""
        return np.ones(len(self), bool)

    # As people ask

    def having(self, where: Condition | None, text: str = "") -> NDArray[np.bool_]:
        """bool (items,): those that meet a condition, and have every word of a text in their id or
        one of their values, whatever its case."""
        mask = self.live() if where is None else where.rows(self)
        for word in text.casefold().split():
            mask = mask & self._with(word)
        return mask

    def _with(self, word: str) -> NDArray[np.bool_]:
        found = np.zeros(len(self), bool)
        places = [match.start() for match in re.finditer(re.escape(word), self._text)]
        found[np.searchsorted(self._starts, places, side="right") - 1] = True
        for column in self.columns.values():
            met = np.array([word in text_of(value).casefold() for value in column.values], bool)
            if met.any():
                found |= column.having(met, len(self))
        return found

    def ordered(self, mask: NDArray[np.bool_], sort: str | None) -> NDArray[np.int64]:
        """The rows of a mask: as they were added, by a column, or by ``-column`` from its last
        value to the first; items of one value as they were added, those without one last."""
        rows = np.flatnonzero(mask)
        if not sort:
            return rows
        falling = sort not in self.columns and sort.startswith("-")
        name = sort[1:] if falling else sort
        column = self.columns.get(name)
        if column is None:
            return rows
        missing = len(column.values)
        ranks = column.order()
        ranks = np.where([value is None for value in column.values], missing, ranks)
        keys = np.full(len(self), missing, np.int64)
        if falling:
            ranks = np.where(ranks == missing, missing, missing - 1 - ranks)
        # Of several values the one that comes first counts.
        np.minimum.at(keys, column.rows, ranks[column.codes])
        return rows[np.argsort(keys[rows], kind="stable")]

    def counted(self, name: str, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many items of a mask have each value of a column, by code."""
        column = self.columns[name]
        return np.bincount(column.codes[mask[column.rows]], minlength=len(column.values))

    def span(self, name: str, mask: NDArray[np.bool_]) -> tuple[float, float] | None:
        """The smallest and the largest number of a column among items of a mask."""
        numbers = self.columns[name].numbers()[self.counted(name, mask) > 0]
        numbers = numbers[~np.isnan(numbers)]
        return (float(numbers.min()), float(numbers.max())) if len(numbers) else None


class _Gathered:
    """A column while its items are read."""

    def __init__(self) -> None:
        self._codes: list[int] = []
        self._rows: list[int] = []
        self._facets: dict[str, int] = {}
        self._values: list[Scalar] = []
        self._several = False
        # Facets are JSON texts, which take a while to make: plain texts are looked up first.
        self._known: dict[str, int] = {}

    def add(self, row: int, value: object) -> None:
        if isinstance(value, str):
            code = self._known.get(value)
            if code is None:
                code = self._known[value] = self._code(value)
            self._codes.append(code)
        elif isinstance(value, list | tuple):
            self._several = True
            codes = sorted({self._code(each) for each in value})
            self._codes += codes
            self._rows += [row] * (len(codes) - 1) if codes else []
            if not codes:
                return
        else:
            self._codes.append(self._code(value))  # type: ignore[arg-type]
        self._rows.append(row)

    def _code(self, value: Scalar) -> int:
        key = facet(value)
        code = self._facets.get(key)
        if code is None:
            code = self._facets[key] = len(self._values)
            self._values.append(value)
        return code

    def column(self) -> Column:
        there = [value for value in self._values if value is not None]
        numeric = bool(there) and all(_number(value) == _number(value) for value in there)
        kind: Kind = "list" if self._several else "number" if numeric else "text"
        codes, rows = (np.array(each, np.int32) for each in (self._codes, self._rows))
        return Column(kind, self._values, self._facets, codes, rows)


def _number_of(value: Scalar) -> int | float | None:
    """A number, or a text that is one; None for anything else."""
    if isinstance(value, bool):
        return None
    return number_in(value) if isinstance(value, str) else value


def _number(value: Scalar) -> float:
    """The same as float64; NaN for anything else, and what is too large."""
    number = _number_of(value)
    try:
        return float("nan") if number is None else float(number)
    except OverflowError:
        return float("nan")


def text_of(value: Scalar) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
