"""An index of one moment, held while others change it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from . import schema, stored_reductions, stored_sketches
from .store import Store


class FrozenStore(Store):
    """The state of a store at this moment: a copy of its database, and its segment files, which
    stay mapped when a compaction has removed them.

    Raises:
        StoreError: no room for the copy.
    """

    def __init__(self, store: Store) -> None:
        self._copy = tempfile.TemporaryDirectory(prefix="vsearch-")
        consequence = "No snapshot was taken"
        with store.reading(consequence):
            # In the transaction, so that no compaction can remove the files meanwhile.
            store.copy_database(Path(self._copy.name) / schema.DATABASE_NAME, consequence)
            super().__init__(
                store.folder,
                writable=False,
                checks=store.checks,
                database=Path(self._copy.name),
            )
            kinds = (*schema.KINDS, stored_sketches.SKETCHES, stored_sketches.FACTS)
            for metric in stored_reductions.METRICS:
                self.view(None, kinds, consequence, metric)
            self.files.pin()
            self._bytes = super().bytes_on_disk()

    def bytes_on_disk(self) -> int:
        """As it was then: a compaction may have removed the files."""
        return self._bytes

    def close(self) -> None:
        super().close()
        self._copy.cleanup()
