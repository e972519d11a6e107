"""Lists of pictures by address: a folder, a CSV or a Parquet file in a store of objects.

A folder's pictures are known by their endings alone, since to look into each file would be to fetch
it. Sizes and times of change are asked for, so that a later run finds what has changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ..datasets import detect, folder
from ..datasets.notes import Notes
from ..datasets.parquet import PARQUET
from ..datasets.records import Record
from ..datasets.tables import CONSEQUENCE, BadLineError
from ..errors import ArgumentError, DatasetError
from ..images.finding import HOUSEKEEPING
from ..images.readers import FORMATS, is_readable_suffix
from .places import is_address, opened

_LISTS = (".csv", ".tsv", PARQUET)

#: Files that a store is asked for at once.
_AT_ONCE = 1000


def read(
    source: str,
    *,
    csv: str | None = None,
    columns: Mapping[str, str] | None = None,
    exclude: Sequence[str] = (),
    on_error: Literal["raise", "skip"] = "raise",
    notes: Notes | None = None,
    **local: Any,
) -> tuple[list[Record], str]:
    """Records of a folder or a list, and their origin: by address, or else as `detect.read` reads
    what is on this machine's disks (`local` are further arguments for that).

    Of an address `source` is a folder, or the list itself; `csv` is the list of a folder. Cells of
    the column `path` are relative to the folder, or addresses below it.

    Raises:
        DatasetError: nothing there, or a list that is wrong; ArgumentError, as `detect.read`.
    """
    if not is_address(source):
        return detect.read(
            Path(source), csv=None if csv is None else Path(csv), columns=columns, exclude=exclude,
            on_error=on_error, notes=notes, **local,
        )  # fmt: skip
    source, notes = source.rstrip("/"), notes or Notes()
    if csv is None and PurePosixPath(source).suffix.lower() in _LISTS:
        source, csv = source.rsplit("/", 1)[0], source
    if csv is None:
        if columns:
            raise ArgumentError(
                f"Columns are named for a CSV file, and {source} is read as folder",
                "Nothing was read",
                "Name the list: --csv",
            )
        return _folder(source, exclude, notes), source
    if exclude:
        raise ArgumentError(
            f"Patterns leave out files of a folder (--exclude), and {source} is read by a list",
            "Nothing was read",
            "Leave them out",
        )
    listed = _listed(source, csv, columns or {}, on_error == "skip", notes)
    return listed, f"{source}, listed in {csv}"


def _folder(source: str, exclude: Sequence[str], notes: Notes) -> list[Record]:
    from pyarrow.fs import FileSelector, FileType

    system, top = opened(source)
    try:
        found = system.get_file_info(FileSelector(top, recursive=True))
    except OSError as error:
        raise DatasetError(
            f"{source} cannot be listed ({' '.join(str(error).split())})",
            CONSEQUENCE,
            "Check the address, and that the credentials for it are in the environment",
        ) from error
    left_out, pictures = notes.left_out, {}
    for each in found:
        # Some begin names with a slash, whatever was asked.
        below = PurePosixPath(each.path.strip("/").removeprefix(top.strip("/")).lstrip("/"))
        if each.type != FileType.File:
            continue
        hidden = [part for part in below.parts[:-1] if part in HOUSEKEEPING or part[0] == "."]
        suffix = below.suffix.lower()
        if any(_matches(below, pattern) for pattern in exclude):
            left_out.excluded += 1
        elif hidden:
            left_out.folders[hidden[0]] += 1
        elif below.name.startswith("."):
            left_out.hidden += 1
        elif not is_readable_suffix(suffix):
            left_out.endings[suffix] += 1
        else:
            pictures[below] = _stamp(each)
    if not pictures:
        raise DatasetError(
            f"{source} holds no pictures",
            CONSEQUENCE,
            f"Put pictures into it: {', '.join(FORMATS)}",
        )
    return [_record(source, below, pictures[below]) for below in sorted(pictures)]


def _record(source: str, below: PurePosixPath, stamp: str | None) -> Record:
    name = below.as_posix()
    category = below.parts[0] if len(below.parts) > 1 else None
    return Record(name, Path(below), category=category, address=f"{source}/{name}", stamp=stamp)


def _matches(below: PurePosixPath, pattern: str) -> bool:
    pattern = pattern.rstrip("/")
    if "/" not in pattern:
        return any(fnmatchcase(part, pattern) for part in below.parts)
    return any(fnmatchcase(str(each), pattern) for each in (below, *below.parents))


def _stamp(info: Any) -> str | None:
    return None if info.mtime_ns is None else f"{info.size}:{info.mtime_ns}"


@dataclass(frozen=True)
class _Below:
    """A `Finder` of what lies below an address, whether it is there or not."""

    source: str

    def find(self, cell: str) -> Path:
        if is_address(cell):
            if not cell.startswith(self.source + "/"):
                raise BadLineError(
                    f"{cell!r} is not below {self.source}", "List it with the folder that it is in"
                )
            cell = cell.removeprefix(self.source + "/")
        if not cell or os.path.isabs(cell) or ".." in PurePosixPath(cell).parts:
            raise BadLineError(
                f"the picture's path {cell!r} is not below {self.source}",
                "Name a picture, relative to that folder",
            )
        return Path(cell)

    def relative(self, path: Path) -> str:
        return path.as_posix()


def _listed(
    source: str, csv: str, columns: Mapping[str, str], skip: bool, notes: Notes
) -> list[Record]:
    for role in columns:
        if role not in folder.COLUMN_ROLES:
            raise ArgumentError(
                f"columns names a role {role!r}",
                CONSEQUENCE,
                f"The roles are {', '.join(folder.COLUMN_ROLES)}",
            )
    csv = csv if is_address(csv) else f"{source}/{csv}"
    system, name = opened(csv)
    try:
        with system.open_input_stream(name) as file:
            content = file.read()
    except OSError as error:
        raise DatasetError(
            f"{csv} cannot be read ({' '.join(str(error).split())})", CONSEQUENCE, "Check the path"
        ) from error
    table = folder.open_table(Path(name), columns, content, csv)
    records = folder.read_table(table, _Below(source), columns, skip, notes)
    system, top = opened(source)
    found: list[Record] = []
    for start in range(0, len(records), _AT_ONCE):
        part = records[start : start + _AT_ONCE]
        infos = system.get_file_info([f"{top}/{each.path.as_posix()}" for each in part])
        found += [
            replace(each, address=f"{source}/{each.path.as_posix()}", stamp=_stamp(info))
            for each, info in zip(part, infos, strict=True)
        ]
    return found
