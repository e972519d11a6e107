"""embedder.py: the models, providers and sizes that it takes, and how it refuses others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedding_data import CPU
from tiny_model import write_tiny_model

from vsearch_fast.embedder import Embedder
from vsearch_fast.errors import ArgumentError, ImageError, MissingDependencyError, ModelError

ort = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: pip install '.[cpu]'"
)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"format": None}, "was not exported by vsearch_fast"),
        ({"model_id": None}, "was not exported by vsearch_fast"),
        ({"format": "3"}, "model format 3, and this version reads 1 and 2"),
        ({"input_size": "x"}, "whole numbers"),
        ({"dim": None}, "whole numbers"),
        ({"input_size": "33"}, "inputs"),
        ({"dim": "72"}, "outputs"),
        ({"resize": "cubic"}, "resize rule 'cubic'"),
    ],
)
def test_foreign_models_are_refused(
    tmp_path: Path, overrides: dict[str, str | None], words: str
) -> None:
    path = write_tiny_model(tmp_path / "model.onnx", metadata=overrides)
    with pytest.raises(ModelError, match=words) as caught:
        Embedder(path)
    assert str(path) in caught.value.cause and caught.value.cure and caught.value.consequence


def test_files_that_are_no_models_are_refused(tmp_path: Path, model: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:-3000])
    for name, words in {
        "missing.onnx": "does not exist",
        ".": "is a folder",
        "text.onnx": "cannot load",
        "empty.onnx": "cannot load|not exported",
        "cut.onnx": "cannot load",
    }.items():
        with pytest.raises(ModelError, match=words) as caught:
            Embedder(tmp_path / name)
        assert str(tmp_path / name) in caught.value.cause and "vsearch export" in caught.value.cure


def test_a_missing_runtime_names_its_extra(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[cpu\]"):
        Embedder(model)


def test_providers(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Embedder(model, providers=CPU).providers == CPU
    assert Embedder(model, providers=[(CPU[0], {})]).providers == CPU
    with pytest.raises(ArgumentError, match="lacks NoSuchExecutionProvider"):
        Embedder(model, providers=["NoSuchExecutionProvider", *CPU])
    with pytest.raises(ArgumentError, match="no execution provider"):
        Embedder(model, providers=[])

    # A provider whose library does not load: ONNX Runtime offers it, and then goes without.
    bare = ort.InferenceSession

    def fallen_back(path: str, options: object, providers: list, **more: object) -> object:
        return bare(path, options, providers=CPU, **more)

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", *CPU])
    monkeypatch.setattr(ort, "InferenceSession", fallen_back)
    with pytest.raises(ModelError, match="could not start CUDAExecutionProvider"):
        Embedder(model, providers=["CUDAExecutionProvider", *CPU])


@pytest.mark.parametrize("name", ["batch_size", "threads", "max_pixels"])
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_sizes_below_one_are_refused(model: Path, name: str, value: float) -> None:
    size: dict[str, Any] = {name: value}
    with pytest.raises(ArgumentError, match=f"{name} is {value}"):
        Embedder(model, **size)


def test_max_pixels_reaches_the_decoder(model: Path) -> None:
    embedder = Embedder(model, max_pixels=99)
    assert embedder.embed(np.zeros((9, 11), np.uint8)).shape == (1, 64)
    with pytest.raises(ImageError, match="limit of 99"):
        embedder.embed(np.zeros((10, 10), np.uint8))


def test_importing_the_module_loads_no_runtime() -> None:
    code = (
        "import sys, vsearch_fast.embedder\n"
        "heavy = {'onnxruntime', 'numba', 'tensorflow', 'keras', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
