"""What an index has learnt of itself, by metric: kept on disk where it is open for writing, and in
memory where it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ..words import JUDGED
from .changes import Changes
from .store import Store

#: The first words of keys of table `meta`; the metric follows.
THRESHOLD, LIKENESS = KINDS = ("threshold", "likeness")


def renumbered(key: str, text: str, removed: int) -> str | None:
    """What a note of an index says after `removed` rows were dropped from its counts; None where
    nothing changes. How much has changed since it was learnt stays what it was."""
    if key.partition(" ")[0] not in KINDS:
        return None
    try:
        values = json.loads(text)
        values["rows"] -= removed
        values["removed"] -= removed
    except (TypeError, ValueError, KeyError):  # of another make: it is learnt again
        return None
    return json.dumps(values)


class Learnt(Protocol):
    """What can be kept."""

    @property
    def metric(self) -> str:
        """Of which it was learnt."""


T = TypeVar("T", bound=Learnt)


class Kept(Generic[T]):
    """The notes of one kind of one opened index. What is in memory is used until another one is
    stored, by whomever.

    Args:
        kind: one of `KINDS`.
        write: one as text.
        read: one from its text; None of a text that cannot be understood, as of another version.
    """

    def __init__(
        self,
        store: Store,
        kind: str,
        write: Callable[[T], str],
        read: Callable[[str], T | None],
    ) -> None:
        self._store, self._kind, self._write, self._read = store, kind, write, read
        # By metric: what was learnt, and the text that was stored then.
        self._unsaved: dict[str, tuple[T, str | None]] = {}
        # By metric: the text that was read last, and what it says.
        self._known: dict[str, tuple[str | None, T | None]] = {}

    def _key(self, metric: str) -> str:
        return f"{self._kind} {metric}"

    def get(self, metric: str) -> T | None:
        """What is known, however old; None when nothing is."""
        text = self._store.note(self._key(metric))
        own, text_then = self._unsaved.get(metric, (None, None))
        if own is not None and text == text_then:
            return own
        last, found = self._known.get(metric, (None, None))
        if text != last:
            found = None if text is None else self._read(text)
            found = found if found is not None and found.metric == metric else None
            self._known[metric] = text, found
        return found

    def every(self) -> dict[str, T]:
        """All that are known, by metric."""
        found = {metric: self.get(metric) for metric in JUDGED}
        return {metric: each for metric, each in found.items() if each is not None}

    def keep(self, learnt: T) -> None:
        """Store it, or, of an index open for reading, remember it.

        Raises:
            StoreError: it could not be stored.
        """
        if self._store.writable:
            Changes(self._store).write_note(self._key(learnt.metric), self._write(learnt))
            self._unsaved.pop(learnt.metric, None)
        else:
            self.remember(learnt)

    def remember(self, learnt: T) -> None:
        """Keep it in memory alone."""
        self._unsaved[learnt.metric] = learnt, self._store.note(self._key(learnt.metric))

    def save(self) -> int:
        """Store what is in memory only, for that being the index's writer for a moment; returns
        how many.

        Raises:
            LockedError, StoreError: another writer, or a folder that cannot be written.
        """
        waiting = {
            metric: own
            for metric, (own, text) in list(self._unsaved.items())
            if text == self._store.note(self._key(metric))
        }
        if waiting:
            writer = self._store if self._store.writable else self._store.writer()
            try:
                for metric, own in waiting.items():
                    Changes(writer).write_note(self._key(metric), self._write(own))
                    del self._unsaved[metric]
            finally:
                if writer is not self._store:
                    writer.close()
        return len(waiting)
