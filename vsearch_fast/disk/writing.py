"""Writing that survives a power cut, and the system's errors of it in plain words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..errors import StoreError


def sync_directory(folder: Path) -> None:
    """Flush the folder's own entries, so that a new or renamed file survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
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
