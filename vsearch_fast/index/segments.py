"""Append-only row files of an index: fixed capacity, written with pwrite, read memory-mapped.

A file `KIND-NNNNN.npy` holds up to `segment_rows` rows of one kind (vectors, codes, ...); after a
compaction `KIND-GENERATION-NNNNN.npy`. It is
a valid .npy from its first moment, made at its full length by ftruncate, so that it is sparse
(it takes disk space only as rows arrive) and `numpy.load(..., mmap_mode="r")` reads it.
What `store.py` counts as committed decides how many of its rows exist; whatever lies
beyond is the rest of an unfinished add and is overwritten by the next.

Rows go in by pwrite, never through a memory map: on a full disk pwrite fails with an error
that can be reported, where a store to a mapped page ends the process with SIGBUS.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from ..disk.files import about, begin_writing, lengthen, read_at, room_of
from ..disk.folder import Folder
from ..disk.mapping import map_array
from ..disk.writing import pwrite_all, write_error
from ..errors import DamagedError, StoreError


@dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of segment holds in a row: `width` values of `dtype` (NumPy's string
    with its byte order, for example "<f4")."""

    name: str
    dtype: str
    width: int

    @property
    def row_bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * self.width

    def header(self, segment_rows: int) -> bytes:
        """The .npy header of a segment file: the same bytes for every segment of the kind."""
        return _header(self.dtype, segment_rows, self.width)


@lru_cache(256)
def _header(dtype: str, rows: int, width: int) -> bytes:
    """Asked for at every search, for each file that is looked at."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": dtype, "fortran_order": False, "shape": (rows, width)}
    )
    return out.getvalue()


@dataclass(eq=False, slots=True)
class Mapped:
    """A segment file in memory.

    Attributes:
        array: read-only, (segment_rows, width).
        identity: device and inode of the file.
        checked: int32, by granule: how many of its rows were found right; empty until any are read.
        whole: rows that were all found right, counted from the first.
        sums: of full blocks, as they were read from the database (`sums.py`).
    """

    array: np.ndarray
    identity: tuple[int, int]
    checked: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    whole: int = 0
    sums: dict[int, tuple[int, np.ndarray]] = field(default_factory=dict)


class Fed(Protocol):
    """What is given all rows as they are appended: `sums.RunningSums`."""

    def feed(self, rows: np.ndarray) -> None:
        """The next rows, (n, width)."""


class Unflushed:
    """Files that rows were written to and that must be flushed before anything counts them; the
    system begins to write them at once, while what follows is computed."""

    def __init__(self) -> None:
        self._files: list[tuple[Path, int]] = []
        self._created: list[Folder] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _path, descriptor in self._files:
            os.close(descriptor)

    def take(self, path: Path, descriptor: int) -> None:
        """It is closed at the end, however that comes."""
        self._files.append((path, descriptor))

    def created(self, folder: Folder) -> None:
        """Files have appeared there."""
        self._created = [folder]

    def flush(self, consequence: str) -> None:
        """Have all of it on the disk.

        Raises:
            StoreError: it is not.
        """
        for path, descriptor in self._files:
            try:
                os.fsync(descriptor)
            except OSError as error:
                raise write_error(path, error, consequence) from error
        for folder in self._created:
            try:
                folder.sync()
            except OSError as error:
                raise write_error(folder.path, error, consequence) from error


class SegmentFiles:
    """The segment files of one index folder.

    Args:
        folder: the index.
        kinds: what is stored, by name.
        segment_rows: rows a file.
        generation: how often the index was compacted; files of another one are not these.
    """

    def __init__(
        self, folder: Folder, kinds: Iterable[Kind], segment_rows: int, generation: int = 0
    ) -> None:
        self.folder = folder
        self.kinds = {kind.name: kind for kind in kinds}
        self.segment_rows = segment_rows
        self.generation = generation
        self._maps: dict[tuple[str, int], Mapped] = {}
        self._pinned = False

    def know(self, kinds: Iterable[Kind]) -> None:
        """Store these kinds, too."""
        for kind in kinds:
            self.kinds[kind.name] = kind

    def name(self, kind: str, segment: int) -> str:
        """A segment's file name."""
        generation = f"{self.generation}-" if self.generation else ""
        return f"{kind}-{generation}{segment:05d}.npy"

    def path(self, kind: str, segment: int) -> Path:
        return self.folder.path / self.name(kind, segment)

    def segments(self, rows: int) -> int:
        """How many segments `rows` rows take."""
        return -(-rows // self.segment_rows)

    def length(self, kind: Kind) -> int:
        """Bytes of a whole file."""
        return len(kind.header(self.segment_rows)) + self.segment_rows * kind.row_bytes

    def check(self, rows: Mapping[str, int], consequence: str = "The index was not opened") -> None:
        """Raise DamagedError unless every file that so many rows of a kind need is there at full
        length."""
        for name, count in rows.items():
            for segment in range(self.segments(count)):
                self._found(self.kinds[name], segment, consequence)

    def check_one(self, kind: str, segment: int) -> None:
        """DamagedError unless the file is there at full length, with its header."""
        self._found(self.kinds[kind], segment, "It was not read")
        header = self.kinds[kind].header(self.segment_rows)
        path = self.path(kind, segment)
        descriptor = self.folder.open(path.name, os.O_RDONLY)
        try:
            if read_at(descriptor, len(header), 0) != header:
                raise self._headless(path, "It was not read")
        finally:
            os.close(descriptor)

    def _headless(self, path: Path, consequence: str) -> DamagedError:
        return self._damaged(f"{path} does not begin as a segment of this index does", consequence)

    def _found(self, kind: Kind, segment: int, consequence: str) -> os.stat_result:
        """Of a file that is there at full length: what lies beyond its end cannot be read, and
        would end the process."""
        name = self.name(kind.name, segment)
        length = self.length(kind)
        try:
            found = self.folder.stat(name)
        except FileNotFoundError:
            raise self._damaged(f"{self.folder.path / name} is missing", consequence) from None
        if found.st_size < length:
            raise self._damaged(
                f"{self.folder.path / name} has {found.st_size} bytes of {length}:"
                " it was cut short",
                consequence,
            )
        return found

    def mapped(self, kind_name: str, segment: int, consequence: str) -> Mapped:
        """A segment file in memory. Asking again costs a look at the file: it may have been cut
        or, by a restored one, replaced."""
        kind = self.kinds[kind_name]
        if self._pinned:
            return self._maps[kind_name, segment]
        found = self._found(kind, segment, consequence)
        identity = found.st_dev, found.st_ino
        mapped = self._maps.get((kind_name, segment))
        if mapped is None or mapped.identity != identity:
            # Two threads may both map it; either map serves, and one is dropped.
            mapped = self._maps[kind_name, segment] = self._open_map(kind, segment, consequence)
        return mapped

    def map(self, kind: str, rows: int, consequence: str) -> list[Mapped]:
        """The segments of the first `rows` rows, in order."""
        return [self.mapped(kind, segment, consequence) for segment in range(self.segments(rows))]

    def read(self, kind_name: str, segment: int, start: int, stop: int) -> np.ndarray:
        """Rows of one segment, copied: also such as are written and not committed, whose file
        may yet be removed.

        Raises:
            OSError: the file is not there, or cannot be read.
        """
        kind = self.kinds[kind_name]
        offset = len(kind.header(self.segment_rows)) + start * kind.row_bytes
        count = (stop - start) * kind.width
        with open(self.folder.open(self.name(kind_name, segment), os.O_RDONLY), "rb") as file:
            rows = np.fromfile(file, kind.dtype, count, offset=offset)
        return rows.reshape(stop - start, kind.width)

    def _open_map(self, kind: Kind, segment: int, consequence: str) -> Mapped:
        header = kind.header(self.segment_rows)
        path = self.path(kind.name, segment)
        try:
            descriptor = self.folder.open(path.name, os.O_RDONLY)
            try:
                if read_at(descriptor, len(header), 0) != header:
                    raise self._headless(path, consequence)
                found = os.fstat(descriptor)
                shape = (self.segment_rows, kind.width)
                array = map_array(descriptor, len(header), shape, kind.dtype)
                return Mapped(array, (found.st_dev, found.st_ino))
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise StoreError(
                    f"{path} cannot be opened: this process has too many files open",
                    f"{consequence}; it is not damaged",
                    "Raise the limit (ulimit -n), or close what is not needed",
                ) from error
            if error.errno == errno.ENOMEM:
                raise StoreError(
                    f"{path} cannot be mapped: this process has no address space left",
                    f"{consequence}; it is not damaged",
                    "Raise the limits (ulimit -v, vm.max_map_count), close what is not needed, or"
                    " join small segments (`vsearch optimize`)",
                ) from error
            raise self._damaged(f"{path} cannot be read ({error})", consequence) from error

    def _damaged(self, cause: str, consequence: str) -> DamagedError:
        return DamagedError(cause, consequence, "Restore the folder from a copy, or index again")

    def append(
        self,
        start: int,
        blocks: Iterable[dict[str, np.ndarray]],
        sums: Mapping[str, Fed],
        consequence: str,
        later: Unflushed | None = None,
    ) -> None:
        """Write rows from row number `start` on and flush them to the disk.

        Args:
            start: committed rows; the first row that is written.
            blocks: for each run of rows a C-contiguous array (b, width) by kind. A block may
                cross the border of a segment.
            sums: are fed with the rows, by kind.
            consequence: what to say was not done, should the writing fail.
            later: takes the files, to be flushed with others.

        Raises:
            StoreError: a full disk, a folder that cannot be written. What this call has written
                is beyond the committed rows: `drop_tail` removes its files.
        """
        if later is None:
            with Unflushed() as later:
                self.append(start, blocks, sums, consequence, later)
                later.flush(consequence)
            return
        opened: dict[str, tuple[int, int]] = {}  # kind -> segment, file descriptor
        created = False
        try:
            row = start
            for block in blocks:
                count = 0
                for name, values in block.items():
                    count = len(values)
                    sums[name].feed(values)
                    created |= self._write_rows(name, row, values, start, opened)
                row += count
            if created:
                later.created(self.folder)
        except OSError as error:
            path = Path(error.filename) if error.filename else self.folder.path
            raise write_error(path, error, consequence) from error
        finally:
            for name, (segment, descriptor) in opened.items():
                later.take(self.path(name, segment), descriptor)

    def _write_rows(
        self,
        name: str,
        row: int,
        values: np.ndarray,
        start: int,
        opened: dict[str, tuple[int, int]],
    ) -> bool:
        """Whether a file was made."""
        kind = self.kinds[name]
        header = len(kind.header(self.segment_rows))
        done, created = 0, False
        while done < len(values):
            segment, offset = divmod(row + done, self.segment_rows)
            count = min(len(values) - done, self.segment_rows - offset)
            path = self.path(name, segment)
            if name not in opened or opened[name][0] != segment:
                if name in opened:  # full: a long add must not use up the file descriptors
                    _, full = opened.pop(name)
                    _sync_and_close(full)
                fresh = segment >= self.segments(start)
                opened[name] = segment, self._open_for_writing(path, kind, fresh)
                created |= fresh
            data = values[done : done + count].reshape(-1).view(np.uint8).data
            pwrite_all(opened[name][1], data, header + offset * kind.row_bytes, path)
            begin_writing(opened[name][1], header + offset * kind.row_bytes, len(data))
            done += count
        return created

    def _open_for_writing(self, path: Path, kind: Kind, fresh: bool) -> int:
        if not fresh:
            return self.folder.open(path.name, os.O_RDWR)
        # No committed row lies in this file: what stands there is left from an unfinished add. A
        # new file takes its place, so that whoever has mapped the old one is not cut short.
        with contextlib.suppress(FileNotFoundError):
            self.folder.unlink(path.name)
        descriptor = self.folder.open(path.name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            lengthen(descriptor, self.length(kind))
            pwrite_all(descriptor, memoryview(kind.header(self.segment_rows)), 0, path)
        except OSError as error:
            os.close(descriptor)
            raise about(error, path) from error
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def drop_tail(self, rows: Mapping[str, int]) -> None:
        """Remove the segment files that hold no committed row (of so many of each kind), of other
        generations all, and of kinds of reduced rows that are known no more.

        What cannot be listed (no descriptor is left, say) or removed is dropped by the next open
        for writing, and is in nobody's way until then."""
        names = []
        with contextlib.suppress(OSError):
            names = self.folder.names()
        for name in names:
            found = _NAME.fullmatch(name)
            if found is None or not (found["kind"] in rows or _COMES_AND_GOES.match(found["kind"])):
                continue
            segment = int(found["segment"])
            kept = segment < self.segments(rows.get(found["kind"], 0))
            if not (kept and name == self.name(found["kind"], segment)):
                with contextlib.suppress(OSError):
                    self.folder.unlink(name)

    def bytes_on_disk(self, rows: Mapping[str, int]) -> int:
        """Disk space that the segments of so many rows take (holes of sparse files not counted)."""
        return sum(
            room_of(self._found(self.kinds[kind], segment, "Nothing was read"))
            for kind, count in rows.items()
            for segment in range(self.segments(count))
        )

    def pin(self) -> None:
        """Keep what is mapped, whatever becomes of the files."""
        self._pinned = True

    def close(self) -> None:
        """Forget the maps; arrays handed out stay valid."""
        self._maps.clear()


#: Of segment files, of any generation.
_NAME = re.compile(r"(?P<kind>[a-z]+)-(?:[1-9][0-9]*-)?(?P<segment>[0-9]{5,})\.npy")


#: Kinds that are made under other names when they are made anew (`stored_reductions.py`).
_COMES_AND_GOES = re.compile("((sums)?(coarse|fine)|bitsums)[a-z]*$")


def is_segment(name: str) -> bool:
    """Whether a file of this name is a segment of some generation."""
    return _NAME.fullmatch(name) is not None


def _sync_and_close(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
