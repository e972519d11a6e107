"""The lock that makes one process the only writer of an index."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from pathlib import Path

from ..errors import LockedError
from ..loading import package
from ..system import at_fork
from .files import LOCKS_HIDE, open_file
from .writing import write_error

FILE_NAME = "write.lock"

#: What holds the process id of the last writer: the same file, but where a lock hides it.
OWNER_NAME = "write.owner" if LOCKS_HIDE else FILE_NAME

#: Files that a lock leaves in its folder.
FILE_NAMES = tuple(dict.fromkeys((FILE_NAME, OWNER_NAME)))

#: Times that the lock file is opened anew because it lost its name meanwhile.
_ATTEMPTS = 10

#: What stands behind the process id in the file of a lock that is held for a moment.
_BRIEFLY = b"briefly"

#: Seconds that others wait for such a lock, at most, and between two looks.
_PATIENCE, _LOOK = 5.0, 0.01

_held: weakref.WeakSet[WriteLock] = weakref.WeakSet()


class WriteLock:
    """An exclusive lock of `write.lock`, held from construction to `release`: by portalocker, which
    asks for `flock`, and on Windows for `LockFile`.

    The kernel ties it to the open file and drops it when the process ends, however it ends,
    so that no stale lock can be left behind; the file itself stays, and holds the process id
    of the last writer (on Windows, where nobody else can read it, one beside it does). A second
    lock in the same process is refused too.

    The lock is one only while its file has the name: see `check`.

    One that is taken `briefly`, to write a note, says so in its file: others wait for it, so that
    a server that keeps what it has learnt does not turn an indexing away.

    Raises:
        LockedError: another writer holds it; names its process.
        StoreError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        consequence: str = "The index was not opened for writing",
        *,
        briefly: bool = False,
    ) -> None:
        self._path = path = folder / FILE_NAME
        until = time.monotonic() + _PATIENCE
        try:
            for _ in range(_ATTEMPTS):
                # A file object, which closes itself (and so unlocks) when the owner is forgotten.
                self._file = os.fdopen(open_file(path, os.O_RDWR | os.O_CREAT), "r+b", 0)
                while not self._taken():
                    if not self._is_brief() or time.monotonic() > until:
                        raise self._locked(consequence)
                    time.sleep(_LOOK)
                if self._has_the_name():
                    break
                self._file.close()
            else:
                raise LockedError(
                    f"{path} is removed and made again all the time",
                    consequence,
                    "See what removes it: the lock is in the open file, and never stale",
                )
            told = b"%d%s\n" % (os.getpid(), b" " + _BRIEFLY if briefly else b"")
            if OWNER_NAME == FILE_NAME:
                self._file.truncate(0)
                self._file.write(told)
            else:
                path.with_name(OWNER_NAME).write_bytes(told)
        except OSError as error:
            with contextlib.suppress(AttributeError):
                self._file.close()
            raise write_error(path, error, consequence) from error
        _held.add(self)

    def _taken(self) -> bool:
        """Whether the lock was to be had."""
        locks = package("portalocker")
        try:
            locks.lock(self._file, locks.LOCK_EX | locks.LOCK_NB)
        except locks.AlreadyLocked:
            return False
        except locks.LockException as error:
            cause = error.__cause__
            raise cause if isinstance(cause, OSError) else OSError(str(error)) from None
        return True

    def _locked(self, consequence: str) -> LockedError:
        owner = owner_of(self._path.parent)
        self._file.close()
        who = f"process {owner}" if owner else "another process"
        if owner == os.getpid():
            who = f"this process ({owner})"
        return LockedError(
            f"{self._path.parent} is being written to by {who}",
            consequence,
            'Close it there, or wait; searching works meanwhile (mode="r")',
        )

    def _is_brief(self) -> bool:
        return _told(self._path.parent).endswith(_BRIEFLY + b"\n")

    def _has_the_name(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return False

    def check(self, consequence: str) -> None:
        """LockedError when the lock's file was removed or replaced: another may be writing."""
        if not self._has_the_name():
            raise LockedError(
                f"{self._path} was removed or replaced while this process was writing",
                consequence,
                "Leave the file alone (it is never stale), and open the index again",
            )

    def release(self) -> None:
        """Let the next writer in. Does nothing when done already."""
        if not self._file.closed:
            # Unlocked in words: a forked child may hold a copy of the descriptor.
            package("portalocker").unlock(self._file)
            self._file.close()

    def forget(self) -> None:
        """Close this process's copy without unlocking the one that it was forked from."""
        self._file.close()


def owner_of(folder: Path) -> int | None:
    """The process id of the last writer of a folder, as far as it can be told."""
    try:
        return int(_told(folder)[:32].split()[0])
    except (ValueError, IndexError):
        return None


def _told(folder: Path) -> bytes:
    """What the last writer has written of itself; nothing where it cannot be read."""
    try:
        return (folder / OWNER_NAME).read_bytes()
    except OSError:
        return b""


def _forget_in_child() -> None:
    """A forked child shares the lock's open file: unless it closes its copy, the index would
    stay locked for as long as the child lives, even after the writer was killed."""
    for lock in list(_held):
        lock.forget()


at_fork(after_in_child=_forget_in_child)
