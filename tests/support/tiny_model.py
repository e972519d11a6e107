"""A small network that keeps the model file's contract, for tests that need no Keras.

It is made with ``onnx.helper`` alone, in milliseconds: uint8 RGB in, one convolution over
patches, ReLU, flatten, one dense layer, ReLU, and the packed sign bits beside it, with the
metadata that `vsearch_fast.export` writes. Untrained, but not meaningless: each feature
compares one part of the picture with another, so that it is active on about half of all
photos, and a picture is nearest to itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 8


def write_tiny_model(
    path: str | Path,
    input_size: int = 32,
    dim: int = 64,
    seed: int = 0,
    *,
    resize: str = "nearest",
    metadata: Mapping[str, str | None] | None = None,
) -> Path:
    """Write the model to `path` and return it.

    `input_size` is S of the input uint8 [n, S, S, 3] and at least 4; `dim` is d of the
    outputs features float32 [n, d] and codes uint8 [n, ceil(d/8)]. `metadata` overrides
    entries of the metadata by their name without prefix; None leaves an entry out.
    The same arguments always write the same bytes.
    """
    path = Path(path)
    model = _model(input_size, dim, seed)
    graph_bytes = model.SerializeToString(deterministic=True)
    entries: dict[str, str | None] = {
        "format": "1",
        "model_id": hashlib.sha256(graph_bytes).hexdigest(),
        "layer": "dense",
        "pool": "",
        "weights": f"random:{seed}",
        "weights_sha256": hashlib.sha256(f"tiny:{seed}".encode()).hexdigest(),
        "classes": "[]",
        "precision": "fp32",
        "input_size": str(input_size),
        "resize": resize,
        "dim": str(dim),
        "exporter": json.dumps({"onnx": onnx.__version__}),
        "trained": "no",
    }
    entries.update(metadata or {})
    helper.set_model_props(
        model, {f"vsearch_fast.{key}": value for key, value in entries.items() if value is not None}
    )
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def _model(input_size: int, dim: int, seed: int) -> onnx.ModelProto:
    """The graph with its weights, without metadata."""
    rng = np.random.default_rng(seed)
    patch = max(2, input_size // 8)
    side = input_size // patch
    flat = CHANNELS * side * side
    kernel = rng.normal(size=(CHANNELS, 3, patch, patch)) / patch
    # Each row sums to zero: features then do not all follow the picture's brightness.
    dense = rng.normal(size=(flat, dim)) / np.sqrt(flat)
    dense -= dense.mean(axis=0)
    code_bytes = -(-dim // 8)
    constants = {
        "mean": np.float32(127.5),
        "scale": np.float32(1 / 64),
        "kernel": kernel.astype(np.float32),
        "kernel_bias": np.full(CHANNELS, 0.1, np.float32),
        "dense": dense.astype(np.float32),
        "dense_bias": np.zeros(dim, np.float32),
        "zero": np.float32(0),
        "bit_padding": np.array([0, 0, 0, code_bytes * 8 - dim], np.int64),
        "bit_shape": np.array([-1, code_bytes, 8], np.int64),
        "bit_weights": np.array([128, 64, 32, 16, 8, 4, 2, 1], np.int32),
        "last_axis": np.array([2], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        node("Sub", ["float", "mean"], ["centred"]),
        node("Mul", ["centred", "scale"], ["scaled"]),
        node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        node("Conv", ["planes", "kernel", "kernel_bias"], ["conv"], strides=[patch, patch]),
        node("Relu", ["conv"], ["conv_relu"]),
        node("Flatten", ["conv_relu"], ["flat"], axis=1),
        node("Gemm", ["flat", "dense", "dense_bias"], ["dense_out"]),
        node("Relu", ["dense_out"], ["features"]),
        node("Greater", ["features", "zero"], ["active"]),
        node("Cast", ["active"], ["bits"], to=TensorProto.INT32),
        node("Pad", ["bits", "bit_padding"], ["bits_padded"]),
        node("Reshape", ["bits_padded", "bit_shape"], ["bits_by_byte"]),
        node("Mul", ["bits_by_byte", "bit_weights"], ["weighted"]),
        node("ReduceSum", ["weighted", "last_axis"], ["byte"], keepdims=0),
        node("Cast", ["byte"], ["codes"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(
                "image", TensorProto.UINT8, ["n", input_size, input_size, 3]
            )
        ],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", dim]),
            helper.make_tensor_value_info("codes", TensorProto.UINT8, ["n", code_bytes]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    # Opset 17 and IR 8 run on every ONNX Runtime that the package accepts.
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="vsearch_fast tests"
    )
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model
