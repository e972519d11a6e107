"""Files of other programs, by their endings: what is read of them, and what is written.

::

    .parquet                  a table, by pyarrow: everything
    .arrow, .feather          the same, as Arrow has it in memory
    .lance                    the same, a data set of Lance (a folder), by pylance
    .npy                      vectors; ids and the rest in a CSV beside it
    .faiss                    an exact index of FAISS; ids and the rest in a CSV beside it

All of them are read and written a batch at a time, but `.faiss`, which FAISS holds in memory.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..disk.replacing import replacing
from ..disk.writing import write_error
from ..errors import ArgumentError, DatasetError, MissingDependencyError, StoreError
from ..optional import optional

_NOT_WRITTEN, _NOT_READ = "Nothing was written", "Nothing was read"

Progress = Callable[[int], None]


def _package(name: str, what: str, extra: str, consequence: str) -> Any:
    cause = f"The package {what}, which this kind of file needs, is not installed"
    return optional(name, cause, consequence, extra)


def _arrow(consequence: str) -> Any:
    return _package("pyarrow", "pyarrow", "parquet", consequence)


def _parquet(consequence: str) -> Any:
    return _package("pyarrow.parquet", "pyarrow", "parquet", consequence)


def _lance(consequence: str) -> Any:
    return _package("lance", "pylance", "lance", consequence)


def _faiss(consequence: str) -> Any:
    return _package("faiss", "faiss-cpu", "bench", consequence)


def _counted(reader: Any, progress: Progress) -> Iterator[Any]:
    for batch in reader:
        yield batch
        progress(batch.num_rows)


# Writing: each takes a reader of batches.


def _write_parquet(reader: Any, target: Path, progress: Progress) -> None:
    parquet = _parquet(_NOT_WRITTEN)
    with replacing(target) as file, parquet.ParquetWriter(file, reader.schema) as writer:
        for batch in _counted(reader, progress):
            writer.write_batch(batch)


def _write_arrow(reader: Any, target: Path, progress: Progress) -> None:
    arrow = _arrow(_NOT_WRITTEN)
    with replacing(target) as file, arrow.ipc.new_file(str(file), reader.schema) as writer:
        for batch in _counted(reader, progress):
            writer.write_batch(batch)


def _write_lance(reader: Any, target: Path, progress: Progress) -> None:
    lance = _lance(_NOT_WRITTEN)
    if target.exists():
        raise StoreError(f"{target} is there already", _NOT_WRITTEN, "Name a folder that is new")
    batches = _package(
        "pyarrow", "pyarrow", "parquet", _NOT_WRITTEN
    ).RecordBatchReader.from_batches(reader.schema, _counted(reader, progress))
    lance.write_dataset(batches, str(target))


def _write_npy(reader: Any, target: Path, progress: Progress) -> None:
    field = reader.schema.field("vector").type
    number = np.float16 if "half" in str(field.value_type) else np.float32
    with (
        replacing(target) as file,
        _listing(reader.schema, target) as list_batch,
        file.open("wb") as out,
    ):
        _npy_header(out, 0, field.list_size, number)
        rows = 0
        for batch in _counted(reader, progress):
            out.write(_vectors(batch).tobytes())
            list_batch(batch)
            rows += batch.num_rows
        out.seek(0)
        _npy_header(out, rows, field.list_size, number)


def _npy_header(out: Any, rows: int, width: int, number: Any) -> None:
    """NumPy keeps room in a header for more rows than there were when it was begun."""
    described = np.lib.format.dtype_to_descr(np.dtype(number))
    np.lib.format.write_array_header_1_0(
        out, {"descr": described, "fortran_order": False, "shape": (rows, width)}
    )


def _write_faiss(reader: Any, target: Path, progress: Progress) -> None:
    faiss = _faiss(_NOT_WRITTEN)
    index = faiss.IndexFlatL2(reader.schema.field("vector").type.list_size)
    with _listing(reader.schema, target) as list_batch:
        for batch in _counted(reader, progress):
            index.add(_vectors(batch).astype(np.float32))
            list_batch(batch)
        with replacing(target) as file:
            faiss.write_index(index, str(file))


@contextlib.contextmanager
def _listing(schema: Any, target: Path) -> Iterator[Callable[[Any], None]]:
    """Writes the CSV beside a file of vectors, a batch at a time: all but vectors and codes."""
    names = [field.name for field in schema if field.name not in ("vector", "code")]
    with (
        replacing(listing_of(target)) as path,
        path.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)

        def add(batch: Any) -> None:
            columns = [batch.column(name).to_pylist() for name in names]
            for cells in zip(*columns, strict=True):
                writer.writerow(
                    "; ".join(map(str, cell)) if isinstance(cell, list) else cell for cell in cells
                )

        yield add


def listing_of(target: Path) -> Path:
    """The CSV beside a file of vectors."""
    return target.with_name(f"{target.stem}.csv")


def _vectors(batch: Any) -> np.ndarray:
    column = batch.column("vector")
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat).reshape(batch.num_rows, -1)


# Reading: each returns what `Index.from_arrow` takes.


def _read_parquet(source: Path) -> Any:
    parquet = _parquet(_NOT_READ)
    file = parquet.ParquetFile(source)
    arrow = _arrow(_NOT_READ)
    return arrow.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(4096))


def _read_arrow(source: Path) -> Any:
    arrow = _arrow(_NOT_READ)
    file = arrow.ipc.open_file(str(source))
    batches = (file.get_batch(number) for number in range(file.num_record_batches))
    return arrow.RecordBatchReader.from_batches(file.schema, batches)


def _read_lance(source: Path) -> Any:
    return _lance(_NOT_READ).dataset(str(source)).scanner().to_reader()


def _read_faiss(source: Path) -> Any:
    faiss, arrow = _faiss(_NOT_READ), _arrow(_NOT_READ)
    index = faiss.read_index(str(source))
    names = listed_ids(source)
    if names is None:
        names = _own_ids(faiss, index)
    if len(names) != index.ntotal:
        raise DatasetError(
            f"{source} has {index.ntotal:,} vectors, and {listing_of(source)} {len(names):,} lines",
            _NOT_READ, "Name the list that was made with it",
        )  # fmt: skip
    base = faiss.downcast_index(index.index) if hasattr(index, "id_map") else index
    schema = arrow.schema(
        [("id", arrow.string()), ("vector", arrow.list_(arrow.float32(), index.d))]
    )

    def batches() -> Iterator[Any]:
        for start in range(0, index.ntotal, 4096):
            count = min(4096, index.ntotal - start)
            flat = arrow.array(base.reconstruct_n(start, count).reshape(-1))
            vectors = arrow.FixedSizeListArray.from_arrays(flat, type=schema.field("vector").type)
            ids = arrow.array(names[start : start + count], arrow.string())
            yield arrow.RecordBatch.from_arrays([ids, vectors], schema=schema)

    return arrow.RecordBatchReader.from_batches(schema, batches())


def _own_ids(faiss: Any, index: Any) -> list[str]:
    if hasattr(index, "id_map"):
        return [str(number) for number in faiss.vector_to_array(index.id_map)]
    return [str(number) for number in range(index.ntotal)]


def listed_ids(source: Path) -> list[str] | None:
    """Column ``id`` of the CSV beside a file; None where there is no such CSV."""
    if not listing_of(source).is_file():
        return None
    with listing_of(source).open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if "id" not in (rows.fieldnames or ()):
            raise DatasetError(
                f"{listing_of(source)}:1: there is no column id", _NOT_READ,
                "Give it one, or move the file away: vectors are then numbered",
            )  # fmt: skip
        return [row["id"] for row in rows]


WRITERS: dict[str, Callable[[Any, Path, Progress], None]] = {
    ".parquet": _write_parquet, ".arrow": _write_arrow, ".feather": _write_arrow,
    ".lance": _write_lance, ".npy": _write_npy, ".faiss": _write_faiss,
}  # fmt: skip
READERS: dict[str, Callable[[Path], Any]] = {
    ".parquet": _read_parquet, ".arrow": _read_arrow, ".feather": _read_arrow,
    ".lance": _read_lance, ".faiss": _read_faiss,
}  # fmt: skip


def write(reader: Any, target: Path, progress: Progress = lambda rows: None) -> None:
    """Write what `Index.to_arrow` gives as the kind of file that the ending says; `progress` hears
    of rows that are done.

    Raises:
        ArgumentError: an ending that is none of them.
        MissingDependencyError: what writes such files is not installed.
        StoreError: it cannot be written.
    """
    writer = WRITERS.get(target.suffix.lower())
    if writer is None:
        raise ArgumentError(
            f"{target} has none of the endings of files that can be written", _NOT_WRITTEN,
            f"Use one of {', '.join(WRITERS)}",
        )  # fmt: skip
    try:
        writer(reader, target, progress)
    except OSError as error:
        raise write_error(target, error, _NOT_WRITTEN) from error


def read(source: Path) -> Any:
    """What `Index.from_arrow` takes, of a file.

    Raises:
        ArgumentError: an ending that is none of those that can be read.
        DatasetError: a file that is missing, or is not what its ending says.
        MissingDependencyError: what reads such files is not installed.
    """
    reader = READERS.get(source.suffix.lower())
    if reader is None:
        raise ArgumentError(
            f"{source} has none of the endings of files that can be read", _NOT_READ,
            f"Use one of {', '.join(READERS)}; vsearch index --vectors takes .npy",
        )  # fmt: skip
    if not source.exists():
        raise DatasetError(f"{source} does not exist", _NOT_READ, "Check the path")
    try:
        return reader(source)
    except (DatasetError, MissingDependencyError):
        raise
    except Exception as error:  # ArrowInvalid, OSError, RuntimeError: whatever is wrong with it
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DatasetError(
            f"{source} is no file of its ending's kind: {first[:200].rstrip('.')}", _NOT_READ,
            "Check it with the program that made it",
        ) from error  # fmt: skip
