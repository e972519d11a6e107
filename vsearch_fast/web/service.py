"""A search from request to answer, without ever blocking the event loop.

::

    picture ─► Workers: decode, box ─► Batcher: network ─► Batcher: scans ─► hits
    id      ─► Workers: stored features ────────────────────────┘

Queues are bounded (429), and a request that takes too long is told so (503).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ..errors import ImageError
from ..index.conditions import Condition
from ..index.hits import Hit
from ..index.likeness import Likeness
from ..machine import available_threads
from ..words import JUDGED, LEAST, Metric
from .asking import unshowable
from .batching import Batcher
from .catalogue import Catalogue
from .current import Facts
from .faults import RequestError
from .metrics import Metrics
from .queries import Found, Query, Row, SearchRequest
from .settings import Settings
from .thumbnails import Thumbnails
from .workers import Workers

_log = logging.getLogger("vsearch_fast.web")

T = TypeVar("T")

#: Queries of one scan, and pictures of one run of the network.
_LARGEST_SCAN = 64
_LARGEST_RUN = 32

#: Seconds between two counts of what the catalogue holds; searches see changes at once.
_REFRESH = 60

#: Seconds between two looks at whether the catalogue was replaced, and two at its health.
_LOOK = 1.0

#: Seconds in which a healthy catalogue has answered.
_HEALTHY = 5.0

#: Seconds between two looks at whether the event loop is late.
_WATCH = 0.1


@dataclass(frozen=True, slots=True)
class Searched:
    """The hits of a query by one metric, what its distances say, and the seconds it took; in groups
    how many items each hit's thing has, where that is known."""

    metric: str
    hits: list[Hit]
    likeness: Likeness | None
    seconds: float
    views: list[int | None] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A search's parameters, beside what is searched for: `metric` may be "all", which is those of
    `JUDGED`; `where` are column=value texts, `filter` is a text of the language of filters; the
    others as of `SearchRequest`."""

    k: int
    metric: str
    where: Sequence[str] = ()
    filter: str | None = None
    offset: int = 0
    max_distance: float | None = None
    exclude: Sequence[str] = ()
    group_by: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was searched for, the hits by each metric, and seconds by stage."""

    query: Query
    results: list[Searched]
    seconds: dict[str, float]


class Service:
    """Everything that the API does, over one catalogue."""

    def __init__(
        self, catalogue: Catalogue, settings: Settings, metrics: Metrics, thumbnails: Thumbnails
    ) -> None:
        self.catalogue = catalogue
        self.settings = settings
        self.metrics = metrics
        self.thumbnails = thumbnails
        threads = available_threads()
        self._pictures = Workers(threads, settings.waiting)
        # A page asks for its thumbnails by the dozen.
        self._reading = Workers(threads, 8 * settings.waiting)
        self._network: Batcher[Query, Row] = Batcher(
            catalogue.embed, largest=_LARGEST_RUN, waiting=settings.waiting,
            observe=metrics.batch("features"),
        )  # fmt: skip
        self._scans: Batcher[SearchRequest, Found] = Batcher(
            catalogue.search, largest=_LARGEST_SCAN, waiting=3 * settings.waiting,
            observe=metrics.batch("search"),
        )  # fmt: skip
        self._looking: asyncio.Future[str | None] | None = None
        self._looked_at = 0.0
        metrics.gauge("vsearch_waiting_features", "Pictures that wait for the network.",
                      lambda: len(self._network))  # fmt: skip
        metrics.gauge("vsearch_waiting_search", "Queries that wait for a scan.",
                      lambda: len(self._scans))  # fmt: skip

    async def watch_for_ever(self) -> None:
        """Measure how late the event loop wakes, until cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_WATCH)
            self.metrics.late(max(0.0, time.perf_counter() - began - _WATCH))

    async def refresh_for_ever(self) -> None:
        """Keep the catalogue's facts up to date until cancelled, whatever goes wrong meanwhile."""
        looks = 0
        said = ""
        while True:
            try:
                new = await asyncio.to_thread(self.catalogue.look)
                if new or looks % round(_REFRESH / _LOOK) == 0:
                    await asyncio.to_thread(self.catalogue.refresh)
                said = ""
            except RequestError:
                pass  # was said where it was noticed
            except Exception as error:  # of a lock, a disk, a device: there will be better times
                if str(error) != said:
                    said = str(error)
                    _log.error("What the catalogue holds could not be counted: %s", error)
            looks += 1
            await asyncio.sleep(_LOOK)

    async def trouble(self) -> str | None:
        """Why searches cannot be answered now, or None; looked for once a second at most,
        however often it is asked."""
        looking = self._looking
        if looking is None or (looking.done() and time.monotonic() - self._looked_at > _LOOK):
            looking = self._looking = asyncio.ensure_future(
                asyncio.to_thread(self.catalogue.trouble)
            )
            self._looked_at = time.monotonic()
        await asyncio.wait([looking], timeout=_HEALTHY)
        if looking.done():
            return looking.result()
        return f"The index has not answered within {_HEALTHY:g} seconds"

    async def facts(self) -> Facts:
        """What the index that lies there now holds."""
        await self._within(self._reading.run(self.catalogue.look))
        return self.catalogue.facts

    async def search(self, prepare: Callable[[], Query], asked: Asked) -> Answer:
        """The matches of what `prepare` makes in a thread."""
        return await self._within(self._search(prepare, asked))

    async def _search(self, prepare: Callable[[], Query], asked: Asked) -> Answer:
        names = JUDGED if asked.metric == "all" else (asked.metric,)
        reach = asked.max_distance
        if reach is not None and reach < min(LEAST[name] for name in names):
            raise RequestError(
                "invalid_field",
                f"max_distance is {reach:g}, and no distance by {asked.metric} is below 0",
                "Nothing was searched",
                "Send a number of at least 0, or leave it out",
            )
        times = [time.perf_counter()]

        def prepared() -> tuple[Query, Condition | None]:
            return prepare(), self.catalogue.condition(asked.where, asked.filter)

        query, filters = await self._pictures.run(prepared)
        times.append(time.perf_counter())
        row = query.row
        if row is None:
            row = await self._network.submit(query)
        times.append(time.perf_counter())
        query = replace(query, pixels=None, row=None)  # done with
        own = () if query.id is None else (query.id,)

        async def one(name: Metric) -> Searched:
            began = time.perf_counter()
            request = SearchRequest(
                row, name, asked.k, filters, tuple(dict.fromkeys((*own, *asked.exclude))), reach,
                asked.group_by, asked.offset,
            )  # fmt: skip
            found = await self._scans.submit(request)
            views = None
            if asked.group_by is not None:
                views = await self._reading.run(
                    self.catalogue.views, asked.group_by,
                    [hit.metadata.get(asked.group_by) for hit in found.hits], filters,
                )  # fmt: skip
            return Searched(name, found.hits, found.likeness, time.perf_counter() - began, views)

        results = await asyncio.gather(*(one(name) for name in names))  # type: ignore[arg-type]
        times.append(time.perf_counter())
        seconds = {
            stage: end - start
            for stage, start, end in zip(
                ("picture", "features", "search"), times, times[1:], strict=False
            )
        }
        for stage, value in seconds.items():
            self.metrics.stage(stage, value)
        return Answer(query, list(results), seconds)

    async def read(self, work: Callable[[], T]) -> T:
        """What `work` reads of the catalogue, in a thread."""
        return await self._within(self._reading.run(work))

    async def thumbnail(self, id_: str | None, key: str | None, size: int) -> bytes:
        """A JPEG of a picture of the catalogue, or of an earlier upload."""

        def make() -> bytes:
            if key is not None:
                kept = self.catalogue.kept(key)
                return self.thumbnails.jpeg_of(kept.key, kept.data, size)
            try:
                return self.thumbnails.jpeg(self.catalogue.picture(id_ or ""), size)
            except ImageError as error:
                raise unshowable(error) from error

        return await self._within(self._reading.run(make))

    async def _within(self, work: Awaitable[T]) -> T:
        """The result, or an error after as long as a request may take."""
        try:
            async with asyncio.timeout(self.settings.seconds):
                return await work
        except TimeoutError:
            raise RequestError(
                "timeout",
                f"There was no answer within {self.settings.seconds:g} seconds",
                "The request was given up",
                "Send it again later: the server has too much to do",
                retry_after=5,
            ) from None

    def close(self) -> None:
        """Start nothing more; running work ends."""
        for part in (self._pictures, self._reading, self._network, self._scans):
            part.close()
