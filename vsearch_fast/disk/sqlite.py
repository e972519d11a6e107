"""Connections to an index's SQLite file, and SQLite's errors in plain words."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from ..errors import DamagedError, StoreError
from .forking import inside, unsafe

#: Seconds that a connection waits for another process's commit.
BUSY_SECONDS = 30

#: Page cache of a writer in KiB.
_WRITER_CACHE_KIB = 256 << 10


def connect(
    file: Path, *, writable: bool, create: bool = False, timeout: float = BUSY_SECONDS
) -> sqlite3.Connection:
    """A connection without implicit transactions, which any one thread at a time may use.

    A reader, too, asks for a file it may write to (SQLite falls back to read-only where the
    folder is): a writer killed during its commit leaves a journal, which the first to come
    must roll back. A reader's statements cannot change anything (query_only).

    Whoever uses it does so `inside` (`forking.py`).

    Raises:
        StoreError: in a child that was forked while the file was written to.
    """
    mode = "rwc" if create else "rw"
    with inside():
        refuse_unsafe(file)
        sql = sqlite3.connect(
            f"{file.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        if writable:
            # EXTRA is FULL and a flush of the folder after the journal's removal: without that
            # a power cut right after a commit could bring the journal back and undo it.
            sql.execute("PRAGMA synchronous = EXTRA")
            sql.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
            # What outgrows the cache takes more memory instead of being written early: from
            # then to the commit readers would have to wait.
            sql.execute("PRAGMA cache_spill = OFF")
        else:
            sql.execute("PRAGMA query_only = ON")
    return sql


def refuse_unsafe(file: Path) -> None:
    """StoreError in a child that was forked while this file was written to."""
    try:
        found = os.stat(file)
        identity = found.st_dev, found.st_ino
    except OSError:
        return  # for SQLite to say
    if unsafe(identity):
        raise StoreError(
            f"{file} was being written to by a thread of the process that this one was forked from",
            "It was not opened, because SQLite would read it without a lock",
            "Fork when no thread writes, or start processes afresh"
            " (multiprocessing's 'spawn' or 'forkserver')",
        )


def sql_error(file: Path, error: sqlite3.Error, consequence: str) -> StoreError:
    """A StoreError that says what SQLite found and what to do."""
    # The low byte is the error's class, the rest its detail (sqlite.org/rescode.html).
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    kind = code & 0xFF
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        cause = f"{file} was in use by another process for over {BUSY_SECONDS} s"
        cure = "Do it again when that process is done"
    elif kind == sqlite3.SQLITE_FULL:
        cause, cure = f"The disk is full at {file}", "Free some space and do it again"
    elif kind == sqlite3.SQLITE_NOMEM:
        cause, cure = f"Memory ran out while {file} was read or written", "Free some and try again"
    elif kind == sqlite3.SQLITE_IOERR:
        cause = f"Reading or writing {file} failed ({error})"
        cure = "Check the disk's free space, file size limit and health, and do it again"
    elif code in (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY):
        cause = f"{file} holds the rest of an interrupted write, and may not be written here"
        cure = "Open the index once as a user who may write to the folder"
    elif kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        cause = f"{file} cannot be opened or written ({error})"
        cure = "Give this user permission to the folder, or raise its limit of open files"
    else:
        return DamagedError(
            f"{file} is damaged ({error})",
            consequence,
            "Restore the folder from a copy, or index again",
        )
    return StoreError(cause, consequence, cure)
