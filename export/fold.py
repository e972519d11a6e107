"""Takes batch normalisation out: linear layer, normalisation and ReLU become one layer.

At inference a normalisation is a scale and an offset a channel, which the kernel and bias in
front of it can hold. What is left is a plain VGG-16, whose layer `fc1` gives what the
normalised network's fc1 gave after its ReLU.
"""

from __future__ import annotations

import keras
import numpy as np


def fold(model: keras.Model) -> keras.Model:
    """`model` without the normalisations that directly follow a linear layer of their name.

    Looks for chains X -> X_bn -> X_relu, as `network.build` makes them; a model without any
    is returned as it is.
    """
    if not any(layer.name.endswith("_bn") for layer in model.layers):
        return model
    names = {layer.name for layer in model.layers}
    image = output = keras.Input(model.inputs[0].shape[1:], name="image")
    weights = {}
    for layer in model.layers:
        name = layer.name
        if isinstance(layer, keras.layers.InputLayer) or _part_of_chain(name, names):
            continue
        if f"{name}_bn" in names:
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


def _part_of_chain(name: str, names: set[str]) -> bool:
    stem, _, end = name.rpartition("_")
    return end in ("bn", "relu") and {stem, f"{stem}_bn", f"{stem}_relu"} <= names


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
