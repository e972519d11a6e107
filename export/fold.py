"""Takes batch normalisation out: linear layer, normalisation and ReLU become one layer.

At inference a normalisation is a scale and an offset a channel, which the kernel and bias in
front of it can hold. What is left is a plain VGG-16, whose layer `fc1` gives what the
normalised network's fc1 gave after its ReLU.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def fold(model: keras.Model) -> keras.Model:
    """`model` without the normalisations that `vsearch train` puts behind linear layers.

    Only a plain chain of layers with X -> X_bn -> X_relu is folded, X linear; any other model
    is returned as it is.
    """
    chains = _chains(model)
    if not chains:
        return model
    image = output = keras.Input(model.inputs[0].shape[1:], name="image")
    weights = {}
    for layer in model.layers:
        name = layer.name
        stem, _, end = name.rpartition("_")
        if isinstance(layer, keras.layers.InputLayer) or (end in ("bn", "relu") and stem in chains):
            continue
        if name in chains:
            config = {**layer.get_config(), "activation": "relu", "use_bias": True}
            weights[name] = _folded(layer, model.get_layer(f"{name}_bn"))
            layer = type(layer).from_config(config)
        else:
            weights[name] = layer.get_weights()
            layer = type(layer).from_config(layer.get_config())
        output = layer(output)
    folded = keras.Model(image, output, name=model.name)
    for name, values in weights.items():
        folded.get_layer(name).set_weights(values)
    return folded


def _chains(model: keras.Model) -> set[str]:
    """The linear layers that a normalisation and a ReLU follow, in a plain chain of layers."""
    if not isinstance(model, keras.Sequential) and not _is_chain(model):
        return set()
    layers = [each for each in model.layers if not isinstance(each, keras.layers.InputLayer)]
    found = set()
    for first, second, third in zip(layers, layers[1:], layers[2:], strict=False):
        if (
            isinstance(first, (keras.layers.Conv2D, keras.layers.Dense))
            and first.activation is keras.activations.linear
            and isinstance(second, keras.layers.BatchNormalization)
            and second.name == f"{first.name}_bn"
            and isinstance(third, keras.layers.ReLU)
            and third.name == f"{first.name}_relu"
        ):
            found.add(first.name)
    return found


def _is_chain(model: keras.Model) -> bool:
    """Whether each layer takes what the one before it gives, and nothing else."""
    before = None
    for entry in model.get_config().get("layers", []):
        nodes = entry.get("inbound_nodes", [])
        if before is not None and (len(nodes) != 1 or _sources(nodes[0]) != [before]):
            return False
        before = entry["name"]
    return before is not None


def _sources(node: Any) -> list[str]:
    """Names of the layers whose outputs a call took, from Keras' description of it."""
    if isinstance(node, dict):
        if "keras_history" in node:
            return [node["keras_history"][0]]
        return [name for value in node.values() for name in _sources(value)]
    if isinstance(node, (list, tuple)):
        return [name for value in node for name in _sources(value)]
    return []


def _folded(layer: keras.Layer, normalisation: keras.Layer) -> list[np.ndarray]:
    """Kernel and bias of the one layer, computed in float64 and rounded once."""
    kernel = keras.ops.convert_to_numpy(layer.kernel).astype(np.float64)
    gamma, beta, mean, variance = (
        weight.astype(np.float64) for weight in normalisation.get_weights()
    )
    bias = layer.get_weights()[1].astype(np.float64) if layer.use_bias else 0.0
    scale = gamma / np.sqrt(variance + normalisation.epsilon)
    return [
        (kernel * scale).astype(np.float32),
        ((bias - mean) * scale + beta).astype(np.float32),
    ]
