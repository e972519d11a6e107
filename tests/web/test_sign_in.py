"""The page that asks for the token; pages of other origins; answers compressed and conditional."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import make_catalogue, refused, serving

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.errors import ArgumentError
from vsearch_fast.web.language import LANGUAGES, preferred
from vsearch_fast.web.public import origin
from vsearch_fast.web.sign_in import WORDS, Form, place

TOKEN = "t0ken-" + "x" * 20
PAGE = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def closed(index_path: Path) -> Iterator[httpx.Client]:
    """A server that wants a token."""
    with serving(index_path, token=TOKEN, hosts=None) as (client, _):
        yield client


def test_the_form_opens_the_page_that_was_asked_for(index_path: Path) -> None:
    with serving(index_path, token=TOKEN, hosts=None) as (client, _):
        asked = client.get("/docs?a=1&b=%26", headers=PAGE)
        assert asked.status_code == 401 and asked.headers["www-authenticate"] == "Bearer"
        policy = asked.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        hidden = dict(re.findall(r'name="(page|query)" value="([^"]*)"', asked.text))
        assert hidden == {"page": "docs", "query": "a=1&amp;b=%26"}
        assert 'action="./sign-in"' in asked.text
        form = {"page": "docs", "query": "a=1&b=%26"}
        wrong = client.post("/sign-in", data=form | {"token": "wrong"}, headers=PAGE)
        assert wrong.status_code == 401 and "not the token" in wrong.text
        assert "set-cookie" not in wrong.headers
        right = client.post("/sign-in", data=form | {"token": f" {TOKEN} "})
        assert right.status_code == 303 and right.headers["location"] == "./docs?a=1&b=%26"
        assert "HttpOnly" in right.headers["set-cookie"]
        assert "SameSite=Strict" in right.headers["set-cookie"]
        assert client.get("/api/catalogue").status_code == 200
        client.cookies.clear()
        # From a deeper address the form is in the same folder, and a foreign page cannot send it.
        deep = client.get("/api/items/a", headers=PAGE)
        assert 'action="../../sign-in"' in deep.text
        foreign = client.post("/sign-in", data={"token": TOKEN}, headers={"Origin": "https://x.y"})
        refused(foreign, 403)
        refused(client.post("/sign-in", content=b"x" * 20_000), 413)
        assert "<script>" not in client.get("/?<script>=1", headers=PAGE).text


@pytest.mark.parametrize(
    ("wishes", "query", "language"),
    [
        ("", "", "en"),
        ("de-AT,de;q=0.9,en;q=0.8", "", "de"),
        ("en-GB,en;q=0.9,de;q=0.8", "", "en"),
        ("fr-FR,fr;q=0.9,de;q=0.8,en;q=0.7", "", "de"),
        ("fr", "", "en"),
        ("en;q=0.3, DE ; q=0.7", "", "de"),
        ("de;q=0, *", "", "en"),
        ("en;q=0.1, *;q=0.5", "", "de"),
        ("de;q=nan, en;q=0.1", "", "en"),
        ("en", "lang=de", "de"),
        ("de", "lang=en", "en"),
        ("de", "lang=fr", "de"),
    ],
)
def test_it_speaks_the_browsers_language(
    wishes: str, query: str, language: str, closed: httpx.Client
) -> None:
    headers = PAGE | {"Accept-Language": wishes}
    asked = closed.get(f"/?{query}", headers=headers)
    form = {"page": "", "query": query, "token": "wrong"}
    wrong = closed.post("/sign-in", data=form, headers=headers)
    for answer in (asked, wrong):
        assert answer.status_code == 401 and f'<html lang="{language}">' in answer.text
        assert WORDS[language]["wanted"] in answer.text
        assert f"<title>{WORDS[language]['title']} – vsearch</title>" in answer.text
        assert answer.headers["vary"] == "Accept-Language"
    assert WORDS[language]["wrong"] in wrong.text and WORDS[language]["wrong"] not in asked.text


@given(st.text(st.characters(max_codepoint=255)), st.text())
def test_any_wish_is_a_language(wishes: str, address: str) -> None:
    assert preferred(wishes, address) in WORDS
    assert set(WORDS) == set(LANGUAGES)
    assert len({frozenset(words) for words in WORDS.values()}) == 1


@pytest.mark.parametrize(
    ("page", "query", "expected"),
    [
        ("", "", "./"),
        ("rate", "a=1&token=secret", "./rate?a=1"),
        ("//evil.example/", "", "./"),
        ("https://evil.example", "", "./evil.example"),
        ("\\\\evil.example", "", "./evil.example"),
        ("..", "", "./"),
        ("a\r\nSet-Cookie: b=c", "\r\nX: y=1", "./a%0D%0ASet-Cookie%3A%20b%3Dc?%0D%0AX%3A+y=1"),
    ],
)
def test_no_form_leads_elsewhere(page: str, query: str, expected: str) -> None:
    assert place(Form("", page, query)) == expected


def test_pages_of_other_origins(index_path: Path) -> None:
    shop, other = {"Origin": "https://shop.example"}, {"Origin": "https://other.example"}
    cross = {"Sec-Fetch-Site": "cross-site"}
    with serving(index_path, cors=frozenset({"https://shop.example"})) as (client, _):
        asks = {"Access-Control-Request-Method": "POST"}
        asks["Access-Control-Request-Headers"] = "authorization"
        allowed = client.options("/api/search", headers=shop | asks)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
        assert "access-control-allow-credentials" not in allowed.headers
        assert client.options("/api/search", headers=other | asks).status_code == 400
        found = client.post("/api/search", data={"id": "001.png"}, headers=shop | cross)
        assert found.status_code == 200
        assert found.headers["access-control-allow-origin"] == "https://shop.example"
        refused(client.post("/api/search", data={"id": "1"}, headers=other | cross), 403)
    with serving(index_path) as (client, _):
        refused(client.post("/api/search", data={"id": "1"}, headers=shop | cross), 403)
        assert "access-control-allow-origin" not in client.get("/", headers=shop).headers
    assert origin("HTTPS://Shop.Example:443") == "https://shop.example"
    for wrong in ("*", "null", "shop.example", "https://shop.example/find"):
        with pytest.raises(ArgumentError):
            origin(wrong)


@pytest.mark.parametrize(
    "path",
    ["/api/items/001.png", "/api/items/001.png/picture", "/api/items/001.png/thumbnail",
     "/api/thumbnails?id=001.png", "/api/items", "/api/catalogue", "/api/values?column=price",
     "/api/export?ids=001.png", "/docs", "/static/docs.js"],
)  # fmt: skip
def test_head_says_what_get_would(client: httpx.Client, path: str) -> None:
    whole, head = client.get(path), client.head(path)
    assert (whole.status_code, head.status_code, head.content) == (200, 200, b"")
    names = ("content-type", "etag", "content-disposition")
    assert [head.headers.get(name) for name in names] == [whole.headers.get(name) for name in names]
    etag = whole.headers.get("etag")
    if etag is None:
        return
    plain = etag.removeprefix("W/")
    for named in (etag, plain, f"W/{plain}", f'"x", W/{plain}, "y"', "*"):
        again = client.get(path, headers={"If-None-Match": named})
        assert again.status_code == 304 and not again.content and again.headers["etag"] == etag
    for named in ('"x"', plain[:-1], "", plain.strip('"')):
        assert client.get(path, headers={"If-None-Match": named}).status_code == 200


def test_the_original_picture(client: httpx.Client, catalogue: Any, tmp_path: Path) -> None:
    file = catalogue.picture("001.png")
    answer = client.get("/api/items/001.png/picture")
    assert answer.content == Path(file).read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''001.png"
    saved = client.get("/api/items/001.png/picture?download")
    assert saved.headers["content-disposition"].startswith("attachment;")
    part = client.get("/api/items/001.png/picture", headers={"Range": "bytes=1-3"})
    assert part.status_code == 206 and part.content == b"PNG"
    refused(client.get("/api/items/nope/picture"), 404, "nope", "no_such_item")
    refused(client.get("/api/items/001.png/nope"), 404, "001.png/nope")
    assert client.get("/api/items/001.png").json()["metadata"]["price"] == 1


def test_what_is_no_picture_is_not_sent(tmp_path: Path) -> None:
    with serving(make_catalogue(tmp_path, 2)) as (client, _):
        secret = tmp_path / "pictures" / "001.png"
        secret.write_text("a secret of the server")
        for path in ("picture", "thumbnail"):
            answer = client.get(f"/api/items/001.png/{path}")
            assert refused(answer, 404)["code"] == "no_picture"
            assert "secret" not in answer.text and str(tmp_path) not in answer.text


def test_texts_are_compressed_and_pictures_are_not(client: httpx.Client) -> None:
    asked = {"Accept-Encoding": "gzip"}
    for path in ("/api/items", "/openapi.json", "/static/swagger-ui.css"):
        answer = client.get(path, headers=asked)
        assert answer.headers["content-encoding"] == "gzip", path
        assert int(answer.headers["content-length"]) < len(answer.content) / 2
        plain = client.get(path, headers={"Accept-Encoding": "identity"})
        assert plain.content == answer.content and "content-encoding" not in plain.headers
        assert "accept-encoding" in plain.headers["vary"].lower()
    for path in ("/api/thumbnails?id=001.png&size=1024", "/api/items/001.png/picture"):
        assert "content-encoding" not in client.get(path, headers=asked).headers
