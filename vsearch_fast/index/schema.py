"""The tables of `index.sqlite`, and how an empty index comes to be (format: see `store.py`)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..checks import check_text, positive
from ..disk.files import flush_folder
from ..disk.forking import inside
from ..disk.lock import FILE_NAME as LOCK_NAME
from ..disk.lock import FILE_NAMES as LOCK_NAMES
from ..disk.lock import WriteLock
from ..disk.sqlite import connect, sql_error
from ..disk.writing import write_error
from ..errors import ArgumentError, DamagedError, StoreError
from ..words import ZERO
from . import arguments, item_rows, numbers, sealing, stored_sketches, sums
from .segments import Kind, is_segment
from .upgrading import NEEDS, new_identity
from .views import BOTH, SINGLE

FORMAT = 2
VIEWS_FORMAT = 3  # of an index of several views (`views.py`), else as FORMAT
# Formats that this version reads; 1 has no checksums (`upgrading.py`).
READ = (1, FORMAT, VIEWS_FORMAT)
KINDS = ("vectors", "codes")  # every index has these; sketches may be missing
DTYPES = {"float32": "<f4", "float16": "<f2"}
APPLICATION_ID = 0x56534658
DATABASE_NAME = "index.sqlite"
SHARDS_NAME = "shards.json"  # in the folder of a sharded index, which has no database (`shards/`)
_UNFINISHED_NAME = "index.sqlite.new"
#: What a creation that was interrupted may leave.
_LEFTOVERS = (f"{_UNFINISHED_NAME}-journal", _UNFINISHED_NAME, *LOCK_NAMES)

#: What decoded the pictures of an index that does not say: Pillow, built with libjpeg-turbo.
UNRECORDED_DECODER = "libjpeg-turbo"

_NOT_CREATED = "The index was not created"

#: The largest dim, and number of rows of a segment.
_LARGEST = 2**31

#: Size of a full segment of vectors, unless a file would then hold under 1024 rows.
SEGMENT_BYTES = 256 << 20

_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    rows INTEGER NOT NULL, removed INTEGER NOT NULL, edits INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0, tombs INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE kinds (name TEXT PRIMARY KEY, dtype TEXT NOT NULL, width INTEGER NOT NULL);
CREATE TABLE segments (
    kind TEXT NOT NULL, segment INTEGER NOT NULL, rows INTEGER NOT NULL, parameters TEXT,
    sum INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, segment)
) WITHOUT ROWID;
CREATE TABLE items (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, path TEXT,
    x1 INTEGER, y1 INTEGER, x2 INTEGER, y2 INTEGER, metadata TEXT NOT NULL, stamp TEXT,
    sum INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE tombstones (number INTEGER PRIMARY KEY, row INTEGER NOT NULL UNIQUE);
CREATE TABLE columns (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE facets (
    "column" INTEGER NOT NULL, value TEXT NOT NULL, row INTEGER NOT NULL,
    PRIMARY KEY ("column", value, row)
) WITHOUT ROWID;
{sums.TABLE};
{item_rows.FACET_SUMS};
INSERT INTO state VALUES (1, 0, 0, 0, 0, 0);
"""


@dataclass(frozen=True, slots=True)
class Meta:
    """What an index is for as long as it exists: tables `meta` and `kinds` (those known here).
    How many rows its files have is not of it, and is read with each `State`."""

    dim: int
    model_id: str
    model: dict[str, Any]
    created: str
    kinds: tuple[Kind, ...]
    format: int
    identity: str  # "" in format 1
    binarize: str = ZERO  # the rule of the codes: a name in words.BINARIZE
    bits: int = 0  # of a code
    views: tuple[str, ...] = SINGLE  # of an item: `views.py`

    @property
    def dtype(self) -> str:
        """Of the vectors: a name in DTYPES."""
        return next(name for name, code in DTYPES.items() if code == self.kinds[0].dtype)

    @property
    def summed(self) -> bool:
        """Whether what it holds has checksums."""
        return self.format >= 2

    @property
    def sketched(self) -> bool:
        """Whether sketches are kept beside the vectors."""
        return len(self.kinds) > len(KINDS)


def default_segment_rows(dim: int) -> int:
    """Rows a segment so that one of vectors takes about SEGMENT_BYTES, at least 1024."""
    return max(1024, SEGMENT_BYTES // (4 * dim))


def checked_segment_rows(segment_rows: int, consequence: str) -> int:
    """The number, as an int.

    Raises:
        ArgumentError: it is below 1, or more rows than a file can have.
    """
    segment_rows = positive(segment_rows, "segment_rows", consequence)
    if segment_rows > _LARGEST:
        raise ArgumentError(
            f"segment_rows is {segment_rows}", consequence, f"Use at most {_LARGEST}"
        )
    return segment_rows


def ensure(
    folder: Path,
    dim: int,
    model_id: str,
    model: Mapping[str, Any],
    segment_rows: int | None,
    dtype: str | None,
    views: tuple[str, ...] | None,
    *,
    exist_ok: bool,
) -> int:
    """Have an index in the folder: a new one, or with `exist_ok` the one that is there.

    Arguments as for `Index.create`. Returns dim as an int.

    Raises:
        ArgumentError: a value that an index cannot have.
        StoreError: as `create`.
    """
    dim = positive(dim, "dim", _NOT_CREATED)
    if segment_rows is None:
        segment_rows = default_segment_rows(dim * len(views or SINGLE))
    segment_rows = checked_segment_rows(segment_rows, _NOT_CREATED)
    if dim > _LARGEST:
        raise ArgumentError(f"dim is {dim}", _NOT_CREATED, f"Use at most {_LARGEST}")
    if dtype is not None and dtype not in DTYPES:
        raise ArgumentError(f"dtype is {dtype!r}", _NOT_CREATED, f"Use one of {', '.join(DTYPES)}")
    check_text(model_id, "model_id", _NOT_CREATED)
    described = arguments.json_object(model, "model", _NOT_CREATED)
    arguments.code_rule(described, dim, _NOT_CREATED)
    if not (exist_ok and (folder / DATABASE_NAME).exists()):
        create(folder, dim, model_id, described, segment_rows, dtype or "float32", views or SINGLE)
    return dim


def check_same(
    folder: Path, meta: Meta, dim: int, dtype: str | None, views: tuple[str, ...] | None
) -> None:
    """ArgumentError unless the folder's index has rows of so many numbers of this type, of these
    views."""
    if views not in (None, meta.views):
        raise ArgumentError(
            f"{folder} holds of each item the views {','.join(meta.views)},"
            f" not {','.join(views or ())}",
            _NOT_CREATED,
            "Leave views out to go on with it, or name another folder",
        )
    if (meta.dim, meta.dtype) != (dim, dtype or meta.dtype):
        raise ArgumentError(
            f"{folder} holds rows of {meta.dim} {meta.dtype} numbers,"
            f" not {dim} {dtype or meta.dtype}",
            _NOT_CREATED,
            "Name another folder",
        )


def create(
    folder: Path,
    dim: int,
    model_id: str,
    model: Mapping[str, Any],
    segment_rows: int,
    dtype: str = "float32",
    views: tuple[str, ...] = SINGLE,
) -> None:
    """Make an empty index: all of it or, should anything fail, none.

    The database is made under another name and renamed, so that a folder either holds a
    whole index or can be given to `create` again.

    Raises:
        StoreError: the folder holds something already, or cannot be written.
    """
    consequence = _NOT_CREATED
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file", consequence, "Name a folder for the index")
    try:
        if not (folder / LOCK_NAME).exists():  # which taking the lock would leave there
            _refuse_other_files(folder, consequence)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error, consequence) from error
    lock = WriteLock(folder, consequence)
    try:
        _refuse_other_files(folder, consequence)
        unfinished = folder / _UNFINISHED_NAME
        for name in _LEFTOVERS:
            if name not in LOCK_NAMES:
                (folder / name).unlink(missing_ok=True)
        binarize, bits = arguments.code_rule(model, dim, consequence)
        kinds = [
            Kind("vectors", DTYPES[dtype], len(views) * dim),
            Kind("codes", "|u1", len(views) * -(-bits // 8)),
            *stored_sketches.kinds(dim, len(views)),
        ]
        rule = {} if binarize == ZERO else {"binarize": binarize, "bits": str(bits)}
        if views != SINGLE:
            rule["views"] = ",".join(views)
        _write_database(unfinished, dim, model_id, model, segment_rows, kinds, rule, consequence)
        os.rename(unfinished, folder / DATABASE_NAME)
        flush_folder(folder)
        with contextlib.suppress(PermissionError):  # one may write in a folder and not list it
            flush_folder(folder.absolute().parent)
    except OSError as error:
        raise write_error(folder, error, consequence) from error
    finally:
        lock.release()


def _refuse_other_files(folder: Path, consequence: str) -> None:
    """StoreError when a new index must not be made here."""
    if not folder.is_dir():
        return
    others = sorted(path.name for path in folder.iterdir() if path.name not in _LEFTOVERS)
    if DATABASE_NAME in others:
        raise StoreError(
            f"{folder} holds an index already",
            consequence,
            "Open it (`Index.open`, or exist_ok=True), or name another folder",
        )
    if SHARDS_NAME in others:
        raise _sharded(folder, consequence)
    if others:
        raise StoreError(
            f"{folder} holds other files ({others[0]}) and no index",
            consequence,
            "Name another folder, new or empty",
        )


def _write_database(
    file: Path,
    dim: int,
    model_id: str,
    model: Mapping[str, Any],
    segment_rows: int,
    kinds: Sequence[Kind],
    rule: Mapping[str, str],
    consequence: str,
) -> None:
    meta = {
        "dim": str(dim),
        "segment_rows": str(segment_rows),
        "model_id": model_id,
        "model": json.dumps(dict(model)),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "identity": new_identity(),
        "needs": NEEDS,
        **rule,
    }
    try:
        with inside(), contextlib.closing(connect(file, writable=True, create=True)) as sql:
            sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            format_ = VIEWS_FORMAT if "views" in rule else FORMAT
            sql.execute(f"PRAGMA user_version = {format_}")
            sql.executescript(f"BEGIN; {_SCHEMA}")
            sql.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            write_kinds(sql, kinds)
            numbers.begin(sql)
            numbers.mark(sql, sealing.read_state(sql))
            sealing.seal(sql)
            sql.execute("COMMIT")
    except sqlite3.Error as error:
        raise sql_error(file, error, consequence) from error


def write_kinds(sql: sqlite3.Connection, kinds: Sequence[Kind]) -> None:
    """Make kinds of segments known to the index; those that it knows stay as they are."""
    sql.executemany(
        "INSERT OR IGNORE INTO kinds VALUES (?, ?, ?)",
        [(kind.name, kind.dtype, kind.width) for kind in kinds],
    )


def write_segments(sql: sqlite3.Connection, segment_rows: int, start: int, rows: int) -> None:
    """Note how many rows the segments of KINDS hold, from that of row `start` on, of `rows`."""
    for segment in range(start // segment_rows, -(-rows // segment_rows)):
        held = min(rows - segment * segment_rows, segment_rows)
        for kind in KINDS:
            stored_sketches.write_segment(sql, kind, segment, held, None)


def refuse_what_is_no_index(folder: Path) -> None:
    """StoreError unless the folder has an index's SQLite file; says what it is instead."""
    if (folder / DATABASE_NAME).is_file():
        return
    consequence = "Nothing was opened"
    if not folder.exists():
        raise StoreError(f"{folder} does not exist", consequence, "Check the path")
    if not folder.is_dir():
        raise StoreError(f"{folder} is a file", consequence, "Name an index's folder")
    left = _left(folder)
    if SHARDS_NAME in left:
        raise _sharded(folder, consequence)
    if left and left.issubset(_LEFTOVERS):
        raise StoreError(
            f"{folder} holds an index whose creation was interrupted",
            consequence,
            "Create it again at the same place (it was empty)",
        )
    if any(is_segment(name) for name in left):
        raise StoreError(
            f"{folder} has an index's rows and no {DATABASE_NAME}, which says what they are",
            consequence,
            "Restore the file, or the folder, from a backup, or index the pictures again elsewhere",
        )
    raise StoreError(
        f"{folder} is not an index (it has no {DATABASE_NAME})",
        consequence,
        "Name the folder that `vsearch index` or Index.create made",
    )


def _sharded(folder: Path, consequence: str) -> StoreError:
    return StoreError(
        f"{folder} is a sharded index, which is not changed or read as one index",
        consequence,
        "Name the shard that is meant, one of the indexes in it; vsearch merge makes one index of"
        " all, and ShardedIndex.open searches them",
    )


def _left(folder: Path) -> set[str]:
    """Names in a folder without a database."""
    try:
        return {path.name for path in folder.iterdir()}
    except OSError:  # one may open what is in a folder and not list it
        return {name for name in _LEFTOVERS if (folder / name).exists()}


def _needed(sql: sqlite3.Connection) -> str:
    """The version that an index of a later format asks for, where it says so as this one does."""
    try:
        line = sql.execute("SELECT value FROM meta WHERE key = 'needs'").fetchone()
    except sqlite3.Error:
        return ""
    known = line is not None and re.fullmatch(r"[0-9]+(\.[0-9a-z]+){1,3}", str(line[0]))
    return f" to version {line[0]} or later" if known else ""


def read_model(sql: sqlite3.Connection) -> dict[str, Any]:
    """`Meta.model`, as a change has it."""
    (text,) = sql.execute("SELECT value FROM meta WHERE key = 'model'").fetchone()
    model: dict[str, Any] = json.loads(text)
    return model


def read_meta(sql: sqlite3.Connection, folder: Path) -> Meta:
    """The index's `Meta`.

    Raises:
        StoreError: another program's file, another format, missing entries.
    """
    file = folder / DATABASE_NAME
    consequence = "The index was not opened"
    application = sql.execute("PRAGMA application_id").fetchone()[0]
    version = sql.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise StoreError(
            f"{file} is an SQLite file of some other program",
            consequence,
            "Name the folder that `vsearch index` or Index.create made",
        )
    if version not in READ:
        raise StoreError(
            f"{folder} has index format {version}; this version reads formats up to {READ[-1]}",
            consequence,
            f"Upgrade vsearch_fast{_needed(sql)}" if version > READ[-1] else
            "Index the pictures again",
        )  # fmt: skip
    if version > 1:
        sealing.check(sql, file, consequence)
    meta = dict(sql.execute("SELECT key, value FROM meta"))
    found = {line[0]: Kind(*line) for line in sql.execute("SELECT name, dtype, width FROM kinds")}
    try:
        kinds = [found[name] for name in KINDS]
        dim = int(meta["dim"])
        if kinds[0].dtype not in DTYPES.values():
            raise ValueError(kinds[0].dtype)
        binarize, bits = meta.get("binarize", ZERO), int(meta.get("bits", dim))
        views = tuple(meta["views"].split(",")) if version == VIEWS_FORMAT else SINGLE
        if views not in (SINGLE, BOTH) or kinds[0].width != len(views) * dim:
            raise ValueError(f"vectors of {kinds[0].width} numbers and the views {views}")
        if kinds[1].width != len(views) * -(-bits // 8):
            raise ValueError(f"codes of {kinds[1].width} bytes and {bits} bits")
        sealing.segment_rows(meta["segment_rows"])
        # Sketches of another make are no use here, and are left alone.
        sketched = stored_sketches.kinds(dim, len(views))
        if all(found.get(kind.name, kind) == kind for kind in sketched):
            kinds += sketched
        return Meta(
            dim,
            meta["model_id"],
            json.loads(meta["model"]),
            meta["created"],
            tuple(kinds),
            version,
            meta.get("identity", ""),
            binarize,
            bits,
            views,
        )
    except (KeyError, ValueError) as error:
        raise DamagedError(
            f"{file} is damaged (meta or kinds: {error})",
            consequence,
            "Restore the folder from a copy, or index again",
        ) from error
