"""The routes of the search API. Each reads a request, asks the `Service`, words the answer."""

# Without `from __future__ import annotations`: FastAPI reads the annotations of the routes, which
# name what only their enclosing function knows.
import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile

from ..errors import UnknownIdError, VsearchError
from ..index.hits import Hit
from ..index.items import Item as IndexItem
from ..words import METRICS
from . import conditional, schemas
from .faults import NotFoundError, RequestError
from .metrics import CONTENT_TYPE, Metrics
from .queries import Query as WhatToSearch
from .schemas import errors
from .service import Searched, Service
from .thumbnails import Size

if TYPE_CHECKING:
    from ..rating.ratings import Ratings

DEFAULT_K = 12


def _item(item: IndexItem | Hit) -> dict[str, Any]:
    return {
        "id": item.id, "path": item.path, "metadata": dict(item.metadata), "box": item.box,
    }  # fmt: skip


def _result(searched: Searched) -> schemas.Result:
    known = searched.likeness
    labels = [None if known is None else known.label(hit.distance) for hit in searched.hits]
    matches = [
        schemas.Match(
            **_item(hit), distance=hit.distance,
            label=None if label is None else label.words,
            probability=None if label is None else round(label.probability, 4),
        )
        for hit, label in zip(searched.hits, labels, strict=True)
    ]  # fmt: skip
    return schemas.Result(
        metric=searched.metric,
        nothing_similar=bool(matches) and all(m.label == "not similar" for m in matches),
        milliseconds=round(searched.seconds * 1000, 2),
        matches=matches,
    )


def router(service: Service, *, rating: bool) -> APIRouter:
    """The routes to search by."""
    routes = APIRouter()
    settings = service.settings
    catalogue = service.catalogue
    where_query = Query(
        description="column=value; the same column twice: any of them; several columns: all",
        examples=[["category=Dress"]],
    )

    filter_text = (
        "A filter, for instance `price < 50 and not colour = red`: `= != < <= > >=`, `in (a, b)`, "
        "`contains`, `is null`, `and`, `or`, `not` and brackets; beside `where`, both hold"
    )

    @routes.get(
        "/api/catalogue", responses=errors(429), tags=["catalogue"], summary="What is served"
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
            ),
            rating=rating,
            note=catalogue.note,
        )

    @routes.post(
        "/api/search",
        responses=errors(404, 415, 429),
        tags=["search"],
        summary="The most similar pictures",
    )
    async def search(
        image: Annotated[
            UploadFile | None,
            File(description="A picture: JPEG, PNG, WebP, GIF, TIFF or BMP, told by its content"),
        ] = None,
        id: Annotated[
            str | None,
            Form(description="A picture of the catalogue", examples=["dresses/17.jpg"]),
        ] = None,
        query: Annotated[
            str | None, Form(description="`kept` of an earlier answer: that upload again")
        ] = None,
        box: Annotated[
            str | None,
            Form(
                description='x1,y1,x2,y2 in pixels of the upright picture, or "auto": the item is '
                "found. Without it the whole picture, of an `id` its own box. In a catalogue of "
                "two `views` the whole is compared in any case, without a box the part found, too",
                examples=["40,60,300,420"],
            ),
        ] = None,
        k: Annotated[int, Form(ge=1, le=settings.largest_k, description="Matches")] = DEFAULT_K,
        metric: Annotated[
            Literal["l2", "l1", "hamming", "cosine", "ip", "all"],
            Form(
                description="Distance; ip: the inner product, negated; all: by l2, l1 and hamming, "
                "the same query"
            ),
        ] = "l2",
        where: Annotated[
            list[str] | None,
            Form(
                description="column=value, exact within the filter; the same column twice: any "
                "of them; several columns: all",
                examples=[["category=Dress"]],
            ),
        ] = None,
        filter: Annotated[
            str | None, Form(description=filter_text, examples=["price < 50"])
        ] = None,
        group_by: Annotated[
            str | None,
            Form(
                description="A column that names things of several pictures: of each thing the "
                "nearest picture alone is a match, and with `id` none of its own thing",
                examples=["item"],
            ),
        ] = None,
        within: Annotated[
            float | None,
            Form(
                allow_inf_nan=False,
                description="Only matches at this distance or nearer; never more than `k`. "
                "At least 0, but for `ip`",
            ),
        ] = None,
    ) -> schemas.SearchAnswer:
        """Exactly one of `image`, `id` and `query` says what is searched for. The answer is
        exact: equal to comparing the query with every picture within the filter."""
        given = [name for name, value in (("image", image), ("id", id), ("query", query)) if value]
        if len(given) != 1:
            raise RequestError(
                400,
                f"The request holds {' and '.join(given) if given else 'no picture'}",
                "Nothing was searched",
                "Send exactly one of image (a file), id (of the catalogue) and query (an "
                "earlier upload)",
            )
        box = box or None

        def prepare() -> WhatToSearch:
            """In a thread: an upload is read when its turn has come."""
            if image is not None:
                name = (image.filename or "The picture")[-80:]
                return catalogue.query_of_upload(image.file.read(), name, box)
            if query:
                return catalogue.query_of_kept(query, box)
            return catalogue.query_of_item(id or "", box)

        answer = await service.search(
            prepare, k, metric, where or [], within, filter or None, group_by or None
        )
        asked = answer.query
        return schemas.SearchAnswer(
            query=schemas.QueryAnswer(
                kept=asked.kept, id=asked.id, width=asked.width, height=asked.height,
                box=asked.box, box_from=asked.box_from,
            ),
            results=[_result(searched) for searched in answer.results],
            milliseconds=schemas.Timing(
                **{name: round(1000 * value, 2) for name, value in answer.seconds.items()}
            ),
        )  # fmt: skip

    @routes.get(
        "/api/items",
        responses=errors(404, 409, 429),
        tags=["catalogue"],
        summary="Pictures of the catalogue",
    )
    async def items(
        limit: Annotated[int, Query(ge=1, le=500)] = 48,
        after: Annotated[
            str | None, Query(description="`next` of the page before", pattern=r"^\d{1,36}$")
        ] = None,
        where: Annotated[list[str] | None, where_query] = None,
        filter: Annotated[
            str | None, Query(description=filter_text, examples=["price < 50"])
        ] = None,
        id: Annotated[
            list[str] | None, Query(description="Just these pictures", max_length=500)
        ] = None,
    ) -> schemas.Items:
        """In the order in which they were added, a page at a time."""
        start = None if after is None else int(after)
        found, following = await service.items(limit, start, where or [], id, filter or None)
        return schemas.Items(
            items=[schemas.Item(**_item(item)) for item in found],
            next=None if following is None else str(following),
        )

    @routes.get(
        "/api/thumbnails",
        responses=errors(404, 415, 429)
        | {200: {"content": {"image/jpeg": {}}, "description": "The picture, made small"}},
        response_class=Response,
        tags=["catalogue"],
        summary="A picture, made small",
    )
    async def thumbnails(
        request: Request,
        id: Annotated[str | None, Query(description="A picture of the catalogue")] = None,
        query: Annotated[str | None, Query(description="An earlier upload: `kept`")] = None,
        size: Annotated[Size, Query(description="Pixels of the long side")] = Size.SMALL,
    ) -> Response:
        if bool(id) == bool(query):
            raise RequestError(
                400, f"The request names {'two pictures' if id else 'no picture'}",
                "Nothing was sent", "Give either id or query",
            )  # fmt: skip
        content = await service.thumbnail(id, query, size)
        return conditional.answer(
            request, content, "image/jpeg", conditional.etag_of(content), "private, max-age=60"
        )

    return routes


def operation(service: Service | None, rating: "Ratings | None", metrics: Metrics) -> APIRouter:
    """The routes by which a server is watched."""
    routes = APIRouter()

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
                503, trouble, "Searches or ratings are refused meanwhile",
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


def no_such_page() -> NotFoundError:
    """For addresses that lead nowhere."""
    return NotFoundError(
        "There is nothing at this address", "Nothing was done", "The API is described at /docs"
    )
