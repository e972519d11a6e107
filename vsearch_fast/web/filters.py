"""What requests leave out of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from ..checks import Value
from ..errors import ArgumentError, CompactedError
from ..index.conditions import Condition, all_of
from ..index.filter_language import read_filter
from ..index.hits import Hit
from ..index.index import Index
from ..index.items import Item, facet
from ..index.where import read_where
from .faults import RequestError

_NOT_SEARCHED = "Nothing was searched"


def parse_where(
    texts: Sequence[str], wanted: str | None = None, columns: Collection[str] = ()
) -> Condition | None:
    """A filter of an index from ``column=value`` texts, and one of the language of filters.

    Args:
        columns: that there are: the name of one may have a ``=`` in it.

    Raises:
        RequestError: one of the texts is not as it should be.
    """
    pairs = [_pair(text, columns) for text in texts]
    if not wanted:
        return read_where(pairs)
    try:
        return all_of(read_where(pairs), read_filter(wanted, _NOT_SEARCHED))
    except ArgumentError as error:
        raise RequestError("bad_filter", error.cause, error.consequence, error.cure) from None


def _pair(text: str, columns: Collection[str]) -> tuple[str, str]:
    places = [match.start() for match in re.finditer("=", text)]
    if not places or not places[0]:
        raise RequestError(
            "bad_filter", f"The filter {text[:80]!r} is not column=value", _NOT_SEARCHED,
            "Write, for instance, category=Dress",
        )  # fmt: skip
    at = next((place for place in places if text[:place] in columns), places[0])
    return text[:at], text[at + 1 :]


#: Items, and where the next page begins; None where none follows.
Page = tuple[list[Item], int | None]


def page(index: Index, limit: int, after: int | None, where: Condition | None) -> Page:
    """As `Index.page`; RequestError (409) where the place is of the catalogue as it was before it
    was compacted."""
    try:
        return index.page(limit, after=after, where=where)
    except CompactedError:
        raise RequestError(
            "compacted", "`after` is of the catalogue as it was before it was compacted",
            "No page was sent", "Begin again with the first page",
        ) from None  # fmt: skip


def without(left_out: Mapping[str, Value], column: str | None, hits: Sequence[Hit]) -> list[Hit]:
    """Hits but for some items, and where a column tells things for others of the same things.

    Args:
        left_out: the thing of each of them by its id; None where none is known.
    """
    things = {facet(thing) for thing in left_out.values() if thing is not None}

    def same(hit: Hit) -> bool:
        if hit.id in left_out:
            return True
        return column is not None and facet(hit.metadata.get(column)) in things

    return [hit for hit in hits if not same(hit)]
