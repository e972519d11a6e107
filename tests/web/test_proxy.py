"""Real nginx and Caddy before a real server: what a browser would send through them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from proxies import (
    NAME,
    caddy,
    caddy_site,
    certificate,
    free_port,
    nginx,
    nginx_location,
    nginx_server,
    of_the_guide,
)  # fmt: skip
from served import PATIENCE, png, refused, running

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.errors import ArgumentError
from vsearch_fast.web.app import create_app
from vsearch_fast.web.public import parse
from vsearch_fast.web.settings import Settings

#: What a proxy may tell the server of the name that it was asked by.
HOSTS = {
    "its own": "",
    "the name": "proxy_set_header Host $host;",
    "the name and port": "proxy_set_header Host $http_host;",
}
TOKEN = "t0ken-of-this-test"


class Visitor:
    """A browser's requests to `NAME` through a proxy on this machine."""

    def __init__(self, port: int, path: str, *, tls: bool) -> None:
        self.scheme = "https" if tls else "http"
        self.origin = f"{self.scheme}://{NAME}:{port}"
        self.base = f"{self.scheme}://127.0.0.1:{port}{path}"
        self.client = httpx.Client(verify=False, timeout=PATIENCE)
        self.headers = {"Host": f"{NAME}:{port}"}

    def ask(self, method: str, path: str, site: str = "same-origin", **more: Any) -> httpx.Response:
        headers = dict(self.headers, **more.pop("headers", {}))
        if method == "POST":
            headers.setdefault("Origin", self.origin)
        if self.scheme == "https":  # nowhere else do browsers say it
            headers["Sec-Fetch-Site"] = site
        return self.client.request(
            method, self.base + path, headers=headers, extensions={"sni_hostname": NAME}, **more
        )

    def search(self, **more: Any) -> httpx.Response:
        return self.ask("POST", "api/search", data={"id": "001.png"}, **more)


@pytest.fixture
def server(catalogue: Any) -> Any:
    """Serve the catalogue with other settings; gives the address."""

    @contextlib.contextmanager
    def serve(**settings: Any) -> Iterator[str]:
        with running(create_app(catalogue, replace(Settings(), **settings))) as address:
            yield address

    return serve


@contextlib.contextmanager
def through(
    kind: str, upstream: str, folder: Path, path: str, *, tls: bool, host: str = "",
    strips: bool = True,
) -> Iterator[Visitor]:  # fmt: skip
    port = free_port()
    pair = certificate(folder) if tls else None
    if kind == "nginx":
        location = nginx_location(upstream, path, host, strips=strips)
        proxy = nginx(folder, nginx_server(port, location, pair), port)
    else:
        within = f"{'handle_path' if strips else 'handle'} {path}*"
        site = f"{within} {{\nreverse_proxy {upstream}\n}}"
        proxy = caddy(folder, caddy_site(port, site, pair), port)
    with proxy:
        yield Visitor(port, path, tls=tls)


def public(tls: bool, port: int | None, path: str) -> Any:
    return parse(f"http{'s' * tls}://{NAME}{'' if port is None else f':{port}'}{path}")


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("path", ["/", "/find/"])
@pytest.mark.parametrize(
    ("kind", "host"), [*(("nginx", host) for host in HOSTS), ("caddy", "the name and port")]
)
def test_a_search_through_a_proxy(
    server: Any, tmp_path: Path, kind: str, host: str, path: str, tls: bool
) -> None:
    port = free_port()
    with (
        server(public=public(tls, port, path)) as upstream,
        through(kind, upstream, tmp_path, path, tls=tls, host=HOSTS[host]) as visitor,
    ):
        visitor.origin = f"{visitor.scheme}://{NAME}:{port}"  # what was said
        assert visitor.search().status_code == 200
        upload = {"image": ("a.png", png(size=(1500, 1400)))}
        assert visitor.ask("POST", "api/search", files=upload).status_code == 200
        evil = {"Origin": "https://evil.example"}
        refused(visitor.search(headers=evil, site="cross-site"), 403, "evil.example")
        assert visitor.ask("GET", "docs/").headers["location"] == "../docs"
        page = visitor.ask("GET", "").text
        assert 'src="static/main.js"' in page and 'href="/' not in page and 'src="/' not in page


@pytest.mark.parametrize("host", HOSTS)
def test_what_is_refused_is_said_not_502(server: Any, tmp_path: Path, host: str) -> None:
    """The body has been read, so that the proxy can tell the answer, however long it is."""
    large = {"image": ("a.png", b"x" * 8_000_000)}
    with (
        server(public=public(True, None, "/"), upload_bytes=3_000_000) as upstream,
        through("nginx", upstream, tmp_path, "/", tls=True, host=HOSTS[host]) as visitor,
    ):
        for _ in range(4):
            answer = visitor.ask("POST", "api/search", files=large, site="cross-site")
            refused(answer, 403, "--public-url")
            refused(visitor.ask("POST", "api/search", files=large), 413)
            refused(visitor.ask("POST", "nope", content=b"x" * 8_000_000), 404)
            refused(visitor.ask("POST", "", content=b"x" * 2_900_000), 405)


def test_without_the_public_address(server: Any, tmp_path: Path) -> None:
    """Browsers vouch over TLS where the proxy sends its own name; elsewhere the cure is named."""
    with (
        server() as upstream,
        through("nginx", upstream, tmp_path, "/find/", tls=True) as visitor,
    ):
        assert visitor.search().status_code == 200
        # A page of the visitor's own machine, whose Origin is what nginx makes of Host.
        local = {"Origin": upstream}
        refused(visitor.search(headers=local, site="cross-site"), 403, upstream)
    with server() as upstream, through("nginx", upstream, tmp_path, "/", tls=False) as visitor:
        refused(visitor.search(), 403, NAME, "--public-url")
    with server() as upstream, through("caddy", upstream, tmp_path, "/", tls=True) as visitor:
        refused(visitor.search(), 403, NAME, "--public-url")


def test_names_that_point_here_are_refused_still(server: Any) -> None:
    """DNS rebinding: to the browser such a page is same-origin."""
    with server(public=public(True, None, "/")) as upstream, httpx.Client() as client:
        for host in ("evil.example", f"{NAME}.evil.example", f"evil.{NAME}", "shop"):
            headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
            answer = client.post(f"{upstream}/api/search", data={"id": "1"}, headers=headers)
            refused(answer, 403, host)
        ours = {"Host": NAME, "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "ftp"}
        assert client.get(f"{upstream}/api/items", headers=ours).status_code == 200
        theirs = {"Host": "evil.example", "X-Forwarded-Host": NAME, "Forwarded": f"host={NAME}"}
        refused(client.get(f"{upstream}/api/items", headers=theirs), 403, "evil.example")


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
def test_a_path_that_the_proxy_leaves(server: Any, tmp_path: Path, kind: str) -> None:
    with (
        server(public=public(True, None, "/find/us/")) as upstream,
        through(kind, upstream, tmp_path, "/find/us/", tls=True, strips=False) as visitor,
    ):
        assert visitor.search().status_code == 200
        assert visitor.ask("GET", "static/main.js").status_code == 200
        with httpx.Client() as client:  # past the proxy it is as ever
            assert client.get(f"{upstream}/api/items").status_code == 200
            answer = client.get(f"{upstream}/find/us?id=1")
            assert answer.status_code == 303 and answer.headers["location"] == "./us/?id=1"
            assert client.get(f"{upstream}/find/users").status_code == 404
            assert client.get(f"{upstream}/find/us/../../api/items").status_code in (200, 404)


def test_the_token_through_a_path(server: Any, tmp_path: Path) -> None:
    with (
        server(public=public(True, None, "/find/"), token=TOKEN, hosts=None) as upstream,
        through("nginx", upstream, tmp_path, "/find/", tls=True) as visitor,
    ):
        refused(visitor.search(), 401)
        answer = visitor.ask("GET", f"?id=001.png&token={TOKEN}")
        assert answer.status_code == 303 and answer.headers["location"] == "./?id=001.png"
        assert "; Secure" in answer.headers["set-cookie"]
        assert [cookie.path for cookie in visitor.client.cookies.jar] == ["/find"]
        assert visitor.search().status_code == 200
        refused(visitor.search(site="same-site"), 403)  # a neighbour's page, with the cookie


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
def test_the_blocks_of_the_guide(server: Any, tmp_path: Path, kind: str) -> None:
    port, (file, key) = free_port(), certificate(tmp_path)
    with server(public=parse(f"https://{NAME}/find/")) as upstream:
        block = of_the_guide(kind).replace("127.0.0.1:8080", upstream.partition("//")[2])
        if kind == "nginx":
            block = block.replace("listen 443", f"listen 127.0.0.1:{port}")
            block = block.replace(f"/etc/ssl/{NAME}.pem", str(file))
            block = block.replace(f"/etc/ssl/private/{NAME}.key", str(key))
            proxy = nginx(tmp_path, block, port)
        else:
            block = block.replace(f"{NAME} {{", f"https://{NAME}:{port} {{\ntls {file} {key}")
            proxy = caddy(tmp_path, block, port)
        assert str(port) in block and "/etc/ssl" not in block and "8080" not in block
        with proxy:
            visitor = Visitor(port, "/find/", tls=True)
            assert visitor.search().status_code == 200
            large = {"image": ("a.png", png(size=(2500, 2400)))}
            assert visitor.ask("POST", "api/search", files=large).status_code == 200
            answer = visitor.client.get(
                visitor.base[:-1], headers=visitor.headers, extensions={"sni_hostname": NAME}
            )
            assert answer.is_redirect and answer.headers["location"].endswith("/find/")
            with httpx.Client(verify=False) as other, pytest.raises(httpx.TransportError):
                other.get(visitor.base, extensions={"sni_hostname": "evil.example"})


def test_public_addresses() -> None:
    for text, origin, prefix in (
        ("https://shop.example", "https://shop.example", ""),
        ("HTTPS://Shop.Example:443/", "https://shop.example", ""),
        ("http://shop.example:8443/a/b", "http://shop.example:8443", "/a/b"),
        ("https://bücher.example/%C3%BC/", "https://xn--bcher-kva.example", "/ü"),
        ("http://[::1]:80/x/", "http://[::1]", "/x"),
    ):
        found = parse(text)
        assert (found.origin, found.prefix) == (origin, prefix) and parse(str(found)) == found
    assert parse("http://[::1]:81/").name == "[::1]" and parse("http://a:81").name == "a"
    for text in (
        "", "shop.example", "ftp://shop.example/", "https://", "https:///find", "https://a:x/",
        "https://u:p@a/", "https://a/?x", "https://a/#x", "https://a//b/", "https://a/../b/",
        "https://a/b c/", "https://a/b;c/", "https://a:99999/",
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=r"The public address .* https://shop\.example"):
            parse(text)
