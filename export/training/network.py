"""The network that is trained: a VGG-16 of any width, and what a base file gives it.

The topology is that of `vgg16.py`: thirteen convolutions of 3 x 3 in five blocks, then dense
layers. `width` scales the channels, `batch_norm` puts a normalisation between each linear layer
and its ReLU (S. Ioffe, C. Szegedy, *Batch Normalization*, 2015,
https://arxiv.org/abs/1502.03167); `fold.py` takes it out again for the export.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from ...errors import ArgumentError, ModelError
from ..files import first_line
from ..vgg16 import MINIMUM_SIZE, PIXEL_SCALE, feature_model, he_normal
from ..weights import Source

BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))

CONVOLUTIONS = tuple(
    f"block{block}_conv{position}"
    for block, (count, _) in enumerate(BLOCKS, 1)
    for position in range(1, count + 1)
)

#: Ending of the names of a training model's outputs.
OUTPUT = "_output"

_CONSEQUENCE = "Nothing was trained"


@dataclass(frozen=True)
class Shape:
    """What fixes a network's layers.

    `width` is the share of VGG-16's channels, or of each block how many; `input_size` the
    pictures' side in pixels; `body_norm` and `head_norm` say whether convolutions and dense
    layers are followed by batch normalisation; `dense` names the dense layers in front of the
    softmax, `units` is their size; `pool` is "" (flatten the last block's output, as VGG-16
    does) or "avg" (average it over rows and columns, so that dense layers are small and any
    position counts the same).
    """

    width: float | tuple[int, ...] = 1.0
    input_size: int = 224
    body_norm: bool = False
    head_norm: bool = False
    dense: tuple[str, ...] = ("fc1",)
    units: int = 4096
    pool: str = ""

    def channels(self, block: int) -> int:
        """Channels of a block, counted from 1; a share gives a multiple of 4, and at least 4."""
        if isinstance(self.width, tuple):
            return self.width[block - 1]
        return max(4, round(BLOCKS[block - 1][1] * self.width / 4) * 4)


@dataclass
class Network:
    """A network in two parts, each a Keras model; chained they are the whole.

    `body` maps preprocessed pixels ``(n, S, S, 3)`` to the last block's output, flattened or
    averaged; `head` maps that to the outputs of the dense layers and the softmax, by name.
    """

    shape: Shape
    body: keras.Model
    head: keras.Model

    def whole(self, *outputs: str) -> keras.Model:
        """Preprocessed pixels to the named outputs, sharing this network's layers."""
        image = keras.Input(self.body.inputs[0].shape[1:], name="image")
        return _chosen(image, self.head(self.body(image)), outputs)

    def behind(self, *outputs: str) -> keras.Model:
        """The body's output to the named outputs of the head."""
        return _chosen(self.head.inputs[0], self.head.output, outputs)

    def layers(self) -> dict[str, keras.Layer]:
        """Each layer that has weights, by name."""
        return {
            layer.name: layer
            for part in (self.body, self.head)
            for layer in part.layers
            if layer.weights
        }


def _chosen(
    inputs: keras.KerasTensor, found: dict[str, keras.KerasTensor], names: Sequence[str]
) -> keras.Model:
    """A model of the named outputs, each from a layer whose name tells its loss from others."""
    outputs = [keras.layers.Identity(name=f"{name}{OUTPUT}")(found[name]) for name in names]
    return keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name="training")


def build(shape: Shape, classes: int, seed: int) -> Network:
    """A network of this shape with weights drawn from `seed`: He-normal kernels, zero biases.

    K. He et al., *Delving Deep into Rectifiers*, 2015, https://arxiv.org/abs/1502.01852. The
    numbers are NumPy's, each layer's from a generator of its own, so that they are the same
    on every backend. Raises ArgumentError for an input size below 32 or a width that is none.
    """
    if shape.input_size < MINIMUM_SIZE:
        raise ArgumentError(
            f"--input-size {shape.input_size} is too small for VGG-16, which halves a picture "
            "five times",
            _CONSEQUENCE,
            f"Use {MINIMUM_SIZE} or more; VGG-16's own size is 224",
        )
    if isinstance(shape.width, float) and not 0 < shape.width <= 4:
        raise ArgumentError(
            f"--width {shape.width} is no width", _CONSEQUENCE, "1 is VGG-16's own, 0.25 a quarter"
        )
    body = _body(shape)
    network = Network(shape, body, _head(shape, body.outputs[0].shape[1], classes))
    draw(network, seed)
    return network


def draw(network: Network, seed: int, names: Sequence[str] | None = None) -> None:
    """Draw the kernels of the named layers, by default of all, anew from `seed`."""
    for position, (name, layer) in enumerate(network.layers().items()):
        if isinstance(layer, keras.layers.BatchNormalization) or (names and name not in names):
            continue
        factor = 1.0
        if name == CONVOLUTIONS[0] and not network.shape.body_norm:
            factor = 1 / PIXEL_SCALE
        if name == "predictions":
            factor = 0.1  # all classes are about equally likely at first
        layer.kernel.assign(he_normal(seed, position, layer.kernel.shape, factor))


def _body(shape: Shape) -> keras.Model:
    image = output = keras.Input((shape.input_size, shape.input_size, 3), name="pixels")
    for block, (count, _) in enumerate(BLOCKS, 1):
        for position in range(1, count + 1):
            output = _convolution(
                f"block{block}_conv{position}", shape.channels(block), shape.body_norm, output
            )
        output = keras.layers.MaxPooling2D(
            2, 2, data_format="channels_last", name=f"block{block}_pool"
        )(output)
    if shape.pool == "avg":
        end = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="average")
    else:
        end = keras.layers.Flatten(data_format="channels_last", name="flatten")
    return keras.Model(image, end(output), name="body")


def in_bfloat16(network: Network) -> keras.Model:
    """The body with sums of bfloat16 numbers, which processors with AMX add several times as fast.

    Its weights are copies of the network's.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        body = _body(network.shape)
    finally:
        keras.config.set_dtype_policy(before)
    body.set_weights(network.body.get_weights())
    return body


def _head(shape: Shape, inputs: int, classes: int) -> keras.Model:
    start = output = keras.Input((inputs,), name="pooled")
    outputs = {}
    for name in shape.dense:
        output = keras.layers.Dense(
            shape.units,
            activation=None if shape.head_norm else "relu",
            use_bias=not shape.head_norm,
            name=name,
        )(output)
        output = outputs[name] = _normalised(name, shape.head_norm, output)
    outputs["predictions"] = keras.layers.Dense(
        classes, activation="softmax", dtype="float32", name="predictions"
    )(output)
    return keras.Model(start, outputs, name="head")


def _convolution(
    name: str, channels: int, batch_norm: bool, tensor: keras.KerasTensor
) -> keras.KerasTensor:
    tensor = keras.layers.Conv2D(
        channels,
        3,
        padding="same",
        activation=None if batch_norm else "relu",
        use_bias=not batch_norm,
        data_format="channels_last",
        name=name,
    )(tensor)
    return _normalised(name, batch_norm, tensor)


def _normalised(name: str, batch_norm: bool, tensor: keras.KerasTensor) -> keras.KerasTensor:
    if not batch_norm:
        return tensor
    tensor = keras.layers.BatchNormalization(momentum=0.95, epsilon=1e-3, name=f"{name}_bn")(tensor)
    return keras.layers.ReLU(name=f"{name}_relu")(tensor)


def saved(network: Network) -> keras.Model:
    """The network as one flat Keras model with VGG-16's layer names, for ``model.save``.

    Its layers are the network's own.
    """
    image = output = keras.Input(network.body.inputs[0].shape[1:], name="image")
    for part in (network.body, network.head):
        for layer in part.layers:
            if not isinstance(layer, keras.layers.InputLayer):
                output = layer(output)
    return keras.Model(image, output, name="vgg16")


def load_base(source: Source) -> keras.Model:
    """The base network that `source` names, with VGG-16's thirteen convolutions at least.

    Raises ModelError for a file that Keras cannot load or that has not those layers.
    """
    if source.kind != "model":
        return feature_model(source, "block5_pool", input_size=MINIMUM_SIZE)[0]
    try:
        model = keras.models.load_model(source.path, compile=False)
    except Exception as error:  # Keras raises whatever its many readers raise
        raise ModelError(
            f"Keras cannot load the model {source.path}: {first_line(error)}",
            _CONSEQUENCE,
            "Pass a whole model, saved by vsearch train or by model.save('FILE.keras')",
        ) from error
    names = {layer.name for layer in model.layers}
    missing = [name for name in CONVOLUTIONS if name not in names]
    if missing:
        raise ModelError(
            f"{source.path} has no layer {missing[0]}, one of VGG-16's convolutions",
            _CONSEQUENCE,
            "Pass a network with VGG-16's layers and names, such as keras.applications.VGG16",
        )
    return model


def channels_and_norm(base: keras.Model) -> tuple[tuple[int, ...], bool]:
    """Channels of a base's blocks, and whether its convolutions have batch normalisation."""
    channels = tuple(
        int(base.get_layer(f"block{block}_conv1").kernel.shape[-1])
        for block in range(1, len(BLOCKS) + 1)
    )
    return channels, f"{CONVOLUTIONS[0]}_bn" in {layer.name for layer in base.layers}


def take(network: Network, base: keras.Model, *, dense: bool) -> list[str]:
    """Copy the base's weights: its convolutions, with `dense` also dense layers that fit.

    Returns the names of the layers of `network` that have the base's weights. Raises
    ModelError where a convolution does not fit.
    """
    theirs = {layer.name: layer for layer in base.layers if layer.weights}
    taken = []
    for name, layer in network.layers().items():
        convolution = name.startswith("block")
        if not convolution and (not dense or name not in theirs):
            continue
        shapes = [tuple(weight.shape) for weight in layer.weights]
        found = [tuple(weight.shape) for weight in theirs[name].weights] if name in theirs else []
        if shapes == found:
            layer.set_weights(theirs[name].get_weights())
            taken.append(name)
        elif convolution:
            raise ModelError(
                f"the base's layer {name} has weights of the shapes {found or 'none'}, and the "
                f"network's {shapes}",
                _CONSEQUENCE,
                "Pass a network with VGG-16's layers, each of one width in a block",
            )
    return taken
