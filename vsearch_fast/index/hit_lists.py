"""Hits as they are returned: lists, which are also tables, and what a notebook shows of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from .. import notebook
from ..optional import optional
from ..words import distance_text, plural
from .arrow import arrow_package, box_array, metadata_array, metadata_fields
from .arrow_reading import BOX
from .hits import Hit

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

#: Columns that are no metadata; what is, and has such a name, has "metadata." before it.
_RESERVED = ("query", "rank", "id", "distance", "path", *BOX)
_NOT_MADE = "No table was made"
#: Hits of a query that a notebook shows, queries, and pictures of all of them.
_SHOWN, _QUERIES, _PICTURES = 20, 10, 60
#: Metadata that a picture is shown with.
_LINES = 3


class _Tabled:
    """What lists of hits have in common."""

    def _lines(self) -> tuple[list[int] | None, list[int], list[Hit]]:
        """Of all hits the queries' numbers (None: there is one query), ranks from 1 on, and
        themselves."""
        raise NotImplementedError

    def to_arrow(self) -> pyarrow.Table:
        """A table of Arrow, one line a hit: ``query`` (from 0 on; of several queries alone),
        ``rank`` (from 1 on), ``id``, ``distance`` (int64 where all are bits, else float64),
        ``path``, the box ``x1``, ``y1``, ``x2``, ``y2``, and the metadata, typed as in
        `Index.to_arrow`.

        Raises:
            MissingDependencyError: pyarrow is not installed.
        """
        return self._table(arrow_package(_NOT_MADE))

    def _table(self, arrow: Any) -> Any:
        queries, ranks, hits = self._lines()
        bits = bool(hits) and all(isinstance(hit.distance, int) for hit in hits)
        columns = {} if queries is None else {"query": arrow.array(queries, arrow.int64())}
        columns |= {
            "rank": arrow.array(ranks, arrow.int64()),
            "id": arrow.array([hit.id for hit in hits], arrow.string()),
            "distance": arrow.array(
                [hit.distance for hit in hits], arrow.int64() if bits else arrow.float64()
            ),
            "path": arrow.array([hit.path for hit in hits], arrow.string()),
        }
        columns |= {name: box_array(arrow, name, [hit.box for hit in hits]) for name in BOX}
        for field in metadata_fields(arrow, hits, _RESERVED):
            columns[field.name] = metadata_array(arrow, field, hits)
        return arrow.table(columns)

    def to_pandas(self) -> pandas.DataFrame:
        """The table of `to_arrow` as a frame of pandas. Whole numbers and truth values are of
        pandas' own types that know what is missing (``Int64``, ``boolean``), so that none becomes a
        float.

        Raises:
            MissingDependencyError: pandas or pyarrow is not installed.
        """
        arrow = arrow_package(_NOT_MADE)
        pandas_ = optional(
            "pandas", "The package pandas is not installed", _NOT_MADE, "frames",
            "take to_arrow() or to_polars()",
        )  # fmt: skip
        types = {
            arrow.int32(): pandas_.Int32Dtype(), arrow.int64(): pandas_.Int64Dtype(),
            arrow.bool_(): pandas_.BooleanDtype(),
        }  # fmt: skip
        return self._table(arrow).to_pandas(types_mapper=types.get)

    def to_polars(self) -> polars.DataFrame:
        """The table of `to_arrow` as a frame of Polars.

        Raises:
            MissingDependencyError: Polars or pyarrow is not installed.
        """
        polars_ = optional(
            "polars", "The package polars is not installed", _NOT_MADE, "frames",
            "take to_arrow() or to_pandas()",
        )  # fmt: skip
        return polars_.from_arrow(self._table(arrow_package(_NOT_MADE)))


class Hits(list[Hit], _Tabled):
    """The hits of a query, nearest first: a list. A notebook shows their pictures."""

    @overload
    def __getitem__(self, at: SupportsIndex, /) -> Hit: ...
    @overload
    def __getitem__(self, at: slice, /) -> Hits: ...
    def __getitem__(self, at: SupportsIndex | slice, /) -> Hit | Hits:
        found = super().__getitem__(at)
        return found if isinstance(found, Hit) else Hits(found)

    def _lines(self) -> tuple[None, list[int], list[Hit]]:
        return None, list(range(1, len(self) + 1)), self

    def _repr_html_(self) -> str:
        return notebook.whole([self._row(_SHOWN)], "Hits")

    def _row(self, most: int) -> str:
        if not self:
            return notebook.heading("No hits")
        tiles = [_tile(rank, hit) for rank, hit in enumerate(self[:most], 1)]
        more = len(self) - len(tiles)
        return notebook.row(tiles) + (notebook.heading(f"and {more:,} more") if more else "")


class Answers(list[Hits], _Tabled):
    """The hits of each query, as `Index.search` returns them: a list of `Hits`."""

    def __init__(self, answers: Iterable[Sequence[Hit]] = ()) -> None:
        super().__init__(each if isinstance(each, Hits) else Hits(each) for each in answers)

    def _lines(self) -> tuple[list[int], list[int], list[Hit]]:
        return (
            [query for query, hits in enumerate(self) for _ in hits],
            [rank for hits in self for rank in range(1, len(hits) + 1)],
            [hit for hits in self for hit in hits],
        )

    def _repr_html_(self) -> str:
        shown = self[:_QUERIES]
        each = max(1, min(_SHOWN, _PICTURES // max(1, len(shown))))
        parts = []
        for number, hits in enumerate(shown):
            parts += [
                notebook.heading(f"Query {number}", plural(len(hits), "hit")), hits._row(each)
            ]  # fmt: skip
        if len(self) > len(shown):
            parts.append(notebook.heading(f"and {len(self) - len(shown):,} queries more"))
        return notebook.whole(parts or [notebook.heading("No queries")], "Hits of queries")


def _tile(rank: int, hit: Hit) -> notebook.Tile:
    name = notebook.file_name(hit.path, hit.id)
    distance = distance_text(hit.distance)
    known = [
        f"{column}: {', '.join(map(str, value)) if isinstance(value, list | tuple) else value}"
        for column, value in hit.metadata.items()
        if value not in (None, "", [])
    ]
    return notebook.Tile(
        hit.path, hit.box, f"Hit {rank}: {name}, distance {distance}", f"{rank}. {hit.id}",
        [f"distance {distance}", *known[:_LINES]],
    )  # fmt: skip
