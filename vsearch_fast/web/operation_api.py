"""The routes by which a server is watched."""

# Without `from __future__ import annotations`, as in `api.py`.
import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response

from ..errors import UnknownIdError, VsearchError
from . import schemas
from .faults import RequestError
from .metrics import CONTENT_TYPE, Metrics
from .schemas import errors
from .service import Service
from .strict import StrictRoute

if TYPE_CHECKING:
    from ..rating.ratings import Ratings


def router(service: Service | None, rating: "Ratings | None", metrics: Metrics) -> APIRouter:
    """The routes by which a server is watched."""
    routes = APIRouter(route_class=StrictRoute)

    @routes.head("/livez", include_in_schema=False)
    @routes.get("/livez", tags=["operation"], summary="Whether the process answers")
    async def livez() -> schemas.Alive:
        """For a supervisor, which starts it again where not. It says nothing of the index."""
        return schemas.Alive(status="ok")

    @routes.head("/healthz", include_in_schema=False)
    @routes.get(
        "/healthz", responses=errors(), tags=["operation"], summary="Whether searches are answered"
    )
    async def healthz() -> schemas.Health:
        """For a load balancer, which asks others where not (503, with the reason)."""
        trouble = None if service is None else await service.trouble()
        if trouble is None and rating is not None:
            trouble = await asyncio.to_thread(_trouble_of, rating)
        if trouble is not None:
            raise RequestError(
                "unavailable", trouble, "Searches or ratings are refused meanwhile",
                "Who runs the server finds more in its output", retry_after=2,
            )  # fmt: skip
        pictures = 0 if service is None else service.catalogue.facts.pictures
        return schemas.Health(status="ok", pictures=pictures)

    @routes.get(
        "/metrics",
        response_class=Response,
        tags=["operation"],
        summary="Counts and durations, in Prometheus' format",
        responses=errors()
        | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Text"}},
    )
    async def numbers() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    return routes


def _trouble_of(rating: "Ratings") -> str | None:
    try:
        rating.check_still_there()
        rating.done("")
    except UnknownIdError:  # it was looked for, and is nobody's name
        return None
    except VsearchError:
        return "The ratings cannot be read, or stored"
    return None
