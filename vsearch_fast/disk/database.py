"""One SQLite file, opened: its connections, its lock, its transactions, and what a fork leaves."""

from __future__ import annotations

import contextlib
import ctypes
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Protocol

from ..errors import StoreError
from ..system import at_fork, stopped
from .folder import Folder
from .forking import inside, written
from .lock import WriteLock, owner_of
from .sqlite import BUSY_SECONDS, connect, sql_error

#: Seconds that a reader waits at a time, before it looks at whom it is waiting for.
_PATIENCE = 1.0


class Seals(Protocol):
    """What the owner of a database does at the ends of every change."""

    def begun(self, sql: sqlite3.Connection) -> None:
        """In the transaction, before anything is written: check that it is the right one."""

    def seal(self, sql: sqlite3.Connection) -> str:
        """In the transaction, as its last part: mark it by a text that no other one has."""

    def held(self, sql: sqlite3.Connection) -> str:
        """The mark of the last change that was committed."""

    def committed(self) -> None:
        """What was marked is there for all; asked also where an error follows."""

    def undone(self) -> None:
        """Give back the files of a change that is not to be, before others may write."""


class Database:
    """An opened SQLite file, which several threads may use.

    Readers have one connection and the writer another, so that threads go on reading (what is
    committed) while one of them changes something. In a forked child one opened for reading goes
    on with a connection of its own; one opened for writing refuses.

    Args:
        folder: that holds it.
        name: of the file, which must exist.
        writable: hold the write lock of its folder.
        briefly: for a moment, which other writers wait for.

    Attributes:
        file: its path.
        making: lock around what several threads may ask for at once, and one is to make.

    Raises:
        LockedError: another writer.
        StoreError: the folder cannot be written.
    """

    def __init__(self, folder: Folder, name: str, *, writable: bool, briefly: bool = False) -> None:
        self.folder, self.name, self.writable = folder, name, writable
        self.file = folder.path / name
        self._closed = self._forked = False
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._make_locks()
        self._write_lock = WriteLock(folder.path, briefly=briefly) if writable else None
        self._identity = folder.identity(name)
        _opened.add(self)

    def _make_locks(self) -> None:
        self._reading = threading.RLock()  # around the readers' connection
        self._changing = threading.RLock()  # around one whole change, bytes and transaction
        self.making = threading.Lock()
        self._depth = 0  # in changes of the thread that holds `_changing`

    # Reading

    @contextlib.contextmanager
    def reading(self, consequence: str) -> Iterator[sqlite3.Connection]:
        """A transaction of the one connection that reads, which no other thread uses meanwhile:
        all of one commit. Within another of this thread it joins that one.

        Raises:
            StoreError: what SQLite objects to; says `consequence`.
            ReplacedError: another file has its place by now.
        """
        with inside(), self._reading, self._told(consequence):
            if self._reader is not None and self._reader.in_transaction:
                yield self._reader
                return
            sql = self._begun(consequence)
            try:
                yield sql
            finally:
                # Nothing to undo: it ends so also where the connection has just failed.
                with contextlib.suppress(sqlite3.Error):
                    sql.execute("ROLLBACK")

    def _begun(self, consequence: str) -> sqlite3.Connection:
        """The reader's connection, in a transaction that holds its lock on the file.

        The wait for a writer's commit is cut in slices, so that a writer that was stopped in the
        midst of one is told after seconds.
        """
        self._refuse(consequence)
        self.folder.check(self.name, self._identity, consequence)
        if self._reader is None:
            reader = connect(self.file, writable=False, timeout=_PATIENCE)
            try:
                # SQLite opens by name: another file may have taken the name since.
                self.folder.check(self.name, self._identity, consequence)
            except BaseException:
                reader.close()
                raise
            self._reader = reader
        end = time.monotonic() + BUSY_SECONDS
        while True:
            self._reader.execute("BEGIN")
            try:
                self._reader.execute("SELECT 1 FROM sqlite_master LIMIT 1")
                return self._reader
            except sqlite3.Error as error:
                self._reader.execute("ROLLBACK")
                busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() >= end:
                    raise
            writer = owner_of(self.folder.path)
            if writer is not None and stopped(writer):
                raise StoreError(
                    f"Process {writer} was stopped while it wrote to {self.folder.path}",
                    consequence,
                    f"Let it go on (`kill -CONT {writer}`) or end it",
                )

    def rest(self, *folders: Folder) -> None:
        """Give back the descriptors of one that is open for reading, and of these folders, which
        are used within `reading` alone, until it is next used. Where some thread reads it they
        are kept."""
        with inside():
            if not self._reading.acquire(blocking=False):
                return
            try:
                if self._reader is not None:
                    if self._reader.in_transaction:
                        return
                    self._reader.close()
                    self._reader = None
                for folder in {self.folder, *folders}:
                    folder.rest()
            finally:
                self._reading.release()

    # Writing

    @contextlib.contextmanager
    def change(self, consequence: str, seals: Seals) -> Iterator[None]:
        """One whole change: commits at the end, rolls back on any error; within another of this
        thread it is a part of that one, and undone alone.

        The order is: the lock of writers, SQLite's lock, the check that both are those of this
        folder and database, and only then the first byte.

        Raises:
            LockedError, ReplacedError, StoreError: nothing was changed; says `consequence`.
        """
        with self._changing:
            if self._depth:
                with self._part(consequence):
                    yield
                return
            self._refuse(consequence)
            with written(self._identity):
                self._begin(consequence, seals)
                self._depth = 1
                try:
                    yield
                    with self.statements(consequence) as sql:
                        seal = seals.seal(sql)
                except BaseException:
                    try:
                        seals.undone()
                    finally:
                        self._roll_back()
                    raise
                finally:
                    self._depth = 0
                self._commit(consequence, seals, seal)

    def _begin(self, consequence: str, seals: Seals) -> None:
        assert self._write_lock is not None
        with inside(), self._told(consequence):
            if self._writer is None:
                self.folder.check(self.name, self._identity, consequence)
                self._writer = connect(self.file, writable=True)
            self._roll_back()  # what an interrupt has left open
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                self.folder.check(self.name, self._identity, consequence)
                self._write_lock.check(consequence)
                seals.begun(self._writer)
            except BaseException:
                self._roll_back()
                raise

    @property
    def nested(self) -> bool:
        """Whether the change that this thread is in is a part of another."""
        return self._depth > 1

    def vacuum(self) -> None:
        """Give back the room in the file that deleted lines have left, where it is a quarter or
        more: readers and this wait for each other.

        Raises:
            StoreError: readers did not end, or the disk is full; the file is as it was.
        """
        with self._changing, inside(), self._told("The database was not made smaller"):
            self._refuse("The database was not made smaller")
            if self._writer is not None:
                (free,) = self._writer.execute("PRAGMA freelist_count").fetchone()
                (pages,) = self._writer.execute("PRAGMA page_count").fetchone()
                if 4 * free >= pages:
                    self._writer.execute("VACUUM")

    @contextlib.contextmanager
    def _part(self, consequence: str) -> Iterator[None]:
        name = f"part_{self._depth}"
        with self.statements(consequence) as sql:
            sql.execute(f"SAVEPOINT {name}")
        self._depth += 1
        try:
            yield
        except BaseException:
            with contextlib.suppress(StoreError), self.statements(consequence) as sql:
                sql.execute(f"ROLLBACK TO {name}")
            raise
        finally:
            self._depth -= 1
            with contextlib.suppress(StoreError), self.statements(consequence) as sql:
                sql.execute(f"RELEASE {name}")

    @contextlib.contextmanager
    def statements(self, consequence: str) -> Iterator[sqlite3.Connection]:
        """The connection of the change that this thread is in, for some statements.

        Raises:
            StoreError: what SQLite objects to; says `consequence`.
        """
        assert self._writer is not None and self._depth
        with inside(), self._told(consequence):
            if not self._writer.in_transaction:  # SQLite has rolled it back: a full disk, say
                raise StoreError(
                    f"The change of {self.file} that this is a part of has failed",
                    consequence,
                    "See the error before this one, and begin anew",
                )
            yield self._writer

    def _commit(self, consequence: str, seals: Seals, seal: str) -> None:
        assert self._writer is not None and self._write_lock is not None
        try:
            with inside():
                self._writer.execute("COMMIT")
            seals.committed()
            return
        except sqlite3.Error as error:
            self._roll_back()
            told = sql_error(self.file, error, consequence)
            # A commit that reports an error may have been one: it is asked for.
            with contextlib.suppress(StoreError, sqlite3.Error):
                with inside():
                    self._writer.close()
                    self._writer = connect(self.file, writable=True)
                    held = seals.held(self._writer)
                if held == seal:
                    seals.committed()
                    told = StoreError(
                        f"The last flush of {self.folder.path} failed ({error})",
                        "The change was made, and all see it; a power cut now might undo it",
                        "Check the disk's health; the next change flushes again",
                    )
                else:
                    self._write_lock.check(consequence)  # else others may be writing by now
                    seals.undone()
            raise told from error
        except BaseException:  # an interrupt, which may come when the commit is done already
            if self._writer.in_transaction:
                try:
                    seals.undone()
                finally:
                    self._roll_back()
            else:
                seals.committed()
            raise

    def _roll_back(self) -> None:
        with inside():
            # What SQLite could not undo here the next open rolls back.
            if self._writer is not None and self._writer.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")

    # Both

    @contextlib.contextmanager
    def _told(self, consequence: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise sql_error(self.file, error, consequence) from error

    def _refuse(self, consequence: str) -> None:
        folder = self.folder.path
        if self._closed:
            raise StoreError(f"{folder} was closed", consequence, "Open the index again")
        if self._forked and self.writable:
            raise StoreError(
                f"{folder} was opened for writing before this process was forked",
                consequence,
                "Write from the process that opened it, or open it after the fork",
            )

    def close(self) -> None:
        """Close the connections and release the write lock. A change that another thread has
        begun ends first. Does nothing when done already."""
        with self._changing, inside(), self._reading:
            self._closed = True
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = None
            if self._write_lock is not None:
                self._write_lock.release()

    def _after_fork(self) -> None:
        """In the child: an SQLite connection must not be used, nor closed (which could roll
        back what the parent is committing), so it is leaked on purpose."""
        for connection in (self._reader, self._writer):
            if connection is not None:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        self._reader = self._writer = None
        self._forked = True
        self._make_locks()


_opened: weakref.WeakSet[Database] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for database in list(_opened):
        database._after_fork()


at_fork(after_in_child=_after_fork_in_child)
