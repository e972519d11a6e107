"""The network that comes with the package; CARD.md says what it is and what it is not.

A slim VGG-16, trained on public-domain photos of clothing and on drawn garments, so that the
first search shows matches without a download. A catalogue of other things deserves another:
``vsearch export`` for the full VGG-16 with ImageNet weights, ``vsearch train`` for one's own.
"""

from __future__ import annotations

from pathlib import Path

#: The file's name, by which an index knows it wherever the package is installed.
DEFAULT_NAME = "slim-vgg16-clothing.onnx"


def default_model() -> Path:
    """The model file that ``Embedder()`` and commands take where none is named."""
    return Path(__file__).with_name(DEFAULT_NAME)
