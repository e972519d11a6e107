"""The search API over real HTTP: answers equal to the index's own."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from served import METRICS, make_catalogue, png, refused, search, serving, wait_for

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.index.isotonic import Curve
from vsearch_fast.index.likeness import Chance
from vsearch_fast.web.catalogue import Catalogue


@pytest.mark.parametrize("metric", [*METRICS, "cosine", "ip"])
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
    assert result["matches"][0]["path"] is None  # the index follows no folder, so it says nothing
    query = answer["query"]
    assert (query["width"], query["height"]) == (90, 70)
    assert query["box"] == (list(part) if part else None)
    assert query["box_from"] == ("you" if part else None)


def test_a_photo_of_the_catalogue_that_is_uploaded_again_finds_itself_first(
    client: httpx.Client, catalogue: Catalogue
) -> None:
    whole = [item for item in catalogue.index if item.box is None]
    assert len(whole) == 24
    for item in whole:
        assert item.path is not None
        answer = search(client, Path(item.path).read_bytes(), k=1, metric="all")
        for result in answer["results"]:
            assert [(m["id"], m["distance"]) for m in result["matches"]] == [(item.id, 0)]


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
    assert path is not None
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


def test_a_filter_in_the_language_of_filters(client: httpx.Client, catalogue: Catalogue) -> None:
    picture = png(3)
    wanted = "price < 20 and not (category = Lamp or price in (7, 8))"
    answer = search(client, picture, k=99, filter=wanted, where="new=true")
    items: list[Any] = list(catalogue.index)
    met = {
        item.id
        for item in items
        if item.metadata["price"] < 20 and item.metadata["category"] != "Lamp"
        and item.metadata["price"] not in (7, 8) and item.metadata["new"] is True
    }  # fmt: skip
    assert {match["id"] for match in answer["results"][0]["matches"]} == met != set()
    listed = client.get("/api/items", params={"filter": wanted, "where": "new=true"}).json()
    assert {item["id"] for item in listed["items"]} == met
    for text, what in (("price <", "ends too soon"), ("cost < 3", "no metadata column 'cost'")):
        posted = client.post("/api/search", data={"filter": text}, files={"image": picture})
        refused(posted, 400, what)
        refused(client.get("/api/items", params={"filter": text}), 400, what)


def test_one_match_a_thing(client: httpx.Client, catalogue: Catalogue) -> None:
    picture = png(3)
    answer = search(client, picture, k=5, group_by="category")
    found = [match["metadata"]["category"] for match in answer["results"][0]["matches"]]
    kinds = {str(item.metadata["category"]) for item in catalogue.index}
    assert len(found) == len(set(found)) == min(5, len(kinds))
    own = next(iter(catalogue.index))
    answer = search(client, id=own.id, k=99, group_by="category")
    found = [match["metadata"]["category"] for match in answer["results"][0]["matches"]]
    assert sorted(found) == sorted(kinds - {str(own.metadata["category"])})
    posted = client.post("/api/search", data={"group_by": "cost"}, files={"image": picture})
    refused(posted, 400, "no metadata column 'cost'")


def test_matches_are_called_by_what_the_index_has_learnt(
    client: httpx.Client, catalogue: Catalogue
) -> None:
    picture = Path(catalogue.index.get("002.png").path or "").read_bytes()
    learnt = dict(catalogue.facts.likeness)
    [result] = search(client, picture)["results"]
    assert learnt["l2"].why_same == "there is no column 'item'"
    assert "same item" not in {match["label"] for match in result["matches"]}
    far = result["matches"][-1]["distance"]
    told: dict[str, Any] = {
        "pairs": 90,
        "true": 40,
        "things": 30,
        "right": 0.9,
        "brier": 0.1,
        "blind": 0.25,
    }
    try:
        catalogue.facts.likeness = {
            "l2": replace(
                learnt["l2"],
                same=Chance(Curve((0.0, far / 9), (0.9, 0.01)), **told),
                similar=Chance(Curve((far / 9, far), (0.6, 0.05)), **told),
            )
        }
        [result] = search(client, picture)["results"]
        for match in result["matches"]:
            label = catalogue.facts.likeness["l2"].label(match["distance"])
            wanted: tuple[str | None, float | None] = (None, None)
            if label is not None:
                wanted = (label.words, round(label.probability, 4))
            assert (match["label"], match["probability"]) == wanted
        assert result["matches"][0]["label"] == "same item"
        assert result["matches"][-1]["label"] == "not similar"
        assert not result["nothing_similar"]
        never = Chance(Curve((0.0,), (0.05,)), **told)
        catalogue.facts.likeness = {"l2": replace(learnt["l2"], same=None, similar=never)}
        [result] = search(client, picture)["results"]
        assert {match["label"] for match in result["matches"]} == {"not similar"}
        assert result["nothing_similar"]
        [none] = search(client, picture, where="category=None such")["results"]
        assert not none["nothing_similar"]  # it is the filter
    finally:
        catalogue.facts.likeness = learnt


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


def test_codes_by_a_rule_of_the_model_are_compared(tmp_path: Path) -> None:
    """An index of such codes refuses features for Hamming, so that these are the model's own."""
    path = make_catalogue(tmp_path, 12, format="2", binarize="median")
    with serving(path) as (client, catalogue):
        wait_for(lambda: len(catalogue.facts.likeness) == 3)
        assert catalogue.index.binarize == "median"
        codes = catalogue.index.codes(["003.png"])
        [hits] = catalogue.index.search(codes, 12, "hamming")
        forms: tuple[dict[str, Any], ...] = ({}, {"box": "0,0,100,120"})
        for form in forms:
            answer = search(client, id="003.png", k=11, metric="hamming", **form)
            matches = [(m["id"], m["distance"]) for m in answer["results"][0]["matches"]]
            assert matches == [(hit.id, hit.distance) for hit in hits if hit.id != "003.png"]
        assert search(client, png(), k=3, metric="all")["results"]


def test_max_distance_leaves_out_what_is_farther(
    client: httpx.Client, catalogue: Catalogue
) -> None:
    picture = png()
    [whole] = search(client, picture, k=9)["results"]
    distance = whole["matches"][4]["distance"]
    [some] = search(client, picture, k=9, max_distance=distance)["results"]
    assert some["matches"] == [m for m in whole["matches"] if m["distance"] <= distance]
    assert len(some["matches"]) >= 5
    [fewer] = search(client, picture, k=2, max_distance=distance)["results"]
    assert fewer["matches"] == whole["matches"][:2]
    for wrong in ("-1", "nan", "inf", "near"):
        answer = client.post("/api/search", files={"image": picture}, data={"max_distance": wrong})
        assert answer.status_code == 422, answer.text
    for metric in ("hamming", "cosine", "all"):
        form = {"max_distance": "-1", "metric": metric}
        answer = client.post("/api/search", files={"image": picture}, data=form)
        assert answer.status_code == 422, answer.text


def test_max_distance_of_an_inner_product_which_is_negated(client: httpx.Client) -> None:
    picture = png()
    [whole] = search(client, picture, k=9, metric="ip")["results"]
    distance = whole["matches"][4]["distance"]
    assert distance < 0
    [some] = search(client, picture, k=9, metric="ip", max_distance=distance)["results"]
    assert some["matches"] == [m for m in whole["matches"] if m["distance"] <= distance]
