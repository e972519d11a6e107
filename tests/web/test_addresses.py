"""Pictures by their address: this catalogue's own, and those of hosts that are allowed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import make_catalogue, png, refused, search, serving

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.index import Index
from vsearch_fast.web.addresses import item_in


class _Shop(BaseHTTPRequestHandler):
    """A shop's pictures; it notes what was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        content = {"/a.png": png(), "/large": b"x" * 3_000_000}.get(self.path)
        self.send_response(404 if content is None else 200)
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def shop() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Shop", (_Shop,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


def test_no_host_is_asked_unless_it_is_allowed(
    client: httpx.Client, shop: tuple[str, list[str]]
) -> None:
    host, asked = shop
    for url in (
        f"http://{host}/a.png", "file:///etc/passwd", "ftp://x/a", "a.png", "http://[::1", "//x/a",
        "http://169.254.169.254/latest/meta-data", f"http://x@{host}/a.png",
    ):  # fmt: skip
        answer = client.post("/api/search", data={"url": url})
        assert refused(answer, 400, "--fetch")["code"] == "url_not_fetched", url
    assert asked == []


def test_an_allowed_host_is_asked(index_path: Path, shop: tuple[str, list[str]]) -> None:
    host, asked = shop
    with serving(index_path, fetch=frozenset({host}), upload_bytes=2_000_000) as (client, _):
        found, uploaded = search(client, url=f"http://{host}/a.png"), search(client, png())
        assert found["results"][0]["matches"] == uploaded["results"][0]["matches"]
        assert found["query"] == uploaded["query"]
        again = search(client, url=f"http://{host}/to/http://{host}/a.png")
        assert again["query"] == uploaded["query"]
        assert asked == ["/a.png", f"/to/http://{host}/a.png", "/a.png"]
        for path, word in (("/none", "404"), ("/large", "2,000,000")):
            answer = client.post("/api/search", data={"url": f"http://{host}{path}"})
            assert refused(answer, 400, word)["code"] == "url_failed"
        for place in ("http://localhost:9/x", "file:///etc/passwd", "http://169.254.169.254/"):
            answer = client.post("/api/search", data={"url": f"http://{host}/to/{place}"})
            assert answer.status_code == 400 and "root:" not in answer.text


def test_addresses_of_the_catalogue(tmp_path: Path) -> None:
    path = make_catalogue(tmp_path, 3)
    with Index.open(path, mode="rw") as writer:
        row = writer.features(["001.png"])
        writer.add(["a/b c"], row, [{"link": "https://shop.example/product/7?x=1"}])
    with serving(path) as (client, _):
        base = str(client.base_url).rstrip("/")
        for url, id_ in {
            f"{base}/?id=001.png&k=20": "001.png",
            "https://shop.example/product/7?x=1": "a/b c",
        }.items():
            assert search(client, url=url)["query"]["id"] == id_
        refused(client.post("/api/search", data={"url": f"{base}/?id=nope"}), 404, "nope")
        both = client.post("/api/search", data={"url": f"{base}/?id=001.png", "id": "001.png"})
        assert refused(both, 400, "id and url")["code"] == "one_query"


@pytest.mark.parametrize(
    ("url", "id_"),
    [
        ("http://here:80/api/thumbnails?id=a%2Fb+c&size=448", "a/b c"),
        ("http://here:80/find/api/items/a/b%20c/picture", "a/b c"),
        ("http://here:80/api/items/002.png/thumbnail?size=112", "002.png"),
        ("http://HERE:80/api/items/002.png", "002.png"),
        ("http://there/?id=x", None),
        ("javascript:id=x", None),
        ("http://here:80/rate", None),
        ("http://[", None),
        ("", None),
    ],
)
def test_whose_address_it_is(url: str, id_: str | None) -> None:
    assert item_in(url, {"here:80"}) == id_
