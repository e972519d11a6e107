"""Preprocessing by one scale for all numbers, or one a channel, as ONNX nodes.

``tf`` and ``torch`` are Keras' names of what its networks were trained behind
(``keras.applications.imagenet_utils``): the same float32 operations, in the same order.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

#: What Keras' VGG-16 preprocessing subtracts from blue, green and red, in units of 0 to 255.
BGR_MEAN = (103.939, 116.779, 123.68)

#: What DenseNet's preprocessing takes of red, green and blue, in units of 0 to 1.
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Numbers = float | tuple[float, ...]

#: Operators and their second operands, in turn.
STEPS: dict[str, list[tuple[str, Numbers]]] = {
    "tf": [("Div", 127.5), ("Sub", 1.0)],
    "torch": [("Div", 255.0), ("Sub", IMAGENET_MEAN), ("Div", IMAGENET_DEVIATION)],
}


def scaling(prepare: str, pixels: str) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """Nodes from ``image``, uint8 ``(n, S, S, 3)``, to ``pixels``, float32 ``(n, 3, S, S)``, and
    their constants by name."""
    steps = STEPS[prepare]
    nodes = [
        helper.make_node("Transpose", ["image"], ["image_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["image_nchw"], ["image_scaled_0"], to=TensorProto.FLOAT),
    ]
    constants = {}
    for i, (kind, value) in enumerate(steps):
        numbers = np.asarray(value, np.float32)
        constants[f"scaling_{i}"] = numbers.reshape(1, -1, 1, 1) if numbers.ndim else numbers
        output = pixels if i == len(steps) - 1 else f"image_scaled_{i + 1}"
        nodes.append(helper.make_node(kind, [f"image_scaled_{i}", f"scaling_{i}"], [output]))
    return nodes, constants
