"""An index's rows reduced as they are added: when a reduction is learnt, and for which rows.

A reduction is learnt from a sample of all rows when the index first has so many that it may pay
(`Tiling.reduce_rows`). All rows that are sketched by then are reduced by it, and those that
follow. Where it would not pay that is noted, and tried again when there are `_AGAIN` times as many
rows; and what follows when there are `_STALE` times as many is reduced by one that is learnt anew.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event

import numpy as np

from ..checks import Progress
from ..errors import StoreError
from ..kernels.layout import PAGE
from ..kernels.memory import aligned
from ..machine import available_threads
from ..search import learning, tiling
from ..search.reductions import Reduction, shape_for
from ..threads import run
from . import stored_reductions, stored_sketches
from .segments import Kind, SegmentFiles
from .store import Store
from .stored_reductions import Held, Learnt, Part, ReducedRun
from .stored_sketches import Covered
from .sums import CURE
from .views import as_lines

#: How many times as many rows there must be for another trial, and for another reduction.
_AGAIN, _STALE = 4, 8


def due(known: Learnt | None, rows: int) -> bool:
    """Whether a reduction is to be learnt for so many sketched rows.

    Args:
        known: what was learnt last.
    """
    if rows < tiling.TILING.reduce_rows:
        return False
    return known is None or rows >= (_STALE if known.pays else _AGAIN) * known.rows


def sample(files: SegmentFiles, rows: int, views: int) -> np.ndarray:
    """Lines spread over all of the first `rows` rows, as many as are learnt from, as stored.

    Raises:
        OSError: they cannot be read.
    """
    kind = files.kinds["vectors"]
    lines, width = rows * views, kind.width // views
    numbers = learning.sample_of(lines)
    segments, places = np.divmod(numbers, files.segment_rows * views)
    header, size = len(kind.header(files.segment_rows)), kind.row_bytes // views
    out = np.empty((len(numbers), width), kind.dtype)
    for segment in np.unique(segments).tolist():
        descriptor = files.folder.open(files.name("vectors", segment), os.O_RDONLY)
        try:
            for place in np.flatnonzero(segments == segment).tolist():
                data = os.pread(descriptor, size, header + int(places[place]) * size)
                out[place] = np.frombuffer(data, kind.dtype)
        finally:
            os.close(descriptor)
    return out


def reduced(reduction: Reduction, lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`Reduction.reduce` of lines, as many as fill pages, by all threads."""
    shape, pages = reduction.shape, len(lines) // PAGE
    coarse = aligned((len(lines), shape.coarse_bytes), np.uint8)
    fine = aligned((len(lines), shape.fine_bytes), np.uint8)
    workers = max(1, min(available_threads(), pages // 8))

    def work(worker: int) -> None:
        part = slice(pages * worker // workers * PAGE, pages * (worker + 1) // workers * PAGE)
        coarse[part], fine[part] = reduction.reduce(lines[part])

    if pages:
        run(work, workers, Event())
    return coarse, fine


@dataclass(eq=False)
class Extension:
    """Reduces for a metric the rows that are sketched and not reduced yet.

    Args:
        files: where the vectors of those rows are.
        held: what is reduced so far.
        reduction: that the others are reduced by.
        id_: its id.
        sketched: what is sketched, of each segment.
        read: as for `stored_sketches.Extension`.
        progress: called with the rows that are done and those to do.

    Attributes:
        held: what is reduced when `blocks` has been exhausted.
    """

    files: SegmentFiles
    held: Held
    reduction: Reduction
    id_: int
    sketched: Sequence[Covered]
    read: Callable[[int, int, int], np.ndarray]
    progress: Progress | None = None
    start: int = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.held.rows
        missing = len(self.sketched) - len(self.held.parts)
        self.held = replace(self.held, parts=self.held.parts + (Part(),) * missing)

    @property
    def views(self) -> int:
        return self.files.kinds["vectors"].width // self.reduction.dim

    def _ready(self, segment: int) -> int:
        """Rows of a segment that are written when all that can be reduced is."""
        rows = self.sketched[segment].rows
        return rows if rows == self.files.segment_rows else rows - rows % (PAGE // self.views)

    def blocks(self) -> Iterator[dict[str, np.ndarray]]:
        """The reduced rows, as `SegmentFiles.append` takes them."""
        row, parts = self.start, list(self.held.parts)
        segment_rows, page = self.files.segment_rows, PAGE // self.views
        step = max(page, stored_sketches.BLOCK_ROWS // page * page)
        to_do = sum(map(self._ready, range(len(self.sketched))))
        while (segment := row // segment_rows) < len(parts):
            offset = row % segment_rows
            stop = min(offset + step, self._ready(segment))
            if stop <= offset:
                break
            vectors = self.read(segment, offset, stop)
            lines = as_lines(vectors, self.views)
            whole = len(lines) // PAGE * PAGE
            block = {}
            for kind, values in zip(
                self.held.kinds, reduced(self.reduction, lines[:whole]), strict=False
            ):
                data = np.zeros((len(vectors), kind.width), np.uint8)
                data.reshape(-1)[: values.size] = values.reshape(-1)
                block[kind.name] = data
            yield block
            runs = parts[segment].runs
            if whole and (not runs or runs[-1].id != self.id_):
                runs = (*runs, ReducedRun(offset * self.views, self.id_))
            parts[segment] = Part(stop, runs)
            row = segment * segment_rows + stop
            if self.progress:
                self.progress(row - self.start, to_do - self.start)
        self.held = replace(self.held, parts=tuple(parts))


@dataclass(frozen=True, eq=False)
class Planned:
    """What is to be done for a metric.

    Attributes:
        learnt: a reduction that was learnt for it, or None where it would not pay.
        tried: whether one was.
        told: what the table will tell of it.
        extension: that reduces rows; None where none are.
        anew: what was reduced before is known no more.
    """

    metric: str
    rows: int
    tried: bool = False
    learnt: Reduction | None = None
    told: Mapping[str, object] = field(default_factory=dict)
    extension: Extension | None = None
    anew: bool = False

    def note(self, sql: sqlite3.Connection) -> None:
        """Write what the tables say of it, when the rows are written."""
        if self.anew:
            stored_reductions.forget(sql, self.metric)
        if self.tried:
            data = None if self.learnt is None else self.learnt.to_bytes()
            id_ = stored_reductions.add(sql, self.metric, self.rows, self.told, data)
            if self.extension and self.learnt:
                assert id_ == self.extension.id_
        if self.extension:
            stored_reductions.write_parts(sql, self.extension.held)


def plans(
    store: Store,
    files: SegmentFiles,
    held: Mapping[str, Held],
    rows: int,
    sketched: Sequence[Covered],
    read: Callable[[int, int, int], np.ndarray],
    consequence: str,
    progress: Progress | None = None,
    *,
    anew: bool = False,
) -> list[Planned]:
    """What is to be reduced, in a change, of rows that are written and sketched.

    Args:
        held: what is reduced in these files, by metric.
        rows: that are written.
        sketched: what is sketched of each segment.
        read, progress: as for `Extension`.
        anew: learn and reduce all anew.

    Raises:
        DamagedError: a reduction is not as it was written.
        StoreError: the rows cannot be read.
    """
    views, count = len(store.meta.views), stored_sketches.rows_of(list(sketched))
    with store.statements(consequence) as sql:
        known = stored_reductions.newest(sql, store.database.file)
    last, lines = max((line.id for line in known.values()), default=0), None
    made: list[Planned] = []
    for metric in stored_reductions.METRICS:
        shape, mine, line = shape_for(metric, store.meta.dim), held.get(metric), known.get(metric)
        if shape is None or (mine is None and count < tiling.TILING.reduce_rows):
            continue
        # Rows of another shape cannot stand in files that hold some already.
        free = anew or mine is None or not mine.rows or mine.fits(shape, views)
        tried, reduction, told, id_ = anew or (free and due(line, count)), None, {}, 0
        if tried:
            if lines is None:
                lines = _sampled(files, rows, views, consequence)
            draft = learning.drafted(lines, metric)
            told = stored_reductions.told_of(draft)
            if draft is not None and learning.worth(draft):
                reduction, id_ = draft, last + 1
            last += 1
        elif line is not None and line.pays:
            with store.statements(consequence) as sql:
                reduction, id_ = store.reduction(sql, line.id, metric), line.id
        extension = None
        fresh = anew
        if reduction is not None:
            if mine is None or anew or not (mine.rows or mine.fits(reduction.shape, views)):
                fresh = anew or mine is not None
                before = store.found_by_change.reduced.get(metric)
                make = stored_reductions.next_make(None if before is None else before.make)
                mine = _empty(stored_reductions.kinds(reduction.shape, views, make), metric)
            if mine.fits(reduction.shape, views):
                extension = Extension(files, mine, reduction, id_, sketched, read, progress)
                files.know(mine.kinds)
        if tried or extension:
            made.append(Planned(metric, max(1, count), tried, reduction, told, extension, fresh))
    return made


def _empty(kinds: Sequence[Kind], metric: str) -> Held:
    return Held(metric, kinds[0], kinds[1] if len(kinds) > 1 else None, ())


def _sampled(files: SegmentFiles, rows: int, views: int, consequence: str) -> np.ndarray:
    try:
        return sample(files, rows, views)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{files.folder.path} cannot be read ({error})", consequence, CURE
        ) from error
