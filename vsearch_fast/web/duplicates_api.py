"""The routes to the duplicates of the catalogue."""

# Without `from __future__ import annotations`, as in `api.py`.
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Response

from . import copies, schemas, shown
from .faults import RequestError
from .schemas import Answers, errors
from .service import Service
from .strict import StrictRoute

_CSV: Answers = {200: {"content": {"text/csv": {}}, "description": "A line a picture"}}


def router(service: Service) -> APIRouter:
    """Looking for duplicates, and what was found."""
    routes = APIRouter(route_class=StrictRoute, tags=["duplicates"])
    catalogue = service.catalogue

    def answer(outcome: copies.Outcome, offset: int, limit: int) -> schemas.DuplicatesAnswer:
        groups = [
            schemas.DuplicateGroup(
                kind=group.kind,
                items=[
                    schemas.Copy(
                        **shown.item(catalogue, copy), distance=copy.distance, kind=copy.kind,
                        width=copy.width, height=copy.height, bytes=copy.bytes,
                    )
                    for copy in group.items
                ],
            )
            for group in outcome.groups[offset : offset + limit]
        ]  # fmt: skip
        return schemas.DuplicatesAnswer(
            state=outcome.state, done=outcome.done, total=outcome.total, error=outcome.error,
            changed=outcome.changed, groups=groups, groups_in_all=len(outcome.groups),
            copies=outcome.extra(),
        )  # fmt: skip

    @routes.head("/api/duplicates", include_in_schema=False)
    @routes.get(
        "/api/duplicates", responses=errors("busy"), summary="Groups of copies, the best first"
    )
    async def found(
        offset: Annotated[int, Query(ge=0, le=10**9, description="Groups to skip")] = 0,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> schemas.DuplicatesAnswer:
        """Of the last search that `POST` began, once `state` is "done"."""
        outcome = await service.read(catalogue.copies.outcome)
        return answer(outcome, offset, limit)

    @routes.post(
        "/api/duplicates",
        status_code=202,
        responses=errors("too_many_items", "bad_json", "wrong_type", "busy_job", "busy"),
        summary="Begin to look for copies",
    )
    async def begin(
        metric: Annotated[Literal["cosine", "hamming"], Form(description="Distance")] = "cosine",
        within: Annotated[
            float | None,
            Form(
                ge=0, allow_inf_nan=False,
                description="Pictures at this distance or nearer are copies; without it as for "
                "`vsearch duplicates`",
            ),
        ] = None,
    ) -> schemas.DuplicatesAnswer:  # fmt: skip
        """Every pair is compared, exactly, which may take minutes: `GET` tells how far it is. The
        catalogue is left as it is."""
        await service.read(lambda: catalogue.copies.start(metric, within))
        return answer(catalogue.copies.outcome(), 0, 0)

    @routes.head("/api/duplicates/table", include_in_schema=False)
    @routes.get(
        "/api/duplicates/table",
        responses=errors("no_such_job", "busy") | _CSV,
        response_class=Response,
        summary="What to keep and what to remove, as a table",
    )
    async def as_table() -> Response:
        outcome = await service.read(catalogue.copies.outcome)
        if outcome.state != "done":
            raise RequestError(
                "no_such_job", "No search for duplicates is done", "Nothing was sent",
                "Begin one with POST /api/duplicates, and wait until it is done",
            )  # fmt: skip
        headers = {"Content-Disposition": 'attachment; filename="duplicates.csv"'}
        content = copies.table(outcome.groups)
        return Response(content, media_type="text/csv; charset=utf-8", headers=headers)

    return routes
