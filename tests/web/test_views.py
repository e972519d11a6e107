"""A served catalogue whose items are whole pictures and boxes: queries are both, too."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from served import METRICS, make_catalogue, png, search, serving, wait_for

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.embedder import embed_views
from vsearch_fast.web.catalogue import Catalogue

Pair = tuple[httpx.Client, Catalogue]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    path = make_catalogue(tmp_path_factory.mktemp("views"), views=("whole", "box"))
    with serving(path) as (client, catalogue):
        wait_for(lambda: len(catalogue.facts.likeness) == 3)
        yield client, catalogue


def _same(answer: dict[str, Any], hits: Any) -> None:
    [result] = answer["results"]
    found = [(match["id"], match["distance"]) for match in result["matches"]]
    assert found == [(hit.id, hit.distance) for hit in hits]
    assert len({id_ for id_, _ in found}) == len(found)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("box", [None, "auto", "10,5,60,50"])
def test_an_upload_is_compared_as_a_whole_and_as_a_part(
    pair: Pair, metric: Any, box: str | None
) -> None:
    client, catalogue = pair
    assert client.get("/api/catalogue").json()["views"] == ["whole", "box"]
    assert not client.get("/api/catalogue").json()["boxed"]
    picture, given = png(), None if box in (None, "auto") else (10, 5, 60, 50)
    form = {"metric": metric, "k": 30} | ({"box": box} if box else {})
    answer = search(client, picture, **form)
    features, codes = embed_views(catalogue.embedder, [picture], [given])
    _same(answer, catalogue.index.search(codes if metric == "hamming" else features, 30, metric)[0])
    located = list(catalogue.embedder.locate(Image.open(io.BytesIO(picture))))
    assert answer["query"]["box"] == {None: None, "auto": located}.get(box, [10, 5, 60, 50])
    # Once more of what is kept: its features are.
    again = search(client, query=answer["query"]["kept"], **form)
    assert again["results"][0]["matches"] == answer["results"][0]["matches"]


def test_every_photo_of_the_catalogue_that_is_uploaded_again_finds_itself_first(pair: Pair) -> None:
    client, catalogue = pair
    for item in catalogue.index:
        assert item.path is not None
        answer = search(client, Path(item.path).read_bytes(), k=1, metric="all")
        for result in answer["results"]:
            assert [(m["id"], m["distance"]) for m in result["matches"]] == [(item.id, 0)]


def test_an_item_of_the_catalogue_finds_others(pair: Pair) -> None:
    client, catalogue = pair
    for id_ in ("003.png", "004.png"):  # without and with a box of its own
        answer = search(client, id=id_, k=6, metric="l1")
        hits = catalogue.index.search(catalogue.index.features([id_]), 7, "l1")[0]
        _same(answer, [hit for hit in hits if hit.id != id_])
        item = catalogue.index.get(id_)
        features, _ = embed_views(catalogue.embedder, [str(item.path)], [(5, 6, 50, 60)])
        answer = search(client, id=id_, k=6, metric="l1", box="5,6,50,60")
        hits = catalogue.index.search(features, 7, "l1")[0]
        _same(answer, [hit for hit in hits if hit.id != id_])
