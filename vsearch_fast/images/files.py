"""Picture files: found in folders, told by their content, opened with their header read."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ..errors import ArgumentError, ImageError
from .jpeg import SIGNATURE
from .refusals import check_pixels, guarded, refusal

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)
"""Endings, in lower case, of the files that `find_images` lists."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WebP")
"""Formats read; of a GIF, TIFF or WebP with several pictures the first."""

_OPENERS: tuple[tuple[tuple[bytes, ...], Callable[[BinaryIO], ImageFile.ImageFile]], ...] = (
    # The plugins are called directly: Image.open would apply Pillow's process-wide pixel
    # limit, warn halfway to it, and try any reader that other code has registered.
    ((SIGNATURE,), JpegImagePlugin.jpeg_factory),
    ((b"\x89PNG\r\n\x1a\n",), PngImagePlugin.PngImageFile),
    ((b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile),
    ((b"BM",), BmpImagePlugin.BmpImageFile),
    (tuple(TiffImagePlugin.PREFIXES), TiffImagePlugin.TiffImageFile),
)


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """All picture files under `folder`, at any depth, sorted by path.

    A picture file is anything but a folder whose name ends in one of `IMAGE_SUFFIXES`, in any
    case; a link that leads nowhere is listed too, so that whoever reads it reports it. Files
    and folders whose name begins with a dot are left out, and links to folders are not
    followed. Raises ArgumentError when `folder` is not a folder, and ImageError when it or a
    folder in it cannot be listed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise ArgumentError(
            f"{folder} {problem}", "No pictures were looked for", "Give a folder of pictures"
        )

    def refuse(error: OSError) -> None:
        raise ImageError(
            f"{error.filename} cannot be listed ({error.strerror})",
            "No list of pictures was made, as it would lack some",
            "Make the folder readable, or move it away",
        ) from error

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [entry for entry in folders if not entry.startswith(".")]
        paths = (Path(parent, entry) for entry in files if not entry.startswith("."))
        found += [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(found)


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
    prefix = file.read(30)
    if not prefix:
        raise refusal(f"{name} is empty", "Fetch or copy the file again")
    opener = _opener(prefix)
    if opener is None:
        raise refusal(
            f"{name} is not an image of a format that is read here",
            f"Convert it to one of {', '.join(FORMATS)}",
        )
    if opener is WebPImagePlugin.WebPImageFile:
        # Its constructor already makes the canvas.
        check_pixels(guarded(_webp_size, prefix, name), name, max_pixels)
    file.seek(0)
    image = guarded(opener, file, name)
    check_pixels(image.size, name, max_pixels)
    return image


def _opener(prefix: bytes) -> Callable[[BinaryIO], ImageFile.ImageFile] | None:
    if prefix[:4] == b"RIFF" and prefix[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    for signatures, opener in _OPENERS:
        if prefix.startswith(signatures):
            return opener
    return None


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
