"""From a Keras model to ONNX nodes.

tf2onnx sees the network with its weights as *inputs* (``stateless_call``): it then handles
some forty small nodes. With the weights as constants it copies them so often that the full
VGG-16 was killed at 23 GiB. The weights are attached afterwards, by name.

What stands in front of the network and behind it is in `graph.py`.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from ..errors import ExportError
from .canonical import renumbered
from .files import first_line
from .graph import OPSET, PIXELS, Graph, from_proto, ordered, rename_inputs, settled, value_info
from .steady import steady
from .strange import expressible, known


def convert(model: keras.Model) -> Graph:
    """The network of ``model`` as ONNX nodes, channels first, with its weights as constants.

    Raises ExportError when tf2onnx cannot express a layer.
    """
    size = model.inputs[0].shape[1]
    dim = math.prod(side or 1 for side in model.outputs[0].shape[1:])
    trainable, fixed = list(model.trainable_variables), list(model.non_trainable_variables)
    names = _weight_names(model, trainable + fixed)

    @tf.function
    def network(pixels: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
        features, _ = model.stateless_call(
            weights[: len(trainable)], weights[len(trainable) :], pixels, training=False
        )
        return tf.cast(features, tf.float32)

    signature = [tf.TensorSpec((None, size, size, 3), tf.float32, name=PIXELS)] + [
        tf.TensorSpec(variable.shape, variable.dtype, name=f"weight_{i}")
        for i, variable in enumerate(trainable + fixed)
    ]
    try:
        with expressible(model), steady():
            proto, _ = tf2onnx.convert.from_function(
                network, input_signature=signature, opset=OPSET, inputs_as_nchw=[f"{PIXELS}:0"]
            )
    except Exception as error:  # tf2onnx raises whatever the failing rewriter raises
        raise ExportError(
            f"tf2onnx cannot convert the network: {first_line(error)}",
            "Nothing was exported",
            "Use layers that VGG-like networks are made of, or cut the network before the layer "
            "that cannot be converted",
        ) from error
    graph = from_proto(proto, size=size, dim=dim)
    _fix_shapes(graph, proto)
    graph.nodes = known(graph.nodes)
    used = {name for node in graph.nodes for name in node.input}
    graph.weights = frozenset(names)
    rename = {}
    for i, (variable, name) in enumerate(zip(trainable + fixed, names, strict=True)):
        if f"weight_{i}" in used:
            rename[f"weight_{i}"] = name
            graph.constants[name] = keras.ops.convert_to_numpy(variable)
    rename_inputs(graph.nodes, rename)
    settled(graph, [graph.output])
    fold_constants(graph)
    return graph


def _fix_shapes(graph: Graph, proto: onnx.ModelProto) -> None:
    """Give a Reshape its shape as a constant where only the batch is open (Keras' Flatten)."""
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    for node in graph.nodes:
        if node.op_type != "Reshape" or node.input[1] in graph.constants:
            continue
        for info in (*inferred.value_info, *inferred.output):
            if info.name == node.output[0]:
                dims = [dim.dim_value or -1 for dim in info.type.tensor_type.shape.dim]
                if dims and dims.count(-1) == 1:
                    node.input[1] = f"{node.output[0]}/shape"
                    graph.constants[node.input[1]] = np.array(dims, np.int64)


def fold_constants(graph: Graph) -> None:
    """Compute once what depends on weights alone: kernels transposed for ONNX, for example."""
    known = dict(graph.constants)
    foldable = []
    for node in ordered(graph):
        if all(name in known or not name for name in node.input):
            known.update(dict.fromkeys(node.output, np.empty(0)))
            foldable.append(node)
    if not foldable:
        return
    folded = {id(node) for node in foldable}
    graph.nodes = [node for node in graph.nodes if id(node) not in folded]
    needed = {name for node in graph.nodes for name in node.input} | {graph.output}
    made = [name for node in foldable for name in node.output if name in needed]
    read = {name for node in foldable for name in node.input if name in graph.constants}
    subgraph = helper.make_graph(
        foldable,
        "constants",
        [value_info(name, graph.constants[name]) for name in sorted(read)],
        [onnx.ValueInfoProto(name=name) for name in made],
    )
    proto = helper.make_model(subgraph, opset_imports=[helper.make_opsetid("", graph.domains[""])])
    values = ReferenceEvaluator(proto).run(made, {name: graph.constants[name] for name in read})
    # A constant made from one weight goes on under that weight's name.
    origin: dict[str, str] = {}
    for node in foldable:
        weights = {origin.get(name, name) for name in node.input} & graph.weights
        if len(weights) == 1:
            origin.update(dict.fromkeys(node.output, weights.pop()))
    kept = {name: value for name, value in graph.constants.items() if name in needed}
    rename = {}
    for name, value in zip(made, values, strict=True):
        rename[name] = origin.get(name, name)
        if rename[name] in kept:
            rename[name] = name
        kept[rename[name]] = np.ascontiguousarray(value)
    rename_inputs(graph.nodes, rename)
    graph.constants = kept


def _weight_names(model: keras.Model, variables: list[keras.Variable]) -> list[str]:
    """``layer/kernel`` for each variable, made unique."""
    layers = model._flatten_layers(include_self=False)
    numbered = renumbered({layer.name: type(layer).__name__ for layer in layers})
    names: list[str] = []
    for variable in variables:
        # Folders further up are models in models, which Keras numbers as it goes.
        *layer, own = variable.path.split("/")[-2:]
        name = "/".join([*(numbered.get(each, each) for each in layer), own])
        names.append(name if name not in names else f"{name}_{len(names)}")
    return names
