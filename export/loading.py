"""A whole Keras model from its file, as one flat network in float32.

Models in models are laid open, so that any layer can be named: ``block5_pool``, or
``vgg16/block5_pool``. Layers that compute in half precision (``mixed_float16``) compute in float32,
which their weights are kept in: what is exported is compared in the arithmetic of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import numpy as np

from ..errors import ModelError
from .files import first_line
from .weights import Source, keras_version

#: Layers before the first convolution that leave the numbers of a picture as they are.
_HARMLESS = {
    *("InputLayer", "ZeroPadding2D", "Cropping2D", "CenterCrop", "Resizing", "Identity"),
    *("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "Pipeline"),
}

_CONSEQUENCE = "Nothing was exported"


@dataclass
class Loaded:
    """`model` is flat; `names` are its layers' by their path in the models they came in.

    The path of a model in the model stands for the layer that it ends with.
    """

    model: keras.Model
    names: dict[str, str] = field(default_factory=dict)


def load(source: Source) -> Loaded:
    """A whole model from its file, without its optimiser; raises ModelError."""
    try:
        model = keras.models.load_model(source.path, compile=False)
    except Exception as error:  # Keras raises whatever its many readers raise
        raise _not_loaded(source, error) from error
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or []]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] != 3 or shapes[0][1] != shapes[0][2]:
        raise ModelError(
            f"The model {source.path} takes {shapes or 'nothing yet'}, not one square picture of "
            "shape (None, S, S, 3)",
            _CONSEQUENCE,
            "Pass a built model with one input of square pictures, channels last",
        )
    return flat(model, f"the model {source.path}")


def preprocessing(model: keras.Model) -> list[str]:
    """Names of what a flat model does to a picture's numbers before its first weights."""
    found: list[str] = []
    for operation in model.operations:
        kind = type(operation).__name__
        if getattr(operation, "kernel", None) is not None:
            return found
        if kind not in _HARMLESS and not kind.startswith("Random"):
            found.append(operation.name)
    return found


def ends_of(model: keras.Model, layer: Any) -> tuple[Any, Any]:
    """Input and output of a layer in this model; lists where there are several.

    The layer's own attributes are of the first call, which may have been in another model. Raises
    ValueError for a layer that the model calls more than once.
    """
    nodes = [
        node
        for level in _graph(model)._nodes_by_depth.values()
        for node in level
        if node.operation is layer
    ]
    if len(nodes) != 1:
        raise ValueError(f"the model calls it {len(nodes)} times")
    sides = (list(nodes[0].input_tensors), list(nodes[0].outputs))
    before, behind = (side[0] if len(side) == 1 else side for side in sides)
    return before, behind


def flat(model: keras.Model, name: str) -> Loaded:
    """The model in one level, in float32; ``name`` is what errors call it. Raises ModelError."""
    parts = list(_operations(model))
    nested = any(_is_graph(each) for each in parts)
    halved = [
        each
        for each in parts
        if isinstance(each, keras.Layer) and each.dtype_policy.name.startswith("mixed_")
    ]
    normalised = any(isinstance(each, keras.layers.Normalization) for each in parts)
    if not nested and not halved and not normalised:
        return Loaded(model)
    for layer in halved:
        layer.dtype_policy = "float32"
    image = keras.Input(model.inputs[0].shape[1:], dtype="float32", name="image")
    names: dict[str, str] = {}
    try:
        return Loaded(keras.Model(image, _called(model, image, "", names), name=model.name), names)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"The models inside of {name} cannot be laid open: {first_line(error)}",
            _CONSEQUENCE,
            "Save it again with one input and one output for each of them, and with names that no "
            "two layers share",
        ) from error


def _called(model: keras.Model, image: Any, path: str, names: dict[str, str]) -> Any:
    """The model's output for `image`, computed by its own layers, models in it laid open."""

    def opened(operation: Any, inputs: Any, *_: Any, **__: Any) -> Any:
        output = _called(operation, inputs, f"{path}{operation.name}/", names)
        names[f"{path}{operation.name}"] = output._keras_history.operation.name
        return output

    def as_called(operation: Any) -> Any:
        if _is_graph(operation):
            return partial(opened, operation)
        names[f"{path}{operation.name}"] = operation.name
        return (
            _scaled(operation) if isinstance(operation, keras.layers.Normalization) else operation
        )

    return _graph(model)._run_through_graph(image, operation_fn=as_called)


def _scaled(layer: keras.layers.Normalization) -> keras.Layer:
    """The same by constants: tf2onnx loses the tensors that a Normalization keeps aside."""
    mean, variance = (np.asarray(each, np.float64).ravel() for each in (layer.mean, layer.variance))
    spread = np.maximum(np.sqrt(variance), keras.config.epsilon())
    scale, offset = (spread, mean) if layer.invert else (1 / spread, -mean / spread)
    return keras.layers.Rescaling(scale.tolist(), offset.tolist(), name=layer.name)


def _graph(model: Any) -> Any:
    """A Sequential keeps the graph that it runs in an attribute; a functional model is one."""
    return getattr(model, "_functional", None) or model


def _is_graph(operation: Any) -> bool:
    return isinstance(operation, keras.Model) and hasattr(_graph(operation), "_run_through_graph")


def _operations(model: keras.Model) -> Any:
    """All layers and operations, those of models in the model, too."""
    for operation in _graph(model).operations if _is_graph(model) else model.layers:
        yield operation
        if isinstance(operation, keras.Model):
            yield from _operations(operation)


def _not_loaded(source: Source, error: Exception) -> ModelError:
    made_by = keras_version(source.path) if source.path is not None else ""
    if "Lambda" in str(error):
        return ModelError(
            f"The model {source.path} has a Lambda layer, whose code Keras does not take from a "
            "file",
            _CONSEQUENCE,
            "Save it again where its code is, with a layer of Keras in its place (Rescaling, "
            "Normalization, keras.ops), or save only the part that lies behind it",
        )
    if made_by.startswith(("1.", "2.")):
        return ModelError(
            f"The model {source.path} was saved by Keras {made_by}, and Keras {keras.__version__} "
            f"cannot load it: {first_line(error)}",
            _CONSEQUENCE,
            "Convert it: pip install tf_keras, then in Python "
            f"tf_keras.models.load_model('{source.path.name if source.path else 'FILE'}')"
            ".save_weights('weights.h5'), and pass --weights weights.h5 where its layers are "
            "VGG-16's; others have to be built and saved again in Keras 3",
        )
    return ModelError(
        f"Keras cannot load the model {source.path}: {first_line(error)}",
        _CONSEQUENCE,
        "If it was copied or downloaded, fetch it again; a model with layers of its own code "
        "has to be saved again without them",
    )
