"""Pictures in a folder: one sub-folder a category, or none, or a CSV that describes them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..checks import PixelBox, Scalar
from ..errors import ArgumentError, DatasetError
from ..images.finding import find_images
from ..images.readers import FORMATS
from ..words import plural
from .listed import Finder, PictureFinder
from .notes import Notes
from .parquet import PARQUET, ParquetTable
from .records import Record
from .tables import CONSEQUENCE, BadLineError, Fault, Table

BOX_ROLES = ("x1", "y1", "x2", "y2")

#: What a CSV's column can be to a record; all but the path may be missing.
COLUMN_ROLES = ("path", "id", "item", "category", "group", "partition", *BOX_ROLES)

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
    exclude: Sequence[str] = (),
    on_error: Literal["raise", "skip"] = "raise",
    notes: Notes | None = None,
) -> list[Record]:
    """The pictures of a folder, or those that a CSV lists.

    Without a CSV: every picture under `root` at any depth, in the order of their paths. Its
    category is the first folder on the way to it; a picture right in `root` has none. Its id
    is its path relative to `root`.

    With a CSV (UTF-8 or UTF-16, a header, separated by comma, semicolon, tab or `|`), or a Parquet
    file, which is read as a CSV of the same cells: a picture a line, in the order of the file.
    These columns have a meaning, others become metadata:

    `path`        the picture, relative to the CSV's folder, `root` or `root/images`, or
                  absolute; its ending (".jpg") may be left out where one picture alone has
                  the rest of the name
    `id`          the thing photographed: it becomes the item. A thing may have several
                  pictures; the record of the second has the id "ID#2", and so on. Without
                  this column a record's id is its picture's path relative to `root`
    `item`        the thing photographed, where the id is not that
    `category`, `group`, `partition`      as in `Record`
    `x1`, `y1`, `x2`, `y2`                its box in pixels, all four or none; rounded to whole ones

    A column without a name is left out. An empty cell is None. A metadata column holds ints
    when all its cells that are not empty are whole numbers, floats when all are numbers (none
    with leading zeros), bools when all are "true" or "false" in any case, and strings otherwise.

    Args:
        root: the folder.
        csv: the file; relative to the working folder, or else to `root`.
        columns: the file's own names of those columns, {"path": "image", ...}.
        missing: a picture that a CSV lists and that is not there is an error ("raise"), or has
            a record all the same ("keep"), so that whoever reads the pictures reports it.
        exclude: of a folder, as for `vsearch_fast.images.find_images`.
        on_error: lines of a CSV that are wrong, and folders that cannot be listed, are an error
            that names them ("raise"), or are left out ("skip").
        notes: told what was left out, and which ids were numbered.

    Raises:
        ArgumentError: `columns` names a role that there is not.
        DatasetError: a missing folder, no pictures; in a CSV a missing column; by "raise" its
            wrong lines and missing pictures, all at once; by "skip" only when all are wrong.
    """
    folder = Path(root)
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise DatasetError(f"{folder} {problem}", CONSEQUENCE, "Name the folder of the pictures")
    _check_choice("on_error", on_error, ("raise", "skip"))
    if csv is None:
        if columns is not None:
            raise ArgumentError("columns are given without a csv", CONSEQUENCE, "Name the CSV")
        return _read_folder(folder, exclude, on_error, notes)
    _check_choice("missing", missing, ("raise", "keep"))
    columns = columns or {}
    for role in columns:
        if role not in COLUMN_ROLES:
            raise ArgumentError(
                f"columns names a role {role!r}",
                CONSEQUENCE,
                f"The roles are {', '.join(COLUMN_ROLES)}",
            )
    file = Path(csv)
    if not file.is_file() and (folder / file).is_file():
        file = folder / file
    table = open_table(file, columns)
    bases = [file.parent, folder, folder / "images"]
    finder = PictureFinder(bases, folder, missing == "keep")
    return read_table(table, finder, columns, on_error == "skip", notes or Notes())


def _check_choice(name: str, value: str, choices: tuple[str, str]) -> None:
    if value not in choices:
        first, second = choices
        raise ArgumentError(f"{name} is {value!r}", CONSEQUENCE, f"Pass {first!r} or {second!r}")


def _read_folder(
    folder: Path, exclude: Sequence[str], on_error: Literal["raise", "skip"], notes: Notes | None
) -> list[Record]:
    records = []
    left_out = None if notes is None else notes.left_out
    for path in find_images(folder, exclude=exclude, on_error=on_error, left_out=left_out):
        parts = path.relative_to(folder).parts
        category = parts[0] if len(parts) > 1 else None
        records.append(Record("/".join(parts), path, category=category))
    if not records:
        there = f" ({'; '.join(left_out.lines())})" if left_out else ""
        raise DatasetError(
            f"{folder} holds no pictures{there}",
            CONSEQUENCE,
            f"Put pictures into it: {', '.join(FORMATS)}",
        )
    return records


def open_table(
    file: Path, columns: Mapping[str, str], content: bytes | None = None, shown: str = ""
) -> Table:
    """The table in a file, CSV or Parquet by its ending; arguments as for `read` and `Table`."""
    kind: type[Table] = ParquetTable if file.suffix.lower() == PARQUET else Table
    return kind(file, [columns.get(role, role) for role in COLUMN_ROLES], content, shown)


def read_table(
    table: Table, finder: Finder, columns: Mapping[str, str], skip: bool, notes: Notes
) -> list[Record]:
    """Records of a table's rows, whose pictures are where `finder` says; otherwise as `read`."""
    names = _role_columns(table, columns)
    # A column without a name is a table's own row number, as pandas writes it.
    others = [name for name in table.header if name and name not in names.values()]
    taken = _Taken()
    rows: list[dict[str, str]] = []
    records: list[Record] = []
    for line, row in table.rows():
        cells = {role: row[name] for role, name in names.items()}
        try:
            records.append(_record(line, cells, finder, taken))
            rows.append(row)
        except BadLineError as error:
            table.faults.append(Fault(line, error.problem, error.cure))
    if table.faults and not (skip and records):
        table.refuse(table.faults)
    if not records:
        table.wrong(1, "no line follows the header", "Give it a line a picture")
    for fault in sorted(table.faults, key=lambda fault: fault.line):
        notes.lines.append((f"{table.shown}:{fault.line}", f"{fault.problem}. {fault.cure}."))
    if taken.numbered:
        notes.remarks.append(
            f"{plural(taken.numbered, 'line')} of {table.shown} "
            f"{'has' if taken.numbered == 1 else 'have'} the id of a line before: these pictures "
            "are called ID#2, ID#3 and so on"
        )
    values = {name: _typed([row[name] for row in rows]) for name in others}
    return [
        replace(record, metadata={name: column[number] for name, column in values.items()})
        for number, record in enumerate(records)
    ]


def _record(line: int, cells: Mapping[str, str], finder: Finder, taken: _Taken) -> Record:
    """A line's record, without its metadata; BadLineError where it makes none."""
    path = finder.find(cells["path"])
    box = _box(cells)
    name = cells.get("id")
    if name == "":
        raise BadLineError("the id is empty", "Give every line one, or leave the column out")
    first = taken.pictures.setdefault((path, box, name), line)
    if first != line:
        raise BadLineError(f"{cells['path']!r} is in line {first} already", "Remove one line")
    return Record(
        taken.id(line, name if name is not None else finder.relative(path)),
        path,
        box,
        cells.get("item") or name,
        cells.get("category") or None,
        cells.get("group") or None,
        cells.get("partition") or None,
    )


def _role_columns(table: Table, columns: Mapping[str, str]) -> dict[str, str]:
    """The file's column by role, of the roles that it has."""
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
class _Taken:
    """Pictures and ids of the lines so far, and how many ids had to be numbered."""

    pictures: dict[tuple[Path, PixelBox | None, str | None], int] = field(default_factory=dict)
    numbered: int = 0
    _counts: dict[str, int] = field(default_factory=dict)
    _lines: dict[str, int] = field(default_factory=dict)

    def id(self, line: int, name: str) -> str:
        """The given name, then name#2, name#3."""
        count = self._counts.get(name, 0) + 1
        id_ = name if count == 1 else f"{name}#{count}"
        first = self._lines.setdefault(id_, line)
        if first != line:
            raise BadLineError(f"the id {id_!r} is what line {first} is called", "Rename one id")
        self._counts[name] = count
        self.numbered += count > 1
        return id_


def _box(cells: Mapping[str, str]) -> PixelBox | None:
    """The box in whole pixels, halves to even; None where all cells are empty."""
    texts = [cells[role] for role in BOX_ROLES if role in cells]
    if not any(texts):
        return None
    try:
        x1, y1, x2, y2 = box = tuple(round(float(text)) for text in texts)
        if x1 < x2 and y1 < y2 and max(map(abs, box)) < 2**31:
            return x1, y1, x2, y2
    except (ValueError, OverflowError):
        pass  # said below, with the cells
    raise BadLineError(
        f"the box {', '.join(texts)} is not four numbers x1, y1, x2, y2 that span a pixel or more",
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
