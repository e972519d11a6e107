"""Both views of pictures: the whole, and the part of it that shows the item.

::

    picture ─┬─► whole ────────────────────────► network ─► features, codes of the whole
             └─► box, given or located ─► cut ─► network ─► features, codes of the part
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, VsearchError
from ..images.boxes import Box
from ..images.decoding import Source
from .embedder import Batch, Embedder, OnError, Skipped

_VIEWS = 2


def locates(embedder: Embedder) -> bool:
    """Whether the model has the file beside it that finds boxes."""
    try:
        embedder.locate(np.zeros((8, 8, 3), np.uint8))
    except VsearchError:
        return False
    return True


def embed_views(
    embedder: Embedder,
    images: Sequence[Source],
    boxes: Sequence[Box | None] | None = None,
    *,
    on_error: OnError = "raise",
    progress: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Features (n, 2, dim) and codes (n, 2, ceil(bits / 8)) of pictures, for an index of two views:
    of each the whole picture's, then the box's.

    Where no box is given the item is located. What could not be read is left out with
    ``on_error="skip"``, and listed in `embedder.skipped`.

    Raises:
        ImageError: a picture that cannot be read, or a box outside it.
        ModelError: a box is to be located, and the model has no file that does (`locates`).
    """
    embedder.skipped = []
    skipped: list[Skipped] = []
    features = [np.empty((0, _VIEWS, embedder.dim), np.float32)]
    codes = [np.empty((0, _VIEWS, -(-embedder.bits // 8)), np.uint8)]
    for batch in stream_views(embedder, images, boxes, on_error=on_error, progress=progress):
        features.append(batch.features)
        codes.append(batch.codes)
        skipped += batch.skipped
    embedder.skipped = skipped
    return np.concatenate(features), np.concatenate(codes)


def stream_views(
    embedder: Embedder,
    images: Sequence[Source],
    boxes: Iterable[Box | None] | None = None,
    *,
    on_error: OnError = "raise",
    progress: bool = False,
) -> Iterator[Batch]:
    """What `Embedder.stream` gives, with `features` (b, 2, dim) and `codes` (b, 2, ...): of each
    picture the whole's, then the box's. Arguments and errors as for `embed_views`; the bar counts
    a picture twice."""
    given: Iterable[Box | None] = [None] * len(images) if boxes is None else boxes
    twice = (image for image in images for _ in range(_VIEWS))
    first: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # whole pictures that wait for their box
    left_out = -1  # the last picture that was
    for batch in embedder.stream(
        twice, _boxes(embedder, images, given), on_error=on_error, progress=progress,
        total=_VIEWS * len(images),
    ):  # fmt: skip
        skipped = []
        for each in batch.skipped:
            number = each.position // _VIEWS
            if number != left_out:
                skipped.append(replace(each, position=number))
            left_out = number
            first.pop(number, None)
        positions, features, codes = [], [], []
        for position, *row in zip(
            batch.positions.tolist(), batch.features, batch.codes, strict=True
        ):
            number, view = divmod(position, _VIEWS)
            if view == 0:
                first[number] = row[0], row[1]
            elif number in first:
                whole = first.pop(number)
                positions.append(number)
                features.append(np.stack([whole[0], row[0]]))
                codes.append(np.stack([whole[1], row[1]]))
        shape = (len(positions), _VIEWS)
        yield Batch(
            np.array(positions, np.int64),
            np.array(features, np.float32).reshape(*shape, embedder.dim),
            np.array(codes, np.uint8).reshape(*shape, -(-embedder.bits // 8)),
            skipped,
        )


def _boxes(
    embedder: Embedder, images: Sequence[Source], given: Iterable[Box | None]
) -> Iterator[Box | None]:
    """None for each picture as a whole, then its box."""
    for image, box in zip(images, given, strict=True):
        yield None
        if box is None:
            try:
                box = embedder.locate(image)
            except ImageError:
                box = None  # told when the picture is read
        yield box
