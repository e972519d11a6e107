"""Searches that go on: offset, left out pictures, groups; JSON bodies; what is not known."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from served import png, refused, search

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")


def matches(answer: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer["results"][0]["matches"]
    return found


@pytest.mark.parametrize("metric", ["l2", "hamming", "ip"])
@pytest.mark.parametrize("picture", [None, png()])
def test_pages_are_parts_of_one_list(
    client: httpx.Client, metric: str, picture: bytes | None
) -> None:
    asked: dict[str, Any] = {"metric": metric, "where": ["category=Lamp", "category=Shoe"]}
    asked |= {} if picture else {"id": "001.png"}
    whole = matches(search(client, picture, k=50, **asked))
    assert len(whole) == 20 - (picture is None)
    pages = [matches(search(client, picture, k=7, offset=7 * page, **asked)) for page in range(4)]
    assert [match for page in pages for match in page] == whole


def test_left_out_pictures_give_their_places_to_the_next(client: httpx.Client) -> None:
    whole = matches(search(client, id="001.png", k=20))
    out = [whole[0]["id"], whole[3]["id"], "gone.png"]
    rest = [match for match in whole if match["id"] not in out]
    assert matches(search(client, id="001.png", k=15, exclude=out)) == rest[:15]
    assert matches(search(client, id="001.png", k=5, offset=4, exclude=out)) == rest[4:9]


def test_groups_tell_their_thing_and_its_views(client: httpx.Client) -> None:
    found = matches(search(client, png(), group_by="category", where="new=true"))
    assert {match["group"]: match["views"] for match in found} == {"Dress": 5, "Lamp": 5, "Shoe": 5}
    # The thing of a picture that is left out is left out whole.
    some = matches(search(client, png(), group_by="category", exclude="003.png"))
    assert {match["group"] for match in some} == {"Lamp", "Shoe"}
    plain = matches(search(client, png(), k=1))[0]
    assert plain["group"] is None and plain["views"] is None
    refused(client.post("/api/search", data={"id": "001.png", "group_by": "nope"}), 400, "nope")


def test_a_json_body_is_the_same_as_a_form(client: httpx.Client) -> None:
    fields: dict[str, Any] = {
        "id": "001.png", "k": 4, "offset": 2, "max_distance": 1e9, "metric": "l1",
        "where": ["category=Lamp", "category=Dress"], "exclude": ["003.png"], "box": None,
    }  # fmt: skip
    form = {name: value for name, value in fields.items() if value is not None}
    posted = client.post("/api/search", json=fields)
    assert posted.status_code == 200, posted.text
    assert matches(posted.json()) == matches(search(client, **form))
    for body in ('{"id": ', "[1]", '{"id": {"a": 1}}', '{"id": "\\ud800"}', "[" * 100_000):
        answer = client.post(
            "/api/search", content=body, headers={"Content-Type": "application/json"}
        )
        assert refused(answer, 400)["code"] == "bad_json"
    other = client.post("/api/search", content=png(), headers={"Content-Type": "image/png"})
    error = refused(other, 415, "image/png", "multipart/form-data", "application/json")
    assert error["code"] == "wrong_type"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"imgae": "1"}, ["imgae", "Did you mean image?"]),
        ({"within": "3"}, ["within", "max_distance"]),
        ({"offset": "-1"}, ["offset"]),
        ({"offset": "10001"}, ["offset", "10000"]),
        ({"exclude": ["a"] * 501}, ["exclude"]),
    ],
)
def test_fields_that_are_not_known_or_out_of_range(
    client: httpx.Client, fields: dict[str, Any], words: list[str]
) -> None:
    for sent in ({"data": {"id": "001.png"} | fields}, {"json": {"id": "001.png"} | fields}):
        refused(client.post("/api/search", **sent), 422, *words)  # type: ignore[arg-type]
    refused(client.get("/api/catalogue", params={"k": "1"}), 422, "unknown_field")
