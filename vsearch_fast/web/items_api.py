"""The routes to the catalogue itself: its items, their pictures, the values of its columns."""

# Without `from __future__ import annotations`, as in `api.py`.
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response

from . import conditional, originals, schemas, shown
from .exporting import csv_of
from .faults import RequestError
from .listings import Wanted
from .schemas import FILTER, WHERE, Answers, errors
from .service import Service
from .strict import StrictRoute
from .thumbnails import Size

_JPEG: Answers = {200: {"content": {"image/jpeg": {}}, "description": "The picture, made small"}}

_ORIGINAL: Answers = {
    200: {"content": {"application/octet-stream": {}}, "description": "The picture as it is"}
}

_CSV: Answers = {200: {"content": {"text/csv": {}}, "description": "A line an item"}}

_CACHED = "private, max-age=60"

#: Items of one file.
_MOST_EXPORTED = 10_000


def _jpeg(request: Request, content: bytes) -> Response:
    etag = conditional.etag_of(content)
    return conditional.answer(request, content, "image/jpeg", etag, _CACHED)


def router(service: Service) -> APIRouter:
    """The catalogue, to read."""
    routes = APIRouter(route_class=StrictRoute, tags=["catalogue"])
    catalogue = service.catalogue

    @routes.head("/api/items", include_in_schema=False)
    @routes.get(
        "/api/items",
        responses=errors("bad_filter", "too_many_items", "no_such_item", "compacted", "busy"),
        summary="Pictures of the catalogue",
    )
    async def items(
        limit: Annotated[int, Query(ge=1, le=500)] = 48,
        after: Annotated[
            str | None, Query(description="`next` of the page before", pattern=r"^o?\d{1,36}$")
        ] = None,
        offset: Annotated[
            int | None, Query(ge=0, le=10**9, description="Pictures to skip, instead of `after`")
        ] = None,
        text: Annotated[
            str,
            Query(
                max_length=200,
                description="Words that each are in the id or in a value of a column, anywhere, "
                "whatever their case",
            ),
        ] = "",
        sort: Annotated[
            str | None,
            Query(
                description="A column, or `-column` for the last first: numbers, then texts; "
                "pictures without a value are last. Otherwise as they were added"
            ),
        ] = None,
        where: Annotated[list[str] | None, Query(description=WHERE)] = None,
        filter: Annotated[str | None, Query(description=FILTER)] = None,
        id: Annotated[
            list[str] | None, Query(description="Just these pictures", max_length=500)
        ] = None,
    ) -> schemas.Items:
        """A page at a time."""
        if id:
            found = await service.read(lambda: catalogue.some(id))
            listed = [schemas.Item(**shown.item(catalogue, item)) for item in found]
            return schemas.Items(items=listed, next=None, total=len(listed))

        def read() -> schemas.Items:
            condition = catalogue.condition(where or [], filter or None)
            page = catalogue.items(limit, after, offset, Wanted(condition, text, sort or None))
            return schemas.Items(
                items=[schemas.Item(**shown.item(catalogue, item)) for item in page.items],
                next=page.next, total=page.total,
            )  # fmt: skip

        return await service.read(read)

    @routes.head("/api/values", include_in_schema=False)
    @routes.get(
        "/api/values",
        responses=errors("bad_filter", "too_many_items", "busy"),
        summary="Values of a column, counted under the other filters",
    )
    async def values(
        column: Annotated[str, Query(description="Its name, such as `category`")],
        text: Annotated[
            str, Query(max_length=200, description="Words that each are in the value")
        ] = "",
        items: Annotated[
            str, Query(max_length=200, description="`text` of the list that is counted, if any")
        ] = "",
        where: Annotated[list[str] | None, Query(description=WHERE)] = None,
        filter: Annotated[str | None, Query(description=FILTER)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    ) -> schemas.ValuesAnswer:
        """Conditions on this column itself are left out: the counts say what another choice would
        find. Its values that are chosen by `where` are listed whatever their count."""

        def read() -> schemas.ValuesAnswer:
            condition = catalogue.condition(where or [], filter or None)
            own = [each[len(column) + 1 :] for each in where or [] if each.startswith(f"{column}=")]
            found = catalogue.values(column, Wanted(condition, items), text, limit, own)
            least, most = found.span or (None, None)
            listed = [schemas.Value(value=value, count=count) for value, count in found.values]
            return schemas.ValuesAnswer(
                column=column, kind=found.kind, values=listed, distinct=found.distinct, min=least,
                max=most,
            )  # fmt: skip

        return await service.read(read)

    @routes.head("/api/thumbnails", include_in_schema=False)
    @routes.get(
        "/api/thumbnails",
        responses=errors(
            "one_query", "no_such_item", "no_picture", "not_kept", "unreadable_picture", "busy"
        )
        | _JPEG,
        response_class=Response,
        summary="A picture, or an upload, made small",
    )
    async def thumbnails(
        request: Request,
        id: Annotated[str | None, Query(description="A picture of the catalogue")] = None,
        query: Annotated[str | None, Query(description="An earlier upload: `kept`")] = None,
        size: Annotated[Size, Query(description="Pixels of the long side")] = Size.SMALL,
    ) -> Response:
        if bool(id) == bool(query):
            raise RequestError(
                "one_query", f"The request names {'two pictures' if id else 'no picture'}",
                "Nothing was sent", "Give either id or query",
            )  # fmt: skip
        return _jpeg(request, await service.thumbnail(id, query, size))

    @routes.head("/api/items/{id:path}/thumbnail", include_in_schema=False)
    @routes.get(
        "/api/items/{id:path}/thumbnail",
        responses=errors("no_such_item", "no_picture", "not_found", "busy") | _JPEG,
        response_class=Response,
        summary="An item's picture, made small",
    )
    async def thumbnail(
        request: Request,
        id: str,
        size: Annotated[Size, Query(description="Pixels of the long side")] = Size.SMALL,
    ) -> Response:
        return _jpeg(request, await service.thumbnail(id, None, size))

    @routes.head("/api/items/{id:path}/picture", include_in_schema=False)
    @routes.get(
        "/api/items/{id:path}/picture",
        responses=errors("no_such_item", "no_picture", "not_found", "busy") | _ORIGINAL,
        response_class=Response,
        summary="An item's picture as it is",
    )
    async def picture(
        request: Request,
        id: str,
        download: Annotated[
            str | None, Query(description="To be saved as a file, if given at all")
        ] = None,
    ) -> Response:
        found = await service.read(lambda: catalogue.original(id))
        return originals.answer(request, found, _CACHED, download=download is not None)

    @routes.head("/api/items/{id:path}", include_in_schema=False)
    @routes.get(
        "/api/items/{id:path}",
        responses=errors("no_such_item", "not_found", "busy"),
        summary="One item",
    )
    async def item(id: str) -> schemas.Item:
        found = await service.read(lambda: catalogue.item(id))
        return schemas.Item(**shown.item(catalogue, found))

    exported = errors("no_such_item", "bad_json", "wrong_type", "busy") | _CSV

    @routes.head("/api/export", include_in_schema=False)
    @routes.get(
        "/api/export", responses=exported, response_class=Response, summary="Items as a table"
    )
    async def export(
        ids: Annotated[
            list[str], Query(max_length=500, description="Pictures of the catalogue, repeated")
        ],
        format: Annotated[str, Query(pattern="^csv$")] = "csv",
    ) -> Response:
        return await _exported(ids)

    @routes.post(
        "/api/export", responses=exported, response_class=Response, summary="Many items as a table"
    )
    async def export_many(
        ids: Annotated[
            list[str],
            Form(max_length=_MOST_EXPORTED, description="Pictures of the catalogue, repeated"),
        ],
        format: Annotated[str, Form(pattern="^csv$")] = "csv",
    ) -> Response:
        """Id, title, price, link, then all columns. Texts that a table program would take for a
        formula begin with an apostrophe."""
        return await _exported(ids)

    async def _exported(ids: list[str]) -> Response:
        names = list(dict.fromkeys(ids))
        titles = catalogue.facts.titles

        def read() -> bytes:
            return csv_of(catalogue.some(names), titles)

        content = await service.read(read)
        headers = {"Content-Disposition": 'attachment; filename="items.csv"'}
        return Response(content, media_type="text/csv; charset=utf-8", headers=headers)

    return routes
