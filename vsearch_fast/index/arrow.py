"""An index as a table of Arrow, a batch at a time.

A table has the columns ``id``, ``path``, ``x1``, ``y1``, ``x2``, ``y2`` (the box), ``stamp``, those
of the metadata, ``vector`` (numbers, as many in each row; of two views one behind the other) and
``code`` (bytes). A metadata column has one of Arrow's types where all of its values are of one
kind, else their JSON as texts; null, and an item without the column, are both null. What makes an
index of it again (`arrow_reading.py`) is said in the schema's metadata: the model, the dtype, the
views.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from ..checks import PixelBox, Value
from ..optional import optional
from ..words import ZERO
from .arrow_reading import BOX, NOTE, PREFIX, RESERVED, Table
from .items import Item

if TYPE_CHECKING:
    import pyarrow

#: Rows of a batch, and bytes of their vectors, at most.
_ROWS, _BYTES = 4096, 16 << 20
#: Whole numbers that Arrow has, and those that are exact as float64.
_INT64, _EXACT = 1 << 63, 1 << 53


def arrow_package(consequence: str) -> Any:
    """The package pyarrow.

    Raises:
        MissingDependencyError: it is not installed.
    """
    cause = "The package pyarrow, which tables need, is not installed"
    return optional("pyarrow", cause, consequence, "parquet")


class Exchanging:
    """A part of `Index`."""

    def to_arrow(self) -> pyarrow.RecordBatchReader:
        """All items with their features and codes, in the order in which they were added, as
        batches that are read when they are asked for; ``.read_all()`` makes a table of them.

        The types of metadata columns are looked for first, in a pass over the items. `snapshot`
        has them of one moment, whatever is written meanwhile.

        Raises:
            MissingDependencyError: pyarrow is not installed.
            CompactedError: by the reader, where the index is compacted meanwhile.
        """
        arrow = arrow_package("Nothing was read")
        index: Any = self
        schema = _schema(index, arrow)
        return arrow.RecordBatchReader.from_batches(schema, _batches(index, arrow, schema))

    @classmethod
    def from_arrow(
        cls,
        path: str | os.PathLike[str],
        source: Any,
        *,
        id: str = "id",
        vector: str | None = None,
        model_id: str | None = None,
        **options: Any,
    ) -> Self:
        """Make an index of a table in a new or empty folder, and open it for writing.

        Args:
            path: as for `Index.create`.
            source: what `to_arrow` gives; any table, data set or reader of pyarrow; or what says
                how it is one (``__arrow_c_stream__``), as frames of Polars and pandas do.
            id: the column of ids, which become texts; where there is none, rows are numbered.
            vector: the column of vectors, lists of numbers of one length; None: the only one.
            model_id: of the model that made them; None: what the table says.
            options: for `Index.create`: dtype, segment_rows.

        ``path`` and the box are taken as they are; all other columns of plain values, or of lists
        of them, become metadata. What cannot be is left out, with a warning that names it.

        Raises:
            MissingDependencyError: pyarrow is not installed.
            ArgumentError: no column of vectors, or several; vectors of different lengths, or none.
            DTypeError, DuplicateIdError, StoreError: as `Index.create` and `Index.add`.
        """
        table = Table(arrow_package("The index was not made"), source, id, vector)
        options = {"dtype": table.told.get("dtype"), "views": table.views} | options
        made: Any = cls.create(  # type: ignore[attr-defined]
            path, table.width // len(table.views), model=table.told.get("model"),
            model_id=table.told.get("model_id", "") if model_id is None else model_id, **options,
        )  # fmt: skip
        try:
            for items, vectors, codes in table.blocks():
                made.add([item.id for item in items], vectors, items, codes=codes)
        except BaseException:
            made.close()
            raise
        found: Self = made
        return found


def _schema(index: Any, arrow: Any) -> Any:
    model = dict(index.model)
    if index.binarize != ZERO:  # what was said of the model may have been replaced since
        model |= {"binarize": index.binarize, "bits": index.bits}
    told = {
        "dtype": index.dtype, "views": list(index.views), "model_id": index.model_id, "model": model
    }  # fmt: skip
    number = arrow.float16() if index.dtype == "float16" else arrow.float32()
    views = len(index.views)
    fields = [
        arrow.field("id", arrow.string(), nullable=False),
        arrow.field("path", arrow.string()),
        *(arrow.field(name, arrow.int32()) for name in BOX),
        arrow.field("stamp", arrow.string()),
        *metadata_fields(arrow, index, RESERVED),
        arrow.field("vector", arrow.list_(number, views * index.dim), nullable=False),
        arrow.field("code", arrow.binary(views * -(-index.bits // 8)), nullable=False),
    ]
    return arrow.schema(fields, {NOTE: json.dumps(told).encode()})


class _Described(Protocol):
    @property
    def metadata(self) -> Mapping[str, Value]: ...


def metadata_fields(
    arrow: Any, items: Iterable[_Described], reserved: Collection[str]
) -> Iterator[Any]:
    """A field for each metadata column that items, or hits, have; `reserved` are names of other
    columns of the table."""
    met: dict[str, set[str]] = {}
    for item in items:
        for column, value in item.metadata.items():
            met.setdefault(column, set()).update(_kinds(value))
    types = {
        "str": arrow.string(), "bool": arrow.bool_(), "int": arrow.int64(), "float": arrow.float64()
    }  # fmt: skip
    for column, kinds in sorted(met.items()):
        plain = kinds & set(types)
        if plain == {"int", "float"} and "long" not in kinds:
            plain = {"float"}
        name = PREFIX + column if column in reserved or column.startswith(PREFIX) else column
        if len(plain) > 1 or {"list", "alone"} <= kinds or kinds & {"null within", "huge"}:
            yield arrow.field(name, arrow.string(), metadata={NOTE: b"json"})
            continue
        kind = types[plain.pop()] if plain else arrow.string()
        yield arrow.field(name, arrow.list_(kind) if "list" in kinds else kind)


def _kinds(value: Value) -> set[str]:
    """What a value is, as far as it decides on its column's type."""
    if isinstance(value, list | tuple):
        within = {"null within"} if None in value else set()
        return {"list"}.union(within, *(_kinds(each) - {"alone"} for each in value))
    if value is None:
        return set()
    kinds = {"alone", type(value).__name__}
    if type(value) is int and abs(value) > _EXACT:
        kinds.add("huge" if not -_INT64 <= value < _INT64 else "long")
    return kinds


def _batches(index: Any, arrow: Any, schema: Any) -> Iterator[Any]:
    width = schema.field("vector").type.list_size
    number = np.dtype(index.dtype)
    most = max(1, min(_ROWS, _BYTES // (width * number.itemsize)))
    after: int | None = None
    while True:
        items, after = index.page(most, after=after)
        if items:
            ids = [item.id for item in items]
            vectors = index.features(ids).astype(number, copy=False).reshape(-1)
            codes = np.ascontiguousarray(index.codes(ids)).reshape(len(ids), -1)
            yield arrow.RecordBatch.from_arrays(
                [_array(arrow, field, items, vectors, codes) for field in schema], schema=schema
            )
        if after is None:
            return


def metadata_array(arrow: Any, field: Any, items: Sequence[_Described]) -> Any:
    """What items have in the column of a field that `metadata_fields` made."""
    column = field.name.removeprefix(PREFIX)
    values: list[Any] = [item.metadata.get(column) for item in items]
    if field.metadata and field.metadata.get(NOTE) == b"json":
        values = [None if value is None else json.dumps(value) for value in values]
    return arrow.array(values, field.type)


def box_array(arrow: Any, name: str, boxes: Sequence[PixelBox | None]) -> Any:
    """The column of this name, one of BOX."""
    place = BOX.index(name)
    return arrow.array([None if box is None else box[place] for box in boxes], arrow.int32())


def _array(
    arrow: Any, field: Any, items: list[Item], vectors: np.ndarray, codes: np.ndarray
) -> Any:
    name = field.name
    if name == "vector":
        return arrow.FixedSizeListArray.from_arrays(arrow.array(vectors), type=field.type)
    if name == "code":
        buffer = arrow.py_buffer(codes.tobytes())
        return arrow.Array.from_buffers(field.type, len(codes), [None, buffer])
    if name in BOX:
        return box_array(arrow, name, [item.box for item in items])
    if name in RESERVED:
        return arrow.array([getattr(item, name) for item in items], field.type)
    return metadata_array(arrow, field, items)
