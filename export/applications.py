"""A network of ``keras.applications`` other than VGG-16: built, given its weights, cut.

Weights are Keras' own of ImageNet, which Keras downloads and keeps; numbers from a seed; or a
file, Keras' own or what ``model.save_weights`` wrote, with the classifier or without. The
network is as in the file's training: EfficientNet's own step in front, which Keras adds for
weights of ImageNet alone, is told by the numbers that it stands beside.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError, ExportError, ModelError
from .architectures import LAST, Architecture, find
from .files import first_line, need_h5py
from .imagenet import PROBE_SECONDS, keras_home
from .loading import flat
from .vgg16 import PIXEL_SCALE, cut, normal
from .weights import Source

_CONSEQUENCE = "Nothing was exported"

#: What Keras gives EfficientNet's normalisation as *variances*, though they are deviations.
_DEVIATIONS = (0.229, 0.224, 0.225)


def feature_model(
    source: Source, layer: str, pool: str = "", input_size: int | None = None
) -> tuple[keras.Model, str]:
    """Keras model from prepared pixels ``(n, S, S, 3)`` to features ``(n, d)``, flat.

    ``layer`` is `LAST`, pooled by ``pool``, or a layer's name as in `vgg16.feature_model`. Also
    returns the SHA-256 of the weights: the file's, or of the numbers themselves.

    Raises ArgumentError (an unknown layer, a size that does not fit), ModelError (a file that
    does not hold this network's weights) and ExportError (a download out of reach).
    """
    known = find(source.architecture)
    size = input_size or known.size
    model = _weighted(known, source, size, top=False, pooling=pool if layer == LAST else None)
    # Layers of the classifier, such as VGG-19's fc1, are only in the network that has one.
    if layer != LAST and layer not in _names(model):
        whole = _weighted(known, source, size, top=True)
        model = whole if layer in _names(whole) else model
    loaded = flat(model, known.name)
    model = loaded.model
    if source.kind == "random":
        _draw(model, source.seed or 0, 1 / PIXEL_SCALE if known.prepares == "vgg" else 1.0)
    if layer != LAST:
        model = cut(model, loaded.names.get(layer, layer), pool, loaded.names)
    return model, source.sha256 or _digest(model)


def attribution(source: Source) -> str:
    """Whose weights they are, as Keras tells it; "" for a file's and a seed's."""
    if source.label != "imagenet":
        return ""
    return f"ImageNet weights of keras.applications.{find(source.architecture).builder}"


def _names(model: keras.Model) -> set[str]:
    names = {layer.name for layer in model.layers}
    return names | {f"{outer.name}/{each.name}" for outer, each in _inner(model)}


def _inner(model: keras.Model) -> Iterator[tuple[keras.Layer, keras.Layer]]:
    for outer in model.layers:
        for each in getattr(outer, "layers", ()):
            yield outer, each


def _weighted(
    known: Architecture, source: Source, size: int, *, top: bool, pooling: str | None = None
) -> keras.Model:
    """The network with its weights; those from a seed are drawn later."""
    if source.kind == "imagenet":
        return _downloaded(known, size, top, pooling)
    model = _built(known, size, top, pooling)
    if source.path is not None:
        _fill(model, known, source.path, size, top)
    return model


def _built(
    known: Architecture, size: int, top: bool, pooling: str | None, weights: str | None = None
) -> keras.Model:
    """Keras' network, by default untrained; ArgumentError for a size that does not fit it."""
    pooled = {} if top else {"pooling": pooling}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes that ImageNet's weights were not learnt at
            return getattr(keras.applications, known.builder)(
                weights=weights, include_top=top, input_shape=(size, size, 3), **pooled
            )
    except ValueError as error:
        raise ArgumentError(
            f"--input-size {size} does not fit {known.name}: {first_line(error)}",
            _CONSEQUENCE,
            f"Leave --input-size out; its own size is {known.size}",
        ) from error


def _downloaded(known: Architecture, size: int, top: bool, pooling: str | None) -> keras.Model:
    """The network with Keras' ImageNet weights, from Keras' folder, else downloaded into it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PROBE_SECONDS)  # a stalled download is given up
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras' progress bar
            return _built(known, size, top, pooling, "imagenet")
    except ArgumentError:
        raise
    except Exception as error:  # Keras raises a bare Exception for a failed download
        models = keras_home() / "models"
        raise ExportError(
            f"The ImageNet weights of {known.name} are not in {models} and cannot be downloaded "
            f"({first_line(error)})",
            _CONSEQUENCE,
            f"Put the file that is named there into {models}, or pass weights that you have: "
            "--weights FILE.h5; to try the line without training there is --weights random:0",
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _fill(model: keras.Model, known: Architecture, path: Path, size: int, top: bool) -> None:
    """Give ``model`` the weights of a file of the network with its classifier, or without."""
    count = _arrays(path)
    if count != len(model.weights):
        other = _built(known, size, not top, None)
        if count != len(other.weights):
            numbers = sorted({len(model.weights), len(other.weights)})
            raise ModelError(
                f"{path} holds {count} arrays, and {known.name} has "
                f"{' or '.join(map(str, numbers))}, without its classifier or with it",
                _CONSEQUENCE,
                "Name the --architecture that the weights are of, or pass the whole model, saved "
                "by model.save('FILE.keras'), without --architecture",
            )
        if top:
            raise ArgumentError(
                f"{path} holds {known.name} without its classifier, and the layer lies behind it",
                _CONSEQUENCE,
                f"Leave --layer out, or say --layer {LAST}",
            )
        _load(other, known, path)
        # The classifier's are the last ones.
        model.set_weights(other.get_weights()[: len(model.weights)])
    else:
        _load(model, known, path)
    for layer in model.layers:
        # Those whose numbers are given, not learnt (ConvNeXt's), have nothing of the file.
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
            _mend(layer)


def _mend(layer: keras.layers.Normalization) -> None:
    """Behind ImageNet's deviations, taken for variances, Keras divides by their roots again.

    It does so in ``weights="imagenet"`` alone, where the network is built; here the true
    variances do the same in one step.
    """
    variance = np.asarray(layer.adapt_variance)
    if np.allclose(variance.ravel(), _DEVIATIONS, rtol=1e-3):
        layer.adapt_variance.assign(np.square(variance))
    layer.finalize_state()


def _load(model: keras.Model, known: Architecture, path: Path) -> None:
    try:
        model.load_weights(path)
    except Exception as error:  # Keras raises whatever its many readers raise
        raise ModelError(
            f"The weights in {path} do not fit {known.name}: {first_line(error)}",
            _CONSEQUENCE,
            "Name the --architecture and --input-size that they were made for, or pass the whole "
            "model, saved by model.save('FILE.keras'), without --architecture",
        ) from error


def _arrays(path: Path) -> int:
    """How many arrays of weights a file holds, those of optimisers and generators apart."""
    h5py = need_h5py(path)
    found: list[str] = []

    def note(name: str, entry: Any) -> None:
        apart = name.startswith("optimizer") or "seed_generator" in name
        if isinstance(entry, h5py.Dataset) and not apart:
            found.append(name)

    with h5py.File(path, "r") as file:
        file.visititems(note)
    return len(found)


def _draw(model: keras.Model, seed: int, first: float) -> None:
    """He-normal kernels from a seed, the first of them times ``first``; the rest is Keras'."""
    position = 0
    for layer in model.layers:
        for variable in layer.weights:
            if not variable.name.endswith("kernel"):
                continue
            shape = tuple(variable.shape)
            alone = variable.name == "depthwise_kernel" or isinstance(
                layer, keras.layers.DepthwiseConv2D
            )
            inputs = math.prod(shape[:2] if alone else shape[:-1])
            factor = first if position == 0 else 1.0
            variable.assign(normal([seed, position], shape, math.sqrt(2.0 / inputs) * factor))
            position += 1


def _digest(model: keras.Model) -> str:
    """SHA-256 of all weights in turn."""
    digest = hashlib.sha256()
    for variable in model.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).data)
    return digest.hexdigest()
