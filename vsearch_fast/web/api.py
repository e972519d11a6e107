"""The routes to search by. Each reads a request, asks the `Service`, words the answer."""

# Without `from __future__ import annotations`: FastAPI reads the annotations of the routes, which
# name what only their enclosing function knows.
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Request, UploadFile

from ..words import METRICS
from . import schemas, shown
from .faults import RequestError
from .queries import Query as WhatToSearch
from .schemas import FILTER, WHERE, errors
from .service import Asked, Service
from .strict import StrictRoute

DEFAULT_K = 12

#: Items that a search leaves out at most.
_MOST_LEFT_OUT = 500


def _left_out(*, example: object = "", **about: Any) -> Any:
    """A field of the form that may be left out. /docs fills nothing into it: its own guess,
    "string", would be one query more, or a filter that no picture meets."""
    return Form(**about, json_schema_extra={"example": example})


def _written(values: list[str] | None) -> list[str]:
    """The values of a field that are not empty: a form sends one where nothing was written."""
    return [value for value in values or [] if value]


def router(service: Service, *, rating: bool) -> APIRouter:
    """What is served, and searches of it."""
    routes = APIRouter(route_class=StrictRoute)
    settings = service.settings
    catalogue = service.catalogue

    @routes.head("/api/catalogue", include_in_schema=False)
    @routes.get(
        "/api/catalogue", responses=errors("busy"), tags=["catalogue"], summary="What is served"
    )
    async def about() -> schemas.CatalogueAnswer:
        facts = await service.facts()
        return schemas.CatalogueAnswer(
            name=catalogue.name,
            pictures=facts.pictures,
            metrics=list(METRICS),
            default_metric=METRICS[0],
            locates=catalogue.locates,
            boxed=facts.boxed,
            views=list(catalogue.index.views),
            columns=[schemas.Column(**column) for column in facts.columns],
            titles=schemas.TitlesAnswer(**facts.titles),
            labels={
                name: schemas.LabelsAnswer(
                    same_item=known.same is not None,
                    similar=known.similar is not None,
                    text=known.lines(),
                )
                for name, known in facts.likeness.items()
            },
            limits=schemas.Limits(
                upload_bytes=settings.upload_bytes,
                pixels=settings.max_pixels,
                k=settings.largest_k,
                offset=settings.largest_offset,
            ),
            rating=rating,
            note=catalogue.note,
        )

    @routes.post(
        "/api/search",
        responses=errors(
            "one_query", "bad_filter", "bad_json", "bad_box", "no_locator", "no_such_item",
            "no_picture", "not_kept", "unreadable_picture", "url_not_fetched", "url_failed",
            "wrong_type", "busy",
        ),
        tags=["search"],
        summary="The most similar pictures",
    )  # fmt: skip
    async def search(
        request: Request,
        image: Annotated[
            UploadFile | None,
            File(description="A picture: JPEG, PNG, WebP, GIF, TIFF or BMP, told by its content"),
        ] = None,
        id: Annotated[
            str | None, _left_out(description="A picture of the catalogue: `dresses/17.jpg`, say")
        ] = None,
        query: Annotated[
            str | None, _left_out(description="`kept` of an earlier answer: that upload again")
        ] = None,
        url: Annotated[
            str | None,
            _left_out(
                max_length=4000,
                description="The address of a picture: one of this server's, or the link of a "
                "picture of the catalogue; of other hosts only those that the server was told",
            ),
        ] = None,
        box: Annotated[
            str | None,
            _left_out(
                description='x1,y1,x2,y2 in pixels of the upright picture, or "auto": the item is '
                "found. Without it the whole picture, of an `id` its own box. In a catalogue of "
                "two `views` the whole is compared in any case, without a box the part found, too",
            ),
        ] = None,
        k: Annotated[int, Form(ge=1, le=settings.largest_k, description="Matches")] = DEFAULT_K,
        offset: Annotated[
            int,
            Form(
                ge=0, le=settings.largest_offset,
                description="Nearer matches to skip: with `k`, a part of the one long list",
            ),
        ] = 0,
        metric: Annotated[
            Literal["l2", "l1", "hamming", "cosine", "ip", "all"],
            Form(
                description="Distance; ip: the inner product, negated; all: by l2, l1 and hamming, "
                "the same query"
            ),
        ] = "l2",
        where: Annotated[list[str] | None, _left_out(description=WHERE, example=[])] = None,
        filter: Annotated[str | None, _left_out(description=FILTER)] = None,
        group_by: Annotated[
            str | None,
            _left_out(
                description="A column that names things of several pictures, such as `item`: of "
                "each thing the nearest picture alone is a match, and with `id` none of its own "
                "thing",
            ),
        ] = None,
        exclude: Annotated[
            list[str] | None,
            _left_out(
                max_length=_MOST_LEFT_OUT,
                description="Pictures of the catalogue that are to be no matches; with `group_by` "
                "nor are others of their things",
                example=[],
            ),
        ] = None,
        max_distance: Annotated[
            float | None,
            _left_out(
                allow_inf_nan=False,
                description="Only matches at this distance or nearer; never more than `k`. "
                "At least 0, but for `ip`",
            ),
        ] = None,
    ) -> schemas.SearchAnswer:  # fmt: skip
        """Exactly one of `image`, `id`, `query` and `url` says what is searched for. The answer is
        exact: equal to comparing the query with every picture within the filter. Without `image`
        the fields may also be sent as a JSON object."""
        sources = (("image", image), ("id", id), ("query", query), ("url", url))
        given = [name for name, value in sources if value]
        if len(given) != 1:
            raise RequestError(
                "one_query",
                f"The request holds {' and '.join(given) if given else 'no picture'}",
                "Nothing was searched",
                "Send exactly one of image (a file), id (of the catalogue), query (an earlier "
                "upload) and url (an address)",
            )
        part = box or None
        public = settings.public
        own = () if public is None else (public.host,)
        hosts = {request.headers.get("host", "").lower(), *own}

        def prepare() -> WhatToSearch:
            """In a thread: an upload is read when its turn has come."""
            if image is not None:
                name = (image.filename or "The picture")[-80:]
                return catalogue.query_of_upload(image.file.read(), name, part)
            if query:
                return catalogue.query_of_kept(query, part)
            if url:
                return catalogue.query_of_url(url, hosts, part)
            return catalogue.query_of_item(id or "", part)

        grouped = group_by or None
        answer = await service.search(
            prepare,
            Asked(
                k, metric, _written(where), filter or None, offset, max_distance,
                _written(exclude), grouped,
            ),
        )  # fmt: skip
        asked = answer.query
        return schemas.SearchAnswer(
            query=schemas.QueryAnswer(
                kept=asked.kept, id=asked.id, width=asked.width, height=asked.height,
                box=asked.box, box_from=asked.box_from,
            ),
            results=[shown.result(catalogue, searched, grouped) for searched in answer.results],
            milliseconds=schemas.Timing(
                **{name: round(1000 * value, 2) for name, value in answer.seconds.items()}
            ),
        )  # fmt: skip

    return routes
