"""Checksums of an index's rows: how they are cut, made, kept and asked for.

Rows of a kind are summed by *granules*: so many rows that a search reads them together. Vectors
are read one here and one there (candidates), so that a granule of theirs is about `_READ_BYTES`,
a single row of 4096 numbers; codes, sketches and facts are read in runs, and a granule is a
whole *block* of `BLOCK_ROWS` rows. A block's sums are one line of table `checksums`:

==========  ==================================================================================
`rows`      that are summed, counted within the block: the last granule may be unfinished
`sums`      for each granule 8 bytes (little-endian): XXH3-64 of its rows' bytes
`sum`       XXH3-64 of the line itself
==========  ==================================================================================

XXH3 (Yann Collet, xxhash.com) is no cryptographic hash: it finds what disks, memory and people do
by mistake, not what somebody does on purpose.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from xxhash import xxh3_64_intdigest

from ..errors import DamagedError
from .segments import Kind

#: Rows of a block of sums. A power of two.
BLOCK_ROWS = 1024

#: What is read at least where single rows are read.
_READ_BYTES = 8192

#: The kind whose rows are read one by one.
_SINGLY = "vectors"

TABLE = """CREATE TABLE checksums (
    kind TEXT NOT NULL, segment INTEGER NOT NULL, block INTEGER NOT NULL,
    rows INTEGER NOT NULL, sums BLOB NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY (kind, segment, block)
) WITHOUT ROWID"""

CURE = (
    "Run `vsearch verify` on the folder, which finds all that is damaged and, with --repair,"
    " mends it; or restore the folder from a backup"
)


def signed(value: int) -> int:
    """A 64-bit sum as SQLite holds it."""
    return value - (1 << 64) if value >> 63 else value


def line_sum(*values: object) -> int:
    """The sum of a table's line: of values that are text without NUL, numbers, bytes or None."""
    # A list, since a generator costs half as much again, and each hit of a search is checked.
    text = "\0".join(["" if value is None else f"={value}" for value in values])
    return signed(xxh3_64_intdigest(text.encode("utf-8", "surrogateescape")))


def segment_sum(kind: str, segment: int, rows: int, parameters: str | None) -> int:
    """The sum of a line of table `segments`."""
    return line_sum(kind, segment, rows, parameters)


def sum_of(rows: np.ndarray) -> int:
    """The sum of the bytes of rows, C-contiguous."""
    return xxh3_64_intdigest(rows.data)


def granule_rows(kind: Kind) -> int:
    """Rows of a granule: a power of two up to BLOCK_ROWS."""
    if kind.name != _SINGLY:
        return BLOCK_ROWS
    rows = max(1, _READ_BYTES // max(1, kind.row_bytes))
    return min(BLOCK_ROWS, 1 << (rows.bit_length() - 1))


def sums_of(rows: np.ndarray, granule: int) -> np.ndarray:
    """uint64 (ceil(n / granule),): the sums of rows (n, width), C-contiguous, the first of which
    begins a granule."""
    data = rows.reshape(-1).view(np.uint8).data if rows.size else memoryview(b"")
    size = granule * (rows.nbytes // max(1, len(rows)))
    count = -(-len(rows) // granule)
    return np.fromiter(
        (xxh3_64_intdigest(data[i * size : (i + 1) * size]) for i in range(count)),
        np.uint64,
        count,
    )


class RunningSums:
    """The sums of one kind's rows as they are appended.

    Args:
        kind: of the rows.
        segment_rows: rows a segment.
        start: the number of the first row to come.
        sums: of the finished granules of the block that row `start` is in; none where it begins
            a block.
        head: the rows (n, width) of its unfinished granule.
    """

    def __init__(
        self, kind: Kind, segment_rows: int, start: int, sums: np.ndarray, head: np.ndarray
    ) -> None:
        self.kind = kind
        self._granule = granule_rows(kind)
        self._segment_rows = segment_rows
        self._row = start
        self._sums = [sums]
        self._head = [head] if len(head) else []
        self._headed = len(head)
        self._done: list[tuple[int, int, int, np.ndarray]] = []

    def feed(self, rows: np.ndarray) -> None:
        """The next rows, (n, width)."""
        while len(rows):
            offset = self._row % self._segment_rows
            in_block = offset % BLOCK_ROWS
            room = min(BLOCK_ROWS - in_block, self._segment_rows - offset)
            part, rows = rows[:room], rows[room:]
            self._row += len(part)
            self._take(part)
            if len(part) == room:
                self._end_block()

    def _take(self, rows: np.ndarray) -> None:
        if self._headed:
            room = self._granule - self._headed
            self._head.append(rows[:room])
            self._headed += len(rows[:room])
            if self._headed < self._granule:
                return
            self._sums.append(sums_of(np.concatenate(self._head), self._granule))
            rows = rows[room:]
            self._head, self._headed = [], 0
        whole = len(rows) - len(rows) % self._granule
        self._sums.append(sums_of(np.ascontiguousarray(rows[:whole]), self._granule))
        if whole < len(rows):
            self._head, self._headed = [rows[whole:].copy()], len(rows) - whole

    def _end_block(self) -> None:
        """Put the block aside that ends before the next row."""
        line = self._line()
        if line is not None:
            self._done.append(line)
        self._sums, self._head, self._headed = [], [], 0

    def _line(self) -> tuple[int, int, int, np.ndarray] | None:
        sums = self._sums
        if self._headed:
            sums = [*sums, sums_of(np.concatenate(self._head), self._granule)]
        if not sums or not sum(map(len, sums)):
            return None
        segment, offset = divmod(self._row - 1, self._segment_rows)
        block, last = divmod(offset, BLOCK_ROWS)
        return segment, block, last + 1, np.concatenate(sums)

    def lines(self) -> list[tuple[int, int, int, np.ndarray]]:
        """Segment, block, rows and sums of every block that got rows."""
        last = self._line()
        return self._done + ([] if last is None else [last])


def write(
    sql: sqlite3.Connection, kind: str, lines: Iterable[tuple[int, int, int, np.ndarray]]
) -> None:
    """Store what `RunningSums.lines` gave."""

    def values() -> Iterator[tuple[object, ...]]:
        for segment, block, rows, sums in lines:
            blob = sums.astype("<u8").tobytes()
            yield kind, segment, block, rows, blob, _sum(kind, segment, block, rows, blob)

    sql.executemany("INSERT OR REPLACE INTO checksums VALUES (?, ?, ?, ?, ?, ?)", values())


def _sum(kind: str, segment: int, block: int, rows: int, blob: bytes) -> int:
    return line_sum(kind, segment, block, rows, xxh3_64_intdigest(blob))


def read(
    sql: sqlite3.Connection, file: Path, kind: Kind, segment: int, blocks: Sequence[int]
) -> dict[int, tuple[int, np.ndarray]]:
    """Rows and sums of these blocks, by block.

    Raises:
        DamagedError: a line that is missing or is not as it was written.
    """
    found: dict[int, tuple[int, np.ndarray]] = {}
    query = "SELECT rows, sums, sum FROM checksums WHERE kind = ? AND segment = ? AND block = ?"
    for block in blocks:
        line = sql.execute(query, (kind.name, segment, block)).fetchone()
        if (
            line is None
            or not isinstance(line[1], bytes)
            or _sum(kind.name, segment, block, line[0], line[1]) != line[2]
        ):
            raise DamagedError(
                f"{file} is damaged (the checksums of block {block} of {kind.name}"
                f" segment {segment})",
                "Nothing was returned",
                CURE,
            )
        found[block] = line[0], np.frombuffer(line[1], "<u8")
    return found
