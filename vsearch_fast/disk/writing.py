"""Writing that survives a power cut, and the system's errors of it in plain words."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from ..errors import StoreError

#: Bytes given to one pwrite at most.
WRITE_BYTES = 16 << 20

#: Of sync_file_range: begin to write what is in memory alone (linux/fs.h).
_BEGIN = 2
try:
    _sync_file_range = ctypes.CDLL(None).sync_file_range
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
except AttributeError:  # no Linux
    _sync_file_range = None  # type: ignore[assignment]


def sync_directory(folder: Path) -> None:
    """Flush the folder's own entries, so that a new or renamed file survives a power cut."""
    _sync(folder, os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Flush what a file holds."""
    _sync(path, 0)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_error(path: Path, error: OSError, consequence: str) -> StoreError:
    """A StoreError that says why `path` could not be written and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        cause, cure = f"The disk is full at {path}", "Free some space and do it again"
        if error.errno == errno.EDQUOT:
            cause = f"The disk quota is used up at {path}"
    elif error.errno == errno.EFBIG:
        cause = f"{path} would grow beyond the largest file that is allowed here"
        cure = "Raise the limit (`ulimit -f`), or create the index with fewer segment_rows"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        cause = f"{path} cannot be written ({error.strerror})"
        cure = "Give this user permission to write to the folder, or open the index read-only"
    else:
        cause = f"Writing {path} failed ({error.strerror or error})"
        cure = "Check the disk and do it again"
    return StoreError(cause, consequence, cure)


def pwrite_all(descriptor: int, data: memoryview, offset: int, path: Path) -> None:
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


def begin_writing(descriptor: int, offset: int, length: int) -> None:
    """Have the system begin to write these bytes of a file, so that a flush to come is short.

    No more than a hint: what is flushed is on the disk, and what is not may be.
    """
    if _sync_file_range is not None and length:
        _sync_file_range(descriptor, offset, length, _BEGIN)
