"""What is done again when a pipeline fails, and what workers say of their network."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from embedding_cluster import draw
from tiny_model import write_tiny_model

from vsearch_fast.cluster import embedding_pipeline
from vsearch_fast.cluster.embedding_pipeline import Workers, finished
from vsearch_fast.cluster.embedding_units import PICTURES, Recipe, Unit, units_of, unpacked
from vsearch_fast.cluster.embedding_worker import EmbeddingWorker, Network, decoded
from vsearch_fast.embedder.embedder import Embedder
from vsearch_fast.errors import ClusterError, ModelError, ModelMismatchError, VsearchError
from vsearch_fast.images.readers import FORMATS
from vsearch_fast.index.items import Item

NETWORK = Network("m", "n", {})


def units(count: int) -> list[Unit]:
    items = [Item(f"i{n}", f"/p/{n}.png") for n in range(count * PICTURES)]
    return list(units_of(items, Recipe("m", "cpu", 8, 32, "nearest", 1, "", 1)))


class Failing:
    """Pipelines that finish so many units each, and fail then; None: that do not fail."""

    def __init__(self, patch: pytest.MonkeyPatch, *finish: int | None) -> None:
        self.asked: list[list[int]] = []
        self._finish = iter(finish)
        patch.setattr(embedding_pipeline, "_run", self.run)

    def run(self, ray: Any, given: Sequence[Unit], *_: Any) -> Iterator[tuple[int, bytes]]:
        self.asked.append([unit.number for unit in given])
        count = next(self._finish)
        for unit in given if count is None else given[:count]:
            yield unit.number, unit.key.encode()
        if count is not None:
            raise RuntimeError("first line\n\nThe node was lost.\n")


def run(given: list[Unit]) -> list[tuple[Unit, bytes]]:
    recipe = Recipe("m", "cpu", 8, 32, "nearest", 1, "", 1)
    return list(finished(None, iter(given), recipe, NETWORK, Workers()))


def test_what_is_left_out_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pipelines, given = Failing(monkeypatch, 2, 0, 0, 1, 0, 0, None), units(6)
    assert run(given) == [(unit, unit.key.encode()) for unit in given]
    assert [len(asked) for asked in pipelines.asked] == [6, 4, 4, 4, 3, 3, 3]


def test_it_gives_up_where_nothing_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    Failing(monkeypatch, 1, 0, 0, 0)
    with pytest.raises(ClusterError, match=r"failed 3 times .*: The node was lost\. What"):
        run(units(3))


def test_windows_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_pipeline, "WINDOW", 4)
    pipelines, given = Failing(monkeypatch, None, 1, None, None), units(9)
    assert [unit for unit, _ in run(given)] == given
    assert pipelines.asked == [[0, 1, 2, 3], [4, 5, 6, 7], [5, 6, 7], [8]]


def test_errors_of_workers_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Iterator[tuple[int, bytes]]:
        raise pickle.loads(pickle.dumps(ModelError("a", "b", "c")))
        yield

    monkeypatch.setattr(embedding_pipeline, "_run", broken)
    with pytest.raises(ModelError, match=r"a\. b\. c\."):
        run(units(1))


@pytest.fixture
def network(tmp_path: Path) -> tuple[Recipe, Network]:
    model = write_tiny_model(tmp_path / "tiny.onnx")
    made = Embedder(model, "cpu")
    recipe = Recipe(
        made.model_id, "cpu", 8, made.input_size, made.resize, made.max_pixels, made.decoder, 1
    )
    return recipe, Network(made.model_id, made.model_id, {".onnx": model.read_bytes()})


def through(
    recipe: Recipe, network: Network, items: list[Item]
) -> tuple[bytes, VsearchError | None]:
    """A unit through what nodes do: its file, or the error."""
    [unit] = units_of(items, recipe)
    row = {"unit": 7, "key": unit.key, "request": unit.request()}
    pixels = decoded(row, recipe, network)
    made = EmbeddingWorker(recipe, network, 1)({name: [value] for name, value in pixels.items()})
    assert made["unit"] == [7]
    return made["block"][0], pickle.loads(made["error"][0]) if made["error"][0] else None


def test_a_unit(network: tuple[Recipe, Network], tmp_path: Path) -> None:
    recipe, files = network
    paths = sorted(draw(tmp_path / "pictures", 3).rglob("*.png"))
    paths[1].write_text("no picture")
    items = [Item(str(n), str(path)) for n, path in enumerate(paths)]
    block, error = through(recipe, files, items)
    assert error is None
    held = unpacked(block, next(units_of(items, recipe)).key)
    assert held is not None
    assert held.read == [0, 2]
    assert [each.position for each in held.refused] == [1]
    assert any(name in held.refused[0].cause + held.refused[0].cure for name in FORMATS)
    assert held.features.shape == (2, 1, 64)


def test_a_worker_with_a_network_that_does_not_fit(
    network: tuple[Recipe, Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, files = network
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    other = write_tiny_model(tmp_path / "other.onnx", seed=3).read_bytes()
    wrong = Network(recipe.model_id, "wrong", {".onnx": other})
    _, error = through(recipe, wrong, [Item("a", "/nowhere")])
    assert isinstance(error, ModelMismatchError)
    block, error = through(recipe, files, [Item("a", "/nowhere")])
    assert error is None
    assert block
    broken = Network("b", "b", {".onnx": b"no model"})
    _, error = through(replace(recipe, model_id="b"), broken, [Item("a", "/nowhere")])
    assert isinstance(error, ModelError)
    assert "ONNX Runtime cannot load" in str(error)


def test_a_worker_that_was_given_a_gpu_uses_it(
    network: tuple[Recipe, Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, files = network
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("vsearch_fast.embedder.embedder.cuda_device", lambda _: None)
    _, error = through(replace(recipe, provider="auto", batch_size=0), files, [Item("a", "/x")])
    assert isinstance(error, ModelError)
    assert "was given a GPU" in str(error)
