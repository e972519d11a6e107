"""The table of shipped networks, `vsearch models`, and their names where a model file goes."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_model import write_tiny_model

from vsearch_fast import Embedder, Index
from vsearch_fast.datasets import garments
from vsearch_fast.errors import ArgumentError, ModelError
from vsearch_fast.indexing.recorded import model_file
from vsearch_fast.models import DEFAULT, SHIPPED, default_model, model_path, shipped

NAMES = [each.name for each in SHIPPED]


@pytest.mark.parametrize("each", SHIPPED, ids=NAMES)
def test_an_entry_is_whole_and_true(each: shipped.Shipped) -> None:
    embedder = Embedder(each.name, "cpu")
    assert embedder.model_id == each.model_id
    card = each.path.with_name(each.card).read_text(encoding="utf-8")
    assert each.model_id[:16] in card
    assert each.bytes >= each.path.stat().st_size > 0
    assert each.pictures_per_second > 0 and each.measured_on
    assert each.knows and each.licence and each.title and each.row
    assert each.licence.partition(",")[0] in card


def test_names_are_one_each_and_the_default_is_one_of_them() -> None:
    assert len(set(NAMES)) == len(NAMES) and DEFAULT in NAMES
    assert len({each.row for each in SHIPPED}) == len(SHIPPED)
    assert Embedder(providers="cpu").model_id == Embedder(DEFAULT, "cpu").model_id
    assert not [name for name in NAMES if "/" in name or name in ("default", "imagenet", "random")]


def test_a_name_wins_over_a_file_which_a_path_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Embedder(write_tiny_model(tmp_path / DEFAULT), "cpu").model_id
    monkeypatch.chdir(tmp_path)
    assert model_path(DEFAULT) == default_model()
    assert Embedder(DEFAULT, "cpu").model_id != own
    for path in (f"./{DEFAULT}", Path(DEFAULT), tmp_path / DEFAULT):
        assert Embedder(path, "cpu").model_id == own
    assert pickle.loads(pickle.dumps(Embedder(Path(DEFAULT), "cpu"))).model_id == own


def test_an_unknown_name_says_which_there_are(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=rf"slim-clothes does not exist.*\({', '.join(NAMES)}\)"):
        Embedder("slim-clothes", "cpu")


def test_models_lists_them(vsearch) -> None:
    code, out, _ = vsearch("models")
    assert code == 0
    for each in SHIPPED:
        for word in (each.name, each.knows, each.licence, f"{each.bytes / 1e6:.1f} MB"):
            assert word in out
    assert out.count("taken where none is named") == 1
    [first, *_] = json.loads(vsearch("models", "--json")[1])
    assert Path(first["file"]).is_file() and Path(first["card"]).is_file()
    assert first["default"] is True and first["bytes"] == SHIPPED[0].bytes
    assert first["pictures_per_second"] == SHIPPED[0].pictures_per_second


def test_models_measures_here(vsearch, monkeypatch) -> None:
    from vsearch_fast.commands import models

    monkeypatch.setattr(models, "_SECONDS", 0.01)
    [first, *_] = json.loads(vsearch("models", "--measure", "--json")[1])
    assert first["measured_on"] == "this machine" and first["pictures_per_second"] > 0


def test_commands_take_a_name(vsearch, tmp_path, monkeypatch) -> None:
    records = garments.render_catalogue(
        tmp_path / "garments", items=3, views=2, size=(64, 80), workers=1
    )
    monkeypatch.chdir(tmp_path)
    write_tiny_model(tmp_path / DEFAULT)
    photo = str(records[0].path)
    made = vsearch("index", "garments", "-o", "an.index", "--model", DEFAULT, "--quiet")
    assert made[0] == 0, made
    with Index.open(tmp_path / "an.index") as index:
        assert index.model_id == shipped.default_model_id()
        assert index.model["file"] == str(default_model())
    assert vsearch("search", "an.index", photo, "-k", "1", "--model", DEFAULT)[0] == 0
    assert vsearch("locate", photo, "--model", DEFAULT)[0] == 0
    assert vsearch("verify", "an.index", "--repair", "--model", DEFAULT, "--quiet")[0] == 0
    code, out, _ = vsearch(
        "eval", "garments", "-o", "results", "--model", f"mine={DEFAULT}", "--quiet"
    )
    assert code == 0 and "mine" in out and SHIPPED[0].row not in out
    code, _, err = vsearch("search", "an.index", photo, "--model", f"./{DEFAULT}")
    assert code == 1 and "holds features of model" in err
    code, _, err = vsearch("index", "garments", "-o", "b.index", "--model", "unknown", "--quiet")
    assert code == 1 and DEFAULT in err


def test_the_demo_takes_a_name(tmp_path) -> None:
    from vsearch_fast.commands import demo

    said: list[str] = []
    demo.run(tmp_path, items=3, weights=DEFAULT, say=said.append)
    assert not list(tmp_path.glob("*.onnx"))


def test_the_export_says_that_it_is_exported() -> None:
    from vsearch_fast.export.weights import resolve

    with pytest.raises(ArgumentError, match=f"{DEFAULT} is a network of the package"):
        resolve(DEFAULT, "fc1", lambda _: None)


def test_an_index_of_a_shipped_network_knows_it_anywhere(tmp_path) -> None:
    copy = shutil.copy(default_model(), tmp_path / "copy.onnx")
    embedder = Embedder(copy, "cpu")
    with Index.create(
        tmp_path / "an.index", embedder.dim, model_id=embedder.model_id, model=embedder.description
    ) as index:
        index.add(["a"], np.ones((1, embedder.dim), np.float32))
    Path(copy).unlink()
    assert model_file(tmp_path / "an.index") == default_model()
