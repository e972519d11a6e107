"""Answers that a client which has them already need not be sent again."""

from __future__ import annotations

import hashlib

from starlette.requests import Request
from starlette.responses import Response


def etag_of(content: bytes, *, weak: bool = False) -> str:
    """A validator of this content; weak of what is sent compressed, too."""
    return f'{"W/" if weak else ""}"{hashlib.sha256(content).hexdigest()[:16]}"'


def matches(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match names a validator, as RFC 9110 compares: by itself, in a list, weak
    or not, or as any (``*``)."""
    named = [each.strip() for each in (header or "").split(",")]
    return "*" in named or etag.removeprefix("W/") in [each.removeprefix("W/") for each in named]


def answer(request: Request, content: bytes, kind: str, etag: str, caching: str) -> Response:
    """The content, or 304 where the request has it already; `caching` is its Cache-Control."""
    headers = {"ETag": etag, "Cache-Control": caching}
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)
