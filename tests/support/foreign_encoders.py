"""Small encoders as others export them, built by onnx.helper, and the same in NumPy.

`convolution` is a convolution, an average over rows and columns and a dense layer; `transformer` a
patch embedding with a class token, positions and one layer of attention, beside which a half for
texts may stand as in a file of CLIP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE, PATCH, WIDTH, DIM = 32, 8, 16, 24
TOKENS = (SIZE // PATCH) ** 2 + 1
KINDS = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}


def numbers(seed: int, *shape: int) -> np.ndarray:
    """Weights of order one over the root of what is summed."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)


CONV = {"kernel": numbers(0, WIDTH, 3, 3, 3), "bias": numbers(1, WIDTH) * 0.1,
        "dense": numbers(2, WIDTH, DIM) * 4}  # fmt: skip
VIT = {"kernel": numbers(3, WIDTH, 3, PATCH, PATCH) * 3, "class": numbers(4, 1, 1, WIDTH) * 3,
       "positions": numbers(5, 1, TOKENS, WIDTH) * 3, "query": numbers(6, WIDTH, WIDTH),
       "key": numbers(7, WIDTH, WIDTH), "value": numbers(8, WIDTH, WIDTH),
       "head": numbers(9, WIDTH, DIM)}  # fmt: skip


def windows(pictures: np.ndarray, side: int, stride: int) -> np.ndarray:
    """Patches ``(n, rows, columns, 3 * side * side)`` of float64 ``(n, 3, S, S)``."""
    found = np.lib.stride_tricks.sliding_window_view(pictures, (side, side), (2, 3))
    found = found[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5)
    return found.reshape(*found.shape[:3], -1)


def in_numpy(name: str, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs by name of prepared pictures, channels first, in float64."""
    pictures = pictures.astype(np.float64)
    if name == "convolution":
        seen = windows(pictures, 3, 2) @ CONV["kernel"].reshape(WIDTH, -1).T.astype(np.float64)
        maps = np.maximum(seen + CONV["bias"], 0)
        return {"embedding": maps.mean(axis=(1, 2)) @ CONV["dense"],
                "maps": maps.transpose(0, 3, 1, 2)}  # fmt: skip
    weights = {each: value.astype(np.float64) for each, value in VIT.items()}
    patches = windows(pictures, PATCH, PATCH) @ weights["kernel"].reshape(WIDTH, -1).T
    patches = patches.reshape(len(pictures), -1, WIDTH)
    first = np.broadcast_to(weights["class"], (len(pictures), 1, WIDTH))
    tokens = np.concatenate([first, patches], axis=1) + weights["positions"]
    scores = (tokens @ weights["query"]) @ (tokens @ weights["key"]).transpose(0, 2, 1) / 4
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    hidden = tokens + scores @ (tokens @ weights["value"])
    return {"hidden": hidden, "embedding": np.tanh(hidden[:, 0]) @ weights["head"]}


def _value(name: str, kind: int, shape: Sequence[int | str | None] | None) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _finished(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any], opset: int
) -> onnx.ModelProto:
    initialisers = [numpy_helper.from_array(np.asarray(v), name) for name, v in weights.items()]
    graph = helper.make_graph(nodes, "theirs", inputs, outputs, initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def convolution(
    *,
    layout: str = "nchw",
    dtype: Any = np.float32,
    batch: int | str = "batch",
    size: int | str = SIZE,
    opset: int = 17,
    names: tuple[str, str] = ("pixel_values", "embedding"),
    last: Sequence[Any] = (),
) -> onnx.ModelProto:
    """The encoder; `last` are nodes from ``dense_out`` to the output, by default an Identity."""
    picture, output = names
    node = helper.make_node
    nodes = [
        node("Transpose", [picture], ["turned"], perm=[0, 3, 1, 2] if layout == "nhwc" else
             [0, 1, 2, 3]),
        node("Conv", ["turned", "kernel", "bias"], ["seen"], strides=[2, 2]),
        node("Relu", ["seen"], ["maps"]),
        node("GlobalAveragePool", ["maps"], ["average"]),
        node("Flatten", ["average"], ["flat"], axis=1),
        node("MatMul", ["flat", "dense"], ["dense_out"]),
        *(last or [node("Identity", ["dense_out"], [output])]),
    ]  # fmt: skip
    sides = [batch, size, size, 3] if layout == "nhwc" else [batch, 3, size, size]
    kind = KINDS[dtype]
    return _finished(
        nodes,
        [_value(picture, kind, sides)],
        [_value(output, kind, [batch, DIM]), _value("maps", kind, [batch, WIDTH, "r", "c"])],
        {name: value.astype(dtype) for name, value in CONV.items()},
        opset,
    )


def transformer(*, texts: bool = False, batch: int | None = None) -> onnx.ModelProto:
    """The encoder; `batch` writes a number of pictures into its nodes, as tracing does."""
    node = helper.make_node
    weights: dict[str, Any] = {
        **VIT, "four": np.float32(4), "one": np.array([1], np.int64),
        "rest": np.array([WIDTH, TOKENS - 1] if batch is None else [batch, WIDTH, TOKENS - 1],
                         np.int64),
        "zero": np.array(0, np.int64), "many": np.array([1, WIDTH], np.int64),
    }  # fmt: skip
    nodes = [
        node("Conv", ["pixel_values", "kernel"], ["patches"], strides=[PATCH, PATCH]),
        node("Shape", ["pixel_values"], ["shape"]),
        node("Gather", ["shape", "zero"], ["count"], axis=0),
        node("Unsqueeze", ["count", "axis"], ["counts"]),
        node("Concat", ["counts", "rest"], ["sides"], axis=0)
        if batch is None
        else node("Identity", ["rest"], ["sides"]),
        node("Reshape", ["patches", "sides"], ["flat"]),
        node("Transpose", ["flat"], ["rows"], perm=[0, 2, 1]),
        node("Concat", ["counts", "many"], ["class_sides"], axis=0),
        node("Expand", ["class", "class_sides"], ["classes"]),
        node("Concat", ["classes", "rows"], ["tokens"], axis=1),
        node("Add", ["tokens", "positions"], ["placed"]),
        node("MatMul", ["placed", "query"], ["queries"]),
        node("MatMul", ["placed", "key"], ["keys"]),
        node("Transpose", ["keys"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["queries", "turned"], ["products"]),
        node("Div", ["products", "four"], ["scores"]),
        node("Softmax", ["scores"], ["shares"], axis=-1),
        node("MatMul", ["placed", "value"], ["values"]),
        node("MatMul", ["shares", "values"], ["mixed"]),
        node("Add", ["placed", "mixed"], ["hidden"]),
        node("Gather", ["hidden", "zero"], ["first"], axis=1),
        node("Tanh", ["first"], ["bent"]),
        node("MatMul", ["bent", "head"], ["embedding"]),
    ]
    weights["axis"] = np.array([0], np.int64)
    count: int | str = "batch" if batch is None else batch
    inputs = [_value("pixel_values", TensorProto.FLOAT, [count, 3, SIZE, SIZE])]
    outputs = [_value("hidden", TensorProto.FLOAT, [count, TOKENS, WIDTH]),
               _value("embedding", TensorProto.FLOAT, [count, DIM])]  # fmt: skip
    if texts:
        weights["vocabulary"] = numbers(10, 100, DIM)
        nodes += [
            node("Gather", ["vocabulary", "input_ids"], ["words"], axis=0),
            node("ReduceMean", ["words"], ["text"], axes=[1], keepdims=0),
            node("Gemm", ["embedding", "text"], ["logits"], transB=1),
        ]
        inputs.append(_value("input_ids", TensorProto.INT64, ["texts", "length"]))
        outputs.append(_value("logits", TensorProto.FLOAT, [count, "texts"]))
    return _finished(nodes, inputs, outputs, weights, 17)
