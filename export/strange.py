"""Operations of Keras' networks that tf2onnx does not know: put in words that it does.

ConvNeXt has both: convolutions of one channel each, which Keras hands to a compiled function of
its own, and the exact GELU, which TensorFlow computes by the complementary error function.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import keras
import onnx
from onnx import helper

from ..errors import ExportError


@contextlib.contextmanager
def expressible(model: keras.Model) -> Iterator[None]:
    """While it is open, the model's grouped convolutions are computed by operations that
    tf2onnx knows, with the same weights; tf2onnx is silent."""
    grouped = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.groups > 1
    ]
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tf2onnx.tfonnx")]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.CRITICAL)
        for layer in grouped:
            layer.convolution_op = partial(_in_groups, layer)
        yield
    finally:
        for layer in grouped:
            del layer.convolution_op
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _in_groups(layer: keras.layers.Conv2D, inputs: Any, kernel: Any) -> Any:
    """What ``Conv2D(groups=...)`` gives, by a depthwise convolution or one convolution a group."""
    ops = keras.ops
    kernel = ops.convert_to_tensor(kernel)
    channels, groups = inputs.shape[-1], layer.groups
    shared = {
        "strides": layer.strides, "padding": layer.padding, "data_format": "channels_last",
        "dilation_rate": layer.dilation_rate,
    }  # fmt: skip
    if groups == channels:
        shape = (*kernel.shape[:2], channels, layer.filters // groups)
        return ops.depthwise_conv(inputs, ops.reshape(kernel, shape), **shared)
    parts = zip(ops.split(inputs, groups, axis=-1), ops.split(kernel, groups, axis=-1), strict=True)
    return ops.concatenate([ops.conv(part, own, **shared) for part, own in parts], axis=-1)


def known(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes with ``Erfc(x)`` as ``1 - Erf(x)``; raises ExportError for what ONNX lacks.

    (tf2onnx leaves what it does not know in the graph as it was.)
    """
    found: list[onnx.NodeProto] = []
    one = "erfc_one"
    for node in nodes:
        if node.op_type != "Erfc":
            found.append(node)
            continue
        if not any(each.output[0] == one for each in found):
            value = helper.make_tensor("one", onnx.TensorProto.FLOAT, [], [1.0])
            found.insert(0, helper.make_node("Constant", [], [one], value=value))
        inner = f"{node.output[0]}/erf"
        found += [
            helper.make_node("Erf", list(node.input), [inner]),
            helper.make_node("Sub", [one, inner], list(node.output)),
        ]
    strange = Counter(
        node.op_type for node in found if not onnx.defs.has(node.op_type, domain=node.domain)
    )
    if strange:
        named = ", ".join(f"{name} ({count} times)" for name, count in sorted(strange.items()))
        raise ExportError(
            f"tf2onnx cannot convert the network: it does not know TensorFlow's {named}",
            "Nothing was exported",
            "Cut the network before the layer that does this (--layer), replace the layer, or "
            "export it to ONNX by its own framework and take it with vsearch adopt",
        )
    return found
