"""An Embedder goes to other processes as its file and choices, and is opened again there."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tiny_locate import item, write_model_that_locates
from tiny_model import write_tiny_model

from vsearch_fast.embedder import Embedder
from vsearch_fast.embedder.locate import Locator
from vsearch_fast.errors import ModelError, ModelMismatchError

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

PHOTO = item(90, 60, (20, 10, 60, 40))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model_that_locates(tmp_path / "tiny.onnx")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_its_methods_run_in_processes_that_are_no_forks(method: str, model: Path) -> None:
    embedder = Embedder(model, "cpu", batch_size=3, threads=1, max_pixels=10_000)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        there = pool.submit(embedder.embed, pixels).result(120)
        box = pool.submit(embedder.locate, PHOTO).result(120)
    assert np.array_equal(there, embedder.embed(pixels))
    assert box == embedder.locate(PHOTO)


def test_choices_and_a_relative_path_travel(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    embedder = Embedder(model.name, "cpu", batch_size=3, threads=1, max_pixels=10_000)
    text = pickle.dumps(embedder)
    monkeypatch.chdir(os.sep)
    again = pickle.loads(text)
    for name in (
        "batch_size", "threads", "max_pixels", "decoder", "model_id", "provider", "dim",
        "description",
    ):  # fmt: skip
        assert getattr(again, name) == getattr(embedder, name), name
    open_choices = pickle.loads(pickle.dumps(Embedder(model)))
    assert open_choices.threads == Embedder(model).threads


def test_what_was_left_open_is_chosen_anew(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = pickle.dumps(Embedder(model))
    monkeypatch.setattr("vsearch_fast.embedder.embedder.available_threads", lambda: 3)
    assert pickle.loads(text).threads == 3


def test_another_file_of_that_name_is_refused(model: Path) -> None:
    text = pickle.dumps(Embedder(model))
    write_tiny_model(model, seed=1)
    with pytest.raises(ModelMismatchError, match="was pickled with"):
        pickle.loads(text)
    model.unlink()
    with pytest.raises(ModelError, match="does not exist"):
        pickle.loads(text)


def test_a_locator_is_opened_again_too(model: Path) -> None:
    embedder = Embedder(model)
    locator = Locator(model, embedder.model_id, threads=1)
    assert pickle.loads(pickle.dumps(locator)).box(PHOTO) == locator.box(PHOTO)
