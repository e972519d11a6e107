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
