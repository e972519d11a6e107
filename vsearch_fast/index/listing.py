"""What an `Index` offers to list its items, their columns and values."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

from ..checks import Scalar, positive
from . import arguments, titles
from .changes import Changes
from .items import Item
from .store import Store
from .titles import Titles


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

    def by_id(self) -> Iterator[Item]:
        """All items in the order of their ids, as Python sorts them; a page of them is in memory.

        Raises:
            CompactedError: the index was changed meanwhile; iterate over it, where it may be.
        """
        return self._store.by_id()

    def items(self, ids: Iterable[str]) -> list[Item]:
        """The items of these ids, in their order.

        Raises:
            UnknownIdError: names the first that the index does not hold.
        """
        names = arguments.ids(ids, "Nothing was read")
        return [item for _, item in self._store.find(names, "Nothing was read")]

    def mark(self) -> Hashable:
        """What tells the committed state of this opened index from any other: two equal marks are
        of the same rows and items."""
        return self._store.state()

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

    @property
    def titles(self) -> Titles:
        """The columns that `show_as` has chosen."""
        return titles.read(self._store.note(titles.KEY))

    def show_as(self, chosen: Titles) -> None:
        """Keep which columns lead where items are shown; of an index opened for reading this object
        is for a moment its writer.

        Raises:
            LockedError, StoreError: another writer, or a folder that cannot be written.
        """
        writer = self._store if self._store.writable else self._store.writer()
        try:
            Changes(writer).write_note(titles.KEY, chosen.text())
        finally:
            if writer is not self._store:
                writer.close()
