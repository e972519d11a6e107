"""The network that comes with the package, through `Embedder()`."""

from __future__ import annotations

import json

import numpy as np
import pytest

import vsearch_fast as vs
from vsearch_fast.datasets import garments, splits
from vsearch_fast.models import default_model, default_model_id

NO_CATEGORY = {"Not sure", "Other", "Skip"}


def test_it_is_small_and_says_what_it_is() -> None:
    file = default_model()
    together = sum(each.stat().st_size for each in file.parent.glob("*.onnx"))
    assert together <= 8_000_000
    embedder = vs.Embedder(providers="cpu")
    assert (embedder.dim, embedder.metadata["layer"]) == (4096, "fc1")
    assert embedder.metadata["trained"] == "yes"
    assert repr(embedder).startswith("<Embedder slim-vgg16-clothing.onnx: 4096 features of fc1")
    training = json.loads(embedder.metadata["training"])
    card = file.with_name("CARD.md").read_text(encoding="utf-8")
    assert embedder.model_id[:16] in card
    assert embedder.model_id == default_model_id()
    for word in ("CC0", "vsearch train", "Limits", f"{training['pictures']['train']:,}"):
        assert word in card


def test_bits_differ_between_pictures(tmp_path) -> None:
    records = garments.render_catalogue(tmp_path, items=60, views=1, seed=77, size=(120, 150))
    codes = vs.Embedder(providers="cpu").codes([record.path for record in records])
    bits = np.unpackbits(codes, axis=1)
    assert 0.2 < bits.mean() < 0.6


def test_matches_of_unseen_senders_are_as_good_as_the_card_says(photos) -> None:
    """The bars that the model was made for; the card has the figures themselves."""
    from vsearch_fast.datasets import folder
    from vsearch_fast.export.training.judge import matches, units

    columns = {"path": "image", "category": "label", "group": "sender_id"}
    records = folder.read(photos, csv="images.csv", columns=columns)
    records = [each for each in records if each.category not in NO_CATEGORY]
    sides, _ = splits.split(records)
    unseen = [each for each, side in zip(records, sides, strict=True) if side == "test"]
    embedder = vs.Embedder(providers="cpu")
    trained = set(json.loads(embedder.metadata["training"])["trained_groups"])
    assert not trained & {splits.fingerprint(splits.group_of(each)) for each in unseen}
    features = embedder.embed([each.path for each in unseen])
    labels = np.unique([each.category for each in unseen], return_inverse=True)[1].astype(np.int32)
    groups = np.unique([each.group for each in unseen], return_inverse=True)[1].astype(np.int32)
    found = matches(features, labels, groups)
    assert max(share.value for share in found.values()) >= 0.46
    assert found["hamming"].value >= 0.44
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
