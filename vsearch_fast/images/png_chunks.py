"""PNG files without their text and colour profile, which say nothing of a pixel here."""

from __future__ import annotations

import struct
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"

_TEXT = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")
# What may say which way is up.
_ORIENTING = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"Raw profile type APP1\0")
_LONGEST = 64 << 10


def without_text(data: bytes) -> Iterator[bytes]:
    """The file without text and profile but for what may tell its orientation; then without any.

    Nothing for a file that holds neither. Chunks stay as they are: length, kind, content, sum.
    """
    kept, bare, at = [PNG], [PNG], len(PNG)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        orients = chunk[8:].startswith(_ORIENTING) and length <= _LONGEST
        if kind not in _TEXT:
            bare.append(chunk)
        if kind not in _TEXT or orients:
            kept.append(chunk)
        at += len(chunk)
    for parts in (kept, bare):
        smaller = b"".join([*parts, data[at:]])
        if len(smaller) < len(data):
            yield smaller
