"""Vectors made elsewhere: a ``.npy`` array with a list of ids, or a Parquet file.

Read in blocks, so that memory depends neither on the rows nor on the file. Ids, and what else is
known of each row, come from a CSV whose lines are in the order of the rows, or from the columns
of the Parquet file.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..checks import Scalar
from ..errors import DatasetError
from ..loading import package
from ..optional import optional

#: Bytes of float32 in a block, about.
BLOCK_BYTES = 2**25

_CONSEQUENCE = "The vectors were not read"
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class Described:
    """One row: its id, the path of its picture where there is one, and other columns."""

    id: str
    path: str | None
    metadata: Mapping[str, Scalar]


class Vectors(Protocol):
    """A file of vectors: `rows` of `dim` numbers, in blocks that begin at a row."""

    rows: int
    dim: int

    def ids(self) -> Iterator[str]: ...

    def blocks(self) -> Iterator[tuple[int, np.ndarray, list[Described]]]: ...


def open_vectors(
    file: Path, listing: Path | None = None, columns: Mapping[str, str] | None = None
) -> Vectors:
    """The vectors of a file, with ids from ``listing``, or from its own columns.

    Args:
        columns: the file's or list's own names of ``id``, ``path`` and, of Parquet, ``vector``.

    Raises:
        DatasetError: names file and row or line.
        MissingDependencyError: Parquet without pyarrow.
    """
    named = dict(columns or {})
    if file.suffix.lower() == ".npy":
        if listing is None:
            raise DatasetError(
                f"{file} has numbers and no ids",
                _CONSEQUENCE,
                "Name a CSV with a line a row and a column id: --ids FILE.csv",
            )
        return _Npy(file, _Listing(listing, named))
    if file.suffix.lower() in (".parquet", ".pq"):
        return _Parquet(file, named, None if listing is None else _Listing(listing, named))
    raise DatasetError(
        f"{file} does not end in .npy or .parquet",
        _CONSEQUENCE,
        "Save the vectors by numpy.save, or as Parquet with a column of lists",
    )


def rows_of_a_block(dim: int) -> int:
    """Rows read at once."""
    return max(1, BLOCK_BYTES // (4 * dim))


class _Listing:
    """A CSV of ids, one a line; read anew by each iteration, never held."""

    def __init__(self, file: Path, columns: Mapping[str, str]) -> None:
        self.file = file
        self.base = Path(os.path.abspath(file)).parent
        self.id = columns.get("id", "id")
        self.path = columns.get("path", "path")
        with self._lines() as reader:
            header = list(reader.fieldnames or [])
        if self.id not in header:
            raise DatasetError(
                f"{file} has no column {self.id} among {', '.join(header) or 'none'}",
                _CONSEQUENCE,
                "Give it a header with one, or say which it is: --column id=NAME",
            )

    @contextmanager
    def _lines(self) -> Iterator[csv.DictReader[str]]:
        try:
            with open(self.file, newline="", encoding="utf-8-sig") as opened:
                header = opened.readline()
                found = max(_DELIMITERS, key=header.count)
                names = next(csv.reader(io.StringIO(header), delimiter=found), [])
                yield csv.DictReader(opened, [name.strip() for name in names], delimiter=found)
        except OSError as error:
            raise DatasetError(
                f"{self.file} cannot be read ({error.strerror})", _CONSEQUENCE, "Check the path"
            ) from error
        except UnicodeDecodeError as error:
            raise DatasetError(
                f"{self.file} is not UTF-8", _CONSEQUENCE, "Save the list as UTF-8"
            ) from error

    def __iter__(self) -> Iterator[Described]:
        with self._lines() as reader:
            for number, cells in enumerate(reader):
                if None in cells or None in cells.values():
                    raise DatasetError(
                        f"{self.file}: row {number + 1} has other cells than the header",
                        _CONSEQUENCE,
                        "Quote cells that hold the delimiter",
                    )
                plain = {name: str(cell).strip() for name, cell in cells.items()}
                id_ = plain.pop(self.id)
                if not id_:
                    raise DatasetError(
                        f"{self.file}: row {number + 1} has no id", _CONSEQUENCE, "Give it one"
                    )
                path = plain.pop(self.path, "")
                where = os.path.join(self.base, path) if path else None
                yield Described(id_, where, {name: cell for name, cell in plain.items() if name})

    def ids(self) -> Iterator[str]:
        return (each.id for each in self)


class _Npy:
    """Rows of an array that stays on the disk."""

    def __init__(self, file: Path, listing: _Listing) -> None:
        self.file, self._listing = file, listing
        try:
            self._array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DatasetError(
                f"{file} is no array of numpy.save, or cut short ({error})",
                _CONSEQUENCE,
                "Save the vectors by numpy.save, as one array (rows, numbers)",
            ) from error
        if not isinstance(self._array, np.ndarray) or self._array.ndim != 2:
            shape = getattr(self._array, "shape", "of several arrays")
            raise DatasetError(
                f"{file} has the shape {shape}, not (rows, numbers)",
                _CONSEQUENCE,
                "Save one array of two dimensions",
            )
        if self._array.dtype.kind != "f" or self._array.dtype.itemsize > 8:
            raise DatasetError(
                f"{file} holds {self._array.dtype}, and vectors are float16, float32 or float64",
                _CONSEQUENCE,
                "Save it with .astype(numpy.float32)",
            )
        self.rows, self.dim = self._array.shape

    def ids(self) -> Iterator[str]:
        return self._listing.ids()

    def blocks(self) -> Iterator[tuple[int, np.ndarray, list[Described]]]:
        described = iter(self._listing)
        step = rows_of_a_block(self.dim)
        for start in range(0, self.rows, step):
            block = np.array(self._array[start : start + step])  # off the disk, in one go
            yield start, block, list(islice(described, len(block)))


class _Parquet:
    """A column of lists of numbers, beside it the ids and what else is known."""

    def __init__(self, file: Path, columns: Mapping[str, str], listing: _Listing | None) -> None:
        self.file, self._listing = file, listing
        self._arrow, parquet = _pyarrow()
        try:
            self._opened = parquet.ParquetFile(file, memory_map=True)
        except (OSError, ValueError) as error:  # pyarrow's own are both
            raise DatasetError(
                f"{file} is no Parquet file, or damaged ({str(error).splitlines()[0]})",
                _CONSEQUENCE,
                "Write it again, or check the path",
            ) from error
        self.rows = self._opened.metadata.num_rows
        schema = self._opened.schema_arrow
        self._vector = self._vector_column(schema, columns.get("vector"))
        self._id = columns.get("id", "id")
        self._path = columns.get("path", "path")
        if listing is None and self._id not in schema.names:
            raise DatasetError(
                f"{file} has no column {self._id} among {', '.join(schema.names)}",
                _CONSEQUENCE,
                "Say which it is (--column id=NAME), or name a list: --ids FILE.csv",
            )
        self.dim = self._width(schema)

    def _vector_column(self, schema: Any, asked: str | None) -> str:
        types = self._arrow.types
        lists = [
            field.name
            for field in schema
            if (types.is_list(field.type) or types.is_large_list(field.type)
                or types.is_fixed_size_list(field.type))
            and types.is_floating(field.type.value_type)
        ]  # fmt: skip
        if asked is None and len(lists) == 1:
            return str(lists[0])
        if asked in lists:
            return str(asked)
        cause = (
            f"{self.file} has no column of lists of floats"
            if not lists
            else f"{self.file} has several columns of lists: {', '.join(lists)}"
            if asked is None
            else f"{self.file} has no column {asked} of lists of floats"
        )
        raise DatasetError(cause, _CONSEQUENCE, "Name the one to take: --column vector=NAME")

    def _width(self, schema: Any) -> int:
        kind = schema.field(self._vector).type
        if self._arrow.types.is_fixed_size_list(kind):
            return int(kind.list_size)
        for batch in self._opened.iter_batches(1, columns=[self._vector]):
            first = batch.column(0)[0].as_py()
            return len(first or ())
        return 0

    def ids(self) -> Iterator[str]:
        if self._listing is not None:
            yield from self._listing.ids()
            return
        row = 0
        for batch in self._opened.iter_batches(65_536, columns=[self._id]):
            for value in batch.column(0).to_pylist():
                row += 1
                if value is None or value == "":
                    raise DatasetError(
                        f"{self.file}: row {row} has no id", _CONSEQUENCE, "Give it one"
                    )
                yield str(value)

    def blocks(self) -> Iterator[tuple[int, np.ndarray, list[Described]]]:
        wanted = [self._vector]
        if self._listing is None:
            wanted += [
                field.name for field in self._opened.schema_arrow
                if field.name == self._id or (field.name != self._vector and self._is_plain(field))
            ]  # fmt: skip
        described = None if self._listing is None else iter(self._listing)
        start = 0
        step = rows_of_a_block(max(1, self.dim))
        for batch in self._opened.iter_batches(step, columns=wanted):
            rows = self._numbers(batch.column(batch.schema.names.index(self._vector)), start)
            if described is None:
                table = {name: batch.column(i).to_pylist() for i, name in
                         enumerate(batch.schema.names) if name != self._vector}  # fmt: skip
                found = [self._described(table, i) for i in range(len(rows))]
            else:
                found = list(islice(described, len(rows)))
            yield start, rows, found
            start += len(rows)

    def _is_plain(self, field: Any) -> bool:
        types = self._arrow.types
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        return bool(
            types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind)
            or types.is_integer(kind) or types.is_floating(kind)
        )  # fmt: skip

    def _described(self, table: dict[str, list[Any]], row: int) -> Described:
        cells = {name: values[row] for name, values in table.items()}
        id_, path = str(cells.pop(self._id)), cells.pop(self._path, None)
        plain = {
            name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in cells.items()
        }
        return Described(id_, None if path is None else str(path), plain)

    def _numbers(self, column: Any, start: int) -> np.ndarray:
        """Rows of a block, float ``(n, dim)``; DatasetError for a list of another length."""
        kind = column.type
        if column.null_count:
            row = next(i for i, each in enumerate(column) if not each.is_valid)
            raise self._ragged(start + row, "no vector")
        if not self._arrow.types.is_fixed_size_list(kind):
            lengths = np.diff(np.asarray(column.offsets))
            other = np.flatnonzero(lengths != self.dim)
            if other.size:
                first = int(other[0])
                raise self._ragged(start + first, f"{lengths[first]} numbers, not {self.dim}")
        values = column.flatten()
        if values.null_count:
            row = next(i for i, each in enumerate(values) if not each.is_valid) // self.dim
            raise self._ragged(start + row, "an empty place among its numbers")
        found: np.ndarray = values.to_numpy(zero_copy_only=False).reshape(-1, self.dim)
        return found

    def _ragged(self, row: int, what: str) -> DatasetError:
        return DatasetError(
            f"{self.file}: row {row + 1} has {what}", _CONSEQUENCE, "Give each row as many numbers"
        )


def _pyarrow() -> tuple[Any, Any]:
    cause = "Reading Parquet needs the package pyarrow, which is not installed"
    instead = "save the vectors by numpy.save"
    parquet = optional("pyarrow.parquet", cause, _CONSEQUENCE, "parquet", instead)
    return package("pyarrow"), parquet
