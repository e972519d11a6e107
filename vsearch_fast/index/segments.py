"""Append-only row files of an index: fixed capacity, written with pwrite, read memory-mapped.

A file `KIND-NNNNN.npy` holds up to `segment_rows` rows of one kind (vectors, codes, ...). It is
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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..disk.writing import sync_directory, write_error
from ..errors import StoreError

#: Bytes given to one pwrite at most.
WRITE_BYTES = 16 << 20


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
        out = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            out, {"descr": self.dtype, "fortran_order": False, "shape": (segment_rows, self.width)}
        )
        return out.getvalue()


class SegmentFiles:
    """The segment files of one index folder.

    Args:
        folder: the index.
        kinds: what is stored, by name.
        segment_rows: rows a file.
    """

    def __init__(self, folder: Path, kinds: Iterable[Kind], segment_rows: int) -> None:
        self.folder = folder
        self.kinds = {kind.name: kind for kind in kinds}
        self.segment_rows = segment_rows
        self._maps: dict[tuple[str, int], np.ndarray] = {}

    def path(self, kind: str, segment: int) -> Path:
        return self.folder / f"{kind}-{segment:05d}.npy"

    def segments(self, rows: int) -> int:
        """How many segments `rows` rows take."""
        return -(-rows // self.segment_rows)

    def _length(self, kind: Kind) -> int:
        return len(kind.header(self.segment_rows)) + self.segment_rows * kind.row_bytes

    def check(self, rows: Mapping[str, int]) -> None:
        """Raise StoreError unless every file that so many rows of a kind need is there at full
        length."""
        for name, count in rows.items():
            length = self._length(self.kinds[name])
            for segment in range(self.segments(count)):
                path = self.path(name, segment)
                try:
                    found = path.stat().st_size
                except FileNotFoundError:
                    raise self._damaged(f"{path} is missing") from None
                if found < length:
                    raise self._damaged(f"{path} has {found} bytes of {length}: it was cut short")

    def map(self, kind: str, rows: int) -> list[np.ndarray]:
        """The first `rows` rows as read-only memory-mapped arrays (r, width), one a segment,
        all full but the last. Maps are kept, so that asking again costs nothing."""
        return [
            self.map_segment(kind, segment, rows - segment * self.segment_rows)
            for segment in range(self.segments(rows))
        ]

    def map_segment(self, kind: str, segment: int, rows: int) -> np.ndarray:
        """The first `rows` rows of one segment, likewise; the whole segment where it has fewer."""
        array = self._maps.get((kind, segment))
        if array is None:
            # Two threads may both map it; either map serves, and one is dropped.
            array = self._maps.setdefault((kind, segment), self._open_map(kind, segment))
        return array[:rows]

    def read(self, kind_name: str, segment: int, start: int, stop: int) -> np.ndarray:
        """Rows of one segment, copied: also such as are written and not committed, whose file
        may yet be removed."""
        kind = self.kinds[kind_name]
        offset = len(kind.header(self.segment_rows)) + start * kind.row_bytes
        count = (stop - start) * kind.width
        rows = np.fromfile(self.path(kind_name, segment), kind.dtype, count, offset=offset)
        return rows.reshape(stop - start, kind.width)

    def _open_map(self, kind_name: str, segment: int) -> np.ndarray:
        kind = self.kinds[kind_name]
        header = kind.header(self.segment_rows)
        path = self.path(kind_name, segment)
        try:
            with path.open("rb") as file:
                if file.read(len(header)) != header:
                    raise self._damaged(f"{path} does not begin as a segment of this index does")
                mapped = np.memmap(
                    file,
                    dtype=kind.dtype,
                    mode="r",
                    offset=len(header),
                    shape=(self.segment_rows, kind.width),
                )
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                raise StoreError(
                    f"{path} cannot be opened: this process has too many files open",
                    "The index was not opened; it is not damaged",
                    "Raise the limit (ulimit -n): every segment takes a file",
                ) from error
            raise self._damaged(f"{path} cannot be read ({error})") from error
        # A plain array view: np.memmap's own slicing is many times slower.
        return mapped.view(np.ndarray)

    def _damaged(self, cause: str) -> StoreError:
        return StoreError(
            cause, "The index was not opened", "Restore the folder from a copy, or index again"
        )

    def append(self, start: int, blocks: Iterable[dict[str, np.ndarray]], consequence: str) -> None:
        """Write rows from row number `start` on and flush them to the disk.

        Args:
            start: committed rows; the first row that is written.
            blocks: for each run of rows a C-contiguous array (b, width) by kind. A block may
                cross the border of a segment.
            consequence: what to say was not done, should the writing fail.

        Raises:
            StoreError: a full disk, a folder that cannot be written. Files that this call
                made are removed again; the committed rows are as they were.
        """
        opened: dict[str, tuple[int, int]] = {}  # kind -> segment, file descriptor
        created: list[Path] = []
        try:
            row = start
            for block in blocks:
                count = 0
                for name, values in block.items():
                    count = len(values)
                    self._write_rows(name, row, values, start, opened, created)
                row += count
            for _, descriptor in opened.values():
                os.fsync(descriptor)
            if created:
                sync_directory(self.folder)
        except OSError as error:
            self._remove(created)
            path = Path(error.filename) if error.filename else self.folder
            raise write_error(path, error, consequence) from error
        except BaseException:
            self._remove(created)  # an interrupt, or bad features found on the way
            raise
        finally:
            for _, descriptor in opened.values():
                os.close(descriptor)

    def _write_rows(
        self,
        name: str,
        row: int,
        values: np.ndarray,
        start: int,
        opened: dict[str, tuple[int, int]],
        created: list[Path],
    ) -> None:
        kind = self.kinds[name]
        header = len(kind.header(self.segment_rows))
        done = 0
        while done < len(values):
            segment, offset = divmod(row + done, self.segment_rows)
            count = min(len(values) - done, self.segment_rows - offset)
            path = self.path(name, segment)
            if name not in opened or opened[name][0] != segment:
                if name in opened:  # full: a long add must not use up the file descriptors
                    _, full = opened.pop(name)
                    _sync_and_close(full)
                fresh = segment >= self.segments(start)
                opened[name] = segment, self._open_for_writing(path, kind, fresh, created)
            data = values[done : done + count].reshape(-1).view(np.uint8).data
            _pwrite_all(opened[name][1], data, header + offset * kind.row_bytes, path)
            done += count

    def _open_for_writing(self, path: Path, kind: Kind, fresh: bool, created: list[Path]) -> int:
        if not fresh:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        # No committed row lies in this file: what stands there is left from an unfinished add.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        created.append(path)
        try:
            os.ftruncate(descriptor, self._length(kind))
            _pwrite_all(descriptor, memoryview(kind.header(self.segment_rows)), 0, path)
        except OSError as error:
            os.close(descriptor)
            raise OSError(error.errno, error.strerror, str(path)) from error
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def drop_tail(self, rows: Mapping[str, int]) -> list[Path]:
        """Remove the segment files that hold no committed row (of so many of each kind); returns
        their paths."""
        tail = []
        for kind, count in rows.items():
            keep = self.segments(count)
            for path in sorted(self.folder.glob(f"{kind}-*.npy")):
                number = path.stem.removeprefix(f"{kind}-")
                if number.isdecimal() and int(number) >= keep:
                    tail.append(path)
        self._remove(tail)
        return tail

    def bytes_on_disk(self, rows: Mapping[str, int]) -> int:
        """Disk space that the segments of so many rows take (holes of sparse files not counted)."""
        return sum(
            self.path(kind, segment).stat().st_blocks * 512
            for kind, count in rows.items()
            for segment in range(self.segments(count))
        )

    def close(self) -> None:
        """Forget the maps; arrays handed out stay valid."""
        self._maps.clear()

    @staticmethod
    def _remove(paths: Iterable[Path]) -> None:
        for path in paths:
            # What cannot be removed is dropped by the next open for writing.
            with contextlib.suppress(OSError):
                path.unlink()


def _sync_and_close(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pwrite_all(descriptor: int, data: memoryview, offset: int, path: Path) -> None:
    """pwrite in full: the call may write less than asked, for one when the disk fills up."""
    done = 0
    while done < len(data):
        try:
            written = os.pwrite(descriptor, data[done : done + WRITE_BYTES], offset + done)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        if written == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        done += written
