"""What an `Index` offers to list its items, their columns and values."""

from __future__ import annotations

from ..checks import Scalar, positive
from . import arguments
from .items import Item
from .store import Store


class Listing:
    """A part of `Index`."""

    _store: Store

    def page(
        self,
        limit: int,
        *,
        after: int | None = None,
        where: arguments.Where = None,
    ) -> tuple[list[Item], int | None]:
        """Some items in the order in which they were added, and where the next page begins.

        Args:
            limit: items at most.
            after: what the page before gave; None for the first page.
            where: as for `search`.

        Returns:
            Items, and `after` of the next page; None instead of it on the last one.

        Raises:
            ArgumentError: a limit below 1, an unknown column.
        """
        limit = positive(limit, "limit", "Nothing was read")
        wanted = arguments.where(where, "Nothing was read")
        return self._store.page(limit, after, wanted)

    def values(self, column: str, limit: int = 1000) -> list[tuple[Scalar, int]] | None:
        """The values of a metadata column and how many items have each, most common first.

        None where there are more than `limit` values: a column of names, not of kinds.

        Raises:
            ArgumentError: a column that no item has had.
        """
        found = self._store.values(column, positive(limit, "limit", "Nothing was read"))
        if found is None:
            return None
        return sorted(found, key=lambda pair: (-pair[1], str(pair[0])))

    def columns(self) -> list[str]:
        """Names of the metadata columns that items have, sorted."""
        return self._store.columns()

    def boxed(self) -> int:
        """How many items have a box: their features are those of a part of the picture, of two
        views the second's."""
        return self._store.boxed()
