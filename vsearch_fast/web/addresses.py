"""Pictures by their address: of this catalogue, or fetched from hosts that the server was told.

A server that fetches whatever address it is given is a way into its own network (SSRF). So an
address is first looked for in the catalogue, which costs no request; and fetched only of a host
that `--fetch` names, with redirects to such hosts alone, within the limits of an upload.
"""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.parse import parse_qs, unquote, urlsplit

from .faults import RequestError

#: An address of an item, below wherever a proxy has put the API.
_ITEM = re.compile(r".*/api/items/(?P<id>.+?)(?:/picture|/thumbnail)?")

_PART = 1 << 16

_SECONDS = 10.0


def item_in(url: str, hosts: Collection[str]) -> str | None:
    """The id in an address of one of this server's own pages or pictures; None in any other.

    Args:
        hosts: its names, with ports, as requests have them.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or parts.netloc.lower() not in hosts:
        return None
    named = parse_qs(parts.query).get("id")
    if named:
        return named[0]
    found = _ITEM.fullmatch(parts.path)
    return None if found is None else unquote(found["id"])


def fetched(url: str, allowed: Collection[str], most: int) -> bytes:
    """What lies at an address of an allowed host, of `most` bytes at most.

    Raises:
        RequestError: another host, or an answer that is none, too large or too slow.
    """
    _check(url, allowed)
    opener = urllib.request.build_opener(_Redirects(allowed))
    asked = urllib.request.Request(url, headers={"Accept": "image/*", "User-Agent": "vsearch"})
    end = time.monotonic() + _SECONDS
    host = urlsplit(url).netloc
    try:
        with opener.open(asked, timeout=_SECONDS) as answer:
            content = b""
            while part := answer.read(_PART):
                content += part
                if len(content) > most:
                    raise _failed(f"The picture at {host} is larger than {most:,} bytes")
                if time.monotonic() > end:
                    raise _failed(f"{host} took longer than {_SECONDS:g} seconds")
            return content
    except urllib.error.HTTPError as error:
        raise _failed(f"{host} answered with status {error.code}") from None
    except (OSError, HTTPException, ValueError):
        raise _failed(f"{host} did not answer as it should") from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to allowed hosts alone."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = allowed

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
        headers: HTTPMessage, newurl: str,
    ) -> Any:  # fmt: skip
        _check(newurl, self._allowed)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check(url: str, allowed: Collection[str]) -> None:
    try:
        parts = urlsplit(url)
        host, known = parts.netloc.lower(), parts.scheme in ("http", "https")
    except ValueError:
        host, known = "", False
    if not known or not host or host not in allowed:
        raise RequestError(
            "url_not_fetched",
            f"Pictures of {host[:80] or 'this address'!r} are not fetched by this server",
            "Nothing was searched",
            "Save the picture and send it as a file; who runs the server can allow a host: --fetch",
        )


def _failed(cause: str) -> RequestError:
    return RequestError(
        "url_failed", cause, "Nothing was searched", "Save the picture and send it as a file"
    )
