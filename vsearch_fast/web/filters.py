"""What requests leave out of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence

from ..checks import Value
from ..errors import CompactedError
from ..index.conditions import Condition, all_of
from ..index.filter_language import read_filter
from ..index.hits import Hit
from ..index.index import Index
from ..index.items import Item, facet
from ..index.where import read_where
from .faults import RequestError

_NOT_SEARCHED = "Nothing was searched"


def parse_where(texts: Sequence[str], wanted: str | None = None) -> Condition | None:
    """A filter of an index from ``column=value`` texts, and one of the language of filters;
    RequestError for any that is not, ArgumentError for one that cannot be read."""
    pairs = []
    for text in texts:
        column, equals, value = text.partition("=")
        if not column or not equals:
            raise RequestError(
                400, f"The filter {text[:80]!r} is not column=value", _NOT_SEARCHED,
                "Write, for instance, category=Dress",
            )  # fmt: skip
        pairs.append((column, value))
    return all_of(read_where(pairs), read_filter(wanted, _NOT_SEARCHED) if wanted else None)


#: Items, and where the next page begins; None where none follows.
Page = tuple[list[Item], int | None]


def page(index: Index, limit: int, after: int | None, where: Condition | None) -> Page:
    """As `Index.page`; RequestError (409) where the place is of the catalogue as it was before it
    was compacted."""
    try:
        return index.page(limit, after=after, where=where)
    except CompactedError:
        raise RequestError(
            409, "`after` is of the catalogue as it was before it was compacted",
            "No page was sent", "Begin again with the first page",
        ) from None  # fmt: skip


def without(id_: str, thing: Value, column: str | None, hits: Sequence[Hit]) -> list[Hit]:
    """Hits but for this item, and where a column tells things for others of the same thing."""

    def same(hit: Hit) -> bool:
        if column is None or thing is None:
            return hit.id == id_
        return hit.id == id_ or facet(hit.metadata.get(column)) == facet(thing)

    return [hit for hit in hits if not same(hit)]
