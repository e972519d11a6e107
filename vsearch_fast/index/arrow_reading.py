"""A table of Arrow as the items, vectors and codes of an index to be."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import warnings
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

from ..checks import Value
from ..errors import ArgumentError, DTypeError
from ..loading import package
from .items import Item

#: Key of what tables of an index say about themselves, in the metadata of schema and fields.
NOTE = b"vsearch_fast"
BOX = ("x1", "y1", "x2", "y2")
#: Columns that are no metadata; what is, and has such a name, has this before it.
RESERVED = ("id", "path", *BOX, "stamp", "vector", "code")
PREFIX = "metadata."

_NOT_MADE = "The index was not made"
#: Rows that are added at a time, at most.
_ROWS = 4096


class Table:
    """Reads a table, whose columns it has found their meaning for.

    Args:
        arrow: the package pyarrow.
        source, id, vector: as for `Index.from_arrow`.

    Attributes:
        told: what a table of an index says about it: dtype, views, model_id, model.
        views: of its items.
        width: numbers of a row's vector.

    Raises:
        ArgumentError: no column of vectors, several, or none that has a length.
        DTypeError: no table.
    """

    def __init__(self, arrow: Any, source: Any, id: str, vector: str | None) -> None:
        self._arrow = arrow
        reader = self._reader(source)
        schema = reader.schema
        self.told: dict[str, Any] = json.loads((schema.metadata or {}).get(NOTE, b"{}"))
        self.views: list[str] = self.told.get("views", ["whole"])
        self._vector = self._vector_column(schema, vector)
        self._id = id if id in schema.names else None
        if self._id is None and id != "id":
            raise ArgumentError(
                f"The table has no column {id!r} of ids", _NOT_MADE,
                f"Its columns are {', '.join(schema.names)}",
            )  # fmt: skip
        texts = arrow.types.is_string, arrow.types.is_large_string, arrow.types.is_string_view
        named = "path" in schema.names and any(t(schema.field("path").type) for t in texts)
        self._path = "path" if named else None
        self._code = "code" if self.told and "code" in schema.names else None
        self._boxed = all(name in schema.names for name in BOX)
        self._columns = self._metadata_columns(schema)
        first = next((batch for batch in reader if batch.num_rows), None)
        self._batches = chain([] if first is None else [first], reader)
        self.width = self._width(schema.field(self._vector).type, first)

    def _reader(self, source: Any) -> Any:
        arrow = self._arrow
        if isinstance(source, arrow.RecordBatchReader):
            return source
        if hasattr(source, "scanner"):  # a data set
            return source.scanner().to_reader()
        if hasattr(source, "__arrow_c_stream__"):
            return arrow.RecordBatchReader.from_stream(source)
        raise DTypeError(
            f"source is a {type(source).__name__}, which is no table", _NOT_MADE,
            "Pass one of pyarrow, Polars or pandas",
        )  # fmt: skip

    def _vector_column(self, schema: Any, name: str | None) -> str:
        found = [field.name for field in schema if self._is_vector(field.type)]
        if name is None and self.told:
            name = "vector"
        if name is None and len(found) == 1:
            name = found[0]
        if name not in found:
            which = "no column of vectors" if name is None else f"no column {name!r} of vectors"
            if name is None and found:
                which = f"{len(found)} columns of vectors, {', '.join(found)}"
            raise ArgumentError(
                f"The table has {which}",
                _NOT_MADE,
                "Name the one that holds lists of numbers, all of one length: "
                f"its columns are {', '.join(f'{f.name} ({f.type})' for f in schema)}",
            )
        return str(name)

    def _is_vector(self, kind: Any) -> bool:
        types = self._arrow.types
        lists = (types.is_fixed_size_list, types.is_list, types.is_large_list)
        return any(is_one(kind) for is_one in lists) and types.is_floating(kind.value_type)

    def _metadata_columns(self, schema: Any) -> dict[str, tuple[str, bool]]:
        """The name in the index of each column that becomes metadata, and whether it is JSON."""
        known = {self._vector, self._id, self._path, self._code}
        if self.told:
            known.add("stamp")
        if self._boxed:
            known |= set(BOX)
        found, left_out = {}, []
        for field in schema:
            if field.name in known:
                continue
            if not self._is_plain(field.type):
                left_out.append(f"{field.name} ({field.type})")
                continue
            name = field.name
            if self.told:
                name = name.removeprefix(PREFIX)
            found[field.name] = name, (field.metadata or {}).get(NOTE) == b"json"
        if left_out:
            warnings.warn(
                f"Columns that hold no plain values are left out: {', '.join(left_out)}",
                stacklevel=4,
            )
        return found

    def _is_plain(self, kind: Any) -> bool:
        types = self._arrow.types
        if types.is_dictionary(kind):
            kind = kind.value_type
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            kind = kind.value_type
        tests = (
            types.is_string, types.is_large_string, types.is_string_view, types.is_boolean,
            types.is_integer, types.is_floating, types.is_decimal, types.is_temporal, types.is_null,
        )  # fmt: skip
        return any(is_one(kind) for is_one in tests)

    def _width(self, kind: Any, first: Any) -> int:
        if self._arrow.types.is_fixed_size_list(kind):
            return int(kind.list_size)
        if first is None:
            raise ArgumentError(
                "The table has no rows, and does not say how long its vectors are", _NOT_MADE,
                "Make it with rows, or the column a list of a fixed size",
            )  # fmt: skip
        return len(first.column(self._vector)[0].as_py() or ()) or self._no_vector(0)

    @staticmethod
    def _no_vector(row: int) -> int:
        raise ArgumentError(
            f"Row {row + 1} of the table has no vector", _NOT_MADE, "Leave it out of the table"
        )

    def blocks(self) -> Iterator[tuple[list[Item], np.ndarray, np.ndarray | None]]:
        """Items, their vectors, (n, dim) or (n, views, dim), and their codes where there are any.

        Raises:
            ArgumentError: names the row whose vector is missing or of another length.
        """
        done = 0
        for whole in self._batches:
            for start in range(0, whole.num_rows, _ROWS):
                batch = whole.slice(start, _ROWS)
                items = self._items(batch, done)
                vectors = self._vectors(batch.column(self._vector), done)
                codes: np.ndarray | None = None
                if self._code is not None:
                    cells = b"".join(batch.column(self._code).to_pylist())
                    codes = np.frombuffer(cells, np.uint8).reshape(len(items), -1)
                views = len(self.views)
                if views > 1:
                    vectors = vectors.reshape(len(items), views, -1)
                    codes = None if codes is None else codes.reshape(len(items), views, -1)
                yield items, vectors, codes
                done += len(items)

    def _vectors(self, column: Any, done: int) -> np.ndarray:
        lengths = package("pyarrow.compute").list_value_length(column).to_pylist()
        for row, length in enumerate(lengths):
            if length is None:
                self._no_vector(done + row)
            if length != self.width:
                raise ArgumentError(
                    f"Row {done + row + 1} of the table has a vector of {length} numbers, and those"
                    f" before it {self.width}",
                    "The rows before it are in the index",
                    "Correct it, or leave it out of the table",
                )
        flat = column.flatten()
        if flat.null_count:
            raise ArgumentError(
                f"A vector of rows {done + 1} to {done + len(lengths)} of the table holds null",
                "The rows before them are in the index",
                "Correct it, or leave it out of the table",
            )
        return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(-1, self.width)

    def _items(self, batch: Any, done: int) -> list[Item]:
        def cells(name: str | None) -> list[Any]:
            there = name is not None and name in batch.schema.names
            return batch.column(name).to_pylist() if there else [None] * batch.num_rows

        ids = cells(self._id)
        if self._id is None:
            ids = [str(done + row) for row in range(batch.num_rows)]
        boxes = list(zip(*map(cells, BOX), strict=True)) if self._boxed else cells(None)
        paths, stamps = cells(self._path), cells("stamp" if self.told else None)
        columns = {name: (cells(name), *about) for name, about in self._columns.items()}
        items = []
        for row in range(batch.num_rows):
            metadata = {}
            for values, name, as_json in columns.values():
                value = values[row]
                if value is not None:
                    value = json.loads(value) if as_json else _plain(value)
                if value is not None:
                    metadata[name] = value
            box = boxes[row] if boxes[row] is not None and None not in boxes[row] else None
            items.append(Item(str(ids[row]), paths[row], box, metadata, stamps[row]))
        return items


def _plain(value: Any) -> Value:
    """A cell as metadata holds it: dates as ISO 8601 writes them, decimals as they are written."""
    if isinstance(value, list):
        return [_scalar(each) for each in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    return None if isinstance(value, float) and math.isnan(value) else value
