"""The sketches of an index on disk: two more kinds of segments, filled block by block.

A block of `BLOCK_ROWS` rows (fewer at a segment's end) is sketched when its last row is added,
by parameters of its own or those of the block before, and never written again: an index
that grows by single rows costs no more than one that is made at once. Rows of an unfinished
block have no sketch; searches read their vectors.

====================  ====================================================================
`sketches-NNNNN.npy`  uint8 (segment_rows, dim padded to 64), `kernels.sketch`
`facts-NNNNN.npy`     float64 (segment_rows, 4): residual norms e1, e2 and sums of u and u**2
table `segments`      kind `sketches`: rows sketched, parameters {"runs": [[start, lo, step,
                      lost], ...]}, rows counted within the segment; kind `facts` likewise
====================  ====================================================================
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from ..kernels import layout
from ..kernels.memory import aligned
from ..search.sketches import Run, Sketch, choose_run, sketch_block
from .segments import Kind, SegmentFiles

BLOCK_ROWS = 1024
SKETCHES, FACTS = "sketches", "facts"


def kinds(dim: int) -> list[Kind]:
    """What the two kinds of segments hold in a row."""
    return [Kind(SKETCHES, "|u1", layout.width_of(dim)), Kind(FACTS, "<f8", layout.FACTS)]


@dataclass(frozen=True, slots=True)
class Covered:
    """What of a segment is sketched."""

    rows: int
    runs: tuple[Run, ...]


def read(sql: sqlite3.Connection, segments: int) -> list[Covered]:
    """What is sketched, for each of the first `segments` segments."""
    covered = [Covered(0, ())] * segments
    query = "SELECT segment, rows, parameters FROM segments WHERE kind = ? AND segment < ?"
    for segment, rows, parameters in sql.execute(query, (SKETCHES, segments)):
        runs = json.loads(parameters)["runs"] if parameters else []
        covered[segment] = Covered(rows, tuple(Run(*run) for run in runs))
    return covered


def rows_of(covered: list[Covered]) -> int:
    """How many rows are sketched: the first so many, since blocks are sketched in order."""
    return sum(part.rows for part in covered)


class Extension:
    """Sketches the blocks that are complete with `rows` rows and have no sketch yet.

    Args:
        files: where the vectors of all those rows are written already.
        covered: what is sketched so far, one entry for each segment that is committed.

    Attributes:
        segment_rows: of the files.
        start: row of the first block to come.
        covered: what will be sketched, when `blocks` has been exhausted.
    """

    def __init__(self, files: SegmentFiles, covered: list[Covered], rows: int) -> None:
        self._files, self._rows = files, rows
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
            vectors = self._files.read("vectors", segment, offset, stop)
            width = self._files.kinds[SKETCHES].width
            data, facts = (
                aligned((len(vectors), width), np.uint8),
                np.empty((len(vectors), layout.FACTS)),
            )
            before = choose_run(vectors, offset, before)
            sketch_block(vectors, before.lo, before.step, data, facts)
            yield {SKETCHES: data, FACTS: facts}
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
        sql.executemany(
            "INSERT INTO segments (kind, segment, rows, parameters) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET rows = excluded.rows, parameters = excluded.parameters",
            [(SKETCHES, segment, part.rows, parameters), (FACTS, segment, part.rows, None)],
        )


def mapped(files: SegmentFiles, covered: list[Covered], rows: int) -> list[Sketch]:
    """The sketch of each segment of the first `rows` rows, memory-mapped."""
    nothing = np.empty(0, np.int64)
    kept: list[Sketch] = []
    for segment, part in enumerate(covered[: files.segments(rows)]):
        arrays: list[Any] = [
            files.map_segment(kind, segment, part.rows)
            if part.rows
            else np.empty((0, files.kinds[kind].width), files.kinds[kind].dtype)
            for kind in (SKETCHES, FACTS)
        ]
        kept.append(Sketch(arrays[0], arrays[1], part.runs, nothing))
    return kept
