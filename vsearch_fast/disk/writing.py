"""Writing that survives a power cut, and the system's errors of it in plain words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..errors import StoreError
from .files import about, in_use, write_at

#: Bytes given to one pwrite at most.
WRITE_BYTES = 16 << 20

#: What has no name where there are no quotas (Windows).
_QUOTA = getattr(errno, "EDQUOT", -1)


def write_error(path: Path, error: OSError, consequence: str) -> StoreError:
    """A StoreError that says why `path` could not be written and what to do."""
    if error.errno in (errno.ENOSPC, _QUOTA):
        cause, cure = f"The disk is full at {path}", "Free some space and do it again"
        if error.errno == _QUOTA:
            cause = f"The disk quota is used up at {path}"
    elif in_use(error):
        cause = f"{path} is open in a program, which keeps it from being changed"
        cure = "Close what reads it (a search, a server), and do it again"
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
            written = write_at(descriptor, data[done : done + WRITE_BYTES], offset + done)
        except OSError as error:
            raise about(error, path) from error
        if written == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        done += written
