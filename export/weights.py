"""What ``--weights`` means: finds and inspects the weights, without Keras.

All that can be refused is refused here, before TensorFlow is loaded. Where the ImageNet weights
are, and their download, is in `imagenet.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import ArgumentError, ModelError
from ..models.shipped import NETWORKS
from . import keras3
from .architectures import VGG16
from .files import file_digest, need_h5py
from .imagenet import imagenet_file, on_this_machine

#: The layers with dense weights.
DENSE_LAYERS = ("fc1", "fc2", "predictions")

#: The layers that only the network with its dense top has.
TOP_LAYERS = ("flatten", *DENSE_LAYERS)

#: All layers of VGG-16.
LAYERS = (
    *("block1_conv1", "block1_conv2", "block1_pool"),
    *("block2_conv1", "block2_conv2", "block2_pool"),
    *("block3_conv1", "block3_conv2", "block3_conv3", "block3_pool"),
    *("block4_conv1", "block4_conv2", "block4_conv3", "block4_pool"),
    *("block5_conv1", "block5_conv2", "block5_conv3", "block5_pool"),
    *TOP_LAYERS,
)

_HDF5 = b"\x89HDF\r\n\x1a\n"

_CLASSES_MEMBER = "classes.json"
_TRAINING_MEMBER = "training.json"

Kind = Literal["random", "model", "legacy-weights", "weights", "imagenet"]


@dataclass(frozen=True)
class Source:
    """Where the weights come from.

    Attributes:
        label: the ``--weights`` argument; of a file only its name.
        kind: ``random``, a whole ``model``, ``legacy-weights`` (HDF5, layers by name) or
            ``weights`` (Keras 3's ``.weights.h5``); ``imagenet``, which Keras has of an
            architecture other than VGG-16.
        path, sha256: the file and its digest; None and "" for ``random``.
        seed: of ``random``.
        classes: names of the model's classes, empty when it does not say.
        training: how `vsearch train` made it (see `write_training`), empty when it does not say.
        dense: shapes of the dense kernels in a weights file, in the file's order.
        places: where a file of Keras 3 has each layer's arrays (`keras3.Found`).
        architecture: whose weights they are, a name in ``architectures.ARCHITECTURES``.
    """

    label: str
    kind: Kind
    path: Path | None = None
    sha256: str = ""
    seed: int | None = None
    classes: list[str] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    dense: tuple[tuple[int, ...], ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    architecture: str = VGG16

    @property
    def trained(self) -> bool:
        return self.kind != "random"


def resolve(spec: str, layer: str, log: Callable[[str], None], architecture: str = VGG16) -> Source:
    """Find what ``--weights`` names; downloads when it is ``imagenet`` and not yet cached.

    Of an architecture other than VGG-16 Keras downloads, when the network is built.

    Raises ArgumentError for a malformed argument, ModelError for a file that is missing or is
    no Keras file, ExportError when the download is out of reach.
    """
    if architecture != VGG16:
        return _resolve_application(spec, architecture)
    if spec == "imagenet":
        _need_layer(layer)
        found = imagenet_file(layer, layer in DENSE_LAYERS, log)
        return _inspect_file(found, "imagenet", layer, log)
    if spec == "random" or spec.startswith("random:"):
        seed = _seed(spec)
        _need_layer(layer)
        return Source(label=spec, kind="random", seed=seed)
    if spec in NETWORKS:
        raise ArgumentError(
            f"{spec} is a network of the package, and is exported already",
            "Nothing was exported",
            f"Use it by its name, --model {spec}; a file of this name is ./{spec}",
        )
    path = Path(spec).expanduser()
    source = _inspect_file(path, path.name, layer, log)
    if source.kind != "model":
        _need_layer(layer)
    return source


def _resolve_application(spec: str, architecture: str) -> Source:
    """The same for a network of ``keras.applications``; what its file holds Keras finds out."""
    if spec == "imagenet":
        return Source(spec, "imagenet", architecture=architecture)
    if spec == "random" or spec.startswith("random:"):
        return Source(spec, "random", seed=_seed(spec), architecture=architecture)
    path = Path(spec).expanduser()
    magic, digest = _magic(path)
    if magic.startswith(b"PK\x03\x04"):
        raise ArgumentError(
            f"{path} is a whole model, which tells its layers itself",
            "Nothing was exported",
            "Leave --architecture out; --layer names the layer, --preprocess what it is fed",
        )
    if magic != _HDF5:
        raise _not_keras(path, "it begins like neither a .keras nor an HDF5 file")
    _need_suffix(path, (".h5", ".hdf5"))
    return Source(path.name, "weights", path, digest, architecture=architecture)


def _seed(spec: str) -> int:
    if not re.fullmatch(r"random:\d{1,18}", spec):
        raise ArgumentError(
            f"--weights {spec} does not name a seed",
            "Nothing was exported",
            "Write random: and a whole number, such as random:0",
        )
    return int(spec.removeprefix("random:"))


def usual_layer(spec: str) -> str:
    """The layer whose features serve where none is named: ``fc1``, or the last one of the
    convolutional part where the weights on this machine have no dense layers.

    Raises ModelError for a file that is missing or is no Keras file.
    """
    last = "block5_pool"
    if spec == "imagenet":
        small_only = on_this_machine(dense=True).path is None and on_this_machine(dense=False).path
        return last if small_only else "fc1"
    if spec.partition(":")[0] == "random":
        return "fc1"
    source = _inspect_file(Path(spec).expanduser(), spec, last, lambda _: None)
    return "fc1" if source.kind == "model" or source.dense else last


def _need_layer(layer: str) -> None:
    if layer not in LAYERS:
        raise ArgumentError(
            f"VGG-16 has no layer {layer}",
            "Nothing was exported",
            f"Choose one of: {', '.join(LAYERS)}",
        )


def write_classes(model_file: str | os.PathLike[str], classes: Sequence[str]) -> None:
    """Add the names of the classes to a ``.keras`` file, as its member ``classes.json``.

    Keras ignores the member; the export copies it into the ONNX file's metadata. Raises
    ModelError when the file is no ``.keras`` file.
    """
    _write_member(model_file, _CLASSES_MEMBER, list(classes))


def write_training(model_file: str | os.PathLike[str], training: Mapping[str, Any]) -> None:
    """Add how a model was trained to a ``.keras`` file, as its member ``training.json``.

    The export copies it into the ONNX file's metadata, takes the resize rule from its
    ``recipe``, and an evaluation leaves out the groups in ``trained_groups``.
    """
    _write_member(model_file, _TRAINING_MEMBER, dict(training))


def _write_member(model_file: str | os.PathLike[str], member: str, content: Any) -> None:
    if not zipfile.is_zipfile(model_file):
        raise _not_keras(Path(model_file), "it is no zip archive, which a .keras file is")
    with zipfile.ZipFile(model_file, "a") as archive:
        archive.writestr(member, json.dumps(content, ensure_ascii=False))


def _inspect_file(path: Path, label: str, layer: str, log: Callable[[str], None]) -> Source:
    """Tell a whole model from weights, by content; raises ModelError.

    Of weights those up to `layer` have to be VGG-16's.
    """
    magic, digest = _magic(path)
    if magic.startswith(b"PK\x03\x04"):
        _need_suffix(path, (".keras",))
        classes, training = read_classes(path), read_training(path)
        return Source(label, "model", path, digest, classes=classes, training=training)
    if magic == _HDF5:
        _need_suffix(path, (".h5", ".hdf5"))
        return _inspect_hdf5(path, label, digest, layer, log)
    raise _not_keras(path, "it begins like neither a .keras nor an HDF5 file")


def _magic(path: Path) -> tuple[bytes, str]:
    """A weights file's first bytes and its SHA-256; raises ModelError."""
    if path.is_dir():
        raise _not_keras(path, "it is a folder")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            magic = file.read(8)
        digest = file_digest(path, "sha256")
    except FileNotFoundError as error:
        raise ModelError(
            f"There is no weights file {path}",
            "Nothing was exported",
            "Check the path; --weights takes imagenet, random:SEED or a .keras or .h5 file",
        ) from error
    except OSError as error:
        raise ModelError(
            f"The weights file {path} cannot be read ({error.strerror})",
            "Nothing was exported",
            "Check its permissions",
        ) from error
    if size == 0:
        raise _not_keras(path, "it is empty")
    return magic, digest


def _inspect_hdf5(
    path: Path, label: str, digest: str, layer: str, log: Callable[[str], None]
) -> Source:
    h5py = need_h5py(path)
    kernels: list[tuple[int, ...]] = []

    def note(name: str, entry: Any) -> None:
        # An optimiser keeps arrays of the same shapes.
        if name.startswith("optimizer"):
            return
        if isinstance(entry, h5py.Dataset) and entry.ndim in (2, 4):
            kernels.append(tuple(entry.shape))

    try:
        with h5py.File(path, "r") as file:
            whole = "model_config" in file.attrs
            legacy = "layer_names" in file.attrs or "model_weights" in file
            file.visititems(note)
            convolutions = sum(len(shape) == 4 for shape in kernels)
            if not whole and convolutions != 13:
                raise ModelError(
                    f"{path} holds weights of {convolutions} convolutional layers, and VGG-16 has "
                    "13",
                    "Nothing was exported",
                    "Pass the whole model instead of its weights, saved by "
                    "model.save('FILE.keras')",
                )
            found = None if whole or legacy else keras3.find(path, file)
    except (OSError, RuntimeError, KeyError) as error:
        raise _not_keras(path, f"it is damaged or cut short: {error}") from error
    if whole:
        return Source(label, "model", path, digest)
    if found is None:
        dense = tuple(shape for shape in kernels if len(shape) == 2)
        return Source(label, "legacy-weights", path, digest, dense=dense)
    reached = bool(found.dense) if layer == "flatten" else layer in found.places
    if found.why and layer in TOP_LAYERS and not reached:
        raise ModelError(
            f"{path} does not tell for sure which of its layers is VGG-16's {layer}: {found.why}",
            "Nothing was exported",
            "Pass the whole model instead of its weights, saved by model.save('FILE.keras'), or "
            "choose a layer of the convolutions, such as block5_pool with --pool avg",
        )
    if not found.named:
        log(
            f"the layers in {path} have not VGG-16's names; they are taken by their order, which "
            "fits in every shape"
        )
    return Source(label, "weights", path, digest, dense=found.dense, places=found.places)


def read_classes(path: Path) -> list[str]:
    """What `write_classes` wrote; ModelError for what is no ``.keras`` file."""
    names = _read_member(path, _CLASSES_MEMBER, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _not_keras(path, f"its {_CLASSES_MEMBER} is no list of names")
    return names


def read_training(path: Path) -> dict[str, Any]:
    """What `write_training` wrote; ModelError for what is no ``.keras`` file."""
    training = _read_member(path, _TRAINING_MEMBER, {})
    if not isinstance(training, dict) or not isinstance(training.get("recipe", {}), dict):
        raise _not_keras(path, f"its {_TRAINING_MEMBER} does not tell how it was trained")
    return training


def _read_member(path: Path, member: str, otherwise: Any) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            if member not in archive.namelist():
                return otherwise
            return json.loads(archive.read(member))
    except (zipfile.BadZipFile, OSError) as error:
        raise _not_keras(path, f"it is damaged or cut short: {error}") from error
    except ValueError as error:
        raise _not_keras(path, f"its {member} is no JSON: {error}") from error


def keras_version(path: Path) -> str:
    """The version of Keras that a file says it was saved by; "" where it does not."""
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
        import h5py  # type: ignore[import-untyped]

        with h5py.File(path, "r") as file:
            found = file.attrs.get("keras_version", "")
            return found.decode() if isinstance(found, bytes) else str(found)
    return ""


def _need_suffix(path: Path, suffixes: tuple[str, ...]) -> None:
    """Keras goes by the suffix; say so in its place."""
    if path.suffix.lower() not in suffixes:
        raise ModelError(
            f"{path} has the content of a {suffixes[0]} file but another suffix",
            "Nothing was exported, because Keras goes by the suffix",
            f"Rename it so that it ends in {suffixes[0]}",
        )


def _not_keras(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path} is not a file that Keras can load: {why}",
        "Nothing was exported",
        "Pass a whole model saved by model.save('FILE.keras'), or VGG-16 weights as .h5; if it "
        "was downloaded or copied, fetch it again",
    )
