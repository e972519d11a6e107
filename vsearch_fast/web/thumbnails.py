"""Small JPEGs of pictures, kept in memory as long as their files stay as they are."""

from __future__ import annotations

import io
import os
from enum import IntEnum

from ..errors import ImageError
from ..images.decoding import reduced
from .lru import SizedCache

_QUALITY = 85


class Size(IntEnum):
    """Pixels of the long side that may be asked for: few, so that they are made once."""

    SMALLEST = 112
    SMALL = 224
    MEDIUM = 448
    LARGE = 1024


class Thumbnails:
    """Safe to use from several threads; at most `max_bytes` are kept, and no picture of more
    than `max_pixels` is decoded."""

    def __init__(self, max_bytes: int, max_pixels: int) -> None:
        self._kept: SizedCache[tuple[object, ...], bytes] = SizedCache(max_bytes, len)
        self._max_pixels = max_pixels

    def jpeg(self, path: str, size: int) -> bytes:
        """The picture at `path`, upright, its long side `size` pixels at most.

        Raises ImageError where it is gone or cannot be read.
        """
        try:
            state = os.stat(path)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"The picture {os.path.basename(path)} is no longer where it was indexed",
                "It cannot be shown; it is still found",
                "Put it back, or bring the index up to date with vsearch index",
            ) from error
        key = (path, size, state.st_mtime_ns, state.st_size)
        return self._made(key, path, size, os.path.basename(path))

    def jpeg_of(self, key: str, picture: bytes, size: int) -> bytes:
        """The same of a picture's bytes; `key` tells them from others."""
        return self._made((key, size), picture, size, "The picture")

    def _made(self, key: tuple[object, ...], source: str | bytes, size: int, name: str) -> bytes:
        found = self._kept.get(key)
        if found is None:
            file = io.BytesIO()
            small = reduced(source, size, name=name, max_pixels=self._max_pixels)
            small.save(file, "JPEG", quality=_QUALITY)
            found = file.getvalue()
            self._kept.put(key, found)
        return found
