"""The file beside a model that finds where the item is: ``NAME.locate.onnx``.

The model's own convolutions, and nothing behind them, so that they take a picture of any
shape. What comes out is one layer's output; what is made of it says
``vsearch_fast/embedder/locate.py``.

::

    image uint8 [n,h,w,3] -> the model's preprocessing -> its convolutions up to TAP
          -> activation float32 [n, h/STRIDE, w/STRIDE, channels]

Weights are stored in 16 bits and widened when the file is loaded; the arithmetic is float32.
(Eight bits with a scale a channel are off by 3% where this is by 0.1%.)
"""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
from onnx import TensorProto, helper

from ..embedder.locate import OUTPUT
from ..embedder.runtime import runtime
from ..errors import ArgumentError, ExportError
from . import graph as graphs
from . import onnx
from .loading import ends_of
from .verify import keras_input

#: The layer whose input is read: what VGG-16's fourth block ends with, after the activation
#: whatever layers make it up. Measured against others in ``vsearch_fast/embedder/locate.py``.
TAP = "block4_pool"
#: Pixels a cell, each way: three poolings lie before it.
STRIDE = 8

#: Pixels of a picture's long side.
LONG_SIDE = 320

#: Largest ‖onnx - keras‖₂ / ‖keras‖₂ of a picture's cells.
RELATIVE_ERROR = 0.01


def locating_model(model: keras.Model) -> keras.Model:
    """From preprocessed pixels ``(n, h, w, 3)`` to activations ``(n, h / 8, w / 8, channels)``.

    Shares the layers of ``model``, the network that the features are from. Raises
    ArgumentError when it ends before `TAP` or has no such layer.
    """
    found = {layer.name: layer for layer in model.layers}
    if TAP not in found:
        raise ArgumentError(
            f"--locate reads the input of the layer {TAP}, and the network up to the chosen layer "
            "has none",
            "Nothing was exported",
            f"Choose a layer behind {TAP} of a network with VGG-16's layers, or leave --locate out",
        )
    until = keras.Model(model.inputs[0], ends_of(model, found[TAP])[0])
    image = keras.Input((None, None, 3))
    # The same layers, called anew: nothing is copied, and nothing needs to be serialisable.
    opened = keras.models.clone_model(until, input_tensors=image, clone_function=lambda each: each)
    return keras.Model(image, opened.outputs[0], name="locate")


def convert(model: keras.Model, prepare: str = "vgg") -> graphs.Graph:
    """The graph of a `locating_model`, its weights in 16 bits, preprocessing in front."""
    graph = onnx.convert(model)
    graphs.store_float16(graph)
    graphs.add_preprocessing(graph, prepare)
    graphs.rename_output(graph, OUTPUT)
    return graph


def write(graph: graphs.Graph, metadata: dict[str, str], model_id: str, path: Path) -> None:
    """Write the file for the model ``model_id``, whose own ``metadata`` is taken over in part."""
    shared = ("weights", "weights_sha256", "trained", "exporter", "attribution")
    entries = {name: metadata[name] for name in shared if name in metadata} | {
        "belongs_to": model_id,
        "layer": TAP,
        "stride": str(STRIDE),
        "long_side": str(LONG_SIDE),
        "resize": "bilinear",
    }
    shape: list[str | int | None] = ["n", "rows", "columns", graph.dim]
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)
    proto = graphs.finish(graph, [output])
    with path.open("wb") as file:
        graphs.write(proto, entries, file)
        file.flush()
        os.fsync(file.fileno())


def keras_activations(
    model: keras.Model, pixels: np.ndarray, prepare: str = "vgg"
) -> list[np.ndarray]:
    """Keras' activations of `shapes`, float32 ``(rows, columns, channels)`` each."""
    return [
        keras.ops.convert_to_numpy(model(keras_input(picture[None], prepare), training=False))[0]
        for picture in shapes(pixels)
    ]


def shapes(pixels: np.ndarray) -> list[np.ndarray]:
    """Some of the sample pictures ``(n, S, S, 3)``, tiled and cut to several shapes."""
    cuts = ((64, 64), (48, 96), (120, 32))
    tiled = np.tile(pixels[: len(cuts)], (1, *(-(-128 // side) for side in pixels.shape[1:3]), 1))
    return [tiled[i % len(tiled), :height, :width] for i, (height, width) in enumerate(cuts)]


def verify(path: Path, pixels: np.ndarray, reference: list[np.ndarray]) -> float:
    """The worst relative error of the file's activations against Keras'; raises ExportError."""
    graphs.check(path)
    try:
        session = runtime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found = [
            session.run([OUTPUT], {"image": np.ascontiguousarray(picture[None])})[0][0]
            for picture in shapes(pixels)
        ]
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise _disagrees(f"cannot be run: {str(error).splitlines()[0]}") from error
    worst = 0.0
    for got, expected in zip(found, reference, strict=True):
        if got.shape != expected.shape:
            raise _disagrees(f"gives the shape {got.shape}, and Keras {expected.shape}")
        norm = float(np.linalg.norm(expected))
        apart = float(np.linalg.norm(got - expected))
        worst = max(worst, apart / norm if norm else float(apart > 0))
    if not worst <= RELATIVE_ERROR:
        raise _disagrees(
            f"has a relative error of {worst:.2e}, at most {RELATIVE_ERROR:.0e} is allowed"
        )
    return worst


def _disagrees(what: str) -> ExportError:
    return ExportError(
        f"The exported file that finds boxes {what}",
        "Nothing was written",
        "Leave --locate out, or report it with the model's layers and the versions of Keras, "
        "tf2onnx and ONNX Runtime",
    )
