"""A request's body: counted and timed as it is read, and read to its end before the answer.

A connection that is closed while a body still comes is reset, and takes the answer with it: a
reverse proxy then reports 502 instead of what is wrong, and most clients a broken connection. So
before an answer is sent, what nobody has read of the body is read, and forgotten.
"""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from .faults import RequestError

#: A body that nobody wants is read on to so many times the limit; a longer one is cut off.
_DRAINED = 5


class Body:
    """Of one request, whose `receive` stops at a body longer than `limit` bytes, or not there
    within `seconds`."""

    def __init__(self, headers: Headers, receive: Receive, limit: int, seconds: float) -> None:
        self._receive = receive
        self._limit, self._seconds = limit, seconds
        self._deadline = time.monotonic() + seconds
        self._read = 0
        length = headers.get("content-length", "0")
        self._announced = int(length) if length.isdigit() else 0
        # One that asks first whether it may send takes any answer for a no.
        self._asks = "expect" in headers
        self._ended = not self._announced and "transfer-encoding" not in headers
        self._late = False

    async def receive(self) -> Message:
        """The next part, as ASGI's `receive` gives it; RequestError 408 or 413."""
        if self._ended:  # the wait for a client to go, which may take as long as the answer
            return await self._receive()
        try:
            message = await self._part()
        except TimeoutError:
            self._late = True
            raise RequestError(
                "too_slow",
                f"The request was not there whole within {self._seconds:g} seconds",
                "It was not read",
                "Send it again, over a faster connection or with a smaller picture",
            ) from None
        if self._read <= self._limit:
            return message
        if await self._drained():
            raise ClientDisconnect
        raise RequestError(
            "too_large",
            f"The request is larger than the limit of {self._limit:,} bytes",
            "It was not read",
            "Send a smaller picture: 1,000 pixels a side are more than enough",
        )

    async def drain(self) -> None:
        """Read what is left of it, within bounds of size and time."""
        if not (self._ended or self._late or (self._asks and not self._read)):
            await self._drained()

    async def _drained(self) -> bool:
        """Whether the client went meanwhile."""
        most = _DRAINED * self._limit
        if self._announced > most:
            return False
        try:
            while not self._ended and self._read <= most:
                if (await self._part())["type"] == "http.disconnect":
                    return True
        except TimeoutError:
            self._late = True
        return False

    async def _part(self) -> Message:
        async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
            message = await self._receive()
        self._read += len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        return message
