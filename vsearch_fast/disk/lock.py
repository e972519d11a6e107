"""The lock that makes one process the only writer of an index."""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

from ..errors import LockedError
from .writing import write_error

FILE_NAME = "write.lock"

_held: weakref.WeakSet[WriteLock] = weakref.WeakSet()


class WriteLock:
    """An exclusive flock on `write.lock`, held from construction to `release`.

    The kernel ties it to the open file and drops it when the process ends, however it ends,
    so that no stale lock can be left behind; the file itself stays, and holds the process id
    of the last writer. A second lock in the same process is refused too.

    Raises:
        LockedError: another writer holds it; names its process.
        StoreError: the folder cannot be written.
    """

    def __init__(
        self, folder: Path, consequence: str = "The index was not opened for writing"
    ) -> None:
        path = folder / FILE_NAME
        try:
            # A file object, which closes itself (and so unlocks) when the owner is forgotten.
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", 0)
        except OSError as error:
            raise write_error(path, error, consequence) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file.fileno(), 0)
            os.pwrite(self._file.fileno(), f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            owner = os.pread(self._file.fileno(), 32, 0).decode("ascii", "replace").strip()
            self._file.close()
            who = f"process {owner}" if owner else "another process"
            if owner == str(os.getpid()):
                who = f"this process ({owner})"
            raise LockedError(
                f"{folder} is being written to by {who}",
                consequence,
                'Close it there, or wait; searching works meanwhile (mode="r")',
            ) from None
        except OSError as error:
            self._file.close()
            raise write_error(path, error, consequence) from error
        _held.add(self)

    def release(self) -> None:
        """Let the next writer in. Does nothing when done already."""
        if not self._file.closed:
            # Unlocked in words: a forked child may hold a copy of the descriptor.
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()

    def forget(self) -> None:
        """Close this process's copy without unlocking the one that it was forked from."""
        self._file.close()


def _forget_in_child() -> None:
    """A forked child shares the lock's open file: unless it closes its copy, the index would
    stay locked for as long as the child lives, even after the writer was killed."""
    for lock in list(_held):
        lock.forget()


os.register_at_fork(after_in_child=_forget_in_child)
