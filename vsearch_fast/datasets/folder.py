"""Pictures in a folder: one sub-folder a category, or none, or a CSV that describes them."""

from __future__ import annotations

import csv as csv_module
import io
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from ..checks import PixelBox, Scalar
from ..errors import ArgumentError, DatasetError
from ..images.finding import find_images
from ..images.readers import IMAGE_SUFFIXES
from .records import Record

BOX_ROLES = ("x1", "y1", "x2", "y2")

#: What a CSV's column can be to a record; all but the path may be missing.
COLUMN_ROLES = ("path", "id", "item", "category", "group", "partition", *BOX_ROLES)

_CONSEQUENCE = "The data set was not read"
_DELIMITERS = ",;\t|"

# Not 007: that is a name.
_INTEGER = re.compile(r"[+-]?(0|[1-9]\d{0,299})")
_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_TRUTH = {"true": True, "false": False}


def read(
    root: str | os.PathLike[str],
    csv: str | os.PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    missing: Literal["raise", "keep"] = "raise",
) -> list[Record]:
    """The pictures of a folder, or those that a CSV lists.

    Without a CSV: every picture under `root` at any depth, in the order of their paths. Its
    category is the first folder on the way to it; a picture right in `root` has none. Its id
    is its path relative to `root`.

    With a CSV (UTF-8, a header, separated by comma, semicolon, tab or `|`): a picture a line,
    in the order of the file. These columns have a meaning, others become metadata:

    `path`        the picture, relative to the CSV's folder, `root` or `root/images`, or
                  absolute; its ending (".jpg") may be left out
    `id`          the thing photographed: it becomes the item. A thing may have several
                  pictures; the record of the second has the id "ID#2", and so on. Without
                  this column a record's id is its picture's path relative to `root`
    `item`        the thing photographed, where the id is not that
    `category`, `group`, `partition`      as in `Record`
    `x1`, `y1`, `x2`, `y2`                its box in pixels, all four or none

    A column without a name is left out. An empty cell is None. A metadata column holds ints
    when all its cells that are not empty are whole numbers, floats when all are numbers (none
    with leading zeros), bools when all are "true" or "false" in any case, and strings otherwise.

    Args:
        root: the folder.
        csv: the file; relative to the working folder, or else to `root`.
        columns: the file's own names of those columns, {"path": "image", ...}.
        missing: a picture that a CSV lists and that is not there is an error ("raise"), or has
            a record all the same ("keep"), so that whoever reads the pictures reports it.

    Raises:
        ArgumentError: `columns` names a role that there is not.
        DatasetError: a missing folder, no pictures; in a CSV a missing column or picture, a
            line that is wrong (names file and line).
    """
    folder = Path(root)
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise DatasetError(f"{folder} {problem}", _CONSEQUENCE, "Name the folder of the pictures")
    if csv is None:
        if columns is not None:
            raise ArgumentError("columns are given without a csv", _CONSEQUENCE, "Name the CSV")
        return _read_folder(folder)
    if missing not in ("raise", "keep"):
        raise ArgumentError(f"missing is {missing!r}", _CONSEQUENCE, "Pass 'raise' or 'keep'")
    file = Path(csv)
    if not file.is_file() and (folder / file).is_file():
        file = folder / file
    table = _Table(file)
    return _read_table(table, _PictureFinder(table, folder, missing == "keep"), columns or {})


def _read_folder(folder: Path) -> list[Record]:
    records = []
    for path in find_images(folder):
        parts = path.relative_to(folder).parts
        category = parts[0] if len(parts) > 1 else None
        records.append(Record("/".join(parts), path, category=category))
    if not records:
        raise DatasetError(
            f"{folder} holds no pictures",
            _CONSEQUENCE,
            f"Put files in it that end in {', '.join(sorted(IMAGE_SUFFIXES))}",
        )
    return records


class _Table:
    """A CSV's header and lines, each with the number it begins at."""

    def __init__(self, file: Path) -> None:
        self.file = file
        text = self._decoded()
        first = text.partition("\n")[0]
        unquoted = re.sub(r'"[^"]*"', "", first)
        self.delimiter = max(_DELIMITERS, key=unquoted.count)
        self._reader = csv_module.reader(
            io.StringIO(text, newline=""), delimiter=self.delimiter, strict=True
        )
        header = next(self._lines(), (1, []))[1]
        self.header = [name.strip() for name in header]
        if not self.header:
            self.wrong(1, "the file is empty", "Give it a header and a line a picture")
        for number, name in enumerate(self.header):
            if "\0" in name:
                self.wrong(1, f"the column {name!r} has a NUL in its name", "Rename it")
            if name and name in self.header[:number]:
                self.wrong(1, f"the column {name!r} is there twice", "Rename one of them")

    def wrong(self, line: int, problem: str, cure: str) -> NoReturn:
        raise DatasetError(f"{self.file}:{line}: {problem}", _CONSEQUENCE, cure)

    def _decoded(self) -> str:
        try:
            content = self.file.read_bytes()
        except OSError as error:
            raise DatasetError(
                f"{self.file} cannot be read ({error.strerror})", _CONSEQUENCE, "Check the path"
            ) from error
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self.wrong(line, "the text is not UTF-8", "Save the file as UTF-8")

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        while True:
            begin = self._reader.line_num + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv_module.Error as error:
                self.wrong(begin, f"no CSV can be read here ({error})", "Check the quotes")
            if any(cell.strip() for cell in cells):
                yield begin, cells

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Each further line's number and its cells by column, without surrounding blanks."""
        for line, cells in self._lines():
            if len(cells) != len(self.header):
                self.wrong(
                    line,
                    f"{len(cells)} cells where the header has {len(self.header)}",
                    f"Separate cells by {self.delimiter!r}, and quote those that hold it",
                )
            yield line, {name: cell.strip() for name, cell in zip(self.header, cells, strict=True)}


def _read_table(table: _Table, finder: _PictureFinder, columns: Mapping[str, str]) -> list[Record]:
    names = _role_columns(table, columns)
    # A column without a name is a table's own row number, as pandas writes it.
    others = [name for name in table.header if name and name not in names.values()]
    ids = _Ids(table)
    rows = list(table.rows())
    if not rows:
        table.wrong(1, "no line follows the header", "Give it a line a picture")
    values = {name: _typed([row[name] for _, row in rows]) for name in others}
    seen: dict[tuple[Path, Any, str | None], int] = {}
    records = []
    for number, (line, row) in enumerate(rows):
        cells = {role: row[name] for role, name in names.items()}
        path = finder.find(line, cells["path"])
        box = _box(table, line, cells)
        first = seen.setdefault((path, box, cells.get("id")), line)
        if first != line:
            table.wrong(line, f"{cells['path']!r} is in line {first} already", "Remove one line")
        name = cells.get("id")
        if name == "":
            table.wrong(line, "the id is empty", "Give every line one, or leave the column out")
        records.append(
            Record(
                ids.next(line, name if name is not None else finder.relative(path)),
                path,
                box,
                cells.get("item") or name,
                cells.get("category") or None,
                cells.get("group") or None,
                cells.get("partition") or None,
                {name: column[number] for name, column in values.items()},
            )
        )
    return records


def _role_columns(table: _Table, columns: Mapping[str, str]) -> dict[str, str]:
    """The file's column by role, of the roles that it has."""
    for role in columns:
        if role not in COLUMN_ROLES:
            raise ArgumentError(
                f"columns names a role {role!r}",
                _CONSEQUENCE,
                f"The roles are {', '.join(COLUMN_ROLES)}",
            )
    there = ", ".join(map(repr, table.header))
    names = {}
    for role in COLUMN_ROLES:
        name = columns.get(role, role)
        if name in table.header:
            names[role] = name
        elif role in columns or role == "path":
            table.wrong(1, f"there is no column {name!r}", f"Map {role!r} to one of: {there}")
    box = [role for role in BOX_ROLES if role in names]
    if box and len(box) < 4:
        missing = ", ".join(role for role in BOX_ROLES if role not in names)
        table.wrong(1, f"the box has no {missing}", f"Map all four to some of: {there}")
    return names


@dataclass
class _Ids:
    """Record ids: the given name, then name#2, name#3."""

    table: _Table

    def __post_init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._lines: dict[str, int] = {}

    def next(self, line: int, name: str) -> str:
        count = self._counts[name] = self._counts.get(name, 0) + 1
        id_ = name if count == 1 else f"{name}#{count}"
        first = self._lines.setdefault(id_, line)
        if first != line:
            self.table.wrong(
                line, f"the id {id_!r} is what line {first} is called", "Rename one of the ids"
            )
        return id_


class _PictureFinder:
    """From a cell to the picture it means."""

    def __init__(self, table: _Table, root: Path, keep_missing: bool) -> None:
        self.table = table
        self.root = root
        self.keep_missing = keep_missing
        self._bases = list(dict.fromkeys([table.file.parent, root, root / "images"]))
        self._endings = [""]
        for ending in sorted(IMAGE_SUFFIXES):
            self._endings += [ending, ending.upper()]
        self._last = (self._bases[0], "")  # a file is usually where the one before it was

    def find(self, line: int, cell: str) -> Path:
        if not cell:
            self.table.wrong(line, "the picture's path is empty", "Name a picture")
        whole = Path(cell).suffix.lower() in IMAGE_SUFFIXES
        choices = [self._last] if not (whole and self._last[1]) else []
        endings = [""] if whole else self._endings
        choices += [(base, ending) for base in self._bases for ending in endings]
        for base, ending in choices:
            path = base / (cell + ending)
            if path.is_file():
                self._last = base, ending
                return path
        if self.keep_missing:
            base, ending = choices[0]
            return base / (cell + ending)
        looked = ", ".join(map(str, self._bases))
        self.table.wrong(
            line, f"there is no picture {cell!r}", f"Put it into one of these folders: {looked}"
        )

    def relative(self, path: Path) -> str:
        """The path as an id: relative to the root where it lies in it."""
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return path.as_posix()


def _box(table: _Table, line: int, cells: Mapping[str, str]) -> PixelBox | None:
    texts = [cells[role] for role in BOX_ROLES if role in cells]
    if not any(texts):
        return None
    try:
        numbers = [float(text) for text in texts]
        x1, y1, x2, y2 = (int(number) for number in numbers)
        if [x1, y1, x2, y2] == numbers and x1 < x2 and y1 < y2 and max(map(abs, numbers)) < 2**31:
            return x1, y1, x2, y2
    except (ValueError, OverflowError):
        pass  # said below, with the cells
    table.wrong(
        line,
        f"the box {', '.join(texts)} is not four whole numbers x1, y1, x2, y2 that span a surface",
        "Correct it, or leave all four empty for the whole picture",
    )


def _typed(cells: Sequence[str]) -> list[Scalar]:
    """A column's values, of one type; an empty cell is None."""
    filled = [cell for cell in cells if cell]
    convert: Callable[[str], Scalar] = str
    if filled and all(map(_INTEGER.fullmatch, filled)):
        convert = int
    elif filled and all(_NUMBER.fullmatch(cell) and math.isfinite(float(cell)) for cell in filled):
        convert = float
    elif filled and all(cell.lower() in _TRUTH for cell in filled):

        def convert(cell: str) -> Scalar:
            return _TRUTH[cell.lower()]

    return [convert(cell) if cell else None for cell in cells]
