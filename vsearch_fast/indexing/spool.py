"""Tables that are kept on the disk while a list is compared with an index, and go with it.

They are those of one temporary SQLite database, which lies where the system keeps such files (the
folder that TMPDIR names, else /var/tmp) and has no name there: nothing stays, however the process
ends. Of its tables no more than `CACHE_KIB` are in memory, and as much while they are sorted.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from ..disk.forking import inside
from ..disk.sqlite import sql_error

#: Of the database that is held in memory, at most.
CACHE_KIB = 16 << 10

#: Lines that are read, or written, at a time.
PAGE = 1024

_CONSEQUENCE = "Nothing was indexed"

T = TypeVar("T")
Line = tuple[Any, ...]


class Spool:
    """A temporary database, for several threads.

    Raises:
        StoreError: by any of its methods, where the disk is full, say.
    """

    def __init__(self, schema: str) -> None:
        self._lock = threading.RLock()
        with self._used():
            # The empty name: a file of its own, without one.
            self._sql = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            for pragma in (
                "journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}",
                "temp_store = FILE",
            ):  # fmt: skip
                self._sql.execute(f"PRAGMA {pragma}")
            self._sql.executescript(schema)
            self._sql.execute("BEGIN")  # and never more: a commit a line would take longer

    @contextlib.contextmanager
    def _used(self) -> Iterator[None]:
        with inside(), self._lock:
            try:
                yield
            except sqlite3.Error as error:
                folders = (os.environ.get(name) for name in ("SQLITE_TMPDIR", "TMPDIR"))
                place = next(filter(None, folders), "/var/tmp")
                raise sql_error(Path(place), error, _CONSEQUENCE) from error

    def run(self, statement: str, values: Sequence[Any] = ()) -> list[Line]:
        """The lines of a statement that has few."""
        with self._used():
            return self._sql.execute(statement, values).fetchall()

    def write(self, statement: str, lines: Iterable[Line]) -> None:
        """Run a statement for each of many lines, which are made in this thread."""
        for page in _pages(lines):
            with self._used():
                self._sql.executemany(statement, page)

    def read(self, query: str, values: Sequence[Any] = ()) -> Iterator[Line]:
        """The lines of a query that may have many. Other tables than its own may be written
        meanwhile."""
        with self._used():
            cursor = self._sql.execute(query, values)
        while True:
            with self._used():
                page = cursor.fetchmany(PAGE)
            if not page:
                return
            yield from page


def _pages(lines: Iterable[Line]) -> Iterator[list[Line]]:
    page = []
    for line in lines:
        page.append(line)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


class Part(Sequence[T], Generic[T]):
    """Lines of a spool that are numbered 0, 1, ..., as a sequence of what they say.

    It is equal to any sequence of the same entries.

    Args:
        spool: keeps them, for as long as this is kept.
        query: gives those from a number to another (excluded), in order.
        size: how many there are.
        told: what a line says.
    """

    def __init__(self, spool: Spool, query: str, size: int, told: Callable[[Line], T]) -> None:
        self._spool, self._query, self._size, self._told = spool, query, size, told

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            numbers = range(self._size)[index]
            if numbers.step == 1:
                return self._read(numbers.start, numbers.stop)
            return [self[number] for number in numbers]
        number = range(self._size)[index]
        return self._read(number, number + 1)[0]

    def __iter__(self) -> Iterator[T]:
        for start in range(0, self._size, PAGE):
            yield from self._read(start, start + PAGE)

    def _read(self, start: int, stop: int) -> list[T]:
        return [self._told(line) for line in self._spool.run(self._query, (start, stop))]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(
            one == another for one, another in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Sequence[T]) -> Sequence[T]:
        return Chain(self, other)

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"<{self._size}: {shown}{', ...' if self._size > 3 else ''}>"


class Chain(Sequence[T], Generic[T]):
    """Two sequences as one."""

    def __init__(self, first: Sequence[T], second: Sequence[T]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        border = len(self._first)
        if isinstance(index, slice):
            numbers = range(len(self))[index]
            if numbers.step == 1:
                start, stop = (max(0, end - border) for end in (numbers.start, numbers.stop))
                return [*self._first[numbers.start : numbers.stop], *self._second[start:stop]]
            return [self[number] for number in numbers]
        number = range(len(self))[index]
        within = number - border
        return self._first[number] if within < 0 else self._second[within]

    def __iter__(self) -> Iterator[T]:
        yield from self._first
        yield from self._second


class Mapped(Sequence[T], Generic[T]):
    """What a function makes of the entries of a sequence, made when it is asked for."""

    def __init__(self, entries: Sequence[Any], make: Callable[[Any], T]) -> None:
        self._entries, self._make = entries, make

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._make(entry) for entry in self._entries[index]]
        return self._make(self._entries[index])

    def __iter__(self) -> Iterator[T]:
        return map(self._make, self._entries)
