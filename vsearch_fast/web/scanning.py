"""Batches of work: the network for several pictures, a scan for several queries."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import Value
from ..embedder.embedder import Embedder
from ..errors import VsearchError
from ..index.hit_lists import Answers
from ..index.items import Item
from ..index.likeness import Likeness
from ..index.views import padded
from ..words import Metric
from .current import Current, Opened
from .faults import RequestError, status_of
from .filters import without
from .queries import Found, Query, Row, SearchRequest

#: Searches of one scan differ by less than so many nearest items.
_NEAR = 500


class Scanning:
    """A part of `Catalogue`."""

    embedder: Embedder
    _current: Current
    _threads: int | None
    _rows: Any
    _failing: set[str]

    def item(self, id_: str) -> Item:
        raise NotImplementedError

    def _backend_for(self, metric: Metric) -> str:
        raise NotImplementedError

    # Work for batches

    def embed(self, queries: Sequence[Query]) -> list[Row | Exception]:
        """Features and code of each query by one run of the network."""
        pictures: list[np.ndarray] = []
        places: list[int | slice] = []
        for query in queries:
            assert query.pixels is not None
            first = len(pictures)
            pictures.extend(query.pixels if query.pixels.ndim == 4 else [query.pixels])
            places.append(first if query.pixels.ndim == 3 else slice(first, len(pictures)))
        try:
            features, codes = self.embedder.both(pictures)
        except Exception:
            self._failing.add("features")
            raise
        rows = [Row(features[place], codes[place]) for place in places]
        for query, row in zip(queries, rows, strict=True):
            if query.kept is not None:
                self._rows.put((query.kept, query.box, query.both), row)
        self._failing.discard("features")
        return [*rows]

    def search(self, requests: Sequence[SearchRequest]) -> list[Found | Exception]:
        """What is found for each request: those of one metric and filter share a scan."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for number, request in enumerate(requests):
            # One that goes far shall not make the others go as far.
            far = request.depth // _NEAR
            key = request.metric, request.where, request.group_by, far
            groups.setdefault(key, []).append(number)
        answers: list[Found | Exception] = [Found([], None) for _ in requests]
        for numbers in groups.values():
            try:
                found, likeness = self._scan([requests[n] for n in numbers])
            except VsearchError as error:
                for n in numbers:
                    answers[n] = error
                continue
            for n, hits in zip(numbers, found, strict=True):
                own = requests[n]
                reach = math.inf if own.max_distance is None else own.max_distance
                kept = [hit for hit in hits if hit.distance <= reach]
                if own.exclude:
                    kept = without(self._things(own), own.group_by, kept)
                answers[n] = Found(kept[own.offset : own.offset + own.k], likeness)
        return answers

    def _things(self, request: SearchRequest) -> dict[str, Value]:
        """The items to leave out, and the thing that each is of, where a column tells things."""
        found: dict[str, Value] = dict.fromkeys(request.exclude)
        if request.group_by is not None:
            for id_ in request.exclude:
                with contextlib.suppress(RequestError):  # removed meanwhile
                    found[id_] = self.item(id_).metadata.get(request.group_by)
        return found

    def _scan(self, requests: Sequence[SearchRequest]) -> tuple[Answers, Likeness | None]:
        """The hits of requests of one metric and filter, and what its distances say."""
        first = requests[0]
        k = max(request.depth for request in requests)
        queries = padded([request.row.by(first.metric) for request in requests])

        def scan(opened: Opened) -> tuple[Answers, Likeness | None]:
            found = opened.index.search(
                queries, k, first.metric, first.where, group_by=first.group_by,
                threads=self._threads, backend=self._backend_for(first.metric),
            )  # fmt: skip
            return found, opened.facts.likeness.get(first.metric)

        try:
            result = self._current.on(scan)
        except Exception as error:
            if not isinstance(error, VsearchError) or status_of(error) >= 500:
                self._failing.add("search")
            raise
        self._failing.discard("search")
        return result
