"""From what is given to what is to be searched for: uploads, kept ones, items, boxes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from PIL import Image

from ..checks import PixelBox
from ..embedder.embedder import Embedder
from ..errors import ImageError
from ..images.boxes import pixel_box
from ..images.decoding import decode, upright_size
from ..images.jpeg import LIBJPEG_TURBO
from ..index.index import Index
from ..index.items import Item
from ..indexing.photos import Photos
from .faults import RequestError
from .lru import SizedCache
from .originals import Original, original
from .queries import Kept, Query, Row
from .settings import Settings

T = TypeVar("T")

#: Features of queries kept, so that another metric or k does not run the network again.
_FEATURE_BYTES = 32 << 20

_NOT_SEARCHED = "Nothing was searched"


class Asking:
    """A part of `Catalogue`."""

    embedder: Embedder
    locates: bool
    _settings: Settings
    _photos: Photos

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: SizedCache[str, Kept] = SizedCache(
            settings.kept_bytes, lambda kept: len(kept.data)
        )
        self._rows: SizedCache[tuple[str, PixelBox | None, bool], Row] = SizedCache(
            _FEATURE_BYTES, lambda row: row.features.nbytes + row.code.nbytes
        )

    @property
    def index(self) -> Index:
        raise NotImplementedError

    def item(self, id_: str) -> Item:
        raise NotImplementedError

    def _of_item(self, id_: str, read: Callable[[Index], T]) -> T:
        raise NotImplementedError

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
        """The same of a picture uploaded before; RequestError (404) where it is no longer kept."""
        return self._query(self.kept(key), None, box)

    def kept(self, key: str) -> Kept:
        """A picture uploaded before; RequestError (404) where it is no longer kept."""
        found = self._kept.get(key)
        if found is None:
            raise RequestError(
                "not_kept",
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
                "no_locator",
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
                "bad_box",
                f"The box {text[:80]!r} is not x1,y1,x2,y2",
                _NOT_SEARCHED,
                'Give four numbers of pixels of the upright picture, or "auto"',
            )
        try:
            return pixel_box(numbers, size or (2**31, 2**31), "the picture")
        except ImageError as error:  # the picture is fine
            raise RequestError("bad_box", error.cause, _NOT_SEARCHED, error.cure) from None

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
            raise RequestError(
                "no_picture", f"The item {item.id!r} has no picture", _NOT_SEARCHED,
                "Search for it without a box",
            )  # fmt: skip
        return path

    def original(self, id_: str) -> Original:
        """An item's picture as it lies there; RequestError (404) where it is gone, or none."""
        return original(self.picture(id_), id_)

    def picture(self, id_: str) -> str:
        """The path of an item's picture, where it is now; RequestError."""
        return self._path(self.item(id_))


def _stored(index: Index, id_: str) -> Row:
    """What the index holds of an item."""
    return Row(index.features([id_])[0], index.codes([id_])[0])


def unshowable(error: ImageError) -> RequestError:
    """What to say of a picture of the catalogue that cannot be read: no fault of the request."""
    return RequestError(
        "no_picture",
        f"A picture of the catalogue is gone or damaged: {error.cause}",
        "It cannot be shown or cut; it is still found",
        "Search for it without a box; who keeps the catalogue can put it back",
    )
