"""A tiny network, and a folder of pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from embedding_data import picture
from PIL import Image
from tiny_model import write_tiny_model

from vsearch_fast.embedder import Embedder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def embedder(model: Path) -> Embedder:
    return Embedder(model, batch_size=4, threads=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eleven PNG pictures of different sizes, two of them in a sub-folder."""
    root = tmp_path / "pictures"
    (root / "more").mkdir(parents=True)
    for number in range(11):
        where = root / "more" if number > 8 else root
        Image.fromarray(picture(number)).save(where / f"{number:02}.png")
    return root
