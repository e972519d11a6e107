"""The files of the pages, read once: a request's path is looked up, never opened."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request, Response

from .conditional import answer as conditional_answer
from .conditional import etag_of
from .faults import RequestError

_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".webmanifest": "application/json"}


#: Monitors and proxies look by HEAD.
_READ = ["GET", "HEAD"]


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    type: str
    etag: str


def _read(name: str, content: bytes) -> _File:
    kind = _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0]
    return _File(content, kind or "application/octet-stream", etag_of(content, weak=True))


def _all() -> dict[str, _File]:
    """The package's own files by name, and Swagger UI's, which another package brings along."""
    found = {
        entry.name: _read(entry.name, entry.read_bytes())
        for entry in files("vsearch_fast.web").joinpath("static").iterdir()
        if entry.is_file()
    }
    swagger = files("fastapi_offline").joinpath("static")
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        found[name] = _read(name, swagger.joinpath(name).read_bytes())
    return found


def router(*, search: bool, rating: bool) -> APIRouter:
    """Routes of the pages: ``/`` (search, or else ``/rate``), ``/rate``, ``/docs``, and
    ``/static/NAME``. No page names a path from the host's root: a proxy may put them anywhere."""
    known = _all()
    routes = APIRouter(include_in_schema=False)

    def answer(request: Request, name: str) -> Response:
        file = known[name]
        return conditional_answer(request, file.content, file.type, file.etag, "no-cache")

    @routes.api_route("/static/{name}", methods=_READ)
    async def static(request: Request, name: str) -> Response:
        if name not in known:
            raise RequestError(
                "not_found", "There is no such file", "Nothing was sent", "Start from the page /"
            )
        return answer(request, name)

    @routes.api_route("/", methods=_READ)
    async def first(request: Request) -> Response:
        return answer(request, "index.html" if search else "rate.html")

    @routes.api_route("/docs", methods=_READ)
    async def docs(request: Request) -> Response:
        return answer(request, "docs.html")

    if rating:

        @routes.api_route("/rate", methods=_READ)
        async def rate(request: Request) -> Response:
            return answer(request, "rate.html")

    # As people write them; relative, so that it holds wherever a proxy has put the page.
    @routes.api_route("/docs/", methods=_READ)
    @routes.api_route("/rate/", methods=_READ)
    async def without_slash(request: Request) -> Response:
        name = request.url.path.rstrip("/").rpartition("/")[2]
        return Response(status_code=308, headers={"Location": f"../{name}"})

    return routes
