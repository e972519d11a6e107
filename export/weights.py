"""What ``--weights`` means: finds, downloads and inspects the weights, without Keras.

All that can be refused is refused here, before TensorFlow is loaded. The one download is
Keras' own (``keras.utils.get_file`` into Keras' cache), preceded by a probe with a deadline,
because a resolver without a network may hang for minutes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import ArgumentError, ExportError, MissingDependencyError, ModelError
from ..installing import how_to_install
from . import keras3

#: The layers that only the network with its dense top has.
TOP_LAYERS = ("flatten", "fc1", "fc2", "predictions")

#: All layers of VGG-16.
LAYERS = (
    *("block1_conv1", "block1_conv2", "block1_pool"),
    *("block2_conv1", "block2_conv2", "block2_pool"),
    *("block3_conv1", "block3_conv2", "block3_conv3", "block3_pool"),
    *("block4_conv1", "block4_conv2", "block4_conv3", "block4_pool"),
    *("block5_conv1", "block5_conv2", "block5_conv3", "block5_pool"),
    *TOP_LAYERS,
)

#: Seconds after which an unreachable download is given up.
PROBE_SECONDS = 8.0

_CLASSES_MEMBER = "classes.json"
_TRAINING_MEMBER = "training.json"

# The same two files as keras.applications.vgg16, so that its cache is shared; a test compares.
_URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
_FILES = {
    True: (
        "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        "64373286793e3c8b2b4e3219cbf3544b",
    ),
    False: (
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
}

Kind = Literal["random", "model", "legacy-weights", "weights"]


@dataclass(frozen=True)
class Source:
    """Where the weights come from.

    Attributes:
        label: the ``--weights`` argument; of a file only its name.
        kind: ``random``, a whole ``model``, ``legacy-weights`` (HDF5, layers by name) or
            ``weights`` (Keras 3's ``.weights.h5``).
        path, sha256: the file and its digest; None and "" for ``random``.
        seed: of ``random``.
        classes: names of the model's classes, empty when it does not say.
        training: how `vsearch train` made it (see `write_training`), empty when it does not say.
        dense: shapes of the dense kernels in a weights file, in the file's order.
        places: where a file of Keras 3 has each layer's arrays (`keras3.Found`).
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

    @property
    def trained(self) -> bool:
        return self.kind != "random"


def resolve(spec: str, layer: str, log: Callable[[str], None]) -> Source:
    """Find what ``--weights`` names; downloads when it is ``imagenet`` and not yet cached.

    Raises ArgumentError for a malformed argument, ModelError for a file that is missing or is
    no Keras file, ExportError when the download is out of reach.
    """
    if spec == "imagenet":
        _need_layer(layer)
        return _inspect_file(imagenet_file(layer in TOP_LAYERS, log), "imagenet", layer, log)
    if spec == "random" or spec.startswith("random:"):
        if not re.fullmatch(r"random:\d{1,18}", spec):
            raise ArgumentError(
                f"--weights {spec} does not name a seed",
                "Nothing was exported",
                "Write random: and a whole number, such as random:0",
            )
        _need_layer(layer)
        return Source(label=spec, kind="random", seed=int(spec.removeprefix("random:")))
    path = Path(spec).expanduser()
    source = _inspect_file(path, path.name, layer, log)
    if source.kind != "model":
        _need_layer(layer)
    return source


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


def keras_home() -> Path:
    """Keras' folder, found as Keras finds it: KERAS_HOME, otherwise ~/.keras."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        home.mkdir(parents=True, exist_ok=True)
        writable = os.access(home, os.W_OK)
    except OSError:
        writable = False
    if writable or (home / "models").is_dir():
        return home
    return Path(tempfile.gettempdir()) / ".keras"


def imagenet_file(top: bool, log: Callable[[str], None]) -> Path:
    """Path of the ImageNet weights in Keras' cache, downloaded by Keras when missing.

    ``top`` asks for the dense layers too (528 MiB instead of 56 MiB). Raises ExportError.
    """
    models = keras_home() / "models"
    # The large file holds the convolutions as well.
    for with_top in (True,) if top else (False, True):
        name, md5 = _FILES[with_top]
        cached = models / name
        if cached.is_file() and _digest(cached, "md5") == md5:
            return cached
    name, md5 = _FILES[top]
    damaged = " (the file there is damaged)" if (models / name).exists() else ""
    log(f"ImageNet weights are not in {models}{damaged}: asking {_URL}")
    reason = _unreachable(_URL + name, PROBE_SECONDS)
    if reason:
        raise _no_download(reason, models, name, damaged)
    return _download(name, md5, models, damaged)


def _download(name: str, md5: str, models: Path, damaged: str) -> Path:
    from . import backend

    backend.prepare_keras()
    import keras

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PROBE_SECONDS)  # a stalled download is given up too
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras' progress bar
            path = keras.utils.get_file(
                name,
                _URL + name,
                cache_dir=str(models.parent),
                cache_subdir="models",
                file_hash=md5,
            )
        return Path(path)
    except Exception as error:  # Keras raises a bare Exception for a failed download
        raise _no_download(str(error) or type(error).__name__, models, name, damaged) from error
    finally:
        socket.setdefaulttimeout(before)


def _no_download(reason: str, models: Path, name: str, damaged: str) -> ExportError:
    return ExportError(
        f"The ImageNet weights are not on this machine and cannot be downloaded from {_URL}{name} "
        f"({reason.rstrip('.')})",
        "Nothing was exported",
        f"Put the file where Keras looks for it, {models / name}{damaged}, or pass a file: "
        "--weights FILE.keras (a whole model) or --weights FILE.h5 (VGG-16 weights); to try the "
        "line without training there is --weights random:0",
    )


def _unreachable(url: str, seconds: float) -> str:
    """Why ``url`` cannot be reached, or "" when it can, known after at most ``seconds``.

    In a daemon thread: name resolution knows no timeout. Through urllib, so that a proxy
    counts as a network.
    """
    answer: list[str] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=seconds):
                answer.append("")
        except urllib.error.HTTPError as error:
            answer.append(f"the server answers {error.code} {error.reason}")
        except OSError as error:
            answer.append(str(getattr(error, "reason", error)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answer[0] if answer else f"no answer within {seconds:.0f} s"


def _inspect_file(path: Path, label: str, layer: str, log: Callable[[str], None]) -> Source:
    """Tell a whole model from weights, by content; raises ModelError.

    Of weights those up to `layer` have to be VGG-16's.
    """
    if path.is_dir():
        raise _not_keras(path, "it is a folder")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            magic = file.read(8)
        digest = _digest(path, "sha256")
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
    if magic.startswith(b"PK\x03\x04"):
        _need_suffix(path, (".keras",))
        classes, training = read_classes(path), read_training(path)
        return Source(label, "model", path, digest, classes=classes, training=training)
    if magic == b"\x89HDF\r\n\x1a\n":
        _need_suffix(path, (".h5", ".hdf5"))
        return _inspect_hdf5(path, label, digest, layer, log)
    raise _not_keras(path, "it begins like neither a .keras nor an HDF5 file")


def _inspect_hdf5(
    path: Path, label: str, digest: str, layer: str, log: Callable[[str], None]
) -> Source:
    try:
        import h5py  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependencyError(
            f"Reading {path} needs the package h5py, which comes with Keras",
            "Nothing was exported",
            f"Install what the export needs with: {how_to_install('cpu,export')}",
        ) from error
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
        import h5py

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


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
