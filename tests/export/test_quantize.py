"""Eight bits: which part of a network they are for."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import onnx
from PIL import Image

from vsearch_fast.export.exporting import export


def test_layers_that_share_the_last_block_stay_float(tmp_path: Path) -> None:
    """A spread of eight-bit numbers behind a length of eight-bit numbers would be worth little."""
    image = keras.Input((32, 32, 3))
    tensor = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    tensor = keras.layers.MaxPooling2D(2, 2)(tensor)
    average = keras.layers.GlobalAveragePooling2D()(tensor)
    largest = keras.layers.GlobalMaxPooling2D()(tensor)
    both = keras.layers.UnitNormalization()(keras.layers.Concatenate()([average, largest]))
    hidden = keras.layers.Dense(64)(both)
    model = keras.Model(image, keras.layers.Dense(64, activation="relu", name="fc1")(hidden))
    model.save(tmp_path / "branches.keras")
    rng = np.random.default_rng(3)
    pictures = [tmp_path / f"{number}.png" for number in range(12)]
    for picture in pictures:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(picture)
    export(
        tmp_path / "branches.keras", output=tmp_path / "branches.onnx", precision="int8",
        calibrate=pictures,
    )  # fmt: skip

    graph = onnx.load(tmp_path / "branches.onnx").graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    quantised = {
        made_by.get(node.input[0], "") for node in graph.node if node.op_type == "QuantizeLinear"
    }
    assert quantised <= {"Sub", "Conv", "Relu", "MaxPool"}
    products = [node for node in graph.node if node.op_type in ("Gemm", "MatMul")]
    assert len(products) >= 2
    for node in products:
        assert all(made_by.get(name) != "DequantizeLinear" for name in node.input)
