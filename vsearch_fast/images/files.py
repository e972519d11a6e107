"""Picture files: told by their content, opened with their header read, decoded."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import ImageFile

from ..errors import ImageError
from .jpeg import SIGNATURE
from .jpeg_end import END, completed, has_end
from .png_chunks import PNG, without_text
from .readers import FORMATS, PREFIX, kind_of
from .refusals import check_pixels, guarded, refusal

Result = TypeVar("Result")

# Larger files are not read a second time, whole.
_LARGEST_MENDED = 256 * 2**20

# Filters of warnings are of the process: one at a time changes them.
_filters_lock = threading.Lock()


def read_picture(
    source: str | bytes,
    name: str,
    max_pixels: int,
    step: Callable[[ImageFile.ImageFile], Result],
) -> Result:
    """What `step` makes of a picture's file whose header is read: a path, or the file's bytes.

    What Pillow refuses for what is not among the pixels is read once more without it: a JPEG
    that lacks nothing but its end marker, a PNG with more text or a larger colour profile than
    Pillow takes, a remark that the process made an error of. ImageError for whatever is wrong.
    """
    if _lacks_end(source):
        return _read_without_end(source, name, max_pixels, step)
    try:
        return _read(source, name, max_pixels, step)
    except ImageError as error:
        if isinstance(error.__cause__, Warning):
            with _filters_lock, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _read(source, name, max_pixels, step)
        refused = error
    if refused.__cause__ is not None:
        for mended in without_text(_whole(source, PNG)):
            with contextlib.suppress(ImageError):
                return _read(mended, name, max_pixels, step)
    raise refused


def _read(
    source: str | bytes,
    name: str,
    max_pixels: int,
    step: Callable[[ImageFile.ImageFile], Result],
) -> Result:
    file: contextlib.AbstractContextManager[ImageFile.ImageFile]
    if isinstance(source, bytes):
        file = contextlib.nullcontext(read_header(io.BytesIO(source), name, max_pixels))
    else:
        file = open_picture(source, name, max_pixels)
    with file as opened:
        return guarded(step, opened, name)


def _lacks_end(source: str | bytes) -> bool:
    """Whether it is a JPEG file without its end marker; False for what cannot be read."""
    if isinstance(source, bytes):
        return source.startswith(SIGNATURE) and not has_end(source)
    try:
        status = os.stat(source)  # first: opening a named pipe would wait for a writer
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_MENDED:
            return False
        with open(source, "rb") as file:
            if file.peek(3)[:3] != SIGNATURE:
                return False
            file.seek(-len(END), os.SEEK_END)
            if file.read() == END:
                return False
            file.seek(0)
            return not has_end(file.read())
    except (OSError, ValueError):
        return False


def _read_without_end(
    source: str | bytes,
    name: str,
    max_pixels: int,
    step: Callable[[ImageFile.ImageFile], Result],
) -> Result:
    """As `_read`, of a JPEG whose end marker is missing: ImageError where more is."""
    data = _whole(source, SIGNATURE)
    with contextlib.closing(read_header(io.BytesIO(data), name, max_pixels)):
        pass  # refuses what is wrong with the header, and too large a picture

    def pixels(jpeg: bytes) -> np.ndarray:
        return _read(jpeg, name, max_pixels, np.asarray)

    whole = completed(data, pixels)
    if whole is None:
        raise refusal(
            f"{name} cannot be decoded: it is cut off before its last pixel",
            "Fetch or copy the file again, or leave it out",
        )
    return _read(whole, name, max_pixels, step)


def _whole(source: str | bytes, signature: bytes) -> bytes:
    """The file's bytes where it begins so and is not huge; else none."""
    if isinstance(source, str):
        try:
            with open(source, "rb") as file:
                if file.peek(len(signature))[: len(signature)] != signature:
                    return b""
                source = file.read(_LARGEST_MENDED + 1)
        except (OSError, ValueError):
            return b""
    return source if source.startswith(signature) and len(source) <= _LARGEST_MENDED else b""


@contextlib.contextmanager
def open_picture(path: str, name: str, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """A picture's file, its header read; ImageError for whatever is wrong with either."""
    try:
        # Opening a named pipe would wait for a writer, and reading a device may never end.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise refusal(f"{name} is {kind}", "Give the path of a picture file")
        with open(path, "rb") as file:
            yield read_header(file, name, max_pixels)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise refusal(f"{name} does not exist", "Check the path") from error
    except OSError as error:
        raise refusal(
            f"{name} cannot be opened ({error.strerror})", "Check the path and its permissions"
        ) from error
    except ValueError as error:  # a NUL character in the path
        raise refusal(f"{name!r} is not a path ({error})", "Check the path") from error


def read_header(file: BinaryIO, name: str, max_pixels: int) -> ImageFile.ImageFile:
    """An open file's picture, not decoded yet; its type is found by its first bytes."""
    prefix = file.read(PREFIX)
    if not prefix:
        raise refusal(f"{name} is empty", "Fetch or copy the file again")
    kind = kind_of(prefix)
    if kind is None:
        raise refusal(
            f"{name} is not an image of a format that is read here",
            f"Convert it to one of {', '.join(FORMATS)}",
        )
    if kind.opener is None:
        raise refusal(f"{name} is a {kind.name} picture, which nothing here reads", kind.cure)
    if kind.name == "WebP":
        # Its constructor already makes the canvas.
        check_pixels(guarded(_webp_size, prefix, name), name, max_pixels)
    file.seek(0)
    image = guarded(kind.opener, file, name)
    check_pixels(image.size, name, max_pixels)
    return image


def _webp_size(header: bytes) -> tuple[int, int]:
    """Width and height from a WebP file's first 30 bytes (RFC 9649, sections 2.5 to 2.7)."""
    kind = header[12:16]
    if kind == b"VP8X":
        return (
            int.from_bytes(header[24:27], "little") + 1,
            int.from_bytes(header[27:30], "little") + 1,
        )
    if kind == b"VP8L":
        bits = int.from_bytes(header[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<2H", header[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("a WebP file without a picture at its start")
