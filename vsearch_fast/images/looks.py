"""What tells copies of one picture apart: their pixels, how many, how sharp, in how many bytes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..checks import PixelBox
from ..disk.hashing import file_hash
from .decoding import decode
from .refusals import MAX_PIXELS, refusal

#: Rows of a picture that are looked at together.
_BAND = 256


@dataclass(frozen=True, slots=True)
class Look:
    """A picture, or the part of it in a box, as it is now.

    Attributes:
        width, height: in pixels, of the part.
        sharpness: variance of the second differences of its grey levels (the Laplacian, four
            neighbours). It grows with detail and with noise; of two pictures of one size and scene
            the blurred or strongly compressed one has less.
        bytes: of the file.
        file: hash of the file's bytes.
        pixels: hash of the part's decoded pixels and size.
    """

    width: int
    height: int
    sharpness: float
    bytes: int
    file: str
    pixels: str


def look(
    path: str | os.PathLike[str], box: PixelBox | None = None, *, max_pixels: int = MAX_PIXELS
) -> Look:
    """Look at a picture; arguments and errors as for `decode`."""
    image = decode(path, box, max_pixels=max_pixels)
    try:
        size, digest = os.stat(path).st_size, file_hash(path)
    except OSError as error:
        raise refusal(
            f"{os.fspath(path)} cannot be read: {error.strerror or error}",
            "Check the file, or leave it out",
        ) from error
    pixels = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    pixels.update(image.tobytes())
    return Look(*image.size, sharpness(image), size, digest, pixels.hexdigest())


def sharpness(image: Image.Image) -> float:
    """Variance of ``4 c - up - down - left - right`` over the inner pixels of the grey picture;
    0 where there are none."""
    grey = np.asarray(image.convert("L"))
    height, width = grey.shape
    count = max(0, height - 2) * max(0, width - 2)
    if not count:
        return 0.0
    total = squares = 0  # whole numbers: the bands change nothing
    for top in range(1, height - 1, _BAND):
        bottom = min(top + _BAND, height - 1)
        some = grey[top - 1 : bottom + 1].astype(np.int32)
        inner = some[1:-1, 1:-1]
        second = 4 * inner - some[:-2, 1:-1] - some[2:, 1:-1] - some[1:-1, :-2] - some[1:-1, 2:]
        total += int(second.sum(dtype=np.int64))
        squares += int(np.square(second).sum(dtype=np.int64))
    return squares / count - (total / count) ** 2
