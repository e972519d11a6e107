"""The sketches of an index on disk: two more kinds of segments, filled block by block.

A block of `BLOCK_ROWS` rows (fewer at a segment's end) is sketched when its last row is added,
by parameters of its own or those of the block before, and never written again: an index
that grows by single rows costs no more than one that is made at once. Rows of an unfinished
block have no sketch; searches read their vectors.

====================  ====================================================================
`sketches-NNNNN.npy`  uint8 (segment_rows, dim padded to 64), `kernels.sketch`; of several views
                      (`views.py`) one behind the other, as in `vectors`; so are the facts
`facts-NNNNN.npy`     float64 (segment_rows, 4): residual norms e1, e2 and sums of u and u**2
table `segments`      kind `sketches`: rows sketched, parameters {"runs": [[start, lo, step,
                      lost], ...]}, start counted in lines within the segment; kind `facts`
                      likewise
====================  ====================================================================
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from ..errors import DamagedError
from ..kernels import layout
from ..kernels.memory import aligned
from ..search.sketches import Run, choose_run, sketch_block
from .segments import Kind, SegmentFiles
from .sums import CURE, segment_sum
from .views import as_lines, as_rows

BLOCK_ROWS = 256
SKETCHES, FACTS = "sketches", "facts"


def kinds(dim: int, views: int) -> list[Kind]:
    """What the two kinds of segments hold in a row."""
    return [
        Kind(SKETCHES, "|u1", views * layout.width_of(dim)),
        Kind(FACTS, "<f8", views * layout.FACTS),
    ]


@dataclass(frozen=True, slots=True)
class Covered:
    """What of a segment is sketched."""

    rows: int
    runs: tuple[Run, ...]


def read(sql: sqlite3.Connection, file: Path, segments: int, *, summed: bool) -> list[Covered]:
    """What is sketched, for each of the first `segments` segments.

    Args:
        file: errors name it.
        summed: whether the lines have sums.

    Raises:
        DamagedError: a line is not as it was written.
    """
    covered = [Covered(0, ())] * segments
    query = "SELECT * FROM segments WHERE kind = ? AND segment < ? ORDER BY segment"
    for _, segment, rows, parameters, *sums in sql.execute(query, (SKETCHES, segments)):
        try:
            if summed and sums != [segment_sum(SKETCHES, segment, rows, parameters)]:
                raise ValueError("checksum")
            runs = json.loads(parameters)["runs"] if parameters else []
            if segment and not covered[segment - 1].rows:
                raise ValueError("none of the segment before")
            covered[segment] = Covered(rows, tuple(Run(*run) for run in runs))
        except (ValueError, TypeError, LookupError) as error:
            raise DamagedError(
                f"{file} is damaged (what is said of the sketches of segment {segment}: {error})",
                "Nothing was returned",
                CURE,
            ) from error
    return covered


def rows_of(covered: list[Covered]) -> int:
    """How many rows are sketched: the first so many, since blocks are sketched in order."""
    return sum(part.rows for part in covered)


class Extension:
    """Sketches the blocks that are complete with `rows` rows and have no sketch yet.

    Args:
        files: where the vectors of all those rows are written already.
        covered: what is sketched so far, one entry for each segment that is committed.
        read: called with segment, first row and end, reads vectors; raises where they are damaged.

    Attributes:
        segment_rows: of the files.
        start: row of the first block to come.
        covered: what will be sketched, when `blocks` has been exhausted.
    """

    def __init__(
        self,
        files: SegmentFiles,
        covered: list[Covered],
        rows: int,
        read: Callable[[int, int, int], np.ndarray],
    ) -> None:
        self._files, self._rows, self._read = files, rows, read
        self.segment_rows = files.segment_rows
        self.covered = covered + [Covered(0, ())] * (files.segments(rows) - len(covered))
        self.start = rows_of(covered)

    def blocks(self) -> Iterator[dict[str, np.ndarray]]:
        """The sketched rows, as `SegmentFiles.append` takes them."""
        row = self.start
        before = next(
            (part.runs[-1] for part in reversed(self.covered) if part.runs), None
        )  # of an earlier block: runs are in order
        while True:
            segment, offset = divmod(row, self.segment_rows)
            stop = min(offset + BLOCK_ROWS, self.segment_rows)
            if segment * self.segment_rows + stop > self._rows:
                return
            vectors = self._read(segment, offset, stop)
            views = self._files.kinds[FACTS].width // layout.FACTS
            vectors = as_lines(vectors, views)
            width = self._files.kinds[SKETCHES].width // views
            data, facts = (
                aligned((len(vectors), width), np.uint8),
                np.empty((len(vectors), layout.FACTS)),
            )
            before = choose_run(vectors, views * offset, before)
            sketch_block(vectors, before.lo, before.step, data, facts)
            yield {SKETCHES: as_rows(data, views), FACTS: as_rows(facts, views)}
            runs = self.covered[segment].runs
            if not runs or (runs[-1].lo, runs[-1].step) != (before.lo, before.step):
                runs = (*runs, before)
            self.covered[segment] = Covered(stop, runs)
            row = segment * self.segment_rows + stop


def write(sql: sqlite3.Connection, extension: Extension) -> None:
    """Note what an extension, whose blocks are written, has added."""
    first = extension.start // extension.segment_rows
    for segment, part in enumerate(extension.covered[first:], first):
        if not part.rows:
            continue
        parameters = json.dumps({"runs": [list(astuple(run)) for run in part.runs]})
        for kind, text in ((SKETCHES, parameters), (FACTS, None)):
            write_segment(sql, kind, segment, part.rows, text)


def write_segment(
    sql: sqlite3.Connection, kind: str, segment: int, rows: int, parameters: str | None
) -> None:
    """Write a line of table `segments`."""
    sql.execute(
        "INSERT OR REPLACE INTO segments (kind, segment, rows, parameters, sum)"
        " VALUES (?, ?, ?, ?, ?)",
        (kind, segment, rows, parameters, segment_sum(kind, segment, rows, parameters)),
    )
