"""Texts that an index keeps by name beside its rows, such as what it has learnt (`kept.py`)."""

from __future__ import annotations

import contextlib
import sqlite3

from ..disk.database import Database
from . import sealing
from .schema import Meta


class Notes:
    """A part of `Store`, which has the rest."""

    database: Database
    meta: Meta

    def reading(self, consequence: str) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        """As `Store.reading`."""
        raise NotImplementedError

    def change(
        self, consequence: str, *, upgraded: bool = True
    ) -> contextlib.AbstractContextManager[None]:
        """As `Store.change`."""
        raise NotImplementedError

    def note(self, key: str) -> str | None:
        """What `write_note` has put under this key, by whichever writer."""
        with self.reading("Nothing was read") as sql:
            if self.meta.summed:  # it may be of a commit that changed no rows
                sealing.check(sql, self.database.file, "Nothing was read")
            line = sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if line is None else line[0]

    def write_note(self, key: str, value: str) -> None:
        """Put a text under a key of `meta` that is none of an index's own, in one transaction.

        Versions that do not know the key leave it alone; the state of the rows stays the same.
        """
        consequence = "Nothing was changed"
        with self.change(consequence), self.database.statements(consequence) as sql:
            sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
