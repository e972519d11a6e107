"""Items of an index put through the network, in the views that the index holds of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..checks import PixelBox
from ..embedder.embedder import Batch, Embedder, OnError
from ..embedder.views import embed_views, locates, stream_views
from ..images.decoding import Source
from ..index.index import Index
from ..index.items import Item
from .spool import Mapped


def embedded(
    index: Index,
    embedder: Embedder,
    items: Sequence[Item],
    *,
    on_error: OnError,
    progress: bool,
    where: Callable[[str], str] = str,
) -> Iterator[Batch]:
    """Features and codes as `Index.add` takes them, a batch at a time, each item's picture cut to
    its box; of an index of two views the whole picture's and the box's, which is located where the
    item has none.

    Args:
        where: the picture of an item's path.

    Raises:
        ImageError: a picture that cannot be read, with ``on_error="raise"``.
        ModelError: a box is to be located, and the model has no file that does.
    """
    # Looked up as they are come to: `items` may be longer than memory.
    paths = Mapped(items, lambda item: where(str(item.path)))
    boxes = Mapped(items, lambda item: item.box)
    if len(index.views) > 1:
        return stream_views(embedder, paths, boxes, on_error=on_error, progress=progress)
    return embedder.stream(paths, boxes, on_error=on_error, progress=progress)


def embedded_queries(
    index: Index,
    embedder: Embedder,
    photos: Sequence[Source],
    boxes: Sequence[PixelBox | None],
    *,
    on_error: OnError = "raise",
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Features and codes of photos as `Index.search` takes them for this index.

    Without a box a photo is compared as the whole that it is, with one as that part. In an index of
    two views it is compared as both, (n, 2, ...): the part is the box, or where the item is
    located; as the whole alone where there is neither. `embedder.skipped` says what was left out.

    Raises:
        ImageError: a photo that cannot be read, with ``on_error="raise"``.
    """
    if len(index.views) > 1 and (all(boxes) or locates(embedder)):
        return embed_views(embedder, photos, boxes, on_error=on_error, progress=progress)
    return embedder.both(photos, boxes, on_error=on_error, progress=progress)


def tallied(codes: np.ndarray) -> np.ndarray:
    """Codes of however many views an item, as so many codes."""
    return codes.reshape(-1, codes.shape[-1])
