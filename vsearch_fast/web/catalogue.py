"""What the server serves: an index, the network that made it, and the pictures it was given.

Everything here is called from worker threads, never from the event loop.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from ..checks import PixelBox, Value
from ..embedder.embedder import Embedder
from ..embedder.views import locates
from ..errors import (
    ArgumentError,
    ImageError,
    StoreError,
    UnknownIdError,
    VsearchError,
)
from ..images.boxes import pixel_box
from ..images.decoding import decode, upright_size
from ..images.jpeg import LIBJPEG_TURBO
from ..index.conditions import Condition
from ..index.hit_lists import Answers
from ..index.index import Index
from ..index.items import Item
from ..index.likeness import Likeness
from ..index.views import padded
from ..indexing.photos import Photos
from ..shards.opening import identity_of, open_index
from ..words import JUDGED, METRICS, Metric
from .current import Current, Facts, Opened
from .faults import NotFoundError, RequestError, status_of
from .filters import Page, page, without
from .lru import SizedCache
from .queries import Found, Kept, Query, Row, SearchRequest
from .settings import Settings

T = TypeVar("T")

#: A column of more values is one of names, not of kinds: no list to choose from.
_MOST_VALUES = 200

#: Features of queries kept, so that another metric or k does not run the network again.
_FEATURE_BYTES = 32 << 20

#: What a listing leads with, where the catalogue has it.
_FIRST = ("category", "kids", "item")

_NOT_SEARCHED = "Nothing was searched"


class Catalogue:
    """An index and its embedder, for the server: whatever index lies at its address at the
    moment, as long as it is of the embedder's model.

    Args:
        path: the index folder.
        index, embedder: opened; the model of one is that of the other. The index is closed when
            another has taken its place, or at the end.
        settings: its limits.
        backend, threads: for searches, as `Index.search` takes them.
        photos: where pictures are; None: where the index says.
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
        reopen: Callable[[], Index] | None = None,
        identity: Callable[[Path], tuple[Any, ...] | None] = identity_of,
    ) -> None:
        self.name = path.resolve().name
        self.embedder = embedder
        self._settings = settings
        self._backend, self._threads = backend, threads
        self._folder = path
        self._photos = Photos(index) if photos is None else photos
        self._current = Current(path, index, reopen or self._open, self._first_facts, identity)
        self._failing: set[str] = set()
        self._kept: SizedCache[str, Kept] = SizedCache(
            settings.kept_bytes, lambda kept: len(kept.data)
        )
        self._rows: SizedCache[tuple[str, PixelBox | None, bool], Row] = SizedCache(
            _FEATURE_BYTES, lambda row: row.features.nbytes + row.code.nbytes
        )
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

    def _first_facts(self, index: Index) -> Facts:
        return Facts(len(index), self._columns(index), boxed=_boxed(index))

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
            facts = Facts(
                len(index), self._columns(index), opened.facts.likeness, boxed=_boxed(index)
            )
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

    def _columns(self, index: Index) -> list[dict[str, Any]]:
        names = index.columns()
        names.sort(key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
        columns = []
        pictures = len(index)
        for name in names:
            try:
                values = index.values(name, _MOST_VALUES)
            except ArgumentError:  # removed meanwhile, with the last that had it
                continue
            # As many values as there are things are names, though there be few things.
            most = _MOST_VALUES if name == "category" else max(2, pictures // 4)
            if values is not None and 1 < len(values) <= most:
                listed = [{"value": value, "count": count} for value, count in values]
                columns.append({"name": name, "values": listed})
        return columns

    @property
    def note(self) -> str:
        """What a user should know of the network, if anything."""
        return "untrained network" if self.index.model.get("trained") == "no" else ""

    def items(self, limit: int, after: int | None, where: Condition | None) -> Page:
        """A page of the catalogue; see `filters.page`."""
        return self._current.on(lambda opened: page(opened.index, limit, after, where))

    def item(self, id_: str) -> Item:
        """The item of this id; NotFoundError where there is none, which tells no folder's name."""
        return self._of_item(id_, lambda index: index.get(id_))

    def _of_item(self, id_: str, read: Callable[[Index], T]) -> T:
        try:
            return self._current.on(lambda opened: read(opened.index))
        except UnknownIdError:
            raise NotFoundError(
                f"The catalogue holds no picture {id_[:80]!r}",
                "Nothing was searched or sent",
                "Take an id of /api/items; it may have been removed",
            ) from None

    # Pictures given

    def query_of_upload(self, data: bytes, name: str, box: str | None) -> Query:
        """An uploaded picture, cut to a box: ``x1,y1,x2,y2``, "auto", or None for all of it.

        It is kept for further searches. Raises ImageError, which calls it `name`.
        """
        key = hashlib.sha256(data).hexdigest()[:32]
        found = self._kept.get(key)
        image: Image.Image | None = None
        if found is None:
            image = decode(data, name=name, max_pixels=self._settings.max_pixels)
            found = Kept(key, data, *image.size)
            self._kept.put(key, found)
        return self._query(found, image, box)

    def query_of_kept(self, key: str, box: str | None) -> Query:
        """The same of a picture uploaded before; NotFoundError where it is no longer kept."""
        return self._query(self.kept(key), None, box)

    def kept(self, key: str) -> Kept:
        """A picture uploaded before; NotFoundError where it is no longer kept."""
        found = self._kept.get(key)
        if found is None:
            raise NotFoundError(
                "The picture of this link is no longer kept: the server keeps the last "
                f"{self._settings.kept_bytes >> 20} MiB of uploads, until it ends",
                _NOT_SEARCHED,
                "Give the picture again",
            )
        return found

    # Queries

    def _query(self, kept: Kept, image: Image.Image | None, box: str | None) -> Query:
        """`image` is the picture decoded, where it is at hand."""
        cut: PixelBox | None
        both = self._both()
        if box == "auto":
            kept, image = self._with_box(kept, image)
            cut, origin = kept.box, "network"
        else:
            cut, origin = self._read_box(box, (kept.width, kept.height)), "you"
        shown = Query(
            None, None, kept.key, None, kept.width, kept.height, cut, origin if cut else None, both
        )
        row = self._rows.get((kept.key, cut, both))
        if row is not None:
            return replace(shown, row=row)
        part = cut
        if both and part is None and self.locates:
            kept, image = self._with_box(kept, image)
            part = kept.box
        return replace(shown, pixels=self._seen(image, kept.data, part, both))

    def _both(self) -> bool:
        """Whether items have two views, so that queries have them, too."""
        return len(self.index.views) > 1

    def _with_box(self, kept: Kept, image: Image.Image | None) -> tuple[Kept, Image.Image | None]:
        """An uploaded picture with the item's box, and what was decoded of it."""
        if kept.box is None:
            image = self._decoded(kept) if image is None else image
            kept = replace(kept, box=self._located(image))
            self._kept.put(kept.key, kept)
        return kept, image

    def query_of_item(self, id_: str, box: str | None) -> Query:
        """An item of the catalogue, by its stored features or, with another box, by its picture."""
        item, stored = self._of_item(
            id_, lambda index: (index.get(id_), _stored(index, id_) if box is None else None)
        )
        size = self._size(item)
        width, height = size if size else (None, None)
        own = Query(
            None, None, None, id_, width, height, item.box, "catalogue" if item.box else None
        )
        asked = None if box in (None, "auto") else self._read_box(box, size)
        if asked is not None and asked == item.box:
            stored = self._of_item(id_, lambda index: _stored(index, id_))
        if stored is not None:
            return replace(own, row=stored)
        path = self._path(item)
        try:
            image = decode(path, name=id_, max_pixels=self._settings.max_pixels)
        except ImageError as error:
            raise unshowable(error) from error
        cut = self._located(image) if box == "auto" else asked
        shown = Query(
            None, None, None, id_, *image.size, cut, "network" if box == "auto" else "you"
        )
        return replace(shown, pixels=self._seen(image, path, cut, self._both()))

    def _decoded(self, kept: Kept) -> Image.Image:
        return decode(kept.data, max_pixels=self._settings.max_pixels)

    def _located(self, image: Image.Image) -> PixelBox:
        if not self.locates:
            raise RequestError(
                400,
                "The model of this catalogue has no file beside it that finds boxes",
                "No box was proposed",
                "Give the box yourself, or export the model again with vsearch export --locate",
            )
        return self.embedder.locate(image)

    def _seen(
        self, image: Image.Image | None, source: bytes | str, box: PixelBox | None, both: bool
    ) -> np.ndarray:
        """What the network is to see: (S, S, 3), with `both` and a box (2, S, S, 3), the whole
        first."""
        part = self._pixels(image, source, box)
        if not both or box is None:
            return part
        return np.stack([self._pixels(image, source, None), part])

    def _pixels(
        self, image: Image.Image | None, source: bytes | str, box: PixelBox | None
    ) -> np.ndarray:
        """What the network is to see; of the decoded picture only where the index's pictures
        were decoded as it was."""
        if image is not None and self.embedder.decoder == LIBJPEG_TURBO:
            return self.embedder.pixels(image, box)
        return self.embedder.pixels(source, box)

    def _read_box(self, text: str | None, size: tuple[int, int] | None) -> PixelBox | None:
        if text is None:
            return None
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != 4:
            raise RequestError(
                400,
                f"The box {text[:80]!r} is not x1,y1,x2,y2",
                _NOT_SEARCHED,
                'Give four numbers of pixels of the upright picture, or "auto"',
            )
        try:
            return pixel_box(numbers, size or (2**31, 2**31), "the picture")
        except ImageError as error:  # the picture is fine
            raise RequestError(400, error.cause, _NOT_SEARCHED, error.cure) from None

    def _size(self, item: Item) -> tuple[int, int] | None:
        path = self._photos(item.path)
        if path is None:
            return None
        try:
            return upright_size(path, max_pixels=self._settings.max_pixels)
        except ImageError:
            return None  # it is still found, by its stored features

    def _path(self, item: Item) -> str:
        path = self._photos(item.path)
        if path is None:
            raise NotFoundError(
                f"The item {item.id!r} has no picture", _NOT_SEARCHED, "Search for it without a box"
            )
        return path

    def picture(self, id_: str) -> str:
        """The path of an item's picture, where it is now; UnknownIdError, NotFoundError."""
        return self._path(self.item(id_))

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
            key = request.metric, request.where, request.group_by
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
                reach = math.inf if own.within is None else own.within
                kept = [hit for hit in hits if hit.distance <= reach]
                if own.exclude is not None:
                    kept = without(own.exclude, self._thing(own), own.group_by, kept)
                kept = kept[: own.k]
                answers[n] = Found(kept, likeness)
        return answers

    def _thing(self, request: SearchRequest) -> Value:
        """The thing that the item to leave out is of, where a column tells things."""
        if request.group_by is None:
            return None
        with contextlib.suppress(NotFoundError):  # removed meanwhile
            return self.item(request.exclude or "").metadata.get(request.group_by)
        return None

    def _scan(self, requests: Sequence[SearchRequest]) -> tuple[Answers, Likeness | None]:
        """The hits of requests of one metric and filter, and what its distances say."""
        first = requests[0]
        # One more where the query is itself an item, which is not its own match.
        k = max(request.k + (request.exclude is not None) for request in requests)
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


def _boxed(index: Index) -> bool:
    """Whether most items are parts of their pictures, and not the whole as well."""
    return len(index.views) == 1 and 2 * index.boxed() > len(index)


def _stored(index: Index, id_: str) -> Row:
    """What the index holds of an item."""
    return Row(index.features([id_])[0], index.codes([id_])[0])


def unshowable(error: ImageError) -> NotFoundError:
    """What to say of a picture of the catalogue that cannot be read: no fault of the request."""
    return NotFoundError(
        f"A picture of the catalogue is gone or damaged: {error.cause}",
        "It cannot be shown or cut; it is still found",
        "Search for it without a box; who keeps the catalogue can put it back",
    )
