"""A tiny network, pictures, and an index of them, for commands."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures of two categories."""
    rng = np.random.default_rng(0)
    for number in range(12):
        file = tmp_path / "pictures" / ("lamp" if number % 2 else "shoe") / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(file)
    return tmp_path / "pictures"


@pytest.fixture
def indexed(vsearch, pictures, model, tmp_path):
    path = tmp_path / "pictures.index"
    code, out, _ = vsearch("index", pictures, "-o", path, "--model", model, "--quiet")
    assert code == 0
    assert "12 added" in out
    return path
