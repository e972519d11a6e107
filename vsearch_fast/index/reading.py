"""The rows that a search reads, and their checksums.

Whoever reads a row for the first time in this process hashes it there and then, when it is in the
processor's cache; what was hashed is compared with the checksums of the database when the search
is done, and before anybody sees its result. What was found right is not hashed again, so that
later searches pay nothing; a file that was replaced meanwhile is another one (`Mapped.identity`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DamagedError
from ..search.bit_groups import BitGroups, Summed
from ..search.reductions import Reduced, Reduction
from ..search.sketches import Sketch
from . import sums
from .segments import Mapped, SegmentFiles
from .stored_reductions import WAYS, Held, Reducing
from .stored_sketches import FACTS, SKETCHES, Covered
from .views import as_lines

#: When rows are checked: when a process first reads them, at every search, never.
Checks = Literal["first", "always", "never"]
Handed = TypeVar("Handed")
_VARIABLE = "VSEARCH_CHECKSUMS"
CHECKS: tuple[Checks, ...] = ("first", "always", "never")


def checks_wanted(value: Checks | None) -> Checks:
    """The value, or what the environment says.

    Raises:
        ArgumentError: neither is one of CHECKS.
    """
    source = "checksums"
    if value is None:
        source = _VARIABLE
        value = cast(Checks, os.environ.get(_VARIABLE) or "first")
    if value not in CHECKS:
        raise ArgumentError(
            f"{source} is {value!r}", "Nothing was opened", f"Use one of {', '.join(CHECKS)}"
        )
    return value


#: Blocks of a segment whose sums are remembered: 8 bytes a row of vectors.
_KEPT_BLOCKS = 4096


class Reading:
    """The mapped rows of one state, for one search; what it reads is told it by `topk_segments`
    (`search.rows.Reading`), from any thread.

    Args:
        files: where they are.
        rows: how many there are of the kinds that are all there: vectors, or codes.
        kinds: to be read.
        covered: what is sketched, one entry a segment.
        checks: when rows are hashed.
        views: of an item. Searches see its *lines* (`views.py`), so many a row.
        consequence: what is not done if a file is damaged.
        held: what is reduced, and read, too.
        reductions: by which, by id.
        kept: sketches and sums as they were handed out, by metric and segment, for as long as their
            files are the same.
        among: the segments that are read, where that is not all: the others are not mapped.

    Raises:
        DamagedError: a file is missing or cut short.
    """

    def __init__(
        self,
        files: SegmentFiles,
        rows: int,
        kinds: Sequence[str],
        covered: Sequence[Covered],
        checks: Checks,
        views: int,
        consequence: str,
        held: Held | None = None,
        reductions: Mapping[int, Reducing] | None = None,
        kept: dict[tuple[str, int], tuple[list[Any], Any]] | None = None,
        among: range | None = None,
    ) -> None:
        self.files = files
        self._reduced = held if reductions else None
        self._reductions, self._kept = reductions or {}, {} if kept is None else kept
        self._views = views
        self._checks = checks
        self._consequence = consequence
        self._covered = covered
        counts: dict[str, list[int]] = {}
        for kind in kinds:
            if kind in (SKETCHES, FACTS):
                counts[kind] = [part.rows for part in covered]
            else:
                counts[kind] = [
                    min(files.segment_rows, rows - segment * files.segment_rows)
                    for segment in range(files.segments(rows))
                ]
        for name in self.reduced_kinds:
            assert self._reduced is not None
            counts[name] = [part.rows for part in self._reduced.parts]
        self._main = next((kind for kind in kinds if kind not in (SKETCHES, FACTS)), "")
        self._parts: dict[str, list[_Part | None]] = {
            kind: [
                _Part(files.mapped(kind, segment, consequence), count, self._granule(kind), checks)
                if count and (among is None or segment in among)
                else None
                for segment, count in enumerate(of)
            ]
            for kind, of in counts.items()
        }
        # Kind, segment, granules, rows of each that were hashed, hashes.
        self._hashed: list[tuple[str, int, np.ndarray, np.ndarray, np.ndarray]] = []

    def _granule(self, kind: str) -> int:
        return sums.granule_rows(self.files.kinds[kind])

    def arrays(self, kind: str) -> list[np.ndarray]:
        """The lines, read-only, one array (r * views, width) a segment, all full but the last."""
        parts = self._parts[kind]
        return [as_lines(part.array, self._views) for part in parts if part is not None]

    def sketched(self) -> list[Sketch] | None:
        """The sketch of each segment; None where none are kept."""
        if SKETCHES not in self._parts:
            return None
        return [self._sketch(segment) for segment in range(len(self._covered))]

    def summed(self) -> list[list[Summed]] | None:
        """The lines of each segment whose sums are kept; None where none are."""
        if self._reduced is None or self._reduced.metric != "hamming":
            return None
        return [self._sums(segment) for segment in range(len(self._reduced.parts))]

    def _sketch(self, segment: int) -> Sketch:
        """Of a segment; the same object for as long as its files are the same."""

        def made(data: np.ndarray, facts: np.ndarray, *reduced: np.ndarray) -> Sketch:
            runs = {}
            if self._reduced is not None:
                runs[self._reduced.metric] = self._runs(segment, reduced)
            bad = np.empty(0, np.int64)
            return Sketch(data, facts, self._covered[segment].runs, bad, runs)

        return self._once(segment, (SKETCHES, FACTS, *self.reduced_kinds), made)

    def _sums(self, segment: int) -> list[Summed]:
        """Of a segment, likewise."""

        def made(sums: np.ndarray) -> list[Summed]:
            return [
                Summed(groups, start, sums[start:stop])
                for groups, start, stop in self._stretches(segment)
                if isinstance(groups, BitGroups)
            ]

        return self._once(segment, self.reduced_kinds, made)

    def _once(self, segment: int, names: Sequence[str], make: Callable[..., Handed]) -> Handed:
        """What is made of these files of a segment; the same object for as long as they are the
        same."""
        parts = [self._parts[name][segment] for name in names]
        files = [part and part.mapped for part in parts]
        key = "" if self._reduced is None else self._reduced.metric, segment
        known, handed = self._kept.get(key, ([], None))
        if handed is None or known != files:
            handed = make(*map(self._lines_of, names, parts))
            self._kept[key] = files, handed
        found: Handed = handed
        return found

    def _lines_of(self, name: str, part: _Part | None) -> np.ndarray:
        kind = self.files.kinds[name]
        empty = np.empty((0, kind.width), kind.dtype)
        return as_lines(empty if part is None else part.array, self._views)

    def _stretches(self, segment: int) -> Iterator[tuple[Reducing, int, int]]:
        """Reductions that are known, and the lines from one to another that are reduced by them:
        of whole pages."""
        assert self._reduced is not None
        part, page = self._reduced.parts[segment], WAYS[self._reduced.metric].page
        stop = part.rows * self._views // page * page
        starts = [*(run.start for run in part.runs), stop]
        for run, (start, end) in zip(part.runs, pairwise(starts), strict=True):
            if start < end and run.id in self._reductions:
                yield self._reductions[run.id], start, end

    def _runs(self, segment: int, arrays: Sequence[np.ndarray]) -> list[Reduced]:
        """The reduced lines of a segment."""
        made = []
        for reduction, start, end in self._stretches(segment):
            assert isinstance(reduction, Reduction)
            coarse = arrays[0][start:end]
            fine = arrays[1][start:end] if len(arrays) > 1 else np.empty((end - start, 0), "u1")
            made.append(Reduced(reduction, start, coarse, fine))
        return made

    @property
    def reduced_kinds(self) -> tuple[str, ...]:
        """The names of the kinds of reduced rows that are read."""
        return tuple(kind.name for kind in self._reduced.kinds) if self._reduced else ()

    def copied(self, kind: str, rows: np.ndarray) -> np.ndarray:
        """Rows of a kind by number, int64 (n,), copied: (n, width) as stored."""
        self._single(kind, rows)
        shape = self.files.kinds[kind]
        out = np.empty((len(rows), shape.width), shape.dtype)
        place, line = np.divmod(rows, self.files.segment_rows)
        for segment in np.unique(place).tolist():
            part, of = self._parts[kind][segment], place == segment
            assert part is not None
            out[of] = part.array[line[of]]
        return out

    # Told by those who read

    def rows(
        self, segment: int, start: int, stop: int, live: NDArray[np.uint8] | None = None
    ) -> None:
        """Lines of a segment are read; of them those that live."""
        self._read(self._main, segment, start, stop, live)

    def sketches(
        self, segment: int, start: int, stop: int, live: NDArray[np.uint8] | None = None
    ) -> None:
        """Sketches and facts of these lines are read."""
        for kind in (SKETCHES, FACTS):
            self._read(kind, segment, start, stop, live)

    def reduced(
        self, segment: int, start: int, stop: int, live: NDArray[np.uint8] | None = None
    ) -> None:
        """Coarse and fine numbers of these lines are read."""
        for kind in self.reduced_kinds:
            self._read(kind, segment, start, stop, live)

    def pairs(self, ids: np.ndarray) -> None:
        """Single lines are read: int64 (n,), numbered over all segments."""
        self._single(self._main, ids if self._views == 1 else ids // self._views)

    def _single(self, kind: str, ids: np.ndarray) -> None:
        if self._checks == "never" or not len(ids):
            return
        parts = self._parts[kind]
        if len(parts) == 1:
            self._single_within(kind, 0, parts[0], ids)
            return
        segments, lines = np.divmod(ids, self.files.segment_rows)
        for segment in np.unique(segments).tolist():
            self._single_within(kind, segment, parts[segment], lines[segments == segment])

    def _single_within(
        self, kind: str, segment: int, part: _Part | None, lines: np.ndarray
    ) -> None:
        assert part is not None
        if part.pending:
            granules = lines if part.granule == 1 else lines // part.granule
            # As a rule none is left, after some searches.
            granules = granules[part.claimed[granules] < part.granule]
            if len(granules):
                self._hash(kind, segment, part, np.unique(granules))

    def _read(
        self, kind: str, segment: int, start: int, stop: int, live: NDArray[np.uint8] | None
    ) -> None:
        if self._checks == "never":
            return
        part = self._parts[kind][segment]
        if part is not None and part.pending:
            granule = self._granule(kind)
            if live is not None:
                lines = (start + np.flatnonzero(live)) // (self._views * granule)
                self._hash(kind, segment, part, np.unique(lines))
                return
            start, stop = start // self._views, min(-(-stop // self._views), part.count)
            self._hash(kind, segment, part, np.arange(start // granule, -(-stop // granule)))

    def _hash(self, kind: str, segment: int, part: _Part, granules: np.ndarray) -> None:
        granules = granules[part.claimed[granules] < part.needed(granules)]
        if not len(granules):
            return
        needed = part.needed(granules)
        part.claimed[granules] = needed
        found = np.fromiter(
            (
                sums.sum_of(part.array[first : first + count])
                for first, count in zip(
                    (granules * part.granule).tolist(), needed.tolist(), strict=True
                )
            ),
            np.uint64,
            len(granules),
        )
        self._hashed.append((kind, segment, granules, needed, found))

    # Compared

    @property
    def open(self) -> bool:
        """Whether something was hashed that `settle` has not compared."""
        return bool(self._hashed)

    def settle(self, sql: sqlite3.Connection, file: Path) -> None:
        """Compare what was hashed with the sums of the database, which must be of the files'
        generation, and remember what is right.

        Raises:
            DamagedError: names the file and the rows.
        """
        hashed, self._hashed = self._hashed, []
        for kind, segment, granules, counts, found in hashed:
            part = self._parts[kind][segment]
            assert part is not None
            held, summed = self._held(sql, file, kind, segment, granules)
            # Rows that came since are summed, too: those granules are hashed again.
            for i in np.flatnonzero(summed > counts):
                first = int(granules[i]) * part.granule
                found[i] = sums.sum_of(part.mapped.array[first : first + int(summed[i])])
            bad = np.flatnonzero((found != held) | (summed < counts))
            if len(bad):
                raise self._damaged(sql, kind, segment, granules[bad], part)
            part.found_right(granules, counts)

    def _held(
        self, sql: sqlite3.Connection, file: Path, kind: str, segment: int, granules: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """For each granule its sum, and how many of its rows are summed (0: none)."""
        granule = self._granule(kind)
        each = sums.BLOCK_ROWS // granule
        blocks, places = np.divmod(granules, each)
        lines = self._lines(sql, file, kind, segment, np.unique(blocks).tolist())
        held = np.zeros(len(granules), np.uint64)
        summed = np.zeros(len(granules), np.int64)
        for block, (rows, values) in lines.items():
            of = np.flatnonzero((blocks == block) & (places < len(values)))
            held[of] = values[places[of]]
            summed[of] = np.minimum(granule, rows - places[of] * granule)
        return held, summed

    def _lines(
        self, sql: sqlite3.Connection, file: Path, kind: str, segment: int, blocks: list[int]
    ) -> dict[int, tuple[int, np.ndarray]]:
        """The sums of these blocks; full ones, which never change, are remembered."""
        part = self._parts[kind][segment]
        assert part is not None
        known = part.mapped.sums
        unknown = [block for block in blocks if block not in known]
        fresh = sums.read(sql, file, self.files.kinds[kind], segment, unknown)
        found = {block: known[block] for block in blocks if block in known} | fresh
        if len(known) > _KEPT_BLOCKS:
            known.clear()
        known.update({b: line for b, line in fresh.items() if line[0] == sums.BLOCK_ROWS})
        return found

    def _damaged(
        self, sql: sqlite3.Connection, kind: str, segment: int, granules: np.ndarray, part: _Part
    ) -> DamagedError:
        first = segment * self.files.segment_rows + int(granules[0]) * part.granule
        last = min(first + part.granule, segment * self.files.segment_rows + part.count) - 1
        line = sql.execute(
            "SELECT id FROM items WHERE row BETWEEN ? AND ? ORDER BY row LIMIT 1", (first, last)
        ).fetchone()
        item = "" if line is None else f" (item {line[0]!r})"
        rows = f"row {first}{item} is not as it was"
        if first != last:
            item = "" if line is None else f" ({line[0]!r} and others)"
            rows = f"of rows {first} to {last}{item} some are not as they were"
        return DamagedError(
            f"{self.files.path(kind, segment)} is damaged: {rows} written (checksum)",
            self._consequence,
            sums.CURE,
        )


class _Part:
    """The rows of one kind in one segment.

    Attributes:
        mapped: the whole file.
        count: rows of this state.
        array: those.
        granule: rows that are hashed together.
        claimed: int32, rows of each granule that need not be hashed by this search.
        pending: whether there may be any that must.
    """

    def __init__(self, mapped: Mapped, count: int, granule: int, checks: Checks) -> None:
        self.mapped, self.count, self.granule = mapped, count, granule
        self.array = mapped.array[:count]
        self.pending = checks != "never" and (checks == "always" or mapped.whole < count)
        self.claimed = np.zeros(0, np.int32)
        if self.pending:
            granules = -(-count // granule)
            if not len(mapped.checked):
                # Of the whole file: where two threads make it, either one serves.
                mapped.checked = np.zeros(-(-len(mapped.array) // granule), np.int32)
            self.claimed = np.zeros(granules, np.int32)
            if checks == "first":
                self.claimed[:] = mapped.checked[:granules]

    def needed(self, granules: np.ndarray) -> np.ndarray:
        """Rows of these granules that are of this state."""
        return np.minimum(self.granule, self.count - granules * self.granule)

    def found_right(self, granules: np.ndarray, counts: np.ndarray) -> None:
        checked = self.mapped.checked
        checked[granules] = np.maximum(checked[granules], counts)
        every = np.arange(-(-self.count // self.granule))
        if (checked[: len(every)] >= self.needed(every)).all():
            self.mapped.whole = max(self.mapped.whole, self.count)
