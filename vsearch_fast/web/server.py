"""Running an application for people: an address to open, a token where it is needed, Ctrl-C."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import ArgumentError, VsearchError
from .public import PublicUrl, parse
from .settings import Settings

TOKEN_VARIABLE = "VSEARCH_TOKEN"

#: Seconds in which a connection must have sent the headers of its first or next request.
_HEADER_SECONDS = 10

#: Connections at once; beyond them new ones are told 503.
_CONNECTIONS = 512


class _Patient(H11Protocol):
    """Closes connections on which no whole request comes: there are only so many for all.

    uvicorn's own timer runs between requests, and the first byte of the next one ends it.
    """

    _quiet_since: float

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._quiet_since = self.loop.time()
        self._watch()

    def on_response_complete(self) -> None:
        self._quiet_since = self.loop.time()
        super().on_response_complete()

    def _watch(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._quiet_since = self.loop.time()
        elif self.loop.time() - self._quiet_since >= _HEADER_SECONDS:
            self.transport.close()
            return
        self.loop.call_later(_HEADER_SECONDS / 4, self._watch)


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def token_for(host: str) -> str | None:
    """The token of a server at `host`: none on this machine's own address, else the
    environment's VSEARCH_TOKEN, else a new one.

    Raises ArgumentError for a token of the environment that is too short or no plain text.
    """
    own = os.environ.get(TOKEN_VARIABLE) or None
    if own is not None and not re.fullmatch(r"[A-Za-z0-9_-]{16,200}", own):
        raise ArgumentError(
            f"The environment's {TOKEN_VARIABLE} is not 16 to 200 letters, digits, - and _",
            "The server was not started",
            "Make one with: python -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    if own is None and is_loopback(host):
        return None
    return own or secrets.token_urlsafe(24)


def settings_for(host: str, token: str | None, public_url: str | None = None) -> Settings:
    """The usual limits of a server at `host`; by what names it is asked there is no matter where
    others reach it. ArgumentError for a `public_url` that is none."""
    usual = Settings()
    return replace(
        usual, token=token, hosts=usual.hosts if is_loopback(host) else None,
        public=None if public_url is None else parse(public_url),
    )  # fmt: skip


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one. VsearchError where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, though it is the only one: where it is not, asyncio leaves Nagle's
    # algorithm on, and answers in two parts wait 40 ms for the client's acknowledgement.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
        taken.listen(256)
    except OSError as error:
        taken.close()
        raise VsearchError(
            f"The address {host}, port {port}, cannot be served on ({error.strerror or error})",
            "The server was not started",
            "Choose another --port (0 takes a free one), or end what uses it"
            if error.errno in (errno.EADDRINUSE, errno.EACCES)
            else "Choose a --host that is an address of this machine; 0.0.0.0 is all of them",
        ) from error
    return taken


def run(
    app: FastAPI,
    sock: socket.socket,
    *,
    token: str | None,
    public: PublicUrl | None = None,
    open_path: str = "/",
    say: Callable[[str], None],
) -> None:
    """Serve until Ctrl-C or SIGTERM, then end what is under way."""
    host, port = sock.getsockname()[:2]
    name = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
    address = f"http://{name}:{port}{open_path}" + (f"?token={token}" if token else "")
    server = _Announcing(configured(app))
    lines = [f"Serving on {address}"]
    if host in ("0.0.0.0", "::"):
        lines.append(f"From other machines: {address.replace(name, socket.gethostname(), 1)}")
    if public is not None:
        asked = f"?token={token}" if token else ""
        lines.append(f"Through the proxy: {public}{open_path[1:]}{asked}")
    server.announce = lambda: say("\n".join([*lines, "Stop with Ctrl-C."]))
    server.run([sock])


def configured(app: FastAPI) -> uvicorn.Config:
    """How uvicorn is to serve an application."""
    return uvicorn.Config(
        app,
        http=_Patient,
        ws="none",
        proxy_headers=False,  # whoever sends X-Forwarded-For would be believed, if only from here
        # Addresses hold what people search for, and once a token: no line for each.
        access_log=False,
        log_config=None,  # whose handlers would keep the stderr of this moment for ever
        log_level="warning",
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_HEADER_SECONDS,
        timeout_graceful_shutdown=10,
        server_header=False,
    )


class _Announcing(uvicorn.Server):
    """Says its address once it answers there."""

    announce: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.announce()
