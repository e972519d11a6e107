"""What a caller may give as pictures and boxes, as one stream of (picture, box)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ArgumentError
from ..words import plural
from .boxes import Box
from .decoding import Source
from .finding import find_images
from .readers import FORMATS

Images = Source | Iterable[Source]
"""One picture, a folder of them, or any iterable of pictures."""

Boxes = Box | Iterable[Box | None]
"""One box for a single picture, or one box or None for each of several."""

_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pictures with their boxes, to be read once; `total` is their number where known."""

    items: Iterable[tuple[Source, Box | None]]
    total: int | None


def pair(images: Images, boxes: Boxes | None = None) -> Pairs:
    """Line up `images` (a picture, a folder or an iterable of pictures) with `boxes`.

    Pictures are what `vsearch_fast.images.decode` takes; a uint8 array (n, h, w, c) is n of
    them. Iterables are read lazily. Raises ArgumentError for a folder without pictures, for
    something that is neither a picture nor an iterable, and for more or fewer boxes than
    pictures: at once where both lengths are known, otherwise where the shorter one ends.
    """
    sources, single = _sources(images)
    total = _length(sources)
    if boxes is None:
        return Pairs(((source, None) for source in sources), total)
    aligned: Any = [boxes] if single and _is_one_box(boxes) else boxes
    if isinstance(aligned, (str, bytes)) or not isinstance(aligned, Iterable):
        raise ArgumentError(
            f"Boxes of type {type(boxes).__name__} were given",
            "No picture was read",
            "Give x1, y1, x2, y2 for one picture, or one such box or None for each picture",
        )
    box_total = _length(aligned)
    if total is not None and box_total is not None and total != box_total:
        raise _unequal(f"{box_total} for {plural(total, 'picture')}")
    return Pairs(_zip(sources, aligned), total)


def _sources(images: Images) -> tuple[Iterable[Source], bool]:
    """The pictures, and whether a single one was given as itself."""
    if isinstance(images, (str, os.PathLike)):
        if os.path.isdir(images):
            found = find_images(images)
            if not found:
                raise ArgumentError(
                    f"The folder {os.fspath(images)} holds no picture files",
                    "Nothing was read",
                    f"Name a folder with pictures in it or below: {', '.join(FORMATS)}",
                )
            return found, False
        return [images], True
    if isinstance(images, (bytes, bytearray, memoryview, Image.Image)):
        return [images], True
    if isinstance(images, np.ndarray):
        if images.ndim == 2 or (images.ndim == 3 and images.shape[2] in (1, 3, 4)):
            return [images], True
        if images.ndim == 4 or (images.ndim == 1 and images.dtype.kind in "OU"):
            return images, False
        raise ArgumentError(
            f"An array of shape {images.shape} is neither a picture nor a stack of pictures",
            "Nothing was read",
            "Give (h, w), (h, w, 3), (h, w, 4), (n, h, w, 3), or a list of arrays",
        )
    if hasattr(images, "read"):  # iterating an open file would yield its lines
        raise ArgumentError(
            "An open file was given for a picture",
            "Nothing was read",
            "Give its path, or its bytes: file.read()",
        )
    if isinstance(images, (set, frozenset)):
        raise ArgumentError(
            f"A {type(images).__name__} of pictures was given, which has no order",
            "Nothing was read",
            "Give a list: sorted(pictures), so that you know whose features each row is",
        )
    if not isinstance(images, Iterable):
        raise ArgumentError(
            f"{type(images).__name__} is neither a picture nor an iterable of pictures",
            "Nothing was read",
            "Give a path, bytes, a PIL image, a uint8 array, a folder, or an iterable of them",
        )
    return images, False


def _length(items: object) -> int | None:
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None


def _is_one_box(boxes: object) -> bool:
    """Whether `boxes` is four numbers, and not a sequence of boxes."""
    if isinstance(boxes, np.ndarray):
        return boxes.ndim == 1
    return isinstance(boxes, (tuple, list)) and not any(
        value is None or isinstance(value, (tuple, list, np.ndarray)) for value in boxes
    )


def _zip(sources: Iterable[Source], boxes: Iterable[Any]) -> Iterator[tuple[Source, Box | None]]:
    for count, (source, box) in enumerate(zip_longest(sources, boxes, fillvalue=_ABSENT)):
        if source is _ABSENT:
            raise _unequal(f"more than the {plural(count, 'picture')}")
        if box is _ABSENT:
            raise _unequal(f"{count} for more pictures")
        yield source, box


def _unequal(problem: str) -> ArgumentError:
    return ArgumentError(
        f"The boxes do not match the pictures: {problem}",
        "No further picture was read",
        "Give exactly one box, or None, for each picture",
    )
