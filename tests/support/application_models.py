"""Networks of ``keras.applications`` with every weight drawn, so that none is left out unseen.

Keras is imported inside the functions, so that collecting tests does not load TensorFlow.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import numpy as np


def built(builder: str, size: int, seed: int = 0, **options: Any) -> Any:
    """Keras' network of this name, untrained, for pictures of this size, and `drawn`."""
    from vsearch_fast.export import backend

    backend.prepare()
    import keras

    model = getattr(keras.applications, builder)(
        weights=None, input_shape=(size, size, 3), **options
    )
    return drawn(model, seed)


def drawn(model: Any, seed: int) -> Any:
    """The model with He-normal kernels and everything else about what Keras begins with."""
    import keras

    rng = np.random.default_rng(seed)
    names = {layer.name for layer in model._flatten_layers(include_self=False)}
    for layer in model._flatten_layers(include_self=False):
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            shape, before = tuple(variable.shape), np.asarray(variable)
            if before.dtype.kind != "f" or isinstance(layer, keras.layers.Normalization):
                continue
            if variable.name.endswith("kernel"):
                alone = variable.name == "depthwise_kernel" or isinstance(
                    layer, keras.layers.DepthwiseConv2D
                )
                scale = np.sqrt(2 / np.prod(shape[:2] if alone else shape[:-1]))
                variable.assign(rng.standard_normal(shape) * scale)
            elif "variance" in variable.name:
                variable.assign(rng.uniform(0.7, 1.4, shape))
            else:  # scales, offsets, means; ConvNeXt's scales begin near nothing
                near = before if abs(before).max(initial=0) > 0.5 else 0 * before
                # Branches of EfficientNet, where they are added: were they as large as what they
                # are added to, numbers would grow until gates turn on what float32 rounds.
                block = layer.name.removesuffix("project_bn")
                damped = 0.25 if block != layer.name and f"{block}add" in names else 1.0
                variable.assign(damped * (near + rng.standard_normal(shape) * 0.1))
    return model


def features(builder: str, model: Any, pixels: np.ndarray) -> np.ndarray:
    """Features of uint8 pictures ``(n, S, S, 3)`` as Keras' users get them: through the
    ``preprocess_input`` that stands beside the network."""
    import keras

    module = inspect.getmodule(inspect.unwrap(getattr(keras.applications, builder)))
    assert module is not None
    prepared = sys.modules[module.__name__].preprocess_input(pixels.astype(np.float32))
    found: np.ndarray = keras.ops.convert_to_numpy(model(prepared, training=False))
    return found
