"""The search API over real HTTP: answers equal to the index's own, errors with cause and cure."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from served import CATEGORIES, make_catalogue, serving, wait_for

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.errors import ArgumentError, VsearchError
from vsearch_fast.index import Index
from vsearch_fast.web.catalogue import Catalogue
from vsearch_fast.web.server import is_loopback, listen, token_for

METRICS = ("l2", "l1", "hamming")


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_catalogue(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def served(index_path: Path) -> Iterator[tuple[httpx.Client, Catalogue]]:
    with serving(index_path) as pair:
        wait_for(lambda: len(pair[1].facts.thresholds) == 3)
        yield pair


@pytest.fixture(scope="module")
def client(served: tuple[httpx.Client, Catalogue]) -> httpx.Client:
    return served[0]


@pytest.fixture(scope="module")
def catalogue(served: tuple[httpx.Client, Catalogue]) -> Catalogue:
    return served[1]


def png(seed: int = 1, size: tuple[int, int] = (90, 70)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def search(client: httpx.Client, image: bytes | None = None, **data: Any) -> dict[str, Any]:
    answer = client.post(
        "/api/search", data=data, files=None if image is None else {"image": ("a.png", image)}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int, *words: str) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["cause"] and error["consequence"] and error["cure"]
    for word in words:
        assert word in json.dumps(error)
    return error


# Searching


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("box", [None, "10,5,60,50"])
def test_an_upload_finds_what_the_index_finds(
    client: httpx.Client, catalogue: Catalogue, metric: Any, box: str | None
) -> None:
    picture = png()
    form = {"metric": metric, "k": 7} | ({"box": box} if box else {})
    answer = search(client, picture, **form)
    part = tuple(map(int, box.split(","))) if box else None
    features = catalogue.embedder.embed(picture, part)
    [hits] = catalogue.index.search(features, 7, metric)
    [result] = answer["results"]
    assert result["metric"] == metric
    assert [(m["id"], m["distance"]) for m in result["matches"]] == [
        (hit.id, hit.distance) for hit in hits
    ]
    assert all(isinstance(m["distance"], int) == (metric == "hamming") for m in result["matches"])
    assert result["matches"][0]["metadata"] == dict(hits[0].metadata)
    assert result["matches"][0]["path"] == hits[0].path
    query = answer["query"]
    assert (query["width"], query["height"]) == (90, 70)
    assert query["box"] == (list(part) if part else None)
    assert query["box_from"] == ("you" if part else None)


def test_a_picture_of_the_catalogue_finds_others(
    client: httpx.Client, catalogue: Catalogue
) -> None:
    for id_ in ("003.png", "004.png"):  # without and with a box of its own
        answer = search(client, id=id_, k=30, metric="all")
        assert [result["metric"] for result in answer["results"]] == list(METRICS)
        assert (answer["query"]["box"] is None) == (id_ == "003.png")
        for result in answer["results"]:
            [hits] = catalogue.index.search(
                catalogue.index.features([id_])[0], 31, result["metric"]
            )
            expected = [hit.id for hit in hits if hit.id != id_]
            assert [match["id"] for match in result["matches"]] == expected
            assert len(expected) == 29


def test_an_item_with_another_box_is_read_from_its_picture(
    client: httpx.Client, catalogue: Catalogue
) -> None:
    answer = search(client, id="007.png", box="0,0,50,60", k=3)
    path = catalogue.index.get("007.png").path
    [hits] = catalogue.index.search(catalogue.embedder.embed(path, (0, 0, 50, 60)), 30)
    expected = [(h.id, h.distance) for h in hits if h.id != "007.png"][:3]
    assert [(m["id"], m["distance"]) for m in answer["results"][0]["matches"]] == expected


def test_a_proposed_box_is_that_of_the_embedder(client: httpx.Client, catalogue: Catalogue) -> None:
    picture = png(5)
    answer = search(client, picture, box="auto")
    assert tuple(answer["query"]["box"]) == catalogue.embedder.locate(picture)
    assert answer["query"]["box_from"] == "network"
    again = search(client, query=answer["query"]["kept"], box="auto")
    assert again["query"] == answer["query"]
    assert again["results"][0]["matches"] == answer["results"][0]["matches"]


def test_a_kept_upload_is_searched_again(client: httpx.Client) -> None:
    first = search(client, png(9), k=4)
    key = first["query"]["kept"]
    again = search(client, query=key, k=4)
    assert again["results"][0]["matches"] == first["results"][0]["matches"]
    thumbnail = client.get("/api/thumbnails", params={"query": key, "size": 112})
    assert thumbnail.headers["content-type"] == "image/jpeg"
    refused(client.post("/api/search", data={"query": "0" * 32}), 404, "no longer kept")


def test_a_filter_is_exact(client: httpx.Client, catalogue: Catalogue) -> None:
    picture = png(3)
    answer = search(client, picture, k=30, where=["category=Lamp", "category=Shoe", "new=true"])
    [hits] = catalogue.index.search(
        catalogue.embedder.embed(picture), 30,
        where={"category": ["Lamp", "Shoe"], "new": True},
    )  # fmt: skip
    assert [m["id"] for m in answer["results"][0]["matches"]] == [hit.id for hit in hits]
    assert len(hits) == 10
    [by_number] = search(client, picture, where="price=7")["results"][0]["matches"]
    assert by_number["id"] == "007.png"
    assert search(client, picture, where="category=None such")["results"][0]["matches"] == []


def test_nothing_similar_is_said(client: httpx.Client, catalogue: Catalogue) -> None:
    file = io.BytesIO()
    Image.new("RGB", (20, 20)).save(file, "PNG")
    for picture in (file.getvalue(), Path(catalogue.index.get("002.png").path or "").read_bytes()):
        for result in search(client, picture, metric="all")["results"]:
            limit = catalogue.index.threshold(result["metric"])
            assert limit is not None
            assert result["threshold"] == {"distance": limit.distance, "text": str(limit)}
            similar = [match["distance"] <= limit.distance for match in result["matches"]]
            assert [match["similar"] for match in result["matches"]] == similar
            assert result["nothing_similar"] == (not any(similar))
    [none] = search(client, picture, where="category=None such")["results"]
    assert not none["nothing_similar"]  # it is the filter
    assert not search(client, picture)["results"][0]["nothing_similar"]


def test_concurrent_queries_share_scans_and_get_their_own_answers(
    client: httpx.Client, catalogue: Catalogue
) -> None:
    ids = [f"{number:03}.png" for number in range(30)]
    alone = {id_: search(client, id=id_, k=3, metric="all")["results"] for id_ in ids}
    together: dict[str, Any] = {}

    def ask(id_: str) -> None:
        together[id_] = search(client, id=id_, k=3, metric="all")["results"]

    threads = [threading.Thread(target=ask, args=(id_,)) for id_ in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    matches = {id_: [r["matches"] for r in results] for id_, results in together.items()}
    assert matches == {id_: [r["matches"] for r in results] for id_, results in alone.items()}


# The catalogue


def test_what_is_served(client: httpx.Client) -> None:
    about = client.get("/api/catalogue").json()
    assert about["name"] == "tiny.index" and about["pictures"] == 30
    assert about["locates"] and about["note"] == "untrained network"
    columns = {column["name"]: column["values"] for column in about["columns"]}
    assert [value["value"] for value in columns["category"]] == list(CATEGORIES)
    assert {value["count"] for value in columns["category"]} == {10}
    assert {value["value"] for value in columns["new"]} == {True, False}
    assert "price" not in columns  # thirty prices of thirty pictures are no list to choose from
    assert set(about["thresholds"]) == set(METRICS)


def test_items_page_by_page(client: httpx.Client) -> None:
    seen: list[str] = []
    following: str | None = ""
    while following is not None:
        parameters = {"limit": 4, "where": "category=Dress"} | (
            {"after": following} if following else {}
        )
        page = client.get("/api/items", params=parameters).json()
        seen += [item["id"] for item in page["items"]]
        following = page["next"]
    assert seen == [f"{number:03}.png" for number in range(0, 30, 3)]
    some = client.get("/api/items", params={"id": ["005.png", "001.png"]}).json()["items"]
    assert [item["id"] for item in some] == ["005.png", "001.png"]
    refused(client.get("/api/items", params={"id": "nope"}), 404, "nope")
    refused(client.get("/api/items", params={"after": "x"}), 422)
    refused(client.get("/api/items", params={"where": "size=1"}), 400, "size", "category")


@pytest.mark.parametrize("size", [112, 224])
def test_thumbnails(client: httpx.Client, size: int) -> None:
    answer = client.get("/api/thumbnails", params={"id": "001.png", "size": size})
    assert answer.headers["content-type"] == "image/jpeg"
    small = Image.open(io.BytesIO(answer.content))
    assert small.size == ((93, 112) if size == 112 else (100, 120))  # never enlarged
    again = client.get(
        "/api/thumbnails", params={"id": "001.png", "size": size},
        headers={"If-None-Match": answer.headers["etag"]},
    )  # fmt: skip
    assert again.status_code == 304 and not again.content


def test_a_picture_that_is_gone_is_still_found(tmp_path: Path) -> None:
    index_path = make_catalogue(tmp_path, 4)
    (tmp_path / "pictures" / "002.png").unlink()
    with serving(index_path) as (client, _):
        refused(
            client.get("/api/thumbnails", params={"id": "002.png"}), 404, "002.png", "no longer"
        )
        answer = search(client, id="002.png")
        assert len(answer["results"][0]["matches"]) == 3
        assert answer["query"]["width"] is None
        refused(client.post("/api/search", data={"id": "002.png", "box": "auto"}), 404)


def test_what_is_added_meanwhile_is_found(tmp_path: Path) -> None:
    index_path = make_catalogue(tmp_path, 4)
    with serving(index_path) as (client, catalogue):
        row = catalogue.index.features(["001.png"])
        with Index.open(index_path, mode="rw") as writer:
            writer.add(["new"], row)
        first = search(client, id="001.png")["results"][0]["matches"][0]
        assert (first["id"], first["distance"]) == ("new", 0)


def test_an_empty_index_is_served(tmp_path: Path) -> None:
    index_path = make_catalogue(tmp_path, 2)
    with Index.open(index_path, mode="rw") as writer:
        writer.remove(["000.png", "001.png"])
    with serving(index_path) as (client, _):
        assert client.get("/api/catalogue").json()["pictures"] == 0
        assert search(client, png(), metric="all")["results"][0]["matches"] == []


# Errors


@pytest.mark.parametrize(
    ("data", "status", "word"),
    [
        ({}, 400, "no picture"),
        ({"id": "001.png", "query": "a"}, 400, "id and query"),
        ({"id": "../../etc/passwd"}, 404, "passwd"),
        ({"id": "a\0b"}, 400, "NUL"),
        ({"id": "001.png", "box": "1,2,3"}, 400, "1,2,3"),
        ({"id": "001.png", "box": "9,9,1,1"}, 400, "inverted"),
        ({"id": "001.png", "box": "nan,0,1,1"}, 400, "finite"),
        ({"id": "001.png", "box": "500,500,600,600"}, 400, "outside"),
        ({"id": "001.png", "k": "0"}, 422, "k"),
        ({"id": "001.png", "k": "101"}, 422, "100"),
        ({"id": "001.png", "metric": "cosine"}, 422, "metric"),
        ({"id": "001.png", "where": "category"}, 400, "column=value"),
        ({"id": "001.png", "where": "nope=1"}, 400, "nope"),
    ],
)
def test_a_wrong_request(
    client: httpx.Client, data: dict[str, str], status: int, word: str
) -> None:
    refused(client.post("/api/search", data=data), status, word)


@pytest.mark.parametrize(
    "content", [b"", b"not a picture", png()[:200], b"\xff\xd8\xff" + b"x" * 99]
)
def test_a_broken_upload_is_named(client: httpx.Client, content: bytes) -> None:
    answer = client.post("/api/search", files={"image": ("lamp.png", content)})
    refused(answer, 415, "lamp.png")


def test_a_decompression_bomb_is_not_decoded(client: httpx.Client) -> None:
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    assert len(file.getvalue()) < 200_000
    answer = client.post("/api/search", files={"image": ("bomb.png", file.getvalue())})
    refused(answer, 415, "bomb.png", "40,000,000")


def test_unknown_addresses_and_methods(client: httpx.Client) -> None:
    refused(client.get("/etc/passwd"), 404, "/docs")
    refused(client.get("/static/..%2f..%2fapp.py"), 404)
    refused(client.get("/static/nope.js"), 404)
    refused(client.get("/api/search"), 405)


def test_errors_tell_no_folder(client: httpx.Client, catalogue: Catalogue) -> None:
    folder = str(catalogue.index.path.parent)
    for answer in (
        client.get("/api/thumbnails", params={"id": "nope"}),
        client.get("/api/items", params={"id": "nope"}),
        client.post("/api/search", data={"id": "nope"}),
    ):
        refused(answer, 404, "nope")
        assert folder not in answer.text


def test_a_broken_index_is_not_the_clients_fault(tmp_path: Path) -> None:
    index_path = make_catalogue(tmp_path, 4)
    with serving(index_path) as (client, catalogue):
        wait_for(lambda: len(catalogue.facts.thresholds) == 3)
        with (index_path / "index.sqlite").open("r+b") as file:
            file.write(b"x" * 200)
        answer = client.post("/api/search", data={"id": "001.png"})
        refused(answer, 503, "who runs the server")
        assert str(tmp_path) not in answer.text and answer.headers["retry-after"]


def test_wrong_methods(client: httpx.Client) -> None:
    refused(client.put("/api/items"), 405)


def test_a_body_too_large(index_path: Path) -> None:
    with serving(index_path, upload_bytes=10_000) as (client, _):
        answer = client.post("/api/search", files={"image": ("a.png", b"x" * 30_000)})
        refused(answer, 413, "10,000")
        kind = {"Content-Type": "multipart/form-data; boundary=b"}  # and of no announced length
        head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        parts = [head, *[b"x" * 1000] * 20]
        refused(client.post("/api/search", content=iter(parts), headers=kind), 413)


def test_a_body_too_slow(index_path: Path) -> None:
    with serving(index_path, seconds=0.5) as (client, _):
        address = urlsplit(str(client.base_url))
        with socket.create_connection((address.hostname, address.port), timeout=20) as slow:
            slow.sendall(
                b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b"
            )
            assert b" 408 " in slow.recv(1000)
        assert client.get("/healthz").status_code == 200


def test_more_than_may_wait_are_told_to_come_again(
    index_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    with serving(index_path, waiting=2) as (client, catalogue):
        wait_for(lambda: len(catalogue.facts.thresholds) == 3)
        plain = catalogue.query_of_item
        monkeypatch.setattr(catalogue, "query_of_item", lambda *a: (go.wait(30), plain(*a))[1])
        statuses: list[httpx.Response] = []
        threads = [
            threading.Thread(
                target=lambda: statuses.append(client.post("/api/search", data={"id": "001.png"}))
            )
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(statuses) >= 4)
        assert client.get("/healthz").status_code == 200  # the loop is free
        go.set()
        for thread in threads:
            thread.join()
        busy = [answer for answer in statuses if answer.status_code == 429]
        assert busy and all(answer.headers["retry-after"] == "1" for answer in busy)
        refused(busy[0], 429)
        assert {answer.status_code for answer in statuses} == {200, 429}


def test_a_search_that_takes_too_long(index_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    with serving(index_path, seconds=3) as (client, catalogue):  # enough to read the request
        plain = catalogue.query_of_item
        monkeypatch.setattr(catalogue, "query_of_item", lambda *a: (go.wait(30), plain(*a))[1])
        answer = client.post("/api/search", data={"id": "001.png"})
        refused(answer, 503, "3 seconds")
        assert answer.headers["retry-after"]
        go.set()


# Who may ask


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
        assert page.status_code == 401 and page.text.startswith("This server wants a token")
        answer = client.get(f"/?id=001.png&token={token}")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/?id=001.png"
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "SameSite=Strict" in answer.headers["set-cookie"]
        assert client.get("/api/catalogue").status_code == 200  # by the cookie
        client.cookies.clear()
        for path, place in {
            "//evil.example/": "/evil.example/",
            "/%5cevil.example": "/%5Cevil.example",
            "/%09/evil.example": "/%09/evil.example",
            "/a%0d%0aSet-Cookie:%20b=c": "/a%0D%0ASet-Cookie%3A%20b%3Dc",
        }.items():
            answer = client.head(f"{str(client.base_url).rstrip('/')}{path}?token={token}")
            assert answer.status_code == 303 and answer.headers["location"] == place
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
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(VsearchError, match=f"{port}, cannot be served.* --port"):
            listen("127.0.0.1", port)


def test_answers_in_two_parts_do_not_wait_for_an_acknowledgement() -> None:
    """asyncio turns Nagle's algorithm off only on sockets that name their protocol."""
    with listen("127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP


def test_a_connection_that_stops_in_its_second_request_is_closed(
    index_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vsearch_fast.web.server._HEADER_SECONDS", 0.6)
    with serving(index_path) as (client, _):
        address = urlsplit(str(client.base_url))
        head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with socket.create_connection((address.hostname, address.port), timeout=20) as stuck:
            for _ in range(5):  # one that goes on asking is served longer than that
                stuck.sendall(head)
                answer = b""
                while not answer.endswith(b"}"):
                    part = stuck.recv(10_000)
                    assert part, "closed between requests"
                    answer += part
                time.sleep(0.2)
            stuck.sendall(b"GET / HT")
            assert stuck.recv(10) == b""


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_the_box_of_a_photo_on_its_side(
    client: httpx.Client, catalogue: Catalogue, tmp_path: Path, orientation: int
) -> None:
    path = tmp_path / "side.jpg"
    image = Image.open(io.BytesIO(png(11, (200, 120))))
    exif = image.getexif()
    exif[274] = orientation
    image.save(path, exif=exif)
    query = search(client, path.read_bytes(), box="auto")["query"]
    assert (query["width"], query["height"]) == ((200, 120) if orientation == 1 else (120, 200))
    assert tuple(query["box"]) == catalogue.embedder.locate(path)
    assert query["box"][2] <= query["width"] and query["box"][3] <= query["height"]


def test_an_index_that_was_replaced_is_served_no_longer(tmp_path: Path) -> None:
    index_path = make_catalogue(tmp_path / "a", 4)
    with serving(index_path) as (client, catalogue):
        wait_for(lambda: len(catalogue.facts.thresholds) == 3)
        index_path.rename(tmp_path / "b")
        catalogue.refresh()
        refused(client.post("/api/search", data={"id": "001.png"}), 503, "replaced")
        refused(client.get("/api/items"), 503, "replaced")


def test_silent_connections_are_closed(index_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsearch_fast.web.server._HEADER_SECONDS", 0.3)
    with serving(index_path) as (client, _):
        address = urlsplit(str(client.base_url))
        began = time.monotonic()
        with socket.create_connection((address.hostname, address.port), timeout=20) as silent:
            assert silent.recv(10) == b""
        assert time.monotonic() - began < 10
