"""What the server serves: an index, the network that made it, and the pictures it was given.

Everything here is called from worker threads, never from the event loop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..embedder.embedder import Embedder
from ..embedder.views import locates
from ..errors import (
    StoreError,
    UnknownIdError,
    VsearchError,
)
from ..index.index import Index
from ..index.items import Item
from ..index.likeness import Likeness
from ..index.titles import Titles
from ..indexing.photos import Photos
from ..shards.opening import identity_of, open_index
from ..words import JUDGED, METRICS, Metric
from .addresses import fetched, item_in
from .asking import Asking
from .copies import Copies
from .current import Current, Facts, Opened
from .faults import RequestError
from .listings import Listings, no_such_item
from .queries import Query, Row
from .scanning import Scanning
from .settings import Settings

T = TypeVar("T")


class Catalogue(Asking, Scanning, Listings):
    """An index and its embedder, for the server: whatever index lies at its address at the
    moment, as long as it is of the embedder's model.

    Args:
        path: the index folder.
        index, embedder: opened; the model of one is that of the other. The index is closed when
            another has taken its place, or at the end.
        settings: its limits.
        backend, threads: for searches, as `Index.search` takes them.
        photos: where pictures are; None: where the index says.
        titles: columns that lead, before those that the index keeps.
        reopen, identity: of what is at the address now, as for `Current`; by default of `path`.
    """

    def __init__(
        self,
        path: Path,
        index: Index,
        embedder: Embedder,
        settings: Settings,
        *,
        backend: str = "auto",
        threads: int | None = None,
        photos: Photos | None = None,
        titles: Titles | None = None,
        reopen: Callable[[], Index] | None = None,
        identity: Callable[[Path], tuple[Any, ...] | None] = identity_of,
    ) -> None:
        self.name = path.resolve().name
        self.embedder = embedder
        Asking.__init__(self, settings)
        Listings.__init__(self)
        self._chosen = titles or Titles()
        self._backend, self._threads = backend, threads
        self._folder = path
        self._photos = Photos(index) if photos is None else photos
        self._current = Current(path, index, reopen or self._open, self._first_facts, identity)
        self.copies = Copies(self._current, self._photos, settings, threads)
        self._failing: set[str] = set()
        self.locates = locates(embedder)

    # What there is

    @property
    def index(self) -> Index:
        """The index that was used last."""
        return self._current.opened.index

    @property
    def facts(self) -> Facts:
        """What is known of it."""
        return self._current.opened.facts

    def _open(self) -> Index:
        index = open_index(self._folder, model_id=self.embedder.model_id)
        if self._backend == "cuda":
            index.to("cuda")
        return index

    def _first_facts(self, opened: Opened) -> Facts:
        index, columns = opened.index, self._columns(opened)
        return Facts(len(index), columns, boxed=_boxed(index), titles=self._titles(opened, columns))

    def warm(self) -> None:
        """Search once by each metric, in this thread: kernels are compiled or loaded, and files
        mapped, before anybody waits and before several threads do it at once."""
        with self._current.use() as opened:
            self._try_search(opened)

    def _try_search(self, opened: Opened) -> None:
        index = opened.index
        nothing = Row(np.zeros(index.dim, np.float32), np.zeros(-(-index.bits // 8), np.uint8))
        for metric in METRICS:
            index.search(
                nothing.by(metric), 1, metric, threads=self._threads,
                backend=self._backend_for(metric),
            )  # fmt: skip

    def _backend_for(self, metric: Metric) -> str:
        """Where a search runs: what devices cannot do the processor does."""
        return self._backend if metric in JUDGED else "cpu"

    def look(self) -> bool:
        """Whether there is something to refresh: another index. RequestError (503) where there
        is none."""
        with self._current.use() as opened:
            return not opened.refreshed

    def refresh(self) -> None:
        """Bring `facts` up to date; the first time learns what distances say."""
        with self._current.use() as opened:
            index = opened.index
            facts = replace(self._first_facts(opened), likeness=opened.facts.likeness)
            opened.facts = facts
            learnt: dict[str, Likeness] = {}
            for metric in JUDGED:
                with contextlib.suppress(VsearchError):  # no reason not to search
                    known = index.likeness(metric, threads=self._threads, backend=self._backend)
                    if known is not None:
                        learnt[metric] = known
                        facts.likeness = dict(facts.likeness) | learnt
            facts.likeness = learnt
            opened.refreshed = True
            if self._current.is_still(opened):
                with contextlib.suppress(StoreError):  # kept for the next start, where it can be
                    index.save_learnt()

    def trouble(self) -> str | None:
        """Why it cannot answer now, without names of this machine; None where it can.

        What has failed since it last went well is tried.
        """
        try:
            self._current.on(lambda opened: len(opened.index))
            if "search" in self._failing:
                self._current.on(self._try_search)
                self._failing.discard("search")
        except RequestError as error:
            return error.cause
        except Exception:
            return "The index cannot be searched"
        if "features" in self._failing:
            try:
                size = self.embedder.input_size
                self.embedder.both([np.zeros((size, size, 3), np.uint8)])
            except Exception:
                return "The network or its device fails"
            self._failing.discard("features")
        return None

    def close(self) -> None:
        """Close the index."""
        self._current.close()

    @property
    def note(self) -> str:
        """What a user should know of the network, if anything."""
        return "untrained network" if self.index.model.get("trained") == "no" else ""

    def shown_path(self, path: str | None) -> str | None:
        """An item's path as others may know it."""
        return self._photos.below(path)

    def query_of_url(self, url: str, hosts: Collection[str], box: str | None) -> Query:
        """The picture at an address: an item's where the address is one of this server's (`hosts`)
        or an item's link, else fetched where that is allowed.

        Raises:
            RequestError: it is not, or cannot be had.
        """
        id_ = item_in(url, hosts)
        if id_ is None:
            id_ = self.linked(url)
        if id_ is not None:
            return self.query_of_item(id_, box)
        content = fetched(url, self._settings.fetch, self._settings.upload_bytes)
        return self.query_of_upload(content, "The picture of this address", box)

    def item(self, id_: str) -> Item:
        """The item of this id; RequestError (404) where there is none."""
        return self._of_item(id_, lambda index: index.get(id_))

    def _of_item(self, id_: str, read: Callable[[Index], T]) -> T:
        try:
            return self._current.on(lambda opened: read(opened.index))
        except UnknownIdError:
            raise no_such_item(id_) from None


def _boxed(index: Index) -> bool:
    """Whether most items are parts of their pictures, and not the whole as well."""
    return len(index.views) == 1 and 2 * index.boxed() > len(index)
