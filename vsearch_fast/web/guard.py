"""What every request passes before anything reads it, and what every answer carries.

::

    request ─► path ─► Host, Origin ─► token ─► body counted and timed ─► the application
    answer  ◄─ security headers, count and duration ◄─ rest of the body ◄──────┘

Written against ASGI itself: a body that is too long or too slow is stopped while it comes, and
one that nobody wanted is read before the answer is sent (`body.py`).

**Whose page a request comes from.** Two attacks use a visitor's browser against a server that the
attacker cannot reach, or not as that visitor. Both need a request that changes something or costs
something, so that GET and HEAD, whose answers a foreign page cannot read, pass.

- *A foreign page that sends a form here.* Browsers say in Sec-Fetch-Site how the page's address
  relates to the one that is asked, and no script can set it. "same-origin" is therefore trusted,
  whatever Host says: a reverse proxy rewrites Host, and leaves this alone. "same-site" and
  "cross-site" are refused, even where Origin looks right: behind a proxy that sends its own name of
  this server as Host, Origin would look right for a page of the visitor's own machine. Browsers
  send the header to https and to localhost alone. Elsewhere Origin must be the Host that was asked
  for, or the public address. A request without Origin is no browser's, and has nobody's rights.
- *A foreign page whose name was made to point here (DNS rebinding)*: to the browser it is
  same-origin, and only the name is wrong. A server without a token answers to its own names and the
  public one, so that the page is refused before Sec-Fetch-Site is looked at. With a token, any name
  will do: the browser has no cookie for the attacker's. Behind a proxy that rewrites Host it is for
  the proxy to answer to its own names alone, as the guide's examples do.

X-Forwarded headers are never read: anybody can send them, and nothing here depends on them, since
every link and redirect is relative.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from http.cookies import SimpleCookie
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import faults, sign_in
from .body import Body
from .faults import RequestError
from .settings import Settings

COOKIE = "vsearch_token"

#: Open to those without a token: what a load balancer asks, which tells nothing of the catalogue.
_OPEN = ("/healthz", "/livez")

#: What stands first in the server's own paths: a public path of such a name is not looked for.
_OWN = frozenset(
    {"api", "docs", "healthz", "livez", "metrics", "openapi.json", "rate", "sign-in", "static"}
)

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

#: The status of an answer that was not begun.
_NONE = 0

Observe = Callable[[Scope, int, float], None]
"""Told each request's scope, the status of its answer and the seconds it took."""


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: Settings, observe: Observe) -> None:
        self._app = app
        self._settings = settings
        self._observe = observe
        self._token = None if settings.token is None else settings.token.encode()
        # Servers at several ports of a host share its cookies: each has one of its own name.
        self._cookie = f"{COOKIE}_{sha256(self._token or b'').hexdigest()[:8]}"
        self._prefix = settings.public.prefix if settings.public else ""
        if self._prefix.split("/")[1:2] and self._prefix.split("/")[1] in _OWN:
            self._prefix = ""  # what is asked for cannot be told from it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no websockets here
        began = time.perf_counter()
        status = _NONE
        headers = Headers(scope=scope)
        scope = self._unprefixed(scope)
        body = Body(headers, receive, self._settings.upload_bytes, self._settings.seconds)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(scope, message)
                await body.drain()
            await send(message)

        try:
            error = self._refusal(scope, headers)
            if error is not None:
                await _answer(sending, error)
                return
            if scope["path"] == "" and scope["method"] in ("GET", "HEAD"):
                # A page's links are relative to its folder: the public path, with its slash.
                await _redirect(sending, self._prefix.rpartition("/")[2] + "/", scope)
                return
            if self._token is not None and scope["path"] not in _OPEN:
                if await self._signed_in(scope, sending):
                    return
                if scope["path"] == f"/{sign_in.NAME}" and scope["method"] == "POST":
                    await self._sign_in(headers, body, sending)
                    return
                if not self._holds_token(headers):
                    asked = _sign_in_page(scope, headers) if _wants_page(headers) else None
                    await _answer(sending, _unauthorised(), asked)
                    return
            await self._app(scope, body.receive, sending)
        except asyncio.CancelledError:
            # The server ends, and this request has had its time of grace.
            if status != _NONE:
                raise
            await _answer(sending, _ending())
        finally:
            self._observe(scope, status or 500, time.perf_counter() - began)

    def _unprefixed(self, scope: Scope) -> Scope:
        """The request as it would come through a proxy that takes the public path away; "" is
        the public path without its slash."""
        path: str = scope["path"]
        if not self._prefix or not (path + "/").startswith(self._prefix + "/"):
            return scope
        path = path[len(self._prefix) :]
        return dict(scope, path=path, raw_path=quote(path).encode("ascii"))

    # Whence a request comes

    def _refusal(self, scope: Scope, headers: Headers) -> RequestError | None:
        """What is wrong with where a request comes from, if anything is."""
        host = headers.get("host", "").lower()
        allowed, public = self._settings.hosts, self._settings.public
        names = () if public is None else (public.name,)
        if allowed is not None and _without_port(host) not in (*allowed, *names):
            return RequestError(
                "wrong_host",
                f"This server is not known by the name {host!r}",
                "The request was not read",
                "Use the address that vsearch serve printed; to be reached by others, serve on "
                "another --host, with a token, or name a proxy's address: --public-url",
            )
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and self._foreign(headers, host):
            return RequestError(
                "foreign_page",
                f"The request comes from a page of {headers.get('origin', 'another server')!r}",
                "It was not read: a foreign page must not use this server in its visitors' name",
                "Use the server's own page, or a client that sends no Origin header; behind a "
                "proxy, start the server with its address: --public-url",
            )
        return None

    def _foreign(self, headers: Headers, host: str) -> bool:
        """Whether a page that is neither this server's nor allowed sent a request."""
        if self._allowed(headers):
            return False
        site = headers.get("sec-fetch-site", "none")
        if site != "none":  # "none": a person's own doing, of an address that was typed
            return site != "same-origin"
        origin = headers.get("origin")
        if origin is None or origin.lower().partition("://")[2] == host:
            return False
        public = self._settings.public
        return public is None or origin.lower() != public.origin

    def _allowed(self, headers: Headers) -> bool:
        """Whether a page of an origin that `--cors` names sent a request."""
        return headers.get("origin", "").lower() in self._settings.cors

    # The token

    async def _signed_in(self, scope: Scope, send: Send) -> bool:
        """Whether this was a page's address with ``?token=``: it is taken into a cookie, and out
        of the address, which would keep it in the browser's history."""
        if scope["path"].count("/") != 1 or scope["method"] not in ("GET", "HEAD"):
            return False  # not a page's
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if not given or not self._same(given[0]):
            return False
        rest = urlencode([pair for pair in query if pair[0] != "token"])
        scope = dict(scope, query_string=rest.encode("ascii"))
        await _redirect(send, scope["path"][1:], scope, [self._set_cookie(given[0])])
        return True

    async def _sign_in(self, headers: Headers, body: Body, send: Send) -> None:
        """Answer the form of the sign-in page: to the page that was asked for, with the cookie."""
        try:
            form = sign_in.read(await _whole(body))
        except RequestError as error:
            await _answer(send, error)
            return
        if not self._same(form.token):
            wishes = headers.get("accept-language", "")
            page = sign_in.page(f"/{form.page}", form.query, wishes, wrong=True)
            await _answer(send, _unauthorised(), page)
            return
        answered = [
            (b"location", sign_in.place(form).encode("latin-1")), (b"content-length", b"0"),
            self._set_cookie(form.token),
        ]  # fmt: skip
        await send({"type": "http.response.start", "status": 303, "headers": answered})
        await send({"type": "http.response.body", "body": b""})

    def _set_cookie(self, token: str) -> tuple[bytes, bytes]:
        # Of no path: then it is for the folder of this address, which a proxy may have moved.
        cookie = f"{self._cookie}={token}; HttpOnly; SameSite=Strict; Max-Age=2592000"
        if self._settings.public and self._settings.public.scheme == "https":
            cookie += "; Secure"
        return b"set-cookie", cookie.encode("latin-1")

    def _holds_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._same(given.strip()):
            return True
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except Exception:  # a header of a stranger's making
            return False
        return self._cookie in cookies and self._same(cookies[self._cookie].value)

    def _same(self, given: str) -> bool:
        assert self._token is not None
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token)

    # The answer

    def _add_headers(self, scope: Scope, message: Message) -> None:
        headers = MutableHeaders(raw=list(message.get("headers", [])))
        for name, value in _HEADERS.items():
            headers[name] = value
        policy = _DOCS_POLICY if scope["path"] == "/docs" else _POLICY
        headers.setdefault("Content-Security-Policy", policy)
        headers.setdefault("Cache-Control", "no-store")
        message["headers"] = headers.raw


def _without_port(host: str) -> str:
    if host.startswith("["):  # an IPv6 address
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _wants_page(headers: Headers) -> bool:
    return "text/html" in headers.get("accept", "")


def _sign_in_page(scope: Scope, headers: Headers) -> bytes:
    query = scope["query_string"].decode("latin-1")
    return sign_in.page(scope["path"], query, headers.get("accept-language", ""))


def _unauthorised() -> RequestError:
    return RequestError(
        "unauthorised",
        "This server wants a token, and the request carries none that is right",
        "It was not read",
        "Open the address that vsearch serve printed; a program sends the header "
        "Authorization: Bearer TOKEN",
    )


def _ending() -> RequestError:
    return RequestError(
        "ending",
        "The server is being ended",
        "The request was given up",
        "Send it again in a moment, to the server that comes next",
        retry_after=5,
    )


async def _whole(body: Body) -> bytes:
    """A body of a few lines; RequestError 413 where it is longer."""
    content, more = b"", True
    while more:
        message = await body.receive()
        content += message.get("body", b"")
        more = message.get("more_body", False)
        if len(content) > sign_in.MOST:
            raise RequestError(
                "too_large", f"The form is longer than {sign_in.MOST:,} bytes", "It was not read",
                "Send the token alone",
            )  # fmt: skip
    return content


async def _answer(send: Send, error: RequestError, page: bytes | None = None) -> None:
    """The error as JSON, or as a page where it is one of `sign_in`."""
    if page is not None:
        content, kind = page, b"text/html; charset=utf-8"
    else:
        content, kind = json.dumps(faults.body(error)).encode(), b"application/json"
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(content)).encode()),
        *((k.lower().encode(), v.encode()) for k, v in error.headers.items()),
    ]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if page is not None:
        headers.append((b"content-security-policy", sign_in.POLICY.encode("ascii")))
        headers.append((b"vary", b"Accept-Language"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _redirect(
    send: Send, name: str, scope: Scope, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Send the client to another name in the folder that it asked in, with its query.

    Relative, so that it holds wherever a proxy has put the folder; and with what is written for
    "here", so that no name can be taken for a host or a scheme.
    """
    query = scope["query_string"].decode("latin-1")
    place = f"./{quote(name, safe='/')}" + (f"?{query}" if query else "")
    headers = [(b"location", place.encode("latin-1")), (b"content-length", b"0"), *headers]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
