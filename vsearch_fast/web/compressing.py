"""Texts sent compressed to who takes that: a page of items is a tenth as long.

Pictures are left alone: they are compressed, and reading them once more only costs.
"""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

#: Shorter answers gain nothing.
_LEAST = 800

#: The usual one, 9, takes several times as long for some per cent.
_LEVEL = 5

#: Ends of the paths that answer with pictures.
_PICTURES = ("/picture", "/pictures", "/thumbnail", "/thumbnails")


class Compressing:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._compressed = GZipMiddleware(app, _LEAST, _LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        picture = scope["type"] == "http" and scope["path"].endswith(_PICTURES)
        await (self._plain if picture else self._compressed)(scope, receive, send)
