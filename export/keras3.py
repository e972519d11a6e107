"""The layers of VGG-16 in a ``.weights.h5`` file of Keras 3, found without Keras.

Such a file calls a layer by its class and its turn among those of that class in the model it lies
in (``layers/functional/layers/conv2d_3/vars/0``), and models in models are groups in groups. Newer
versions add the layer's own name as an attribute. A place is taken for a layer of VGG-16 only where
turn, shape and, where there is one, name say the same: weights in the wrong layer would make
features that look like any others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import ModelError

CONVOLUTIONS = tuple(
    (f"block{block}_conv{position}", channels)
    for block, (count, channels) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1)
    for position in range(1, count + 1)
)

DENSE = ("fc1", "fc2", "predictions")

_FC = 4096

#: Layers that do nothing to an answer, or what VGG-16 does there.
_HARMLESS = {
    *("input_layer", "conv2d", "max_pooling2d", "flatten", "dense", "re_lu", "activation"),
    *("dropout", "spatial_dropout2d", "gaussian_noise", "gaussian_dropout", "identity"),
}

#: Layers that only follow convolutions, of which they change nothing.
_BEHIND = {"global_average_pooling2d", "global_max_pooling2d"}

_CONSEQUENCE = "Nothing was exported"
_CURE = "Pass the whole model instead of its weights, saved by model.save('FILE.keras')"


@dataclass(frozen=True)
class Found:
    """Where a file has VGG-16's weights.

    Attributes:
        places: the group of each layer's arrays, by the layer's name; the dense ones as far as
            they are VGG-16's.
        dense: shapes of the dense kernels, in their order; empty when they do not follow a
            flattened picture in a row.
        named: whether the file gives the layers VGG-16's names.
        why: what speaks against dense layers that are not in `places`, in words.
    """

    places: Mapping[str, str]
    dense: tuple[tuple[int, ...], ...]
    named: bool
    why: str = ""


@dataclass(frozen=True)
class _Layer:
    """A layer in the file: its group, the model it lies in, its class and turn, its arrays."""

    group: str
    inside: str
    kind: str
    turn: int
    name: str
    shapes: tuple[tuple[int, ...], ...]


def find(path: Path, file: Any) -> Found:
    """The places of VGG-16's weights in an open HDF5 file; `path` is for errors.

    Raises ModelError where it cannot be told for sure which convolution is which, or where layers
    that VGG-16 has not may lie between them or in front of them.
    """
    layers = _layers(file)
    convolutions = _convolutions(path, layers)
    homes = {each.inside for each in convolutions}
    _refuse_strangers(path, layers, homes)
    places = {name: each.group for (name, _), each in zip(CONVOLUTIONS, convolutions, strict=True)}
    names = {each.name for each in convolutions}
    named = names == {name for name, _ in CONVOLUTIONS}
    dense, why = _dense(layers, homes)
    for name, each in zip(DENSE, dense, strict=False):
        rows, columns = each.shapes[0]
        if name == "fc1":
            fits = bool(_side(rows)) and columns == _FC
        else:
            fits = rows == _FC and (name == "predictions" or columns == _FC)
        if not fits:
            break
        places[name] = each.group
    if dense and len(places) < len(CONVOLUTIONS) + len(DENSE):
        why = f"its dense layers have kernels of {_in_words(dense)}"
    kernels = tuple(each.shapes[0] for each in dense)
    return Found(places, kernels if kernels and _side(kernels[0][0]) else (), named, why)


def _layers(file: Any) -> list[_Layer]:
    """All layers of an open file; what an optimiser and metrics keep is none of theirs."""
    import h5py  # type: ignore[import-untyped]

    found = []

    def note(path: str, entry: Any) -> None:
        *parts, last = path.split("/")
        if last != "vars" or not parts or not isinstance(entry, h5py.Group):
            return
        if parts[0].startswith(("optimizer", "metric", "compile", "_metrics", "seed_generator")):
            return
        group = "/".join(parts)
        models = set(file[group]) - {"vars", "seed_generator"}
        if parts[-1].startswith("seed_generator") or models:
            return
        kind, turn = re.fullmatch(r"(.*?)(?:_(\d+))?", parts[-1]).groups()  # type: ignore[union-attr]
        name = entry.attrs.get("name", "")
        arrays = [entry[key] for key in sorted(entry, key=lambda key: (len(key), key))]
        shapes = tuple(tuple(each.shape) for each in arrays if isinstance(each, h5py.Dataset))
        name = name.decode() if isinstance(name, bytes) else str(name)
        found.append(_Layer(group, "/".join(parts[:-1]), kind, int(turn or 0), name, shapes))

    file.visititems(note)
    return found


def _convolutions(path: Path, layers: Sequence[_Layer]) -> list[_Layer]:
    """The thirteen convolutions from first to last."""
    found = [each for each in layers if any(len(shape) == 4 for shape in each.shapes)]
    names = [name for name, _ in CONVOLUTIONS]
    if len(found) != len(names):
        raise ModelError(
            f"{path} has kernels of convolutions, but is laid out neither as Keras 2 nor as Keras "
            "3 lays out weights",
            _CONSEQUENCE,
            "Give them to keras.applications.VGG16(weights=None), then "
            "model.save_weights('FILE.weights.h5')",
        )
    if sorted(each.name for each in found) == sorted(names):
        found.sort(key=lambda each: names.index(each.name))
    elif len({each.inside for each in found}) > 1:
        raise ModelError(
            f"{path} has its convolutions in several models, without VGG-16's names, and a file of "
            "weights does not tell the order of those",
            _CONSEQUENCE,
            _CURE,
        )
    else:
        found.sort(key=lambda each: each.turn)
    before = 3
    for (name, channels), each in zip(CONVOLUTIONS, found, strict=True):
        wanted = ((3, 3, before, channels), (channels,))
        if each.shapes != wanted or each.kind != "conv2d":
            raise ModelError(
                f"{path} has arrays of the shapes {each.shapes} in {each.group}, and VGG-16's "
                f"{name} has {wanted}",
                _CONSEQUENCE,
                _CURE,
            )
        before = channels
    for first, second in pairwise(found):
        if first.inside == second.inside and first.turn > second.turn:
            raise ModelError(
                f"{path} calls {first.group} {first.name} and {second.group} {second.name}: names "
                "and order of its layers do not agree",
                _CONSEQUENCE,
                _CURE,
            )
    for name, each in zip(names, found, strict=True):
        if each.name in names and each.name != name:
            raise ModelError(
                f"{path} calls {each.group} {each.name}, and by order and shape it is {name}",
                _CONSEQUENCE,
                _CURE,
            )
    return found


def _refuse_strangers(path: Path, layers: Sequence[_Layer], homes: set[str]) -> None:
    """ModelError for layers with which the convolutions' answers are not VGG-16's."""
    for each in layers:
        if each.kind in _HARMLESS | _BEHIND or each.kind.startswith("random_"):
            continue
        # A normalisation of three channels may lie in front of the network; of more, in another
        # model than the convolutions, behind it.
        normalises = each.kind == "batch_normalization" and each.inside not in homes
        if normalises and each.shapes and each.shapes[0] != (3,):
            continue
        raise ModelError(
            f"{path} has a layer {each.name or each.kind} ({each.group}) that VGG-16 has not, and "
            "a file of weights does not tell where it lies and what it does",
            _CONSEQUENCE,
            _CURE,
        )
    pools = sum(each.kind == "max_pooling2d" for each in layers)
    # Versions that list only layers with weights list none.
    if pools not in (0, 5):
        raise ModelError(
            f"{path} is of a model with {pools} poolings, and VGG-16 has 5", _CONSEQUENCE, _CURE
        )


def _dense(layers: Sequence[_Layer], homes: set[str]) -> tuple[list[_Layer], str]:
    """The dense layers behind the convolutions in their order, or none, and why."""
    every = [each for each in layers if any(len(shape) == 2 for shape in each.shapes)]
    own = [each for each in every if each.inside in homes]
    found = sorted(own or every, key=lambda each: each.turn)
    strangers = [each for each in layers if each.kind in _BEHIND | {"batch_normalization"}]
    if strangers:
        return [], f"it has a layer {strangers[0].name or strangers[0].kind}"
    if len({each.inside for each in found}) > 1:
        return [], "its dense layers are in several models, whose order it does not tell"
    for each in found:
        if [len(shape) for shape in each.shapes] != [2, 1] or each.kind != "dense":
            return [], f"{each.group} has arrays of the shapes {each.shapes}"
    for first, second in pairwise(found):
        if first.shapes[0][1] != second.shapes[0][0]:
            return [], f"its dense layers have kernels of {_in_words(found)}, which are no chain"
    for name, each in zip(DENSE, found, strict=False):
        if each.name in DENSE and each.name != name:
            return [], f"it calls {each.group} {each.name}, and by order it is {name}"
    if len(found) > len(DENSE):
        return [], f"it has {len(found)} dense layers"
    return found, ""


def _side(rows: int) -> int:
    """Rows of the last block's output that a dense layer of so many inputs takes; 0 for none."""
    side = math.isqrt(rows // 512)
    return side if 512 * side * side == rows else 0


def _in_words(dense: Sequence[_Layer]) -> str:
    return ", ".join(" x ".join(map(str, each.shapes[0])) for each in dense)
