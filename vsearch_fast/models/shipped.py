"""Where the network is that comes with the package, and which one it is."""

from __future__ import annotations

import re
from pathlib import Path


def default_model() -> Path:
    """The model file that ``Embedder()`` and commands take where none is named."""
    return Path(__file__).with_name("slim-vgg16-clothing.onnx")


def default_model_id() -> str:
    """Its ``Embedder.model_id``, by which an index knows it wherever the package is installed.

    Found among the file's bytes: a network need not be loaded to be recognised.
    """
    found = re.search(rb"vsearch_fast\.model_id\x12@([0-9a-f]{64})", default_model().read_bytes())
    assert found is not None
    return found[1].decode()
