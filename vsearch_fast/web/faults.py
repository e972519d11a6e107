"""Errors as the API tells them: JSON with a code, cause, consequence and cure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ArgumentError, ImageError, UnknownIdError, VsearchError
from .codes import CODES


class RequestError(VsearchError):
    """What is wrong with a request, with the HTTP status that says so.

    Attributes:
        code: a name in `codes.CODES`.
        status: of that code, 400 to 599.
        retry_after: seconds after which the same request may succeed, or None.
    """

    def __init__(
        self,
        code: str,
        cause: str,
        consequence: str,
        cure: str,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(cause, consequence, cure)
        self.code = code
        self.status = CODES[code].status
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer that tells it."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class BusyError(RequestError):
    """More requests wait than may."""

    def __init__(self) -> None:
        super().__init__(
            "busy",
            "Too many requests are waiting already",
            "This one was not answered",
            "Send it again in a second",
            retry_after=1,
        )


def code_of(error: VsearchError) -> str:
    """The code of an error: the client's to mend, or the server's owner's ("unavailable")."""
    if isinstance(error, RequestError):
        return error.code
    if isinstance(error, ImageError):
        return "unreadable_picture"
    if isinstance(error, UnknownIdError):
        return "no_such_item"
    if isinstance(error, ArgumentError):
        return "bad_argument"
    return "unavailable"


def status_of(error: VsearchError) -> int:
    """The HTTP status of an error."""
    return CODES[code_of(error)].status


def body(error: VsearchError) -> dict[str, Any]:
    """The JSON of an error."""
    return told(code_of(error), error.cause, error.consequence, error.cure)


def told(code: str, cause: str, consequence: str, cure: str) -> dict[str, Mapping[str, str]]:
    """The JSON of an error, from its parts."""
    return {
        "error": {"code": code, "cause": cause, "consequence": consequence, "cure": cure},
    }
