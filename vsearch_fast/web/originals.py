"""Pictures of the catalogue as they lie there, sent without being read into memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ..images.readers import PREFIX, kind_of
from .conditional import matches
from .faults import RequestError

_TYPES = {
    "AVIF": "image/avif", "BMP": "image/bmp", "GIF": "image/gif", "HEIC": "image/heic",
    "JPEG": "image/jpeg", "JPEG 2000": "image/jp2", "PNG": "image/png", "TIFF": "image/tiff",
    "WebP": "image/webp",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Original:
    """A file that is a picture by its content: where it is, its state and media type."""

    path: str
    state: os.stat_result
    type: str

    @property
    def etag(self) -> str:
        """Another one once the file was written anew."""
        return f'"{self.state.st_mtime_ns:x}-{self.state.st_size:x}"'


def original(path: str, id_: str) -> Original:
    """The picture of an item at `path`; RequestError (404) where it is gone, or none: whatever else
    lies there is nobody's to see."""
    try:
        with open(path, "rb") as file:
            kind = kind_of(file.read(PREFIX))
            state = os.fstat(file.fileno())
    except (OSError, ValueError):
        kind = None
    if kind is None or kind.name not in _TYPES:
        raise RequestError(
            "no_picture",
            f"The picture of {id_[:80]!r} is no longer where it was indexed, or none",
            "It cannot be sent; it is still found",
            "Tell who keeps the catalogue: it can be put back, or indexed anew",
        )
    return Original(path, state, _TYPES[kind.name])


def answer(request: Request, found: Original, caching: str, *, download: bool) -> Response:
    """The file, a part of it, or 304; with `download` to be saved under its name."""
    headers = {"ETag": found.etag, "Cache-Control": caching}
    if matches(request.headers.get("if-none-match"), found.etag):
        return Response(status_code=304, headers=headers)
    how = "attachment" if download else "inline"
    name = quote(os.path.basename(found.path).encode("utf-8", "surrogateescape"), safe="")
    headers["Content-Disposition"] = f"{how}; filename*=UTF-8''{name}"
    return FileResponse(found.path, media_type=found.type, stat_result=found.state, headers=headers)
