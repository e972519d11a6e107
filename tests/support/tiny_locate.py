"""The file beside a tiny model that finds boxes, for tests that need no Keras.

Its activations are the mean red, green and blue of cells of eight pixels, so that a test can
say which cells stand out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image
from tiny_model import write_tiny_model

from vsearch_fast.embedder import Embedder
from vsearch_fast.embedder.locate import locate_file


def write_tiny_locate(
    model: Path, model_id: str, metadata: Mapping[str, str | None] | None = None
) -> Path:
    """Write the file for the model at `model` and return its path.

    `metadata` overrides entries by their name without prefix; None leaves an entry out.
    """
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        node("AveragePool", ["planes"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        node("Transpose", ["cells"], ["activation"], perm=[0, 2, 3, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny locate",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("activation", TensorProto.FLOAT, ["n", "r", "c", 3])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    entries: dict[str, str | None] = {
        "format": "1",
        "model_id": "0" * 64,
        "belongs_to": model_id,
        "stride": "8",
        "long_side": "320",
        "resize": "bilinear",
        **(metadata or {}),
    }
    helper.set_model_props(
        proto,
        {f"vsearch_fast.{name}": value for name, value in entries.items() if value is not None},
    )
    path = locate_file(model)
    onnx.save(proto, path)
    return path


def write_model_that_locates(path: Path) -> Path:
    """A tiny model with its file that finds boxes."""
    write_tiny_model(path)
    write_tiny_locate(path, Embedder(path).model_id)
    return path


def item(width: int, height: int, box: tuple[int, int, int, int]) -> Image.Image:
    """A red item with some blue in it on grey."""
    pixels = np.full((height, width, 3), 120, np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2] = (230, 20, 60)
    pixels[y1:y2:4, x1:x2] = (210, 30, 140)
    return Image.fromarray(pixels)
