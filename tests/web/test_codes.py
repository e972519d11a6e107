"""The errors of the API by their codes: all documented, all used, each with its example."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.web.codes import CODES

ROOT = Path(__file__).resolve().parents[2]


def test_the_guide_has_every_code_and_no_other() -> None:
    guide = (ROOT / "docs/guides/search-page-and-api.md").read_text()
    told = re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \| (.+) \|$", guide, re.MULTILINE)
    assert told == [(code, str(each.status), each.meaning) for code, each in CODES.items()]


def test_every_code_is_used() -> None:
    sources = {
        path.name: path.read_text()
        for path in (ROOT / "vsearch_fast/web").glob("*.py")
        if path.name not in ("codes.py", "schemas.py")
    }
    text = "\n".join(re.sub(r"errors\([^)]*\)", "", source) for source in sources.values())
    assert [code for code in CODES if f'"{code}"' not in text] == []


def test_each_status_shows_an_example_of_each_code(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    seen = set()
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                if int(status) < 400:
                    continue
                content = answer["content"]["application/json"]
                assert content["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}
                assert content["examples"], (path, method, status)
                for code, example in content["examples"].items():
                    assert example["value"]["error"]["code"] == code
                    assert CODES[code].status == int(status)
                    seen.add(code)
    # Of methods nobody describes, and of studies, which this server has not.
    assert set(CODES) - seen <= {"no_such_method", "bad_order", "no_such_task"}


def test_nothing_optional_is_filled_in_for_who_tries_it(client: httpx.Client) -> None:
    """*Try it out* sends along what it finds as an example, else "string", and such fields
    contradict one another."""
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    form = next(schema for name, schema in schemas.items() if name.startswith("Body_search"))
    kept = {"image", "k", "offset", "metric"}
    assert kept < form["properties"].keys() and "required" not in form
    for name, each in form["properties"].items():
        assert "examples" not in each and (name in kept or each["example"] in ("", []))


def test_fields_that_are_left_empty_are_left_out(client: httpx.Client) -> None:
    empty = dict.fromkeys(("query", "url", "box", "filter", "group_by", "max_distance"), "")
    asked = {"id": client.get("/api/items").json()["items"][0]["id"], "k": "3"}
    left_out = client.post("/api/search", data=asked)
    given = client.post("/api/search", data={**asked, **empty, "where": [""], "exclude": [""]})
    assert given.status_code == left_out.status_code == 200
    assert given.json()["results"][0]["matches"] == left_out.json()["results"][0]["matches"]
