"""Routes that say what they do not know: a field with a typing error is told, not left out.

A body may be a form, or the same fields as a JSON object: that becomes the form that it stands for
before anything else reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Coroutine, Iterable
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive

from .faults import RequestError

_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRoute(APIRoute):
    """Refuses (422) parameters and fields that it does not take, and (415) other bodies than forms
    and JSON where it takes a form."""

    def get_route_handler(self) -> Handler:
        usual = super().get_route_handler()
        asked = {each.alias for each in self.dependant.query_params}
        fields = {each.alias for each in self.dependant.body_params}

        async def handler(request: Request) -> Response:
            refuse_unknown(request.query_params.keys(), asked, "parameter")
            if fields:
                request = await _as_form(request)
                form = await request.form()
                refuse_unknown(form.keys(), fields, "field")
            return await usual(request)

        return handler


def refuse_unknown(given: Iterable[str], known: Collection[str], what: str) -> None:
    """RequestError that names those of `given` that are not known, and what was meant."""
    unknown = sorted({name for name in given if name not in known})
    if not unknown:
        return
    near = get_close_matches(unknown[0], known, 1)
    meant = f"Did you mean {near[0]}? " if near else ""
    names = ", ".join(repr(name[:80]) for name in unknown[:5])
    raise RequestError(
        "unknown_field",
        f"There is no {what} {names}",
        "Nothing was done, since it may change what was meant",
        f"{meant}Known are: {', '.join(sorted(known)) or 'none'}",
    )


async def _as_form(request: Request) -> Request:
    """The request, or where its body is JSON the form that it stands for."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _FORMS:
        return request
    if kind != "application/json" and not kind.endswith("+json"):
        length = request.headers.get("content-length")
        if not kind and (length == "0" or (length is None and not _chunked(request))):
            return request
        raise RequestError(
            "wrong_type",
            f"The body is of type {kind[:80] or 'none that is named'}",
            "It was not read",
            "Send multipart/form-data (with a picture), application/x-www-form-urlencoded, or "
            "the same fields without a picture as application/json",
        )
    fields = _fields(await request.body())
    body = urlencode(fields).encode("ascii")
    headers = [
        (name, value)
        for name, value in request.scope["headers"]
        if name not in (b"content-type", b"content-length", b"transfer-encoding")
    ]
    headers += [
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"content-length", str(len(body)).encode()),
    ]
    return Request(dict(request.scope, headers=headers), _once(body))


def _chunked(request: Request) -> bool:
    return "transfer-encoding" in request.headers


def _once(body: bytes) -> Receive:
    """An ASGI `receive` of a whole body."""
    messages: list[Message] = [
        {"type": "http.request", "body": body, "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    return receive


def _fields(body: bytes) -> list[tuple[str, str]]:
    """Names and texts of a JSON object's fields; lists are fields that are repeated."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RequestError(
            "bad_json", "The body is no JSON object", "Nothing was done",
            'Send, for instance, {"id": "dresses/17.jpg", "k": 5, "where": ["category=Dress"]}',
        )  # fmt: skip
    fields = []
    for name, value in found.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict | list):
                raise RequestError(
                    "bad_json", f"The field {name[:80]!r} is neither a value nor a list of them",
                    "Nothing was done", "Send texts, numbers, or lists of them",
                )  # fmt: skip
            if each is not None:
                fields.append((name, each if isinstance(each, str) else json.dumps(each)))
    try:
        urlencode(fields)
    except UnicodeEncodeError:
        raise RequestError(
            "bad_json", "A text of the body is no Unicode text", "Nothing was done",
            "Send texts without lone surrogates",
        ) from None  # fmt: skip
    return fields
