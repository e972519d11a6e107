"""A finished ONNX graph from a network's nodes: preprocessing in front, codes behind.

Without Keras. A graph passes through here as a `Graph`: nodes and named NumPy constants. It
becomes a protobuf message only when it is written.

Layout of the finished graph::

    image uint8 [n,S,S,3] -> Transpose -> Gather (RGB to BGR) -> Cast -> Sub (mean)
          -> the network, channels first -> features float32 [n,d]
          -> (MatMul) -> Greater 0 or thresholds -> Cast -> (Pad) -> Reshape [n,bits/8,8]
          -> MatMul [128,64,...,1] -> Cast -> codes uint8 [n,ceil(bits/8)]
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..embedder.runtime import runtime
from ..errors import ExportError
from .binarize import Rule, zero
from .canonical import settle
from .files import first_line
from .scaling import BGR_MEAN, scaling

#: ONNX operator set of the files; every ONNX Runtime since 1.14 reads it.
OPSET = 17
_IR_VERSION = 8

# Numbers below which halving a constant saves nothing worth a node.
_WORTH_HALVING = 1024

#: Protobuf holds less than 2 GiB; a part of it is left for nodes and metadata.
MAX_BYTES = 2**31 - 2**20

PIXELS = "pixels"
_NETWORK = "network"


@dataclass(eq=False)
class Graph:
    """A graph under construction: nodes in any order, constants as arrays.

    ``output`` is the tensor with the features, shape ``(n, dim)``; ``pixels`` the tensor that
    enters the network, float ``(n, 3, S, S)``; ``weights`` the names of those constants that
    Keras named. ``size`` is S, or None where the network takes pictures of any shape.
    """

    nodes: list[onnx.NodeProto]
    constants: dict[str, np.ndarray]
    output: str
    size: int | None
    dim: int
    pixels: str = PIXELS
    weights: frozenset[str] = frozenset()
    domains: dict[str, int] = field(default_factory=lambda: {"": OPSET})
    bits: int = 0  # of a code, once there are codes


def from_proto(proto: onnx.ModelProto, size: int | None, dim: int) -> Graph:
    """The pieces of ``proto``, whose first output holds the features."""
    for node in proto.graph.node:
        node.doc_string = ""
    return Graph(
        nodes=list(proto.graph.node),
        constants={each.name: numpy_helper.to_array(each) for each in proto.graph.initializer},
        output=proto.graph.output[0].name,
        size=size,
        dim=dim,
        domains={each.domain: each.version for each in proto.opset_import},
    )


def to_float16(graph: Graph) -> None:
    """Weights and arithmetic of the network in half precision; its ends stay float32."""
    floats = {name for name, value in graph.constants.items() if value.dtype == np.float32}
    skeleton = helper.make_graph(
        graph.nodes,
        _NETWORK,
        [
            helper.make_tensor_value_info(
                graph.pixels, TensorProto.FLOAT, [None, 3, graph.size, graph.size]
            ),
            *(value_info(name, graph.constants[name]) for name in sorted(floats)),
        ],
        [helper.make_tensor_value_info(graph.output, TensorProto.FLOAT, [None, graph.dim])],
        [
            numpy_helper.from_array(value, name)
            for name, value in graph.constants.items()
            if name not in floats
        ],
    )
    proto = runtime("transformers.float16").convert_float_to_float16(
        make_model(skeleton, graph.domains), keep_io_types=[graph.pixels, graph.output]
    )
    half = from_proto(proto, graph.size, graph.dim)
    graph.nodes = half.nodes
    for name, value in half.constants.items():
        graph.constants[name] = value
    for name in floats:
        graph.constants[name] = _halved(name, graph.constants[name])


def store_float16(graph: Graph) -> None:
    """Keep the large float32 constants in half precision, and widen them when they are loaded.

    Half the file; the arithmetic stays float32. Raises ExportError for values beyond float16.
    """
    large = [
        name
        for name, value in graph.constants.items()
        if value.dtype == np.float32 and value.size >= _WORTH_HALVING
    ]
    widened = {}
    for name in large:
        graph.constants[name] = _halved(name, graph.constants[name])
        widened[name] = f"{name}/widened"
    rename_inputs(graph.nodes, widened)
    graph.nodes[:0] = [
        helper.make_node("Cast", [name], [output], to=TensorProto.FLOAT)
        for name, output in widened.items()
    ]


def _halved(name: str, value: np.ndarray) -> np.ndarray:
    limit = np.finfo(np.float16).max
    if not np.abs(value).max(initial=0.0) <= limit:
        raise ExportError(
            f"The weight {name} has values beyond {limit:.0f}, the largest in float16",
            "Nothing was exported",
            "Use --precision fp32, without --half-weights",
        )
    return value.astype(np.float16)


def add_preprocessing(graph: Graph, prepare: str = "vgg") -> None:
    """uint8 RGB ``image`` -> what `verify.keras_input` makes of it, by default for VGG-16.

    With ``inside`` the network does that itself: it gets the same numbers as float32.
    """
    if prepare in ("tf", "torch"):
        nodes, constants = scaling(prepare, graph.pixels)
        graph.nodes[:0] = nodes
        graph.constants |= constants
        return
    if prepare == "inside":
        graph.nodes[:0] = [
            helper.make_node("Transpose", ["image"], ["image_nchw"], perm=[0, 3, 1, 2]),
            helper.make_node("Cast", ["image_nchw"], [graph.pixels], to=TensorProto.FLOAT),
        ]
        return
    graph.constants["bgr"] = np.array([2, 1, 0], np.int64)
    graph.constants["bgr_mean"] = np.array(BGR_MEAN, np.float32).reshape(1, 3, 1, 1)
    graph.nodes[:0] = [
        # While a number is still a byte: a quarter of the traffic.
        helper.make_node("Transpose", ["image"], ["image_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Gather", ["image_nchw", "bgr"], ["image_bgr"], axis=1),
        helper.make_node("Cast", ["image_bgr"], ["image_float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["image_float", "bgr_mean"], [graph.pixels]),
    ]


def add_unit_length(graph: Graph) -> None:
    """Features divided by their length (L2 norm), in float32; zeros stay zeros.

    L2 distance then orders as the angle does: a picture of much contrast is not far from all.
    """
    rename_output(graph, "features_any_length")
    graph.constants["least_length"] = np.array(1e-12, np.float32)
    graph.nodes += [
        reduction(graph, "ReduceL2", graph.output, "length", [1], keepdims=1),
        helper.make_node("Max", ["length", "least_length"], ["divisor"]),
        helper.make_node("Div", [graph.output, "divisor"], ["features_unit"]),
    ]
    graph.output = "features_unit"


def reduction(
    graph: Graph, kind: str, source: str, output: str, axes: list[int], keepdims: int
) -> onnx.NodeProto:
    """A ReduceL2 or ReduceMean over these axes, as the graph's operator set has it."""
    if graph.domains[""] < 18:
        return helper.make_node(kind, [source], [output], axes=axes, keepdims=keepdims)
    graph.constants[f"{output}_axes"] = np.array(axes, np.int64)
    return helper.make_node(kind, [source, f"{output}_axes"], [output], keepdims=keepdims)


def add_codes(graph: Graph, rule: Rule | None = None) -> None:
    """``codes``, the packed bits of a rule, by default features > 0; a last byte is filled up with
    zeros."""
    rule = rule or zero(graph.dim)
    width = -(-rule.bits // 8)
    graph.bits = rule.bits
    bits, compared = "bits", "features"
    rename_output(graph, "features")
    # One number where all are the same, as those of the rule zero.
    shared = bool((rule.thresholds == rule.thresholds[:1]).all())
    graph.constants["thresholds"] = rule.thresholds[0] if shared else rule.thresholds
    if rule.projection is not None:
        graph.constants["projection"] = rule.projection
        graph.nodes.append(helper.make_node("MatMul", ["features", "projection"], ["projected"]))
        compared = "projected"
    graph.constants["code_shape"] = np.array([-1, width, 8], np.int64)
    graph.constants["bit_values"] = 2.0 ** np.arange(7, -1, -1, dtype=np.float32)
    graph.nodes += [
        helper.make_node("Greater", [compared, "thresholds"], ["positive"]),
        helper.make_node("Cast", ["positive"], [bits], to=TensorProto.FLOAT),
    ]
    if rule.bits % 8:
        graph.constants["code_padding"] = np.array([0, 0, 0, 8 * width - rule.bits], np.int64)
        graph.nodes.append(helper.make_node("Pad", [bits, "code_padding"], ["padded_bits"]))
        bits = "padded_bits"
    graph.nodes += [
        helper.make_node("Reshape", [bits, "code_shape"], ["bit_groups"]),
        # Sums of distinct powers of two up to 255: exact, whatever the device multiplies in.
        helper.make_node("MatMul", ["bit_groups", "bit_values"], ["code_floats"]),
        helper.make_node("Cast", ["code_floats"], ["codes"], to=TensorProto.UINT8),
    ]


def finish(graph: Graph, outputs: Sequence[onnx.ValueInfoProto] = ()) -> onnx.ModelProto:
    """The finished model: stable names and order, checked size, no metadata yet.

    Consumes ``graph.constants``, which may be half a gigabyte. ``outputs`` are by default
    ``features`` and ``codes``. Raises ExportError when the file would pass protobuf's 2 GiB.
    """
    outputs = outputs or [
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", graph.dim]),
        helper.make_tensor_value_info("codes", TensorProto.UINT8, ["n", -(-graph.bits // 8)]),
    ]
    height, width = (graph.size, graph.size) if graph.size else ("h", "w")
    size = sum(value.nbytes for value in graph.constants.values())
    if size > MAX_BYTES:
        raise ExportError(
            f"The network's weights are {size / 2**30:.1f} GiB, and an ONNX file holds less than 2",
            "Nothing was exported",
            "Pool a convolutional layer (--pool avg) instead of flattening it, cut at an earlier "
            "layer, or use --precision fp16",
        )
    names = [output.name for output in outputs]
    settled(graph, names)
    nodes = ordered(graph, names)
    _name_stably(nodes, graph, names)
    used = {name for node in nodes for name in node.input}
    proto = make_model(
        helper.make_graph(
            nodes,
            "vsearch_fast",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", height, width, 3])],
            list(outputs),
        ),
        graph.domains,
    )
    for name in sorted(graph.constants):
        value = graph.constants.pop(name)
        if name in used:
            proto.graph.initializer.append(numpy_helper.from_array(value, name))
    return proto


def write(proto: onnx.ModelProto, metadata: dict[str, str], file: BinaryIO) -> str:
    """Write ``proto`` with ``metadata`` and a ``model_id``; returns the id.

    The id is the SHA-256 of the model's bytes without metadata. The metadata follows as a
    message of its own: protobuf defines concatenation as merging, so the half gigabyte is
    serialised once.
    """
    body = proto.SerializeToString(deterministic=True)
    model_id = hashlib.sha256(body).hexdigest()
    file.write(body)
    entries = {"format": "1", "model_id": model_id, **metadata}
    tail = onnx.ModelProto()
    helper.set_model_props(tail, {f"vsearch_fast.{key}": entries[key] for key in sorted(entries)})
    file.write(tail.SerializeToString(deterministic=True))
    return model_id


def check(path: Path) -> None:
    """Run onnx.checker, shape inference included; raises ExportError."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"The exported graph does not pass onnx.checker: {first_line(error)}",
            "Nothing was written",
            "Report it with the model's layers and the versions of tf2onnx and onnx",
        ) from error


def make_model(graph: onnx.GraphProto, domains: dict[str, int]) -> onnx.ModelProto:
    used = {node.domain for node in graph.node} | {""}
    return helper.make_model(
        graph,
        opset_imports=[
            helper.make_opsetid(domain, version)
            for domain, version in sorted(domains.items())
            if domain in used
        ],
        ir_version=_IR_VERSION,
        producer_name="vsearch_fast",
    )


def settled(graph: Graph, outputs: Sequence[str]) -> None:
    """Bring the nodes that ``outputs`` need into the form that only what they compute decides."""
    nodes = ordered(graph, outputs)
    graph.nodes = settle(nodes, graph.constants, tuple(sorted(graph.weights)), outputs)


def ordered(graph: Graph, outputs: Iterable[str] | None = None) -> list[onnx.NodeProto]:
    """The nodes that ``outputs`` need, producers first, in an order that only the graph decides.

    tf2onnx' own order and names change from run to run, and the model id must not.
    """
    producer = {name: node for node in graph.nodes for name in node.output}
    ordered: list[onnx.NodeProto] = []
    done: set[int] = set()
    stack = [(producer[name], False) for name in reversed(list(outputs or [graph.output]))]
    while stack:
        node, ready = stack.pop()
        if id(node) in done:
            continue
        if ready:
            done.add(id(node))
            ordered.append(node)
            continue
        stack.append((node, True))
        stack += [(producer[name], False) for name in reversed(node.input) if name in producer]
    return ordered


def _name_stably(nodes: list[onnx.NodeProto], graph: Graph, outputs: Sequence[str]) -> None:
    """Name nodes, tensors and constants by operator and position.

    Weights and ``outputs`` keep their names.
    """
    weights = tuple(sorted(graph.weights))
    rename: dict[str, str] = {}
    for position, node in enumerate(nodes):
        node.name = f"{node.op_type}_{position}"
        for name in node.input:
            if name in graph.constants and name not in rename and not name.startswith(weights):
                rename[name] = f"constant_{len(rename)}"
                graph.constants[rename[name]] = graph.constants.pop(name)
        rename_inputs([node], rename)
        for i, name in enumerate(node.output):
            if name and name not in outputs:
                rename[name] = f"{node.name}:{i}"
                node.output[i] = rename[name]


def rename_output(graph: Graph, name: str) -> None:
    for node in graph.nodes:
        for i, output in enumerate(node.output):
            if output == graph.output:
                node.output[i] = name
    rename_inputs(graph.nodes, {graph.output: name})
    graph.output = name


def rename_inputs(nodes: Iterable[onnx.NodeProto], rename: dict[str, str]) -> None:
    for node in nodes:
        for i, name in enumerate(node.input):
            if name in rename:
                node.input[i] = rename[name]


def value_info(name: str, value: np.ndarray) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_value_info(name, kind, value.shape)
