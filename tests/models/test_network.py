"""The networks of the package: the default through `Embedder()`, the slim one by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

import vsearch_fast as vs
from vsearch_fast.datasets import garments, splits
from vsearch_fast.models import SHIPPED, Shipped, default_model, default_model_id

NO_CATEGORY = {"Not sure", "Other", "Skip"}


def test_they_are_small() -> None:
    files = list(default_model().parent.glob("*.onnx"))
    assert sum(each.stat().st_size for each in files) <= 40_000_000


@pytest.mark.parametrize("each", SHIPPED, ids=[each.name for each in SHIPPED])
def test_it_says_what_it_is(each: Shipped) -> None:
    embedder = vs.Embedder(each.name, providers="cpu")
    assert (embedder.dim, embedder.metadata["layer"]) == (4096, "fc1")
    assert embedder.metadata["trained"] == "yes"
    assert repr(embedder).startswith(f"<Embedder {each.file}: 4096 features of fc1")
    training = json.loads(embedder.metadata["training"])
    card = each.path.with_name(each.card).read_text(encoding="utf-8")
    for word in ("CC0", "Limits", f"{training['pictures']['train']:,}"):
        assert word in card


def test_the_default_is_the_one_for_anything_and_names_whose_weights_it_has() -> None:
    embedder = vs.Embedder(providers="cpu")
    assert embedder.model_id == default_model_id() == vs.Embedder("anything", "cpu").model_id
    said = embedder.metadata["attribution"]
    card = default_model().with_name("CARD-anything.md").read_text(encoding="utf-8")
    for word in ("Simonyan", "Zisserman", "CC BY 4.0", "changed"):
        assert word in said and word in card


def test_its_boxes_are_those_of_the_slim_network(tmp_path) -> None:
    [record] = garments.render_catalogue(tmp_path, items=1, views=1, seed=5, size=(120, 150))
    box = vs.Embedder(providers="cpu").locate(record.path)
    assert box == vs.Embedder("slim-clothing", providers="cpu").locate(record.path)


def test_bits_differ_between_pictures(tmp_path) -> None:
    records = garments.render_catalogue(tmp_path, items=60, views=1, seed=77, size=(120, 150))
    paths = [record.path for record in records]
    for each in SHIPPED:
        bits = np.unpackbits(vs.Embedder(each.name, providers="cpu").codes(paths), axis=1)
        assert 0.2 < bits.mean() < 0.6


@pytest.mark.parametrize(
    ("name", "best", "hamming"), [("anything", 0.75, 0.75), ("slim-clothing", 0.56, 0.52)]
)
def test_matches_of_unseen_senders_are_as_good_as_the_card_says(
    photos, name: str, best: float, hamming: float
) -> None:
    """A little below the card's figures: another processor rounds otherwise."""
    from vsearch_fast.datasets import folder
    from vsearch_fast.export.training.judge import matches, units

    columns = {"path": "image", "category": "label", "group": "sender_id"}
    records = folder.read(photos, csv="images.csv", columns=columns)
    records = [each for each in records if each.category not in NO_CATEGORY]
    sides, _ = splits.split(records)
    unseen = [each for each, side in zip(records, sides, strict=True) if side == "test"]
    embedder = vs.Embedder(name, providers="cpu")
    trained = set(json.loads(embedder.metadata["training"])["trained_groups"])
    assert not trained & {splits.fingerprint(splits.group_of(each)) for each in unseen}
    features = embedder.embed([each.path for each in unseen])
    labels = np.unique([each.category for each in unseen], return_inverse=True)[1].astype(np.int32)
    groups = np.unique([each.group for each in unseen], return_inverse=True)[1].astype(np.int32)
    found = matches(features, labels, groups)
    assert max(share.value for share in found.values()) >= best
    assert found["hamming"].value >= hamming
    counted = units(features)
    assert 0.2 <= counted.active <= 0.6
    assert counted.constant < 0.02


@pytest.mark.parametrize("command", ["index", "search"])
def test_commands_need_no_model(command: str, tmp_path) -> None:
    from click.testing import CliRunner

    from vsearch_fast.cli import vsearch

    pictures = tmp_path / "pictures"
    records = garments.render_catalogue(pictures, items=3, views=1, size=(64, 80))
    index = tmp_path / "an.index"
    result = CliRunner().invoke(vsearch, ["index", str(pictures), "-o", str(index), "--quiet"])
    assert result.exit_code == 0, result.output
    if command == "search":
        found = CliRunner().invoke(vsearch, ["search", str(index), str(records[1].path), "-k", "1"])
        assert found.exit_code == 0 and records[1].path.name in found.output
