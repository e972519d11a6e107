"""The address by which browsers reach a server that stands behind a reverse proxy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ..errors import ArgumentError

_PORTS = {"http": 80, "https": 443}

#: What a path may be made of: it is compared with the paths of requests, part by part.
_PATH = re.compile(r"/(?:[A-Za-z0-9._~%-]+/)*")


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """An address such as https://shop.example/find/, in parts.

    Attributes:
        scheme: "http" or "https".
        host: as browsers write it in Host and Origin: lower case, no port that is the usual one.
        path: begins and ends with "/"; as it is written in an address.
    """

    scheme: str
    host: str
    path: str = "/"

    @property
    def origin(self) -> str:
        """What a browser's Origin header says of its pages."""
        return f"{self.scheme}://{self.host}"

    @property
    def name(self) -> str:
        """The host without its port; an IPv6 address in brackets."""
        return re.sub(r":\d+$", "", self.host)

    @property
    def prefix(self) -> str:
        """The path as servers see it, without the last "/": "" at a host's root."""
        return unquote(self.path).rstrip("/")

    def __str__(self) -> str:
        return f"{self.origin}{self.path}"


def origin(text: str) -> str:
    """An origin such as https://shop.example, as browsers write it in Origin; ArgumentError for
    what is none."""
    found = parse(text)
    if found.path != "/":
        raise ArgumentError(
            f"The origin {text!r} has a path", "The server was not started",
            "Write scheme, host and port alone, such as https://shop.example",
        )  # fmt: skip
    return found.origin


def parse(text: str) -> PublicUrl:
    """A public address from its text; ArgumentError for what is none."""
    problem = "is no address"
    try:
        parts = urlsplit(text)
        port, host = parts.port, (parts.hostname or "").encode("idna").decode("ascii").lower()
    except ValueError:  # a port that is no number, a name that cannot be one
        parts, host = urlsplit(""), ""
    if host and parts.scheme in _PORTS:
        path = parts.path if parts.path.endswith("/") else parts.path + "/"
        names = path.split("/")
        if parts.username is not None or parts.query or parts.fragment:
            problem = "has more than scheme, host, port and path"
        elif not _PATH.fullmatch(path) or "." in names or ".." in names:
            problem = f"has a path that cannot be served under, {parts.path!r}"
        else:
            host = f"[{host}]" if ":" in host else host
            if port is not None and port != _PORTS[parts.scheme]:
                host += f":{port}"
            return PublicUrl(parts.scheme, host, path)
    raise ArgumentError(
        f"The public address {text!r} {problem}",
        "The server was not started",
        "Write what visitors have in their browser, such as https://shop.example/find/",
    )
