"""One SQLite file, opened: its connection, its lock, its transactions, and what a fork leaves."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from ..errors import StoreError
from .lock import WriteLock
from .sqlite import connect, sql_error


class Database:
    """An opened SQLite file, which several threads may use.

    In a forked child one opened for reading goes on with a connection of its own; one opened
    for writing refuses.

    Args:
        file: it must exist.
        writable: hold the write lock of its folder.

    Attributes:
        changing: lock around one whole change, which may be several transactions and files.
        making: lock around what several threads may ask for at once, and one is to make.

    Raises:
        LockedError: another writer.
        StoreError: the folder cannot be written.
    """

    def __init__(self, file: Path, *, writable: bool) -> None:
        self.file, self.writable = file, writable
        self._closed = self._forked = False
        self._connection: sqlite3.Connection | None = None
        self._make_locks()
        self._write_lock = WriteLock(file.parent) if writable else None
        _opened.add(self)

    def _make_locks(self) -> None:
        self._using = threading.RLock()  # around the connection
        self.changing = threading.Lock()
        self.making = threading.Lock()

    @contextlib.contextmanager
    def transaction(self, consequence: str, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction on the one connection, which no other thread uses meanwhile: commits
        at the end, rolls back on any error. Within another of this thread it joins that one.

        Raises:
            StoreError: what SQLite objects to; says `consequence`.
        """
        with self._using:
            try:
                sql = self._connect(consequence)
                if sql.in_transaction:
                    yield sql
                    return
                try:
                    sql.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                    yield sql
                    sql.execute("COMMIT")
                finally:
                    if sql.in_transaction:
                        # What SQLite could not undo here the next open rolls back.
                        with contextlib.suppress(sqlite3.Error):
                            sql.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise sql_error(self.file, error, consequence) from error

    def _connect(self, consequence: str) -> sqlite3.Connection:
        folder = self.file.parent
        if self._closed:
            raise StoreError(f"{folder} was closed", consequence, "Open the index again")
        if self._forked and self.writable:
            raise StoreError(
                f"{folder} was opened for writing before this process was forked",
                consequence,
                "Write from the process that opened it, or open it after the fork",
            )
        if self._connection is None:
            self._connection = connect(self.file, writable=self.writable)
        return self._connection

    def close(self) -> None:
        """Close the connection and release the write lock. Does nothing when done already."""
        with self._using:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if self._write_lock is not None:
                self._write_lock.release()

    def _after_fork(self) -> None:
        """In the child: an SQLite connection must not be used, nor closed (which could roll
        back what the parent is committing), so it is leaked on purpose."""
        if self._connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
        self._connection = None
        self._forked = True
        self._make_locks()


_opened: weakref.WeakSet[Database] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for database in list(_opened):
        database._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
