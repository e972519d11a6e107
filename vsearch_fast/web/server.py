"""Running an application for people: an address to open, a token where it is needed, Ctrl-C."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import ipaddress
import json
import os
import re
import resource
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import ArgumentError, VsearchError
from .faults import told
from .public import PublicUrl, origin, parse
from .settings import Settings

TOKEN_VARIABLE = "VSEARCH_TOKEN"

#: Seconds in which a connection must have sent the headers of its first or next request.
_HEADER_SECONDS = 10

#: Connections at once; beyond them new ones are told 503.
_CONNECTIONS = 512

#: Descriptors that connections leave to indexes, pictures and uploads, and those that the process
#: asks the system for, where it may have more than it has.
_SPARE, _WANTED = 32, 4096

#: Connections taken up at once: far fewer than are spare, since each is counted afterwards, some
#: turns of the event loop later.
_ACCEPTED = 4

#: Seconds that requests under way are given when the server is ended, and then the process.
_GRACE, _LAST = 1, 2.5


class _Patient(H11Protocol):
    """Closes connections on which no whole request comes: there are only so many for all.

    uvicorn's own timer runs between requests, and the first byte of the next one ends it.
    """

    _quiet_since: float

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        spare = _spare_descriptors()
        if len(self.connections) > _CONNECTIONS or spare < _SPARE:
            self._refuse(transport, lingering=spare > _SPARE / 2)
            return
        self._quiet_since = self.loop.time()
        self._watch()

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: an upgrade that somebody asks for is answered as a plain request."""

    def _refuse(self, transport: Any, *, lingering: bool) -> None:
        """Tell 503 without waiting for the request; where there is room, wait a moment for it to
        come, since a connection closed before is reset, and its answer lost."""
        content = json.dumps(
            told(
                "full",
                "More connections are open than the server can have",
                "The request was not read",
                "Send it again in some seconds",
            )
        ).encode()
        transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
            b"Retry-After: 5\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (len(content), content)
        )
        self.data_received = lambda data: None  # type: ignore[method-assign]
        if lingering and transport.can_write_eof():
            transport.write_eof()
            self.loop.call_later(0.5, transport.close)
        else:
            transport.close()

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


def _spare_descriptors() -> int:
    """File descriptors that the process may still open, as far as it can be told."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return 1 << 20
    try:
        return limit - len(os.listdir("/dev/fd"))
    except OSError:  # none even for this look
        return 0


def _ask_for_descriptors() -> None:
    """As many as the system lets the process have, up to what it can use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


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


def settings_for(
    host: str,
    token: str | None,
    public_url: str | None = None,
    cors: Sequence[str] = (),
    fetch: Sequence[str] = (),
) -> Settings:
    """The usual limits of a server at `host`; by what names it is asked there is no matter where
    others reach it. ArgumentError for a `public_url`, or an origin of `cors`, that is none."""
    usual = Settings()
    return replace(
        usual, token=token, hosts=usual.hosts if is_loopback(host) else None,
        public=None if public_url is None else parse(public_url),
        cors=frozenset(map(origin, cors)), fetch=frozenset(name.lower() for name in fetch),
    )  # fmt: skip


def bound(host: str, port: int) -> socket.socket:
    """A socket with this address; port 0 is any free one. VsearchError where it cannot be had.

    It listens when the server is ready: until then whoever asks is refused, and not left to wait.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, though it is the only one: where it is not, asyncio leaves Nagle's
    # algorithm on, and answers in two parts wait 40 ms for the client's acknowledgement.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
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
    """Serve until Ctrl-C or SIGTERM, then end what is under way, or leave it: within 3 seconds."""
    _ask_for_descriptors()
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
        # Not uvloop, where another package brings it: a write to who has gone is an error there.
        loop="asyncio",
        http=_Patient,
        ws="none",
        proxy_headers=False,  # whoever sends X-Forwarded-For would be believed, if only from here
        # Addresses hold what people search for, and once a token: no line for each.
        access_log=False,
        log_config=None,  # whose handlers would keep the stderr of this moment for ever
        log_level="warning",
        timeout_keep_alive=_HEADER_SECONDS,
        timeout_graceful_shutdown=_GRACE,
        backlog=_ACCEPTED,
        server_header=False,
    )


class _Announcing(uvicorn.Server):
    """Says its address once it answers there, and ends when it is told to."""

    announce: Callable[[], None]
    _ending = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for sock in sockets or ():
            sock.listen(_CONNECTIONS)  # as many may wait; uvicorn made it as few as it takes up
        if self.started:
            self.announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if not self._ending:
            self._ending = True
            threading.Thread(target=_end_at_last, args=(sig,), daemon=True).start()


def _end_at_last(sig: int) -> None:
    """End the process as the signal would have, if a scan, the network or the compiler keeps its
    threads busy: none of them can be interrupted, and Python waits for them before it ends.

    Nothing is lost: what was committed to an index or a ratings file is on the disk.
    """
    time.sleep(_LAST)
    if sig == signal.SIGINT:
        os._exit(130)  # as `terminal.console` ends
    # Python sets no handler but in the main thread, which may be busy.
    ctypes.CDLL(None).signal(ctypes.c_int(sig), ctypes.c_void_p(0))
    os.kill(os.getpid(), sig)
