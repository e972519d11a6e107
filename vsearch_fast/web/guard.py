"""What every request passes before anything reads it, and what every answer carries.

::

    request ─► Host, Origin ─► token ─► body counted and timed ─► the application
    answer  ◄─ security headers, count and duration ◄──────────────────┘

Written against ASGI itself: a body that is too long or too slow is stopped while it comes.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Callable
from http.cookies import SimpleCookie
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .faults import RequestError, body
from .settings import Settings

COOKIE = "vsearch_token"

#: Open to those without a token: what a load balancer asks, which tells nothing of the catalogue.
_OPEN = ("/healthz",)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
#: Swagger UI writes style attributes; it gets that, and still no foreign script.
_DOCS_POLICY = _POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}

#: A body that is refused is read on to so many times the limit, unseen: closed in the middle of
#: it, most clients would report a broken connection, not what is wrong.
_DRAINED = 5

Observe = Callable[[Scope, int, float], None]
"""Told each request's scope, the status of its answer and the seconds it took."""


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: Settings, observe: Observe) -> None:
        self._app = app
        self._settings = settings
        self._observe = observe
        self._token = None if settings.token is None else settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no websockets here
        began = time.perf_counter()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(scope, message)
            await send(message)

        try:
            headers = Headers(scope=scope)
            error = self._refusal(scope, headers)
            if error is not None:
                await _answer(sending, error)
                return
            if self._token is not None and scope["path"] not in _OPEN:
                if await self._signed_in(scope, sending):
                    return
                if not self._holds_token(headers):
                    await _answer(sending, _unauthorised(), html=_wants_page(headers))
                    return
            await self._app(scope, self._limited(receive), sending)
        finally:
            self._observe(scope, status, time.perf_counter() - began)

    # Whence a request comes

    def _refusal(self, scope: Scope, headers: Headers) -> RequestError | None:
        """What is wrong with where a request comes from, if anything is."""
        host = headers.get("host", "")
        allowed = self._settings.hosts
        if allowed is not None and _without_port(host).lower() not in allowed:
            return RequestError(
                403,
                f"This server is not known by the name {host!r}",
                "The request was not read",
                "Use the address that vsearch serve printed; to be reached by others, serve on "
                "another --host, with a token",
            )
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and origin is not None:
            own = origin.partition("://")[2]
            if own.lower() != host.lower():
                return RequestError(
                    403,
                    f"The request comes from a page of {origin!r}",
                    "It was not read: a foreign page must not use this server in its visitors' "
                    "name",
                    "Use the server's own page, or a client that sends no Origin header",
                )
        return None

    # The token

    async def _signed_in(self, scope: Scope, send: Send) -> bool:
        """Whether this was a page's address with ``?token=``: it is taken into a cookie, and out
        of the address, which would keep it in the browser's history."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if not given or scope["method"] not in ("GET", "HEAD") or not self._same(given[0]):
            return False
        rest = urlencode([pair for pair in query if pair[0] != "token"])
        # One slash: an address that begins with two names another host, and so does one with
        # a backslash or a tab in its place, which are quoted.
        place = "/" + quote(scope["path"].lstrip("/"), safe="/") + (f"?{rest}" if rest else "")
        cookie = f"{COOKIE}={given[0]}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000"
        headers = [
            (b"location", place.encode("ascii")),
            (b"set-cookie", cookie.encode("latin-1")),
            (b"content-length", b"0"),
        ]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return True

    def _holds_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._same(given.strip()):
            return True
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except Exception:  # a header of a stranger's making
            return False
        return COOKIE in cookies and self._same(cookies[COOKIE].value)

    def _same(self, given: str) -> bool:
        assert self._token is not None
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token)

    # The body

    def _limited(self, receive: Receive) -> Receive:
        """`receive`, that stops at a body too long or too slow."""
        limit = self._settings.upload_bytes
        deadline = time.monotonic() + self._settings.seconds
        read = 0
        ended = False

        async def limited() -> Message:
            nonlocal read, ended
            if ended:  # the wait for a client to go, which may take as long as the answer
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    message = await receive()
                    read += len(message.get("body", b""))
                    ended = not message.get("more_body", False)
                    if read <= limit:
                        return message
                    while not ended and read <= _DRAINED * limit:
                        message = await receive()
                        if message["type"] == "http.disconnect":
                            raise ClientDisconnect
                        read += len(message.get("body", b""))
                        ended = not message.get("more_body", False)
            except TimeoutError:
                raise RequestError(
                    408,
                    f"The request was not there whole within {self._settings.seconds:g} seconds",
                    "It was not read",
                    "Send it again, over a faster connection or with a smaller picture",
                ) from None
            raise RequestError(
                413,
                f"The request is larger than the limit of {limit:,} bytes",
                "It was not read",
                "Send a smaller picture: 1,000 pixels a side are more than enough",
            )

        return limited

    # The answer

    def _add_headers(self, scope: Scope, message: Message) -> None:
        headers = MutableHeaders(raw=list(message.get("headers", [])))
        for name, value in _HEADERS.items():
            headers[name] = value
        headers["Content-Security-Policy"] = _DOCS_POLICY if scope["path"] == "/docs" else _POLICY
        headers.setdefault("Cache-Control", "no-store")
        message["headers"] = headers.raw


def _without_port(host: str) -> str:
    if host.startswith("["):  # an IPv6 address
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _wants_page(headers: Headers) -> bool:
    return "text/html" in headers.get("accept", "")


def _unauthorised() -> RequestError:
    return RequestError(
        401,
        "This server wants a token, and the request carries none that is right",
        "It was not read",
        "Open the address that vsearch serve printed; a program sends the header "
        "Authorization: Bearer TOKEN",
    )


async def _answer(send: Send, error: RequestError, html: bool = False) -> None:
    if html:
        text = f"{error.cause}. {error.consequence}. {error.cure}."
        content, kind = text.encode(), b"text/plain; charset=utf-8"
    else:
        content, kind = json.dumps(body(error)).encode(), b"application/json"
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(content)).encode()),
        *((k.lower().encode(), v.encode()) for k, v in error.headers.items()),
    ]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
