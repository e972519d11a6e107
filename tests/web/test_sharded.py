"""A sharded index, served as any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import make_catalogue, search, serving, wait_for

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.index import Index
from vsearch_fast.shards import ShardedIndex
from vsearch_fast.shards.splitting import split


def matches(answer: dict[str, Any]) -> list[Any]:
    return [(match["id"], match["distance"]) for match in answer["results"][0]["matches"]]


def test_it_is_served_as_one_index(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = make_catalogue(tmp_path, 7)
    place = one.with_name("many.shards")
    split(one, 3, place)
    with serving(one) as (client, _):
        expected = matches(search(client, id="001.png"))
        listed = client.get("/api/items").json()
    with serving(place) as (client, catalogue):
        wait_for(lambda: len(catalogue.facts.likeness) == 3)  # learnt, and kept in the list
        index = catalogue.index
        assert isinstance(index, ShardedIndex)
        assert matches(search(client, id="001.png")) == expected
        assert client.get("/api/items").json() == listed
        first = client.get("/api/items", params={"limit": 4}).json()
        rest = client.get("/api/items", params={"limit": 4, "after": first["next"]}).json()
        assert first["items"] + rest["items"] == listed["items"]
        assert catalogue.index is index
        assert not caplog.messages

        # A shard that is listed meanwhile is served from the next search on.
        with Index.create(
            tmp_path / "more.index", index.dim, model=index.model, model_id=index.model_id
        ) as more:
            more.add(["new"], np.array(index.features(["001.png"])))
        ShardedIndex.extend(place, [tmp_path / "more.index"])
        assert matches(search(client, id="001.png"))[0] == ("new", 0)
        assert catalogue.index is not index
