"""The catalogue over real HTTP: items, thumbnails, and what changes meanwhile."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from PIL import Image
from served import CATEGORIES, METRICS, make_catalogue, png, refused, search, serving

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.index import Index


def test_what_is_served(client: httpx.Client) -> None:
    about = client.get("/api/catalogue").json()
    assert about["name"] == "tiny.index" and about["pictures"] == 30
    assert about["locates"] and not about["boxed"] and about["note"] == "untrained network"
    described = {column["name"]: column for column in about["columns"]}
    columns = {name: column["values"] for name, column in described.items()}
    assert [value["value"] for value in columns["category"]] == list(CATEGORIES)
    assert {value["count"] for value in columns["category"]} == {10}
    assert {value["value"] for value in columns["new"]} == {True, False}
    assert columns["price"] == []  # thirty prices of thirty pictures are no list to choose from
    told = [described["price"][name] for name in ("kind", "distinct", "min", "max")]
    assert told == ["number", 30, 0, 29]
    assert [described[name]["kind"] for name in ("category", "new")] == ["text", "text"]
    assert about["titles"] == {
        "title": None, "price": "price", "link": None, "columns": ["category", "new"]
    }  # fmt: skip
    assert set(about["labels"]) == set(METRICS)


def test_whether_most_items_are_parts_of_pictures(tmp_path: Path) -> None:
    index_path = make_catalogue(tmp_path, 4)
    for boxed, told in ((2, False), (3, True)):
        with Index.open(index_path, mode="rw") as index:
            index.update([replace(item, box=(1, 2, 30, 40)) for item in list(index)[:boxed]])
            assert index.info()["boxed"] == boxed
        with serving(index_path) as (client, _):
            assert client.get("/api/catalogue").json()["boxed"] is told


def test_items_page_by_page(client: httpx.Client) -> None:
    seen: list[str] = []
    following: str | None = ""
    while following is not None:
        parameters: dict[str, str | int] = {"limit": 4, "where": "category=Dress"}
        if following:
            parameters["after"] = following
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


def test_segments_are_joined_beside_a_server(tmp_path: Path) -> None:
    index_path = make_catalogue(tmp_path, 4)
    with serving(index_path) as (client, _):

        def matches() -> list[object]:
            results = search(client, id="001.png", metric="all")["results"]
            return [result["matches"] for result in results]

        before = matches()
        for segment_rows in (1, 3):
            with Index.open(index_path, mode="rw") as writer:
                writer.optimize(segment_rows=segment_rows)
            assert matches() == before
            assert client.get("/api/catalogue").json()["pictures"] == 4


def test_an_empty_index_is_served(tmp_path: Path) -> None:
    index_path = make_catalogue(tmp_path, 2)
    with Index.open(index_path, mode="rw") as writer:
        writer.remove(["000.png", "001.png"])
    with serving(index_path) as (client, _):
        assert client.get("/api/catalogue").json()["pictures"] == 0
        assert search(client, png(), metric="all")["results"][0]["matches"] == []


def test_a_place_of_before_a_compaction(client: httpx.Client, tmp_path: Path) -> None:
    """Of an index, whose places say how often it was compacted; shards have others."""
    answer = client.get("/api/items", params={"after": str(5 << 40)})
    refused(answer, 409, "before it was compacted")
