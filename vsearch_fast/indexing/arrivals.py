"""New pictures that an index has already: under the same bytes, the same pixels, or nearly."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from ..checks import Progress
from ..disk.hashing import file_hash
from ..embedder.embedder import Embedder, Skipped
from ..errors import ImageError
from ..index.duplicates import (
    KINDS,
    Arrival,
    Duplicate,
    DuplicateGroup,
    Kind,
    Look,
    Looking,
)
from ..index.index import Index
from ..index.items import Item
from ..index.stamps import content_of
from ..kernels.reference import DISTANCE
from ..words import Metric
from .embedding import embedded_queries

#: New pictures that are embedded and searched for together.
_BLOCK = 256


class Arrivals:
    """Looks for new pictures in an index.

    Args:
        index: open; its files are known by the hashes that it holds.
        embedder: of its model.
        metric, radius: what is near enough.
        look: looks at a picture of the index, by the path that it holds; ImageError where it is
            gone.
        own: looks at a new one.
        on_error: a new picture that cannot be read is left out ("skip"), or an ImageError.

    Attributes:
        skipped: pictures that were left out.
    """

    def __init__(
        self,
        index: Index,
        embedder: Embedder,
        *,
        metric: Metric,
        radius: float,
        look: Looking,
        own: Callable[[str], Look],
        on_error: Literal["skip", "raise"] = "raise",
        threads: int | None = None,
    ) -> None:
        self._index, self._embedder = index, embedder
        self._metric, self._radius, self._look, self._own = metric, radius, look, own
        self._on_error, self._threads = on_error, threads
        self.skipped: list[Skipped] = []
        self._known: dict[tuple[int, str], list[str]] = {}
        for item in index:
            content = content_of(item.stamp)
            if content is not None and item.box is None:
                self._known.setdefault(content, []).append(item.id)

    def look_for(
        self, photos: Sequence[Path], progress: Progress | None = None
    ) -> Iterator[Arrival]:
        """Each new picture that can be read, with what the index has of it, in order."""
        for start in range(0, len(photos), _BLOCK):
            part = photos[start : start + _BLOCK]
            features, codes = embedded_queries(
                self._index, self._embedder, part, [None] * len(part), on_error=self._on_error
            )
            unread = {skipped.position for skipped in self._embedder.skipped}
            self.skipped += self._embedder.skipped
            read = [str(photo) for number, photo in enumerate(part) if number not in unread]
            queries = codes if self._metric == "hamming" else features
            hits = (
                self._index.search(
                    queries, None, self._metric, within=self._radius, threads=self._threads
                )
                if read
                else []
            )
            for photo, query, line in zip(read, queries, hits, strict=True):
                near = [
                    Duplicate(hit.id, hit.distance, hit.path, hit.box, hit.metadata, "near")
                    for hit in line
                ]
                try:
                    yield self._told(photo, query, near)
                except (ImageError, OSError) as error:  # gone since it was embedded
                    if self._on_error == "raise":
                        raise
                    cause = error.cause if isinstance(error, ImageError) else str(error)
                    self.skipped.append(Skipped(0, photo, cause))
            if progress is not None:
                progress(start + len(part), len(photos))

    def _told(self, photo: str, query: np.ndarray, near: Sequence[Duplicate]) -> Arrival:
        seen = self._own(photo)
        same = self._known.get((os.stat(photo).st_size, file_hash(photo)), [])
        found = {copy.id: copy for copy in near}
        # What has the same bytes is there, whatever a rounding has made of its features.
        for id_ in same:
            if id_ not in found:
                found[id_] = self._copy(self._index.get(id_), query)
        copies = []
        for number, copy in enumerate(found.values()):
            kind, other = self._kind(copy, copy.id in same, seen)
            if other is not None:
                copy = replace(
                    copy, width=other.width, height=other.height, sharpness=other.sharpness,
                    bytes=other.bytes, seen=True,
                )  # fmt: skip
            copies.append((KINDS.index(kind), copy.distance, number, replace(copy, kind=kind)))
        if not copies:
            return Arrival(photo, seen, None)
        ordered = [copy for *_, copy in sorted(copies, key=lambda each: each[:3])]
        return Arrival(photo, seen, DuplicateGroup(ordered[0].kind, tuple(ordered)))

    def _kind(self, copy: Duplicate, same_file: bool, seen: Look) -> tuple[Kind, Look | None]:
        """What a copy is to the new picture, and what was seen of it."""
        try:
            other = None if copy.path is None else self._look(copy.path, copy.box)
        except ImageError:
            other = None
        if same_file:
            return "file", other
        if other is None or other.pixels != seen.pixels:
            return "near", other
        return ("file" if other.file == seen.file and copy.box is None else "pixels"), other

    def _copy(self, item: Item, query: np.ndarray) -> Duplicate:
        """An item with its distance, by the definition, from a query of one view or several."""
        if self._metric == "hamming":
            lines = self._index.codes([item.id])[0]
        else:
            lines = self._index.features([item.id])[0]
        rows = lines.reshape(-1, lines.shape[-1])
        views = query.reshape(-1, query.shape[-1])
        nearest = min(DISTANCE[self._metric](view, rows).min() for view in views).item()
        return Duplicate(item.id, nearest, item.path, item.box, item.metadata, "file")
