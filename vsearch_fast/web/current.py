"""The index that lies at its address now: looked at before each use, opened anew once replaced.

::

    use ─► the same folder and file as before? ── yes ─► the opened index
                          │ no
                          └─► opened, beside the old one, which is closed after its last use
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..errors import (
    DuplicateIdError,
    ModelMismatchError,
    StoreError,
    UnknownIdError,
    VsearchError,
)
from ..index.index import Index
from ..index.likeness import Likeness
from ..shards.opening import identity_of
from .faults import RequestError

_log = logging.getLogger("vsearch_fast.web")

T = TypeVar("T")

#: An error that took longer is one of waiting, for a lock or a disk: no second try, which would
#: outlast the request.
_PATIENCE = 5.0

#: Seconds between two openings of what has not been replaced: one that is damaged stays so.
_AGAIN = 1.0


@dataclass(slots=True)
class Facts:
    """What `/api/catalogue` tells, as of the last refresh."""

    pictures: int = 0
    columns: list[dict[str, Any]] = field(default_factory=list)
    likeness: dict[str, Likeness] = field(default_factory=dict)
    boxed: bool = False
    titles: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Opened:
    """An index as it was found at its address, and what was learnt of it.

    Attributes:
        identity: of its folder and its database file; None where it cannot be told.
        directory: of what it holds (`listings.Held`), once it was read.
        refreshed: whether `facts` are whole; those of an index that was just opened are not.
    """

    index: Index
    identity: tuple[Any, ...] | None
    facts: Facts = field(default_factory=Facts)
    refreshed: bool = False
    directory: Any = None
    _uses: int = 0
    _retired: bool = False


class Current:
    """Safe to use from several threads. `reopen` opens what lies at `path`, and `learn` tells the
    first facts of it; `index` was opened there just before. What was replaced is closed.

    `identity` tells what lies there from anything else, and is None where nothing does."""

    def __init__(
        self,
        path: Path,
        index: Index,
        reopen: Callable[[], Index],
        learn: Callable[[Opened], Facts],
        identity: Callable[[Path], tuple[Any, ...] | None] = identity_of,
    ) -> None:
        self._path = path
        self._reopen, self._learn, self._identity = reopen, learn, identity
        self._lock = threading.Lock()
        self._said = ""
        self._opened_at = time.monotonic()
        self.opened = Opened(index, identity(path))
        self.opened.facts = learn(self.opened)

    @contextlib.contextmanager
    def use(self) -> Iterator[Opened]:
        """The index that is there now, which stays open meanwhile.

        RequestError (503) where there is none, or none that can be served.
        """
        with self._lock:
            opened = self.opened
            if self._identity(self._path) != opened.identity:
                opened = self._renewed()
            self._said = ""
            opened._uses += 1
        try:
            yield opened
        finally:
            with self._lock:
                opened._uses -= 1
                self._close_if_done(opened)

    def on(self, work: Callable[[Opened], T]) -> T:
        """What `work` gives for the index; once more, of an index opened anew, after an error of
        reading it, as there is where a folder is replaced under a search."""
        began = time.monotonic()
        with self.use() as opened:
            try:
                return work(opened)
            except (UnknownIdError, DuplicateIdError):
                raise
            except StoreError:
                if time.monotonic() - began > _PATIENCE:
                    raise
                with self._lock:
                    if self.opened is opened and self.is_still(opened):
                        if time.monotonic() - self._opened_at < _AGAIN:
                            raise
                        self._renewed()
        with self.use() as opened:
            return work(opened)

    def is_still(self, opened: Opened) -> bool:
        """Whether this is what lies at the address at this moment."""
        return self.opened is opened and self._identity(self._path) == opened.identity

    def close(self) -> None:
        """Close the index once nobody uses it."""
        with self._lock:
            self.opened._retired = True
            self._close_if_done(self.opened)

    def _renewed(self) -> Opened:
        """Open what lies at the address in place of what lay there; with the lock held."""
        for _ in range(3):  # the folder may be changed at this moment
            identity = self._identity(self._path)
            if identity is None:
                raise self._refusal("is not at its address any more", "Nothing lies there")
            try:
                index = self._reopen()
            except ModelMismatchError as error:
                raise self._refusal("is now one of another model", str(error)) from error
            except (VsearchError, OSError) as error:
                raise self._refusal("cannot be opened", str(error)) from error
            if self._identity(self._path) != identity:
                index.close()
                continue
            try:
                opened = Opened(index, identity)
                opened.facts = self._learn(opened)
            except (VsearchError, OSError) as error:
                index.close()
                raise self._refusal("cannot be read", str(error)) from error
            old, self.opened, self._opened_at = self.opened, opened, time.monotonic()
            old._retired = True
            self._close_if_done(old)
            if self._said or old.identity != identity:
                _log.warning("%s was replaced: what lies there now is served.", self._path)
            self._said = ""
            return opened
        raise self._refusal("is being replaced", "It changed again and again")

    def _refusal(self, what: str, reason: str) -> RequestError:
        if what != self._said:  # once, not for each request
            self._said = what
            _log.error("The index %s %s: %s", self._path, what, reason)
        return RequestError(
            "index_unavailable",
            f"The index {what}",
            "Nothing was searched or sent, as it would be of one that is no longer there",
            "Try again in a moment; if it stays, who runs the server finds the reason in its "
            "output",
            retry_after=2,
        )

    def _close_if_done(self, opened: Opened) -> None:
        """Close an index that was replaced after its last use; with the lock held."""
        if opened._retired and not opened._uses:
            with contextlib.suppress(VsearchError, OSError):
                opened.index.close()
