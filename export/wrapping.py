"""The graph of an adopted encoder: its own nodes, as they are, between ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import ModelError
from .binarize import Rule
from .foreign import NCHW, Encoder
from .graph import MAX_BYTES, Graph, add_codes, add_unit_length, reduction
from .trying import Preparation, axes_of_map

#: Before every name of the encoder's, so that none is also one of ours.
PREFIX = "encoder/"

#: A model file is of this version of ONNX' format at least.
_IR_VERSION = 8

_KINDS = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16,
          np.float64: TensorProto.DOUBLE, np.uint8: TensorProto.UINT8}  # fmt: skip


def is_half(encoder: Encoder) -> bool:
    """Whether it computes in float16, as far as its pictures and weights tell."""
    numbers = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0}
    for tensor in encoder.proto.graph.initializer:
        if tensor.data_type in numbers:
            numbers[tensor.data_type] += int(np.prod(tensor.dims))
    return encoder.dtype == np.float16 or (
        numbers[TensorProto.FLOAT16] > numbers[TensorProto.FLOAT]
    )


def wrapped(
    encoder: Encoder,
    preparation: Preparation | None,
    token: int | None,
    rank: int,
    dim: int,
    *,
    unit_length: bool,
    rule: Rule,
) -> onnx.ModelProto:
    """The model file's graph, without metadata; the encoder's is taken apart for it.

    ``rank`` is that of the encoder's output, which ``token`` or an average makes rows of.
    """
    proto = encoder.proto
    own = proto.graph
    _prefix(own)
    domains = {each.domain if each.domain != "ai.onnx" else "": each.version
               for each in proto.opset_import}  # fmt: skip
    domains.setdefault("", 17)
    graph = Graph([], {}, "", encoder.size, dim, pixels=PREFIX + encoder.picture, domains=domains)
    _before(graph, encoder, preparation)
    front = list(graph.nodes)
    graph.nodes = []
    _behind(graph, encoder, token, rank)
    if unit_length:
        add_unit_length(graph)
    add_codes(graph, rule)
    made = helper.make_graph(
        [*front, *own.node, *graph.nodes],
        "vsearch_fast",
        [
            helper.make_tensor_value_info(
                "image", TensorProto.UINT8, ["n", encoder.size, encoder.size, 3]
            )
        ],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", dim]),
            helper.make_tensor_value_info("codes", TensorProto.UINT8, ["n", -(-rule.bits // 8)]),
        ],
        [numpy_helper.from_array(np.asarray(value), name)
         for name, value in sorted(graph.constants.items())],
    )  # fmt: skip
    made.initializer.extend(own.initializer)
    made.sparse_initializer.extend(own.sparse_initializer)
    made.quantization_annotation.extend(own.quantization_annotation)
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid(name, version) for name, version in domains.items()],
        ir_version=max(proto.ir_version, _IR_VERSION),
        functions=list(proto.functions),
        producer_name="vsearch_fast",
    )
    if model.ByteSize() > MAX_BYTES:
        raise ModelError(
            f"The model of {encoder.path} would be {model.ByteSize() / 2**30:.1f} GiB, and a model "
            "file holds less than 2",
            "Nothing was written",
            "Convert the encoder to 16 bits first, or take a smaller one",
        )
    return model


def _prefix(graph: onnx.GraphProto) -> None:
    """Put `PREFIX` before all names of tensors, in bodies of branches and loops as well.

    (onnx.compose leaves what a body takes from outside as it was.)
    """
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = PREFIX + name if name else ""
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _prefix(body)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = PREFIX + value.name
    for sparse in graph.sparse_initializer:
        sparse.values.name = PREFIX + sparse.values.name
    for note in graph.quantization_annotation:
        note.tensor_name = PREFIX + note.tensor_name
        for entry in note.quant_parameter_tensor_names:
            entry.value = PREFIX + entry.value


def _before(graph: Graph, encoder: Encoder, preparation: Preparation | None) -> None:
    """Nodes from ``image`` to what the encoder takes; bytes are turned while they are bytes."""
    current = "image"

    def step(kind: str, *more: str, **attributes: Any) -> None:
        nonlocal current
        output = f"image_{len(graph.nodes)}"
        graph.nodes.append(helper.make_node(kind, [current, *more], [output], **attributes))
        current = output

    axis = 1 if encoder.layout == NCHW else 3
    if encoder.layout == NCHW:
        step("Transpose", perm=[0, 3, 1, 2])
    if preparation is not None:
        if preparation.bgr:
            graph.constants["bgr"] = np.array([2, 1, 0], np.int64)
            step("Gather", "bgr", axis=axis)
        step("Cast", to=TensorProto.FLOAT)
        shape = [3 if each == axis else 1 for each in range(4)]
        for kind, name, value in (
            ("Div", "scale", preparation.scale),
            ("Sub", "mean", preparation.mean),
            ("Div", "std", preparation.std),
        ):
            numbers = np.asarray(value, np.float32)
            graph.constants[name] = numbers.reshape(shape) if numbers.ndim else numbers
            step(kind, name)
        if encoder.dtype != np.float32:
            step("Cast", to=_KINDS[encoder.dtype])
    graph.nodes.append(helper.make_node("Identity", [current], [graph.pixels]))


def _behind(graph: Graph, encoder: Encoder, token: int | None, rank: int) -> None:
    """Nodes from the encoder's output to rows of float32."""
    rows = PREFIX + encoder.output
    graph.nodes.append(helper.make_node("Cast", [rows], ["output"], to=TensorProto.FLOAT))
    graph.output = "output"
    if rank == 2:
        return
    if token is not None:
        graph.constants["token"] = np.array(token, np.int64)
        graph.nodes.append(helper.make_node("Gather", ["output", "token"], ["rows"], axis=1))
    else:
        axes = [1] if rank == 3 else list(axes_of_map(encoder))
        graph.nodes.append(reduction(graph, "ReduceMean", "output", "rows", axes, keepdims=0))
    graph.output = "rows"
