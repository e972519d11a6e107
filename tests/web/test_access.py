"""Who may ask: tokens, foreign pages, addresses, and what every answer carries."""

from __future__ import annotations

import errno
import json
import socket
from pathlib import Path

import httpx
import pytest
from served import refused, serving

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.errors import ArgumentError, VsearchError
from vsearch_fast.web.server import bound, is_loopback, token_for


def test_foreign_pages_and_names_are_refused(client: httpx.Client) -> None:
    refused(client.get("/", headers={"Host": "evil.example"}), 403, "evil.example")
    refused(
        client.post("/api/search", data={"id": "1"}, headers={"Origin": "https://evil.example"}),
        403, "evil.example",
    )  # fmt: skip
    refused(client.post("/api/search", data={"id": "1"}, headers={"Origin": "null"}), 403)
    own = str(client.base_url).rstrip("/")
    assert (
        client.post("/api/search", data={"id": "001.png"}, headers={"Origin": own}).status_code
        == 200
    )


def test_a_token(index_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    token = "t0ken-" + "x" * 20
    with serving(index_path, token=token, hosts=None) as (client, _):
        assert client.get("/healthz").status_code == 200
        for path in (
            "/",
            "/api/catalogue",
            "/metrics",
            "/docs",
            "/openapi.json",
            "/static/docs.js",
        ):
            refused(client.get(path), 401, "vsearch serve")
        refused(client.get("/?token=wrong"), 401)
        refused(client.get("/api/catalogue", headers={"Authorization": "Bearer wrong"}), 401)
        refused(client.get("/api/catalogue", headers={"Cookie": 'vsearch_token="; x'}), 401)
        good = client.get("/api/catalogue", headers={"Authorization": f"Bearer {token}"})
        assert good.status_code == 200
        page = client.get("/", headers={"Accept": "text/html"})
        assert page.status_code == 401 and "This server wants a token" in page.text
        answer = client.get(f"/?id=001.png&token={token}")
        assert answer.status_code == 303
        assert answer.headers["location"] == "./?id=001.png"
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "SameSite=Strict" in answer.headers["set-cookie"]
        assert "Path" not in answer.headers["set-cookie"]  # of the folder, wherever that is
        assert client.get("/api/catalogue").status_code == 200  # by the cookie
        client.cookies.clear()
        base = str(client.base_url).rstrip("/")
        for path, place in {
            "/%5cevil.example": "./%5Cevil.example",
            "/a%0d%0aSet-Cookie:%20b=c": "./a%0D%0ASet-Cookie%3A%20b%3Dc",
            "/https:evil.example": "./https%3Aevil.example",
        }.items():
            answer = client.head(f"{base}{path}?token={token}")
            client.cookies.clear()
            assert answer.status_code == 303 and answer.headers["location"] == place
        for path in ("//evil.example/", "/%09/evil.example", "/api/catalogue"):  # no page's
            assert client.get(f"{base}{path}?token={token}").status_code == 401
    assert token not in "".join(capfd.readouterr())


def test_every_answer_carries_the_policy(client: httpx.Client) -> None:
    for path in ("/", "/docs", "/api/catalogue", "/nope", "/metrics"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy
        assert ("unsafe-inline" in policy) == (path == "/docs")
        assert headers["x-content-type-options"] == "nosniff"


def test_metrics_tell_routes_not_addresses(client: httpx.Client) -> None:
    client.get("/api/items", params={"where": "category=Lamp"})
    client.get("/secret-address")
    text = client.get("/metrics").text
    assert 'vsearch_requests_total{method="GET",route="/api/items",status="200"}' in text
    assert "vsearch_batch_size_bucket" in text and "vsearch_stage_seconds" in text
    assert "secret" not in text and "Lamp" not in text


def test_pages_and_description(client: httpx.Client) -> None:
    kinds = {
        "/": "text/html",
        "/docs": "text/html",
        "/static/docs.js": "javascript",
        "/static/swagger-ui-bundle.js": "javascript",
    }
    for path, kind in kinds.items():
        answer = client.get(path)
        assert answer.status_code == 200 and kind in answer.headers["content-type"]
        again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        assert client.head(path).status_code == 200
    described = client.get("/openapi.json").json()
    assert {"/api/search", "/api/items", "/api/thumbnails", "/healthz", "/metrics"} <= set(
        described["paths"]
    )
    assert "examples" in json.dumps(described["components"]["schemas"]["SearchAnswer"])


def test_the_token_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VSEARCH_TOKEN", raising=False)
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "shop")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert token_for("127.0.0.1") is None
    made = token_for("0.0.0.0")
    assert made and len(made) >= 32 and made != token_for("0.0.0.0")
    monkeypatch.setenv("VSEARCH_TOKEN", "A" * 20)
    assert token_for("0.0.0.0") == token_for("127.0.0.1") == "A" * 20
    monkeypatch.setenv("VSEARCH_TOKEN", "short")
    with pytest.raises(ArgumentError, match="VSEARCH_TOKEN"):
        token_for("127.0.0.1")


def test_an_address_that_is_taken() -> None:
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with socket.socket() as visitor:  # it is not left to wait until the server is ready
            assert visitor.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
        taken.listen()
        with pytest.raises(VsearchError, match=f"{port}, cannot be served.* --port"):
            bound("127.0.0.1", port)


def test_answers_in_two_parts_do_not_wait_for_an_acknowledgement() -> None:
    """asyncio turns Nagle's algorithm off only on sockets that name their protocol."""
    with bound("127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP
