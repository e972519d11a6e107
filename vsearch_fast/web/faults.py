"""Errors as the API tells them: JSON with cause, consequence and cure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ArgumentError, ImageError, UnknownIdError, VsearchError


class RequestError(VsearchError):
    """What is wrong with a request, with the HTTP status that says so.

    Attributes:
        status: 400 to 599.
        retry_after: seconds after which the same request may succeed, or None.
    """

    def __init__(
        self,
        status: int,
        cause: str,
        consequence: str,
        cure: str,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(cause, consequence, cure)
        self.status = status
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer that tells it."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class NotFoundError(RequestError):
    """Something that is not, or no longer, here."""

    def __init__(self, cause: str, consequence: str, cure: str) -> None:
        super().__init__(404, cause, consequence, cure)


class BusyError(RequestError):
    """More requests wait than may."""

    def __init__(self) -> None:
        super().__init__(
            429,
            "Too many requests are waiting already",
            "This one was not answered",
            "Send it again in a second",
            retry_after=1,
        )


def status_of(error: VsearchError) -> int:
    """The HTTP status of an error: the client's to mend, or (503) the server's owner's."""
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, ImageError):
        return 415
    if isinstance(error, UnknownIdError):
        return 404
    if isinstance(error, ArgumentError):
        return 400
    return 503


def body(error: VsearchError) -> dict[str, Any]:
    """The JSON of an error."""
    return told(error.cause, error.consequence, error.cure)


def told(cause: str, consequence: str, cure: str) -> dict[str, Mapping[str, str]]:
    """The JSON of an error, from its three parts."""
    return {"error": {"cause": cause, "consequence": consequence, "cure": cure}}
