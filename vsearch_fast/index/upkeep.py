"""What an `Index` offers beside adding and searching: transactions, snapshots, and its upkeep."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from ..checks import Progress
from ..errors import StoreError
from .backing_up import back_up
from .compacting import compact
from .frozen import FrozenStore
from .optimizing import Optimized, optimize
from .repairing import Embed, Repaired, repair
from .store import Store
from .verifying import Verified, verify


class Upkeep:
    """A part of `Index`."""

    _store: Store

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Self]:
        """Several changes as one: ``with index.transaction(): ...`` commits at the end, and undoes
        all of them on any error.

        This thread's calls of `add`, `remove`, `update`, `describe` and `calibrate` belong to it;
        one that fails, and whose error is caught inside, is undone alone. Searches and everything
        that is read see what was committed before. Other threads' changes wait, other processes'
        are refused. A process that is forked meanwhile cannot read the index in the child.

        Raises:
            StoreError: the index is open for reading, or could not be written.
        """
        with self._store.change("Nothing was changed"):
            yield self

    def snapshot(self) -> Self:
        """The index as it is at this moment, for as long as it is held: searches, pages and items
        agree whatever is added, removed or compacted meanwhile.

        It is an `Index` of its own, open for reading; close it, or use it in a ``with`` block. It
        keeps a copy of the database (not of the rows) in a temporary folder: 0.1 s for 100,000
        items. Writers do not wait for it.
        """
        return type(self)(FrozenStore(self._store))  # type: ignore[call-arg]

    def verify(self, progress: Progress | None = None) -> Verified:
        """Read everything, and compare it with its checksums: rows, items, filters, and SQLite's
        own structure. A writer may write meanwhile.

        Args:
            progress: called with the bytes of rows that are done and those to do.

        Returns:
            What is damaged, by file, rows and ids; `sound` where nothing is.
        """
        return verify(self._store, progress)

    def add_checksums(self) -> bool:
        """Give an index of format 1 its checksums, of what it holds now, as its first change by
        this version would. Returns whether it had none."""
        if self._store.meta.summed:
            return False
        with self._store.change("Nothing was changed"):
            pass
        return True

    def repair(self, embed: Embed | None = None, progress: Progress | None = None) -> Repaired:
        """Make a damaged index sound. What is derived (codes, sketches, filters) is made again;
        items whose vectors are lost are embedded again, or dropped.

        Args:
            embed: called with the items that are lost; returns features (dim,) by id of those
                whose pictures could be read. Without it they are dropped.
            progress: as for `verify`.

        Returns:
            What was found, restored, embedded and dropped.

        Raises:
            DamagedError: the database is beyond repair.
            StoreError: the index is open for reading, or could not be written.
        """
        return repair(self._store, embed, progress)

    def compact(self, progress: Progress | None = None) -> int:
        """Drop the removed rows from the disk, and number the others anew, in their order: results
        stay the same. Returns how many rows were dropped.

        Takes the disk space of the rows that live once more while it runs. Readers go on; after a
        crash the index is as before, or compacted.

        Args:
            progress: called with the rows that are done and those to do.

        Raises:
            DamagedError: a row that lives is not as it was written.
            StoreError: the index is open for reading, or the disk is full.
        """
        return compact(self._store, progress)

    def optimize(
        self, progress: Progress | None = None, *, segment_rows: int | None = None
    ) -> list[Optimized]:
        """Reduce all rows anew for L1, L2 and Hamming searches, by what is learnt from a sample of
        all of them, and join small segment files. Results stay the same; searches of long rows
        become faster where it pays.

        Where there are more than four times as many segments as a new index would have (`joined` of
        `info` says how many would be left), the rows are copied to such as a new one has; that
        drops the removed rows, too, as `compact` does, and takes the disk space of those that live
        once more while it runs.

        An index of an older version gains the numbers of its metadata, too (`numbers.py`), by which
        ranges such as ``price < 50`` are found.

        An index reduces its rows as they are added, when it has enough of them; this is for one
        that has grown many times since, or was made before there were reductions. Takes the disk
        space of the reduced rows once more while it runs. Readers go on; after a crash the index
        is as before, or optimised.

        Args:
            progress: called with the rows that are done and those to do, where they are copied and
                for each metric.
            segment_rows: rows a segment file from now on, more or fewer than before.

        Returns:
            What was done for each metric, and what is expected of it. Empty for an index of rows
            that are too short or too few, or without sketches.

        Raises:
            ArgumentError: segment_rows below 1.
            DamagedError: a row is not as it was written.
            StoreError: the index is open for reading, or the disk is full.
        """
        return optimize(self._store, progress, segment_rows)

    def backup(
        self,
        target: str | os.PathLike[str],
        *,
        copy: bool = False,
        progress: Progress | None = None,
    ) -> Verified:
        """Copy the index, as it is at this moment, to a new folder, and verify the copy. Another
        process may write meanwhile.

        Args:
            target: new, or an empty folder.
            copy: copy all bytes. By default full segments are reflinks or hard links where the
                file system can: that protects from what programs do, and not from a bad disk.
            progress: called with the files that are done and those to do.

        Raises:
            DamagedError: the index is damaged; no backup was made.
            StoreError: the target is there, or cannot be written.
        """
        return back_up(self._store, Path(target), copy=copy, progress=progress)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, an index open for reading is its folder's name: it is opened again."""
        if self._store.writable:
            raise StoreError(
                f"{self._store.folder} is open for writing",
                "It cannot be sent to another process",
                'Open it there, or send one that is open for reading (mode="r")',
            )
        return _opened, (type(self), str(self._store.folder), self._store.checks)


def _opened(kind: Any, folder: str, checks: Literal["first", "always", "never"]) -> Any:
    return kind.open(folder, checksums=checks)
