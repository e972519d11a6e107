"""The reductions of an index on disk: by metric, up to two more kinds of segments, and a table.

Rows that have a sketch are reduced, too (`search.reductions`), where a sample showed that it pays:
page by page, 16 lines each, as their blocks become complete. What is left over at a segment's end
has its sketch alone. Codes are reduced to sums of groups of their bits (`search.bit_groups`), each
as it is added.

=======================  ==================================================================
`coarse-NNNNN.npy`       L2: uint8 (segment_rows, `Shape.coarse_bytes`), pages of 16 lines; of
                         several views (`views.py`) a row holds as many lines
`fine-NNNNN.npy`         L2: uint8 (segment_rows, `Shape.fine_bytes`), where there are fine ones
`sumscoarse`, `sumsfine` the same of L1
`bitsums-NNNNN.npy`      Hamming: uint8 (segment_rows, `kernels.layout.SUMS`), of several views as
                         many lines
table `segments`         kind `coarse`, `sumscoarse` or `bitsums`: rows written (of a full segment
                         all, the last of them zeros where they fill no page), parameters {"runs":
                         [[start, id], ...]}, start counted in lines within the segment, id of the
                         reduction
table `reductions`       id, metric, rows (there were when it was learnt), told (JSON: layout, and
                         what it left of the sample), data (`Reduction.to_bytes`; null where it
                         would not pay), digest (XXH3 of the data), sum (of the line)
=======================  ==================================================================

A line of `reductions` never changes. When the rows of a metric are reduced anew, the files get
names of their own (`coarseb`, `coarsec`, ...), and the kinds of before are known no more.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from xxhash import xxh3_64_intdigest

from ..errors import DamagedError
from ..kernels.layout import PAGE, SUMS
from ..search.bit_groups import BitGroups
from ..search.reductions import Reduction
from .segments import Kind
from .sums import CURE, line_sum, segment_sum, signed


class Reducing(Protocol):
    """What reduces lines for a metric: a `Reduction`, or `BitGroups`."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Bytes of a reduced line, of each kind."""

    def to_bytes(self) -> bytes:
        """As it is stored."""


@dataclass(frozen=True, slots=True)
class Way:
    """How rows are reduced for a metric.

    Attributes:
        kinds: names of what is stored; the first says what is reduced.
        source: the kind of rows that are reduced.
        page: lines that are reduced together.
        layout: of what is stored; lines of another one are not used.
        read: a reduction from its bytes; ValueError: it is none.
    """

    kinds: tuple[str, ...]
    source: str
    page: int
    layout: int
    read: Callable[[bytes], Reducing]


#: By metric.
WAYS = {
    "l2": Way(("coarse", "fine"), "vectors", PAGE, 1, Reduction.from_bytes),
    "l1": Way(("sumscoarse", "sumsfine"), "vectors", PAGE, 1, Reduction.from_bytes),
    "hamming": Way(("bitsums",), "codes", 1, 1, BitGroups.from_bytes),
}
#: Metrics that rows are reduced for.
METRICS = tuple(WAYS)

_OWNERS = {name: metric for metric, way in WAYS.items() for name in way.kinds}
_NAME = re.compile(f"(?P<name>{'|'.join(_OWNERS)})(?P<make>[a-z]*)")

_TABLE = """CREATE TABLE IF NOT EXISTS reductions (
    id INTEGER PRIMARY KEY, metric TEXT NOT NULL, rows INTEGER NOT NULL, told TEXT NOT NULL,
    data BLOB, digest INTEGER, sum INTEGER NOT NULL)"""


class ReducedRun(NamedTuple):
    """Lines from ``start`` on, to the next run, that a reduction has reduced."""

    start: int
    id: int


class Part(NamedTuple):
    """What is reduced of a segment: rows that are written, and by what."""

    rows: int = 0
    runs: tuple[ReducedRun, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """What of an index is reduced for a metric.

    Attributes:
        kinds: of segments, of a make; the first says what is reduced.
        parts: one for each segment.
    """

    metric: str
    kinds: tuple[Kind, ...]
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """That are written, in all segments: the first so many."""
        return sum(part.rows for part in self.parts)

    @property
    def ids(self) -> list[int]:
        """Of the reductions, in order."""
        return sorted({run.id for part in self.parts for run in part.runs})

    def lines(self, views: int) -> int:
        """That are reduced."""
        page = WAYS[self.metric].page
        return sum(part.rows * views // page * page for part in self.parts)

    def fits(self, widths: Sequence[int], views: int) -> bool:
        """Whether rows that are reduced to so many bytes can stand in these kinds."""
        return kinds(self.metric, widths, views, self.make) == self.kinds

    @property
    def make(self) -> str:
        """The end of the kinds' names."""
        found = _NAME.fullmatch(self.kinds[0].name)
        assert found is not None
        return found["make"]


def kinds(metric: str, widths: Sequence[int], views: int, make: str) -> tuple[Kind, ...]:
    """What the kinds of segments of a make hold in a row."""
    return tuple(
        Kind(f"{name}{make}", "|u1", views * width)
        for name, width in zip(WAYS[metric].kinds, widths, strict=False)
    )


def is_kind(name: str) -> bool:
    """Whether a kind of this name holds reduced rows."""
    return _NAME.fullmatch(name) is not None


def next_make(make: str | None) -> str:
    """The make after this one, or the first."""
    if make is None:
        return ""
    if not make or make.endswith("z"):
        return f"{make}b"
    return make[:-1] + chr(ord(make[-1]) + 1)


def held(
    sql: sqlite3.Connection, file: Path, segments: int, *, whole: bool = True
) -> dict[str, Held]:
    """What is reduced, by metric.

    Args:
        file: errors name it.
        segments: of the index.
        whole: refuse what is damaged; else nothing is reduced of it.

    Raises:
        DamagedError: a line is not as it was written.
    """
    named = [Kind(*line) for line in sql.execute("SELECT name, dtype, width FROM kinds")]
    planes: dict[str, dict[str, Kind]] = {}
    for kind in named:
        match = _NAME.fullmatch(kind.name)
        if match:
            planes.setdefault(_OWNERS[match["name"]], {})[match["name"]] = kind
    found: dict[str, Held] = {}
    for metric, way in WAYS.items():
        there = planes.get(metric, {})
        if way.kinds[0] not in there:
            continue
        own = tuple(there[name] for name in way.kinds if name in there)
        try:
            parts = _parts(sql, file, own[0].name, segments)
        except DamagedError:
            if whole:
                raise
            parts = (Part(),) * segments
        found[metric] = Held(metric, own, parts)
    return found


def _parts(sql: sqlite3.Connection, file: Path, kind: str, segments: int) -> tuple[Part, ...]:
    parts = [Part()] * segments
    query = (
        "SELECT segment, rows, parameters, sum FROM segments WHERE kind = ? AND segment < ?"
        " ORDER BY segment"
    )
    for segment, rows, parameters, held_sum in sql.execute(query, (kind, segments)):
        try:
            if held_sum != segment_sum(kind, segment, rows, parameters):
                raise ValueError("checksum")
            if segment and not parts[segment - 1].rows:
                raise ValueError("none of the segment before")
            runs = json.loads(parameters)["runs"]
            parts[segment] = Part(rows, tuple(ReducedRun(*run) for run in runs))
        except (ValueError, TypeError, LookupError) as error:
            raise DamagedError(
                f"{file} is damaged (what is said of {kind} segment {segment}: {error})",
                "Nothing was returned",
                CURE,
            ) from error
    return tuple(parts)


def write_parts(sql: sqlite3.Connection, new: Held) -> None:
    """Note what is reduced; rows that are said to be reduced already stay."""
    for segment, part in enumerate(new.parts):
        if not part.rows:
            continue
        text = json.dumps({"runs": [list(run) for run in part.runs]})
        for kind in new.kinds:
            parameters = text if kind == new.kinds[0] else None
            sql.execute(
                "INSERT OR REPLACE INTO segments (kind, segment, rows, parameters, sum)"
                " VALUES (?, ?, ?, ?, ?)",
                (kind.name, segment, part.rows, parameters,
                 segment_sum(kind.name, segment, part.rows, parameters)),
            )  # fmt: skip


def forget(sql: sqlite3.Connection, metric: str) -> None:
    """Know no reduced rows of a metric any more, and no reductions."""
    for (name,) in sql.execute("SELECT name FROM kinds").fetchall():
        match = _NAME.fullmatch(name)
        if match and match["name"] in WAYS[metric].kinds:
            for table, column in (("kinds", "name"), ("segments", "kind"), ("checksums", "kind")):
                sql.execute(f"DELETE FROM {table} WHERE {column} = ?", (name,))
    if _there(sql):
        sql.execute("DELETE FROM reductions WHERE metric = ?", (metric,))


# Table `reductions`


@dataclass(frozen=True, slots=True)
class Learnt:
    """A line of table `reductions`, without its data.

    Attributes:
        rows: that the index had when it was learnt.
        pays: whether there are data.
        told: layout, bytes (a line), left (shares of the sample), of L2 and L1 coarse and fine
            (numbers), of Hamming groups.
    """

    id: int
    metric: str
    rows: int
    told: Mapping[str, Any]
    pays: bool
    digest: int | None


def told_of(metric: str, reduction: Reducing | None) -> dict[str, Any]:
    """What a line tells of a reduction; None: there can be none of such rows."""
    told: dict[str, Any] = {"layout": WAYS[metric].layout}
    if isinstance(reduction, Reduction):
        shape = reduction.shape
        told |= {"coarse": shape.coarse, "fine": shape.fine, "bytes": shape.bytes}
        told["left"] = list(reduction.left[: 2 if shape.fine else 1])
    elif isinstance(reduction, BitGroups):
        told |= {"groups": SUMS, "bytes": sum(reduction.widths), "left": list(reduction.left)}
    return told


def _there(sql: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'reductions'"
    return sql.execute(query).fetchone() is not None


def add(
    sql: sqlite3.Connection,
    id_: int,
    metric: str,
    rows: int,
    told: Mapping[str, Any],
    data: bytes | None,
) -> None:
    """Put a reduction, of a new id, into the table, or that there is none that pays."""
    sql.execute(_TABLE)
    text = json.dumps(dict(told))
    digest = None if data is None else signed(xxh3_64_intdigest(data))
    sql.execute(
        "INSERT INTO reductions VALUES (?, ?, ?, ?, ?, ?, ?)",
        (id_, metric, rows, text, data, digest, line_sum(id_, metric, rows, text, digest)),
    )


def drop_unused(sql: sqlite3.Connection, new: Mapping[str, Held]) -> None:
    """Drop the reductions that nothing is reduced by, but the newest of each metric."""
    if not _there(sql):
        return
    used = {id_ for each in new.values() for id_ in each.ids}
    used |= {id_ for (id_,) in sql.execute("SELECT max(id) FROM reductions GROUP BY metric")}
    for (id_,) in sql.execute("SELECT id FROM reductions").fetchall():
        if id_ not in used:
            sql.execute("DELETE FROM reductions WHERE id = ?", (id_,))


def learnt(sql: sqlite3.Connection, file: Path) -> list[Learnt]:
    """All lines, in order.

    Raises:
        DamagedError: a line is not as it was written.
    """
    if not _there(sql):
        return []
    lines = "SELECT id, metric, rows, told, digest, sum FROM reductions ORDER BY id"
    return [_learnt(line, file) for line in sql.execute(lines)]


def newest(sql: sqlite3.Connection, file: Path) -> dict[str, Learnt]:
    """The last line of each metric."""
    return {line.metric: line for line in learnt(sql, file)}


def _learnt(line: Sequence[Any], file: Path) -> Learnt:
    id_, metric, rows, text, digest, held_sum = line
    try:
        if line_sum(id_, metric, rows, text, digest) != held_sum:
            raise ValueError("checksum")
        return Learnt(id_, metric, rows, json.loads(text), digest is not None, digest)
    except (ValueError, TypeError) as error:
        raise _damaged(file, id_, error) from error


def sum_of(sql: sqlite3.Connection, id_: int) -> int:
    """The sum of a line, 0 where there is none."""
    line = _there(sql) and sql.execute("SELECT sum FROM reductions WHERE id = ?", (id_,)).fetchone()
    return line[0] if line else 0


def read(sql: sqlite3.Connection, file: Path, id_: int, metric: str) -> Reducing | None:
    """A reduction of a metric; None: it would not pay, or is of a layout or for a metric that is
    not known here.

    Raises:
        DamagedError: it is missing, or not as it was written.
    """
    query = "SELECT id, metric, rows, told, digest, sum, data FROM reductions WHERE id = ?"
    line = sql.execute(query, (id_,)).fetchone() if _there(sql) else None
    try:
        if line is None:
            raise ValueError("it is missing")
        known = _learnt(line[:-1], file)
        way = WAYS.get(metric)
        if (
            way is None
            or known.told["layout"] != way.layout
            or (line[-1] is None and not known.pays)
        ):
            return None
        if not isinstance(line[-1], bytes) or signed(xxh3_64_intdigest(line[-1])) != known.digest:
            raise ValueError("checksum")
        if known.metric != metric:
            raise ValueError(f"it is one of {known.metric}")
        return way.read(line[-1])
    except (ValueError, TypeError, LookupError) as error:
        raise _damaged(file, id_, error) from error


def _damaged(file: Path, id_: object, error: Exception) -> DamagedError:
    return DamagedError(
        f"{file} is damaged (reduction {id_}: {error})", "Nothing was returned", CURE
    )


def facts(lines: Sequence[Learnt], there: Mapping[str, Held], views: int) -> dict[str, Any]:
    """What `Index.info` tells, by metric, of those that a reduction was tried for: rows (that are
    reduced, of several views each one counted), pays (whether those that follow will be), learnt
    (rows that there were then), ids, and what the newest line tells."""
    told: dict[str, Any] = {}
    for line in lines:
        mine = there.get(line.metric)
        told[line.metric] = {
            "rows": 0 if mine is None else mine.lines(views),
            "pays": line.pays,
            "learnt": line.rows,
            "ids": [] if mine is None else mine.ids,
            **{name: value for name, value in line.told.items() if name != "layout"},
        }
    return told
