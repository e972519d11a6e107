"""Wrong requests over real HTTP: errors with cause and cure."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from served import make_catalogue, png, refused, serving, wait_for

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.index import Index
from vsearch_fast.web.catalogue import Catalogue


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
        ({"id": "001.png", "metric": "chebyshev"}, 422, "metric"),
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


def kept_likeness(path: Path) -> dict[str, Any]:
    with Index.open(path) as index:
        return dict(index.info()["likeness"])


def test_a_broken_index_is_not_the_clients_fault(tmp_path: Path) -> None:
    index_path = make_catalogue(tmp_path, 4)
    with serving(index_path) as (client, _):
        # Until what was learnt is written: a commit would write the first page anew.
        wait_for(lambda: len(kept_likeness(index_path)) == 3)
        with (index_path / "index.sqlite").open("r+b") as file:
            file.write(b"x" * 200)
        answer = client.post("/api/search", data={"id": "001.png"})
        refused(answer, 503, "who runs the server")
        assert str(tmp_path) not in answer.text and answer.headers["retry-after"]


def test_wrong_methods(client: httpx.Client) -> None:
    refused(client.put("/api/items"), 405)
