"""VGG-16 in miniature: the same layers and names, a sixteenth of the channels.

Keras is imported inside the functions, so that collecting tests does not load TensorFlow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

BLOCKS = ((2, 4), (2, 8), (3, 16), (3, 32), (3, 32))


def slim_model(size: int | None = 64, units: int = 40, seed: int = 0) -> Any:
    """Keras model with VGG-16's layer names; ``units`` wide fc1, fc2; weights from ``seed``.

    ``size`` None leaves the picture's size open and ends with block5_pool.
    """
    from vsearch_fast.export import backend

    backend.prepare()
    import keras

    image = output = keras.Input((size, size, 3))
    for block, (count, channels) in enumerate(BLOCKS, start=1):
        for position in range(1, count + 1):
            output = keras.layers.Conv2D(
                channels, 3, padding="same", activation="relu", name=f"block{block}_conv{position}"
            )(output)
        output = keras.layers.MaxPooling2D(name=f"block{block}_pool")(output)
    if size is not None:
        output = keras.layers.Flatten(name="flatten")(output)
        output = keras.layers.Dense(units, activation="relu", name="fc1")(output)
        output = keras.layers.Dense(units, activation="relu", name="fc2")(output)
        output = keras.layers.Dense(5, activation="softmax", name="predictions")(output)
    model = keras.Model(image, output, name="slim")
    fill(model, seed)
    return model


def fill(model: Any, seed: int) -> None:
    """He-normal kernels and small positive and negative biases, the same for the same seed."""
    rng = np.random.default_rng(seed)
    scale = 1 / 64  # pixels are of this order
    for layer in model.layers:
        if not layer.weights:
            continue
        kernel, bias = layer.weights
        fan_in = np.prod(kernel.shape[:-1])
        kernel.assign(rng.standard_normal(kernel.shape) * np.sqrt(2 / fan_in) * scale)
        bias.assign(rng.standard_normal(bias.shape) * 0.05)
        scale = 1


def write_slim_model(path: Path, size: int | None = 64, units: int = 40, seed: int = 0) -> Path:
    """Save :func:`slim_model` as a ``.keras`` file; returns ``path``."""
    slim_model(size, units, seed).save(path)
    return path


def branched_model(before: int = 0, blocks: int = 3) -> Any:
    """Keras model of layers that Keras names: gates, sums and maps of one pixel, whose graph has
    operands that may change places.

    ``before`` layers of each of its classes are named before it. The last layer, 5 wide, is
    ``end``; 32 pixels.
    """
    from vsearch_fast.export import backend

    backend.prepare()
    import keras
    from keras.src.utils.naming import to_snake_case

    layers = keras.layers
    keras.backend.clear_session()
    for kind in (
        layers.Conv2D, layers.BatchNormalization, layers.ReLU, layers.Activation, layers.Dense,
        layers.GlobalAveragePooling2D, layers.Multiply, layers.Add, layers.InputLayer,
    ):  # fmt: skip
        for _ in range(before):
            keras.backend.get_uid(to_snake_case(kind.__name__))
    image = keras.Input((32, 32, 3))
    output = layers.Conv2D(8, 3, strides=4, activation="hard_silu")(image)
    for _ in range(blocks):
        inner = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(output))
        inner = layers.Activation("hard_silu")(inner)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(inner)
        gate = layers.ReLU()(layers.Conv2D(4, 1)(gate))
        gate = layers.Activation("hard_sigmoid")(layers.Conv2D(8, 1)(gate))
        output = layers.Add()([output, layers.Multiply()([inner, gate])])
    output = layers.GlobalAveragePooling2D()(output)
    output = layers.Dense(6, activation="relu")(output)
    model = keras.Model(image, layers.Dense(5, name="end")(output))
    rng = np.random.default_rng(3)
    for variable in model.weights:
        if variable.name != "moving_variance":
            variable.assign(rng.standard_normal(variable.shape) * 0.3)
    return model
