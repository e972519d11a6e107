"""What a model must beat: features that nobody had to train.

Each is turned so that its sign bits mean something: a constant is subtracted, which changes
no L1 or L2 distance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..datasets.records import Record
from ..errors import ImageError
from ..images.decoding import load
from ..images.jpeg import Decoder, find_decoder
from ..threads import run_ahead

#: Side of the pictures that are compared pixel by pixel.
PIXELS = 32
#: Side of the pictures whose colours are counted, and bins of hue, saturation and value.
COUNTED = 64
BINS = (12, 4, 4)


def pixels(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """32 x 32 RGB values less 127.5, ``(3072,)``: a bit says brighter than middle grey."""
    return picture.astype(np.float32).ravel() - np.float32(127.5)


def histogram(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Shares of 12 x 4 x 4 bins of hue, saturation and value, less 1/192, ``(192,)``: a bit
    says that a bin holds more than its share."""
    hsv = np.asarray(Image.fromarray(picture).convert("HSV")).reshape(-1, 3).astype(np.int64)
    places = hsv * BINS // 256
    bins = int(np.prod(BINS))
    counts = np.bincount(np.ravel_multi_index(tuple(places.T), BINS), minlength=bins)
    return (counts / len(hsv) - 1 / bins).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Baseline:
    """A function of pixels that stands in for a network.

    Attributes:
        id: names the features in a cache; changes whenever they do.
        size: side of the square that a picture, or its box, is averaged down to.
        dim: number of features.
    """

    id: str
    name: str
    size: int
    dim: int

    def stream(self, records: Sequence[Record], threads: int) -> Iterator[NDArray[np.float32]]:
        """Features ``(dim,)`` of each record in turn; NaN for a picture that cannot be read."""
        compute = pixels if self.size == PIXELS else histogram
        step = partial(_features, compute, self.size, self.dim, find_decoder())
        yield from run_ahead(step, records, threads=threads, depth=64)


def _features(compute, size: int, dim: int, decoder: Decoder, record: Record):  # type: ignore[no-untyped-def]
    try:
        return compute(load(record.path, size, record.box, "box", decoder=decoder))
    except ImageError:
        return np.full(dim, np.nan, np.float32)


BASELINES = {
    "pixels": Baseline("pixels-32-1", "32x32 pixels", PIXELS, PIXELS * PIXELS * 3),
    "histogram": Baseline("hsv-12-4-4-1", "HSV histogram", COUNTED, int(np.prod(BINS))),
}
