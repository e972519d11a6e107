"""The Keras network: built or loaded, given its weights, cut off at one layer.

A whole model given as a file takes what, unless it says otherwise (``--preprocess``),
``keras.applications.vgg16.preprocess_input`` makes: BGR pixels minus the ImageNet mean,
float32, channels last. The export puts that step into the ONNX graph in front of the model.

VGG-16: K. Simonyan, A. Zisserman, *Very Deep Convolutional Networks for Large-Scale Image
Recognition*, 2015, https://arxiv.org/abs/1409.1556. The scale of untrained weights: K. He et
al., *Delving Deep into Rectifiers*, 2015, https://arxiv.org/abs/1502.01852.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError, ModelError
from .files import arrays_by_layer, first_line
from .fold import fold
from .imagenet import ATTRIBUTION, FILES, is_first_kernel
from .loading import ends_of, load
from .weights import LAYERS, TOP_LAYERS, Source

#: The picture size that VGG-16 was made for, pixels.
DEFAULT_SIZE = 224

_CHANNELS = {"block1": 64, "block2": 128, "block3": 256, "block4": 512, "block5": 512}

#: The five poolings halve a picture of this side, pixels, to one pixel.
MINIMUM_SIZE = 32

#: Preprocessed pixels spread over about this much; the first layer of an untrained network
#: divides by it, so that its activations are of order one, also in float16.
PIXEL_SCALE = 64.0

_POOLS = {
    "avg": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
}


def feature_model(
    source: Source, layer: str, pool: str = "", input_size: int | None = None
) -> tuple[keras.Model, str]:
    """Keras model from preprocessed pixels ``(n, S, S, 3)`` to features ``(n, d)``.

    It holds the layers up to ``layer`` and no others; a convolutional output is pooled, or
    flattened in Keras' order (rows, columns, channels). Also returns the SHA-256 of the
    weights: the file's, or of a random network the drawn numbers'.

    Raises ArgumentError (unknown layer, ``pool`` on a layer without rows and columns, a size
    that does not fit) and ModelError (a file that Keras cannot load).
    """
    if source.kind == "model":
        loaded = load(source)
        model = cut(fold(loaded.model), loaded.names.get(layer, layer), pool, loaded.names)
        return _with_size(model, source, layer, input_size), source.sha256
    size = _vgg16_size(source, layer, input_size)
    classes = source.dense[-1][1] if source.dense else 1000
    if source.seed is not None:
        model = cut(vgg16(size, layer, kernels=partial(_draw, source.seed)), layer, pool)
        return model, _digest_kernels(model)
    model = cut(vgg16(size, layer, classes), layer, pool)
    _load_weights(model, source)
    return model, source.sha256


def attribution(model: keras.Model, training: Mapping[str, Any]) -> str:
    """Whose weights a model has or was trained from, as a licence wants it told; "" for nobody's.

    ``training`` is what its file says of its training, which may have changed what is looked at
    otherwise: the numbers of its first kernel.
    """
    if said := training.get("attribution"):
        return str(said)
    for layer in model.layers:
        if layer.name == "block1_conv1" and layer.weights:
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            return ATTRIBUTION if is_first_kernel(kernel) else ""
    return ""


def input_size(model: keras.Model) -> int:
    """The side of the square pictures that ``model`` takes, pixels."""
    return int(model.inputs[0].shape[1])


def vgg16(
    size: int,
    last: str = "predictions",
    classes: int = 1000,
    kernels: Callable[..., np.ndarray] | None = None,
) -> keras.Model:
    """The network of ``keras.applications.VGG16`` up to the layer ``last``.

    ``kernels(position, shape, dtype)`` gives the weights of each layer in turn, by default
    zeros. Built here because Keras' own starts from random numbers that are thrown away: 3 s
    and 0.8 GiB that TensorFlow never gives back. A test compares the two layer by layer.
    """
    image = output = keras.Input((size, size, 3))
    position = 0
    for name in LAYERS[: LAYERS.index(last) + 1]:
        initial = partial(kernels, position) if kernels else "zeros"
        block, _, kind = name.partition("_")
        if kind.startswith("conv"):
            layer = keras.layers.Conv2D(
                _CHANNELS[block],
                3,
                padding="same",
                activation="relu",
                data_format="channels_last",
                kernel_initializer=initial,
                name=name,
            )
        elif kind == "pool":
            layer = keras.layers.MaxPooling2D(2, 2, data_format="channels_last", name=name)
        elif name == "flatten":
            layer = keras.layers.Flatten(data_format="channels_last", name=name)
        else:
            units, activation = (classes, "softmax") if name == "predictions" else (4096, "relu")
            layer = keras.layers.Dense(
                units, activation=activation, kernel_initializer=initial, name=name
            )
        output = layer(output)
        position += bool(layer.weights)
    return keras.Model(image, output, name="vgg16")


def _vgg16_size(source: Source, layer: str, asked: int | None) -> int:
    """The picture size for a VGG-16; its first dense layer's weights fit few sizes."""
    if asked is not None and asked < MINIMUM_SIZE:
        raise ArgumentError(
            f"--input-size {asked} is too small for VGG-16, which halves a picture five times",
            "Nothing was exported",
            f"Use {MINIMUM_SIZE} or more; its own size is {DEFAULT_SIZE}",
        )
    if source.seed is not None or layer not in TOP_LAYERS:
        return asked or DEFAULT_SIZE
    own = _dense_size(source)
    if own is None and layer == "flatten":  # block5_pool, in one row
        return asked or DEFAULT_SIZE
    if own is None:
        raise ModelError(
            f"{source.path} holds the convolutional layers only, and {layer} lies behind them",
            "Nothing was exported",
            "Pass weights with the dense layers (Keras' file is "
            f"{FILES[True][0]}), or choose a layer up to block5_pool: --layer block5_pool "
            "--unit-length. vsearch train --base takes the file as it is",
        )
    if asked is not None and asked // MINIMUM_SIZE != own // MINIMUM_SIZE:
        raise ArgumentError(
            f"--input-size {asked} does not fit the dense layers of --weights {source.label}, "
            f"whose fc1 takes {source.dense[0][0]} numbers",
            "Nothing was exported",
            f"Leave --input-size out ({own} fits), or choose a layer before flatten, such as "
            "block5_pool with --pool avg, which takes any size",
        )
    return asked or own


def _dense_size(source: Source) -> int | None:
    """The picture size that the first dense layer in a weights file was made for, if any."""
    if not source.dense:
        return None
    return math.isqrt(source.dense[0][0] // _CHANNELS["block5"]) * MINIMUM_SIZE


def _load_weights(model: keras.Model, source: Source) -> None:
    try:
        if source.kind == "weights":
            _load_by_place(model, source)
        else:
            _load_by_name(model, source)
    except ModelError:
        raise
    except Exception as error:  # Keras raises whatever its many readers raise
        raise ModelError(
            f"The weights in {source.path} do not fit VGG-16: {first_line(error)}",
            "Nothing was exported",
            "Pass the whole model instead of its weights, saved by model.save('FILE.keras')",
        ) from error


def _load_by_place(model: keras.Model, source: Source) -> None:
    """Weights from where `keras3` found them."""
    import h5py  # type: ignore[import-untyped]

    with h5py.File(source.path, "r") as file:
        for layer in model.layers:
            if layer.weights:
                group = file[source.places[layer.name]]["vars"]
                layer.set_weights([group["0"][()], group["1"][()]])


def _load_by_name(model: keras.Model, source: Source) -> None:
    """Weights from an HDF5 file whose groups are named as the layers, at whatever depth.

    A model in a model has its layers in a group of its own.
    """
    import h5py

    with h5py.File(source.path, "r") as file:
        arrays = arrays_by_layer(file)
        weighted = [layer for layer in model.layers if layer.weights]
        missing = [layer.name for layer in weighted if layer.name not in arrays]
        if missing:
            raise ModelError(
                f"{source.path} has no weights for the layers {', '.join(missing)} of VGG-16",
                "Nothing was exported",
                "Pass weights whose layers are named as in keras.applications.VGG16, or the whole "
                "model as a .keras file",
            )
        for layer in weighted:
            found = arrays[layer.name]
            if len(found) != len(layer.weights):
                raise ValueError(f"the layer {layer.name} has {len(found)} arrays there")
            layer.set_weights([array[()] for array in found])


def cut(
    model: keras.Model, layer: str, pool: str, paths: Mapping[str, str] | None = None
) -> keras.Model:
    """The part of ``model`` up to the output of ``layer``, pooled or flattened.

    ``paths`` are those of layers that came in models of their own; errors offer them.
    """
    names = [each.name for each in model.layers if each.name and not _is_input(each)]
    inner = {name: path for path, name in (paths or {}).items() if path.endswith(f"/{name}")}
    if layer not in names:
        raise ArgumentError(
            f"The network has no layer {layer}",
            "Nothing was exported",
            f"Choose one of: {', '.join(inner.get(name, name) for name in names)}",
        )
    chosen = model.get_layer(layer)
    try:
        output = ends_of(model, chosen)[1]
    except (AttributeError, ValueError) as error:
        raise ArgumentError(
            f"The layer {layer} has not one output of its own: {first_line(error)}",
            "Nothing was exported",
            f"Choose one of: {', '.join(name for name in names if name != layer)}",
        ) from error
    shape = tuple(getattr(output, "shape", ()))
    if len(shape) not in (2, 4):
        raise ArgumentError(
            f"The layer {layer} has the shape {shape}, and features are made from (None, d) or "
            "(None, rows, columns, channels)",
            "Nothing was exported",
            f"Choose another of: {', '.join(names)}",
        )
    if pool and len(shape) == 2:
        raise ArgumentError(
            f"--pool {pool} is for layers with rows and columns, and {layer} has the shape {shape}",
            "Nothing was exported",
            "Leave --pool out",
        )
    if pool:
        output = _POOLS[pool](data_format="channels_last", name="features")(output)
    elif len(shape) == 4:
        output = keras.layers.Flatten(data_format="channels_last", name="features")(output)
    return keras.Model(model.inputs[0], output, name="features")


def _is_input(layer: Any) -> bool:
    return isinstance(layer, keras.layers.InputLayer)


def _with_size(model: keras.Model, source: Source, layer: str, asked: int | None) -> keras.Model:
    """``model`` for pictures of the size asked for, its weights unchanged."""
    own = model.inputs[0].shape[1]
    size = asked or own or DEFAULT_SIZE
    if size == own:
        return model
    try:
        resized = keras.models.clone_model(
            model, input_tensors=keras.Input((size, size, 3), name="image")
        )
        resized.set_weights(model.get_weights())
    except (ValueError, TypeError) as error:
        raise ArgumentError(
            f"--input-size {size} does not fit the layers of --weights {source.label} up to "
            f"{layer}: {first_line(error)}",
            "Nothing was exported",
            (f"Leave --input-size out ({own} is the model's own)" if own else "Try another size")
            + ", or choose a layer before the dense ones",
        ) from error
    return resized


def _draw(seed: int, position: int, shape: tuple[int, ...], dtype: str | None = None) -> np.ndarray:
    """He-normal kernel of the layer at ``position``, float32 whatever ``dtype`` Keras asks for.

    Each layer has a generator of its own, so that the weights up to a layer are the same
    whichever layer the network is cut at.
    """
    return he_normal(seed, position, shape, 1 / PIXEL_SCALE if position == 0 else 1.0)


def he_normal(seed: int, position: int, shape: tuple[int, ...], factor: float) -> np.ndarray:
    """The drawn kernel of the layer at ``position``, float32, times ``factor``."""
    return normal([seed, position], shape, math.sqrt(2.0 / math.prod(shape[:-1])) * factor)


def normal(seeds: list[int], shape: tuple[int, ...], deviation: float) -> np.ndarray:
    """Numbers from a generator of their own, float32, normal with this deviation about 0."""
    values = np.random.default_rng(seeds).standard_normal(shape, dtype=np.float32)
    values *= np.float32(deviation)
    return values


def _digest_kernels(model: keras.Model) -> str:
    """SHA-256 of all kernels in turn (an untrained network's biases are zero)."""
    digest = hashlib.sha256()
    for layer in model.layers:
        if layer.weights:
            digest.update(keras.ops.convert_to_numpy(layer.kernel).data)
    return digest.hexdigest()
