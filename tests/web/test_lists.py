"""Lists of the catalogue: by words, filter, order, offset; values, counts; titles; a table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import CATEGORIES, make_catalogue, refused, serving, wait_for

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.index import Index
from vsearch_fast.index.titles import Titles


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


def listed(client: httpx.Client, **parameters: Any) -> dict[str, Any]:
    answer = client.get("/api/items", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


#: What `make_catalogue` makes.
ROWS = [(f"{n:03}.png", CATEGORIES[n % 3], n, n % 2 == 0) for n in range(30)]


@pytest.mark.parametrize(
    ("parameters", "kept"),
    [
        ({}, lambda row: True),
        ({"text": "DRESS"}, lambda row: row[1] == "Dress"),
        ({"text": "01 png lamp"}, lambda row: "01" in row[0] and row[1] == "Lamp"),
        ({"text": "true"}, lambda row: row[3]),
        ({"text": "nowhere"}, lambda row: False),
        ({"where": ["category=Lamp", "category=Shoe"]}, lambda row: row[1] != "Dress"),
        ({"filter": "price >= 20", "where": "new=true"}, lambda row: row[2] >= 20 and row[3]),
        ({"text": "2", "filter": "price < 9"}, lambda row: "2" in row[0] and row[2] < 9),
    ],
)
@pytest.mark.parametrize("sort", ["", "-price", "category", "-category"])
def test_a_list_against_its_definition(
    client: httpx.Client, parameters: dict[str, Any], kept: Any, sort: str
) -> None:
    rows = [row for row in ROWS if kept(row)]
    places = {"price": 2, "category": 1}
    if sort:  # stable: what is equal stays as it was added, either way
        place = places[sort.lstrip("-")]
        values = sorted({row[place] for row in rows}, reverse=sort.startswith("-"))
        rows.sort(key=lambda row: values.index(row[place]))
    expected = [row[0] for row in rows]
    asked = parameters | ({"sort": sort} if sort else {})
    whole = listed(client, **asked, limit=500)
    assert ids(whole) == expected and whole["total"] == len(expected) and whole["next"] is None
    for offset in (1, 7, 40):
        part = listed(client, **asked, limit=5, offset=offset)
        assert ids(part) == expected[offset : offset + 5] and part["total"] == len(expected)
    seen, after = [], None
    for _ in range(20):
        page = listed(client, **asked, limit=4, **({"after": after} if after else {}))
        seen += ids(page)
        assert page["total"] == len(expected)
        after = page["next"]
        if after is None:
            break
    assert seen == expected


def test_wrong_lists(client: httpx.Client) -> None:
    refused(client.get("/api/items", params={"sort": "nope"}), 400, "nope", "category")
    refused(client.get("/api/items", params={"text": "a", "after": "3"}), 400, "after")
    refused(client.get("/api/items", params={"after": "o3", "offset": 3}), 400, "after")
    refused(client.get("/api/items", params={"txet": "a"}), 422, "txet", "Did you mean text?")
    refused(client.get("/api/items", params={"text": "a", "filter": "nope = 1"}), 400, "nope")
    refused(client.get("/api/items", params={"filter": "price <"}), 400, "bad_filter")
    refused(client.get("/api/values", params={"column": "nope"}), 400, "nope")


def test_values_are_counted_under_the_other_filters(client: httpx.Client) -> None:
    asked: dict[str, Any] = {
        "column": "category", "where": ["category=Shoe", "new=true"],
        "filter": "price < 20 and category != Lamp",
    }  # fmt: skip
    answer = client.get("/api/values", params=asked).json()
    # What is asked of the column itself is left out, wherever it stands.
    expected = Counter(row[1] for row in ROWS if row[3] and row[2] < 20)
    assert {each["value"]: each["count"] for each in answer["values"]} == expected
    assert answer["kind"] == "text" and answer["distinct"] == 3 and answer["min"] is None
    within = client.get("/api/values", params=asked | {"text": "SHO"}).json()
    assert [each["value"] for each in within["values"]] == ["Shoe"]
    none: dict[str, Any] = {
        "column": "category",
        "where": "category=Lamp",
        "filter": "price = 0",
        "limit": 1,
    }
    chosen = client.get("/api/values", params=none).json()
    assert chosen["values"] == [{"value": "Dress", "count": 1}] and chosen["distinct"] == 2
    prices = client.get("/api/values", params={"column": "price", "where": "category=Lamp"}).json()
    assert (prices["kind"], prices["min"], prices["max"], prices["distinct"]) == (
        "number",
        1,
        28,
        10,
    )


def test_lists_follow_what_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # However long a busy machine took to read it: one that is small is read before each answer.
    monkeypatch.setattr("vsearch_fast.web.listings._AT_ONCE", float("inf"))
    with serving(make_catalogue(tmp_path, 3)) as (client, catalogue):
        assert listed(client, sort="-price")["total"] == 3
        with Index.open(catalogue.index.path, mode="rw") as writer:
            row = writer.features(["001.png"])
            writer.add(["new one"], row, [{"price": "12.50", "a=b": ["x", "y"], "old": None}])
            writer.remove(["000.png"])
        answer = listed(client, sort="-price")
        assert ids(answer) == ["new one", "002.png", "001.png"] and answer["total"] == 3
        # A column's name may have an equals sign; an item of several values has each.
        assert ids(listed(client, where="a=b=y")) == ["new one"]
        assert ids(listed(client, text="new x")) == ["new one"]
        values = client.get("/api/values", params={"column": "a=b", "where": "a=b=x"}).json()
        assert values["kind"] == "list" and values["distinct"] == 2


def test_what_takes_long_to_read_is_read_behind_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vsearch_fast.web.listings._AT_ONCE", -1.0)
    with serving(make_catalogue(tmp_path, 3)) as (client, catalogue):
        assert listed(client, sort="-price")["total"] == 3
        with Index.open(catalogue.index.path, mode="rw") as writer:
            writer.add(["new one"], writer.features(["001.png"]), [{"price": 99}])
        # Who asks again gets it, soon.
        wait_for(lambda: ids(listed(client, sort="-price"))[0] == "new one")


def test_a_catalogue_too_large_for_such_lists(index_path: Path) -> None:
    with serving(index_path, listed_items=10) as (client, _):
        error = refused(client.get("/api/items", params={"sort": "price"}), 400, "10 at most")
        assert error["code"] == "too_many_items"
        refused(client.get("/api/values", params={"column": "category"}), 400)
        assert listed(client, where="category=Dress", limit=2)["total"] is None
        assert listed(client)["total"] == 30
        columns = client.get("/api/catalogue").json()["columns"]
        assert [c["distinct"] for c in columns if c["name"] == "category"] == [3]
        grouped = client.post("/api/search", data={"id": "001.png", "group_by": "category"}).json()
        assert {match["views"] for match in grouped["results"][0]["matches"]} == {None}


def test_titles_are_kept_and_guessed(tmp_path: Path) -> None:
    path = make_catalogue(tmp_path, 2)
    with Index.open(path, mode="rw") as writer:
        named: dict[str, Any] = {
            "Name": "Red lamp",
            "url": "https://shop.example/1",
            "price": 3,
            "size": "S",
        }
        writer.add(["a"], writer.features(["001.png"]), [named])
    with serving(path) as (client, _):
        assert client.get("/api/catalogue").json()["titles"] == {
            "title": "Name", "price": "price", "link": "url", "columns": ["category", "new", "size"]
        }  # fmt: skip
    with Index.open(path) as reader:
        reader.show_as(Titles(title="size", columns=("new", "gone")))
        assert reader.titles.title == "size"
    with serving(path) as (client, _):
        assert client.get("/api/catalogue").json()["titles"] == {
            "title": "size", "price": "price", "link": "url", "columns": ["new"]
        }  # fmt: skip


def test_a_table_of_items(tmp_path: Path) -> None:
    path = make_catalogue(tmp_path, 2)
    with Index.open(path, mode="rw") as writer:
        row = writer.features(["001.png"])
        writer.add(["=id"], row, [{"name": '@sum("x")\r\n,é', "price": -3, "tags": ["+a", "b"]}])
    with serving(path) as (client, _):
        asked = {"ids": ["=id", "001.png", "=id"], "format": "csv"}
        got = client.get("/api/export", params=asked)
        posted = client.post("/api/export", json=asked)
        assert got.content == posted.content and got.headers["content-type"].startswith("text/csv")
        assert "attachment" in got.headers["content-disposition"]
        lines = list(csv.reader(io.StringIO(got.content.decode("utf-8-sig"))))
        assert lines[0] == ["id", "name", "price", "category", "new", "tags"]
        # No cell is a formula; a number is one, even below 0.
        assert lines[1] == ["'=id", '\'@sum("x")\r\n,é', "-3", "", "", "'+a; b"]
        assert lines[2] == ["001.png", "", "1", "Lamp", "false", ""]
        refused(client.get("/api/export", params={"ids": "nope"}), 404, "nope")
        refused(client.get("/api/export", params={"ids": "=id", "format": "xls"}), 422)
