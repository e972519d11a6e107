"""The application: pages, API and guard put together.

::

    Guard ─► /            index.html, rate.html: static_files.py
             /api/...     api.py ─► Service ─► Catalogue (an Index and its Embedder)
             /api/rate/.. rating/routes.py ─► Ratings
             /docs        the API described, tried out
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from ..errors import VsearchError
from ..version import __version__
from . import api, duplicates_api, items_api, operation_api, static_files
from .catalogue import Catalogue
from .compressing import Compressing
from .faults import RequestError, body, status_of, told
from .guard import Guard
from .metrics import Metrics
from .service import Service
from .settings import Settings
from .shown import no_such_page
from .thumbnails import Thumbnails

if TYPE_CHECKING:
    from ..rating.ratings import Ratings

_log = logging.getLogger("vsearch_fast.web")

_DESCRIPTION = """
Exact visual item search over one catalogue: a picture in, its nearest pictures out, by L2, L1 or
Hamming distance. Every error is JSON with a code, which stays as it is, its cause, its consequence
and a cure. Fields and parameters that are not known are refused.

A server that others can reach wants its token with each request: `Authorization: Bearer TOKEN`.
"""


def create_app(
    catalogue: Catalogue | None,
    settings: Settings,
    rating: Ratings | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> FastAPI:
    """The ASGI application that serves a catalogue, a rating study, or both.

    `say` is told before the first searches, which may take a while, and which are over when the
    first request is answered.
    """
    metrics = Metrics()
    thumbnails = Thumbnails(settings.thumbnail_bytes, settings.max_pixels)
    service = None if catalogue is None else Service(catalogue, settings, metrics, thumbnails)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if service is None:
            yield
            return
        say("Making the first searches; the first time ever their code is compiled.")
        try:
            # In one thread, and before any request: so nothing is compiled or loaded twice.
            await asyncio.to_thread(service.catalogue.warm)
        except VsearchError as error:  # it may pass; /healthz tells
            _log.error("The first searches failed: %s", error)
        tasks = [
            asyncio.create_task(service.refresh_for_ever()),
            asyncio.create_task(service.watch_for_ever()),
        ]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="vsearch",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        # The guard asks for the token; this tells of it, and gives /docs a field for it.
        dependencies=[] if settings.token is None else [Depends(HTTPBearer(auto_error=False))],
        docs_url=None,  # our own page: the usual one takes its scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # to an address with a host's name: behind a proxy a wrong one
        servers=[{"url": "./"}],  # the folder of the description, wherever a proxy has put it
    )
    app.state.thumbnails = thumbnails
    app.include_router(operation_api.router(service, rating, metrics))
    if service is not None:
        app.include_router(api.router(service, rating=rating is not None))
        app.include_router(duplicates_api.router(service))
        app.include_router(items_api.router(service))
    if rating is not None:
        from .rating_api import router as rating_router

        app.include_router(rating_router(rating), prefix="/api/rate", tags=["rating"])
    app.include_router(static_files.router(search=service is not None, rating=rating is not None))
    _tell_errors(app)
    app.add_middleware(Compressing)
    app.add_middleware(Guard, settings=settings, observe=metrics.request)
    if settings.cors:
        # Without credentials: a page of another origin has the rights of its own token alone.
        app.add_middleware(
            CORSMiddleware, allow_origins=sorted(settings.cors), allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "If-None-Match"],
            expose_headers=["Content-Disposition", "ETag", "Retry-After"],
        )  # fmt: skip
    return app


def out_of_order(request: Request, error: Exception) -> JSONResponse:
    """What is the owner's to mend: the client need not know the server's folders."""
    _log.error("%s %s: %s", request.method, request.url.path, error)
    return JSONResponse(
        told(
            "unavailable",
            "The index, the ratings file, the network, the device or the disk does not work now",
            "Nothing was done",
            "Try again later; who runs the server finds the reason in its output",
        ),
        503,
        {"Retry-After": "5"},
    )


def _tell_errors(app: FastAPI) -> None:
    """Every error becomes the JSON of `faults`, whoever raises it."""

    @app.exception_handler(VsearchError)
    async def ours(request: Request, error: VsearchError) -> JSONResponse:
        status = status_of(error)
        if isinstance(error, RequestError):
            return JSONResponse(body(error), status, error.headers)
        if status == 503:
            return out_of_order(request, error)
        return JSONResponse(body(error), status)

    @app.exception_handler(OSError)
    async def the_machines(request: Request, error: OSError) -> JSONResponse:
        # No descriptor, or no room for an upload's temporary file: there will be, by and by.
        return out_of_order(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first: Any = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "The request"
        return JSONResponse(
            told(
                "invalid_field",
                f"{place}: {first['msg']}",
                "Nothing was done",
                "See /docs for what is expected",
            ),
            422,
        )

    @app.exception_handler(HTTPException)
    async def theirs(request: Request, error: HTTPException) -> JSONResponse:
        # The framework wraps what goes wrong while a body is read.
        if isinstance(error.__cause__, RequestError):
            return await ours(request, error.__cause__)
        if isinstance(error.__cause__, OSError | MemoryError):
            return out_of_order(request, error.__cause__)
        if error.status_code == 404:
            return await ours(request, no_such_page())
        code = "no_such_method" if error.status_code == 405 else "bad_request"
        return JSONResponse(
            told(code, str(error.detail), "Nothing was done", "See /docs for what is expected"),
            error.status_code,
            error.headers,
        )
