"""An index's rows reduced as they are added: when a reduction is learnt, and for which rows.

A reduction is learnt from a sample of all rows when the index first has so many that it may pay
(`Tiling.reduce_rows`). All rows that are sketched by then are reduced by it, and those that
follow; codes all, whether their rows are sketched or not. Where it would not pay that is noted, and
tried again when there are `_AGAIN` times as many rows; and what follows when there are `_STALE`
times as many is reduced by one that is learnt anew.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event

import numpy as np

from ..checks import Progress
from ..disk.files import read_at
from ..errors import StoreError
from ..kernels.layout import PAGE, SUMS
from ..kernels.memory import aligned
from ..machine import available_threads
from ..search import bit_grouping, learning, tiling
from ..search.bit_groups import BitGroups
from ..search.reductions import Reduction, shape_for
from ..threads import run
from . import stored_reductions, stored_sketches
from .segments import SegmentFiles
from .store import Store
from .stored_reductions import WAYS, Held, Learnt, Part, ReducedRun, Reducing, Way
from .stored_sketches import Covered
from .sums import CURE
from .views import as_lines

#: How many times as many rows there must be for another trial, and for another reduction.
_AGAIN, _STALE = 4, 8


def due(known: Learnt | None, rows: int) -> bool:
    """Whether a reduction is to be learnt for so many rows.

    Args:
        known: what was learnt last.
    """
    if rows < tiling.TILING.reduce_rows:
        return False
    return known is None or rows >= (_STALE if known.pays else _AGAIN) * known.rows


def sample(files: SegmentFiles, name: str, rows: int, views: int, most: int) -> np.ndarray:
    """Lines of a kind spread over all of the first `rows` rows, so many at most, as stored.

    Raises:
        OSError: they cannot be read.
    """
    kind = files.kinds[name]
    lines, width = rows * views, kind.width // views
    numbers = learning.sample_of(lines, most)
    segments, places = np.divmod(numbers, files.segment_rows * views)
    header, size = len(kind.header(files.segment_rows)), kind.row_bytes // views
    out = np.empty((len(numbers), width), kind.dtype)
    for segment in np.unique(segments).tolist():
        descriptor = files.folder.open(files.name(name, segment), os.O_RDONLY)
        try:
            for place in np.flatnonzero(segments == segment).tolist():
                data = read_at(descriptor, size, header + int(places[place]) * size)
                out[place] = np.frombuffer(data, kind.dtype)
        finally:
            os.close(descriptor)
    return out


def reduced(reduction: Reducing, lines: np.ndarray) -> tuple[np.ndarray, ...]:
    """Lines, as many as fill pages, reduced by all threads: an array for each kind."""
    if isinstance(reduction, BitGroups):
        return (reduction.sums(lines),)
    assert isinstance(reduction, Reduction)
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


def drafted(metric: str, lines: np.ndarray) -> Reducing | None:
    """What would reduce lines like these, whether it pays or not; None where there can be none."""
    return bit_grouping.drafted(lines) if metric == "hamming" else learning.drafted(lines, metric)


def worth(draft: Reducing) -> bool:
    """Whether rows that are reduced by it save more than they cost."""
    if isinstance(draft, BitGroups):
        return bit_grouping.worth(draft)
    return isinstance(draft, Reduction) and learning.worth(draft)


def widths_for(metric: str, store: Store) -> tuple[int, ...] | None:
    """Bytes, by kind, that lines of an index are reduced to; None: they are too short."""
    if metric == "hamming":
        return (SUMS,) if bit_grouping.can_be(-(-store.meta.bits // 8)) else None
    shape = shape_for(metric, store.meta.dim)
    return None if shape is None else shape.widths


Read = Callable[[int, int, int], np.ndarray]


@dataclass(eq=False)
class Extension:
    """Reduces for a metric the rows that are ready for it and not reduced yet.

    Args:
        files: where those rows are.
        held: what is reduced so far.
        reduction: that the others are reduced by.
        id_: its id.
        ready: rows of each segment that are written when all that can be reduced is.
        views: of an item.
        read: as for `stored_sketches.Extension`, of the kind that is reduced.
        progress: called with the rows that are done and those to do.

    Attributes:
        held: what is reduced when `blocks` has been exhausted.
    """

    files: SegmentFiles
    held: Held
    reduction: Reducing
    id_: int
    ready: Sequence[int]
    views: int
    read: Read
    progress: Progress | None = None
    start: int = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.held.rows
        missing = len(self.ready) - len(self.held.parts)
        self.held = replace(self.held, parts=self.held.parts + (Part(),) * missing)

    def blocks(self) -> Iterator[dict[str, np.ndarray]]:
        """The reduced rows, as `SegmentFiles.append` takes them."""
        row, parts = self.start, list(self.held.parts)
        segment_rows, lines_a_page = self.files.segment_rows, WAYS[self.held.metric].page
        page = max(1, lines_a_page // self.views)
        step = max(page, stored_sketches.BLOCK_ROWS // page * page)
        to_do = sum(self.ready)
        while (segment := row // segment_rows) < len(parts):
            offset = row % segment_rows
            stop = min(offset + step, self.ready[segment])
            if stop <= offset:
                break
            rows = self.read(segment, offset, stop)
            lines = as_lines(rows, self.views)
            whole = len(lines) // lines_a_page * lines_a_page
            block = {}
            for kind, values in zip(
                self.held.kinds, reduced(self.reduction, lines[:whole]), strict=False
            ):
                data = np.zeros((len(rows), kind.width), np.uint8)
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
        id: of a reduction that is learnt for it.
        learnt: that, or None where it would not pay.
        tried: whether one was.
        told: what the table will tell of it.
        extension: that reduces rows; None where none are.
        anew: what was reduced before is known no more.
    """

    metric: str
    rows: int
    id: int
    tried: bool = False
    learnt: Reducing | None = None
    told: Mapping[str, object] = field(default_factory=dict)
    extension: Extension | None = None
    anew: bool = False

    def note(self, sql: sqlite3.Connection) -> None:
        """Write what the tables say of it, when the rows are written."""
        if self.anew:
            stored_reductions.forget(sql, self.metric)
        if self.tried:
            data = None if self.learnt is None else self.learnt.to_bytes()
            stored_reductions.add(sql, self.id, self.metric, self.rows, self.told, data)
        if self.extension:
            stored_reductions.write_parts(sql, self.extension.held)


@dataclass(eq=False)
class _Plans:
    """Makes the plans of a change, metric by metric; see `plans`."""

    store: Store
    files: SegmentFiles
    held: Mapping[str, Held]
    rows: int
    sketched: Sequence[Covered]
    reads: Mapping[str, Read]
    consequence: str
    progress: Progress | None
    anew: bool
    samples: dict[str, np.ndarray] = field(default_factory=dict)  # by kind

    def ready(self, way: Way) -> list[int]:
        """Rows of each segment that can be reduced: of sketched ones those that fill pages."""
        full = self.files.segment_rows
        if way.source == "codes":
            return [min(full, self.rows - full * i) for i in range(len(self.sketched))]
        page = way.page // len(self.store.meta.views)
        return [part.rows - (part.rows % page if part.rows < full else 0) for part in self.sketched]

    def sample(self, way: Way) -> np.ndarray:
        """Lines to learn from."""
        if way.source not in self.samples:
            most = bit_grouping.SAMPLE if way.source == "codes" else learning.SAMPLE
            try:
                self.samples[way.source] = sample(
                    self.files, way.source, self.rows, len(self.store.meta.views), most
                )
            except (OSError, ValueError) as error:
                raise StoreError(
                    f"{self.files.folder.path} cannot be read ({error})", self.consequence, CURE
                ) from error
        return self.samples[way.source]

    def plan(self, metric: str, line: Learnt | None, next_id: int) -> Planned | None:
        """What is to be done for a metric, of which a line tells what was learnt last."""
        store, way, views = self.store, WAYS[metric], len(self.store.meta.views)
        widths, mine = widths_for(metric, store), self.held.get(metric)
        count = self.rows
        if way.source == "vectors":
            count = stored_sketches.rows_of(list(self.sketched))
        if widths is None or (mine is None and count < tiling.TILING.reduce_rows):
            return None
        # Rows of another shape cannot stand in files that hold some already.
        free = self.anew or mine is None or not mine.rows or mine.fits(widths, views)
        tried, reduction, told, id_ = self.anew or (free and due(line, count)), None, {}, 0
        if tried:
            draft = drafted(metric, self.sample(way))
            told = stored_reductions.told_of(metric, draft)
            if draft is not None and worth(draft):
                reduction, id_ = draft, next_id
        elif line is not None and line.pays:
            with store.statements(self.consequence) as sql:
                reduction, id_ = store.reduction(sql, line.id, metric), line.id
        extension, fresh = None, self.anew
        if reduction is not None:
            fits = mine is not None and mine.fits(reduction.widths, views)
            if mine is None or self.anew or not (mine.rows or fits):
                fresh = self.anew or mine is not None
                before = store.found_by_change.reduced.get(metric)
                make = stored_reductions.next_make(None if before is None else before.make)
                mine = Held(
                    metric, stored_reductions.kinds(metric, reduction.widths, views, make), ()
                )
            if mine.fits(reduction.widths, views):
                extension = Extension(
                    self.files, mine, reduction, id_, self.ready(way), views,
                    self.reads[way.source], self.progress,
                )  # fmt: skip
                self.files.know(mine.kinds)
        if not (tried or extension):
            return None
        return Planned(metric, max(1, count), next_id, tried, reduction, told, extension, fresh)


def plans(
    store: Store,
    files: SegmentFiles,
    held: Mapping[str, Held],
    rows: int,
    sketched: Sequence[Covered],
    reads: Mapping[str, Read],
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
        reads: by kind of rows, as for `Extension`.
        progress: as for `Extension`.
        anew: learn and reduce all anew.

    Raises:
        DamagedError: a reduction is not as it was written.
        StoreError: the rows cannot be read.
    """
    with store.statements(consequence) as sql:
        known = stored_reductions.newest(sql, store.database.file)
    making = _Plans(store, files, held, rows, sketched, reads, consequence, progress, anew)
    last = max((line.id for line in known.values()), default=0)
    made: list[Planned] = []
    for metric in WAYS:
        planned = making.plan(metric, known.get(metric), last + 1)
        if planned is not None:
            made.append(planned)
            last += planned.tried
    return made
