"""Parquet files as lists of pictures: read as a CSV of the same cells would be."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ..errors import DatasetError
from ..loading import package
from ..optional import optional
from .tables import CONSEQUENCE, Fault, Table

#: The ending by which such a file is known.
PARQUET = ".parquet"

_ROWS = 8192


class ParquetTable(Table):
    """A Parquet file's columns and rows; `Table`'s line is the number of a row, from 1.

    A null is an empty cell, True is "true", and numbers are as Python writes them. Raises
    DatasetError for a file that cannot be read, MissingDependencyError without pyarrow.
    """

    def __init__(
        self,
        file: Path,
        wanted: Collection[str] = (),
        content: bytes | None = None,
        shown: str = "",
    ) -> None:
        self.file, self.shown = file, shown or str(file)
        self.faults: list[Fault] = []
        cause = "The package pyarrow, which reads Parquet files, is not installed"
        instead = "write the list as a CSV"
        parquet: Any = optional("pyarrow.parquet", cause, CONSEQUENCE, "parquet", instead)
        try:
            self._held = parquet.ParquetFile(str(file) if content is None else io.BytesIO(content))
        except (package("pyarrow").ArrowException, OSError) as error:
            said = " ".join(str(error).split())
            raise DatasetError(
                f"{self.shown} cannot be read ({said})", CONSEQUENCE, "Check the path and the file"
            ) from error
        self.header = [str(name) for name in self._held.schema_arrow.names]
        for number, name in enumerate(self.header):
            if name and name in self.header[:number]:
                self.wrong(1, f"the column {name!r} is there twice", "Rename one of them")

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        line = 0
        for batch in self._held.iter_batches(_ROWS):
            for row in batch.to_pylist():
                line += 1
                cells = {name: _cell(value) for name, value in row.items()}
                if any(cell is None for cell in cells.values()):
                    column = next(name for name, cell in cells.items() if cell is None)
                    self.faults.append(
                        Fault(
                            line,
                            f"the column {column!r} holds {type(row[column]).__name__} values",
                            "Store texts, numbers or truth values, or leave the column out",
                        )
                    )
                    continue
                yield line, {name: (cell or "").strip() for name, cell in cells.items()}


def _cell(value: Any) -> str | None:
    """As a CSV has it; None for what no cell holds."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value != value:
        return ""
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str) and "\0" not in value:
        return value
    return None
