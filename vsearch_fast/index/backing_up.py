"""A copy of an index as it was at one moment, made while a writer writes.

The database comes first, by SQLite's own backup: a moment's lock, and all of one commit. The rows
that it counts are committed, and never written again, so that their files can be copied after it at
leisure; a compaction meanwhile, which removes files, is noticed, and the copy begun anew. A full
segment is a reflink where the file system has them, else a hard link, else copied: nothing ever
writes into it (a repair puts another file at its place). The last segment, which grows, is never
linked. The copy is verified before it gets its name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from dataclasses import replace
from pathlib import Path

from ..checks import Progress
from ..disk.files import flush_file, flush_folder, move_folder, open_file, read_at, share_blocks
from ..disk.writing import WRITE_BYTES, pwrite_all, write_error
from ..errors import CompactedError, DamagedError, StoreError
from . import schema, sealing, stored_reductions
from .segments import SegmentFiles
from .store import Store
from .verifying import Verified, verify

_CONSEQUENCE = "No backup was made"

#: Times that a copy is begun anew because the index was compacted meanwhile.
_ATTEMPTS = 3


def back_up(
    store: Store, target: Path, *, copy: bool = False, progress: Progress | None = None
) -> Verified:
    """Make the copy; see `Index.backup`."""
    target = target.absolute()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise StoreError(
            f"{target} is there already", _CONSEQUENCE, "Name a folder that is new, or empty"
        )
    place = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.new")
    try:
        for _ in range(_ATTEMPTS):
            place.mkdir(parents=True)
            with contextlib.suppress(CompactedError):
                _copy(store, place, copy, progress)
                break
            shutil.rmtree(place)
        else:
            raise CompactedError(
                f"{store.folder} was compacted time and again meanwhile",
                _CONSEQUENCE,
                "Do it again",
            )
        made = Store(place, writable=False)
        try:
            found = verify(made)
        finally:
            made.close()
        if not found.sound:
            first = found.damages[0]
            raise DamagedError(
                f"{store.folder / first.file} is damaged: {first.what}",
                f"{_CONSEQUENCE}, because it would be as damaged",
                "Run `vsearch verify --repair` on the index first",
            )
        flush_folder(place)
        move_folder(place, target)
        with contextlib.suppress(PermissionError):  # one may write in a folder and not list it
            flush_folder(target.parent)
        return replace(found, path=str(target))
    except OSError as error:
        path = Path(error.filename) if error.filename else place
        raise write_error(path, error, _CONSEQUENCE) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _copy(store: Store, place: Path, copy: bool, progress: Progress | None) -> None:
    store.copy_database(place / schema.DATABASE_NAME, _CONSEQUENCE)
    flush_file(place / schema.DATABASE_NAME)
    taken = Store(place, writable=False, whole=False)
    try:
        with taken.reading(_CONSEQUENCE) as sql:
            state, rows = sealing.read_state(sql), taken.rows_by_kind(sql)
            reduced = taken.reduced(sql, state)
    finally:
        taken.close()
    files = store.files_of(state, reduced)
    every = [
        (kind, segment, min(files.segment_rows, count - segment * files.segment_rows))
        for kind, count in rows.items()
        for segment in range(files.segments(count))
    ]
    for done, (kind, segment, held) in enumerate(every, 1):
        name = files.name(kind, segment)
        try:
            _copy_segment(files, kind, name, held, place / name, copy)
        except FileNotFoundError:
            _refuse_compacted(store, files)
            raise
        if progress:
            progress(done, len(every))
    _refuse_compacted(store, files)


def _refuse_compacted(store: Store, files: SegmentFiles) -> None:
    with store.reading(_CONSEQUENCE) as sql:
        reduced = [kind for kind in files.kinds if stored_reductions.is_kind(kind)]
        store.refuse_compacted(sql, files.generation, _CONSEQUENCE, reduced)


def _copy_segment(
    files: SegmentFiles, kind: str, name: str, rows: int, target: Path, copy: bool
) -> None:
    source = files.folder.open(name, os.O_RDONLY)
    try:
        made = open_file(target, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            if not copy and share_blocks(source, made):
                return
            if not copy and rows == files.segment_rows:
                os.close(made)  # what is open cannot be removed everywhere
                made = -1
                with contextlib.suppress(OSError):  # another file system, or one without links
                    target.unlink()
                    os.link(files.folder.path / name, target)
                    if os.path.samestat(os.fstat(source), target.stat()):
                        return
                    target.unlink()
                made = open_file(target, os.O_RDWR | os.O_CREAT)
            shape = files.kinds[kind]
            length = len(shape.header(files.segment_rows)) + rows * shape.row_bytes
            _copied(source, made, length, target)
            os.ftruncate(made, files.length(shape))
            os.fsync(made)
        finally:
            if made >= 0:
                os.close(made)
    finally:
        os.close(source)


def _copied(source: int, target: int, length: int, path: Path) -> None:
    done = 0
    while done < length:
        part = read_at(source, min(WRITE_BYTES, length - done), done)
        if not part:
            raise OSError(errno.EIO, f"it ends after {done} bytes of {length}")
        pwrite_all(target, memoryview(part), done, path)
        done += len(part)
