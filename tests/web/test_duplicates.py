"""Duplicates of the catalogue: a job, its groups, and the table of what to remove."""

from __future__ import annotations

import csv
import io
import shutil
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import PATIENCE, make_catalogue, refused, serving, wait_for

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.index import Index, Item


def with_copies(folder: Path) -> Path:
    """A catalogue of 6 pictures, and copies of two of them."""
    path = make_catalogue(folder, 6)
    with Index.open(path, mode="rw") as writer:
        for number, of in enumerate(("001.png", "001.png", "003.png")):
            file = folder / "pictures" / f"copy {number}.png"
            shutil.copy(folder / "pictures" / of, file)
            item = Item(f"=copy {number}", str(file))
            writer.add([item.id], writer.features([of]), [item], codes=writer.codes([of]))
    return path


def ended(client: httpx.Client) -> dict[str, Any]:
    answer: dict[str, Any] = {}

    def over() -> bool:
        answer.update(client.get("/api/duplicates").json())
        return bool(answer["state"] != "running")

    wait_for(over)
    return answer


def test_copies_are_found_and_told(tmp_path: Path) -> None:
    with serving(with_copies(tmp_path)) as (client, catalogue):
        assert client.get("/api/duplicates").json()["state"] == "none"
        error = refused(client.get("/api/duplicates/table"), 404)
        assert error["code"] == "no_such_job"
        begun = client.post("/api/duplicates", json={"within": 0})
        assert begun.status_code == 202 and begun.json()["groups"] == []
        found = ended(client)
        assert (found["state"], found["changed"], found["error"]) == ("done", False, "")
        expected = catalogue.index.duplicates(within=0)
        told = [{item["id"] for item in group["items"]} for group in found["groups"]]
        assert told and told == [{copy.id for copy in group.items} for group in expected]
        first = found["groups"][0]["items"][0]
        assert (first["width"], first["height"], first["path"]) == (100, 120, None)
        page = client.get("/api/duplicates", params={"offset": 1, "limit": 1}).json()
        assert page["groups"] == found["groups"][1:2]
        assert page["groups_in_all"] == len(found["groups"])

        table = client.get("/api/duplicates/table").content.decode("utf-8-sig")
        lines = list(csv.DictReader(io.StringIO(table)))
        assert not any(value.startswith("=") for line in lines for value in line.values())
        removed = {line["id"].lstrip("'") for line in lines if line["action"] == "remove"}
        assert len(removed) == found["copies"] > 0
        with Index.open(catalogue.index.path, mode="rw") as writer:
            writer.remove(removed)
        assert client.get("/api/duplicates").json()["changed"]
        client.post("/api/duplicates", json={"within": 0})
        assert ended(client)["copies"] == 0


def test_one_search_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    with serving(make_catalogue(tmp_path, 3), compared_items=3) as (client, catalogue):
        kind = type(catalogue.index)
        plain = kind.duplicates
        monkeypatch.setattr(
            kind, "duplicates", lambda *a, **k: (go.wait(PATIENCE), plain(*a, **k))[1]
        )
        assert client.post("/api/duplicates").status_code == 202
        assert client.get("/api/duplicates").json()["state"] == "running"
        assert refused(client.post("/api/duplicates"), 409)["code"] == "busy_job"
        assert client.post("/api/search", data={"id": "001.png"}).status_code == 200
        go.set()
        assert ended(client)["state"] == "done"
        refused(client.post("/api/duplicates", data={"within": "-1"}), 422)
        monkeypatch.setattr(kind, "duplicates", lambda *a, **k: 1 / 0)  # whatever it is
        assert client.post("/api/duplicates").status_code == 202
        failed = ended(client)
        assert failed["state"] == "failed" and failed["error"]


def test_a_catalogue_too_large_to_compare_here(index_path: Path) -> None:
    with serving(index_path, compared_items=29) as (client, _):
        answer = client.post("/api/duplicates")
        assert refused(answer, 400, "29 at most")["code"] == "too_many_items"
