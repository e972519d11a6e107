"""The weights of VGG-16 that were trained on ImageNet: where they are, and that they are those.

Looked for in Keras' folder, then where ``VSEARCH_WEIGHTS`` says; downloaded by Keras only where
neither has them. Layers up to block5_pool need the small file without the dense layers.

A file is taken for these weights where its checksum is that of Keras' own file, or where the
numbers of its thirteen convolutions are, to the bit, those of `CONVOLUTIONS_SHA256`: other programs
write the same numbers into other bytes. The dense layers of such a file are known by their shapes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ExportError, ModelError
from .files import arrays_by_layer, file_digest, need_h5py

if TYPE_CHECKING:
    import numpy as np

#: Names a file with the weights, or a folder with files of Keras' names.
VARIABLE = "VSEARCH_WEIGHTS"

#: What the licence asks of everything that is made of these weights.
ATTRIBUTION = "VGG-16 ImageNet weights, Simonyan and Zisserman 2014, CC BY 4.0"

#: Seconds after which an unreachable download is given up.
PROBE_SECONDS = 8.0

# The same two files as keras.applications.vgg16, so that its cache is shared; a test compares.
URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
FILES = {
    True: (
        "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        "64373286793e3c8b2b4e3219cbf3544b",
    ),
    False: (
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
}

#: Of the float32 numbers of all convolutions in turn, little-endian, kernel before bias.
CONVOLUTIONS_SHA256 = "d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"

#: The first numbers of the first kernel, as many public sources print them: enough to tell these
#: weights, or what was trained further behind them, from all others.
FIRST_KERNEL = (0.42947057, 0.11727387, 0.03401296)

_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
_DENSE = {"fc1": (25088, 4096), "fc2": (4096, 4096), "predictions": (4096, 1000)}


@dataclass(frozen=True)
class Search:
    """What looking for the weights found: the file, or None and the places looked at, in words."""

    path: Path | None
    places: list[str] = field(default_factory=list)


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


def on_this_machine(dense: bool) -> Search:
    """Look for the weights without a network; ``dense`` asks for the dense layers too.

    Raises ModelError where ``VSEARCH_WEIGHTS`` names what is not there, or a file of other
    weights: it was named to be used.
    """
    places = []
    for path, named in _candidates(dense):
        if not path.is_file():
            places.append(str(path))
            continue
        why = why_not(path, dense)
        if not why:
            return Search(path)
        if named and dense and not why_not(path, False):
            places.append(f"{path} ({why})")
        elif named:
            raise ModelError(
                f"{VARIABLE} names {path}, which does not hold the ImageNet weights of VGG-16: "
                f"{why}",
                "Nothing was exported",
                "Name another file or folder, unset the variable, or pass --weights FILE, which "
                "takes a file as it is",
            )
        else:
            places.append(f"{path} (the file there is damaged: {why})")
    return Search(None, places)


def _candidates(dense: bool) -> Iterator[tuple[Path, bool]]:
    """Files to look at in turn, and whether each is named itself."""
    # The large file holds the convolutions as well.
    names = [FILES[top][0] for top in ((True,) if dense else (False, True))]
    for name in names:
        yield keras_home() / "models" / name, False
    said = os.environ.get(VARIABLE)
    if not said:
        return
    place = Path(said).expanduser()
    if place.is_dir():
        for name in names:
            yield place / name, False
    elif place.exists():
        yield place, True
    else:
        raise ModelError(
            f"{VARIABLE} names {place}, which does not exist",
            "Nothing was exported",
            "Name a file with VGG-16's ImageNet weights or a folder with one, or unset it",
        )


def why_not(path: Path, dense: bool) -> str:
    """Why a file does not hold the weights that are asked for; "" where it does."""
    digest = file_digest(path, "md5")
    if digest == FILES[True][1] or (digest == FILES[False][1] and not dense):
        return ""
    h5py = need_h5py(path)
    try:
        with h5py.File(path, "r") as file:
            return _differs(arrays_by_layer(file), dense)
    except (OSError, RuntimeError, KeyError) as error:
        return f"it is no HDF5 file, or cut short ({str(error).splitlines()[0]})"


def _differs(arrays: dict[str, list[Any]], dense: bool) -> str:
    """What in a file's arrays is not as in the ImageNet weights; "" for nothing."""
    numbers = hashlib.sha256()
    inputs = 3
    for block, (count, channels) in enumerate(_BLOCKS, 1):
        for position in range(1, count + 1):
            name = f"block{block}_conv{position}"
            found = arrays.get(name, [])
            if [each.shape for each in found] != [(3, 3, inputs, channels), (channels,)]:
                return f"{name} is not there in its shape"
            kernel, bias = (each[()].astype("<f4") for each in found)
            if block == position == 1 and not is_first_kernel(kernel):
                return f"the numbers of {name} are others"
            numbers.update(kernel.tobytes())
            numbers.update(bias.tobytes())
            inputs = channels
    if numbers.hexdigest() != CONVOLUTIONS_SHA256:
        return "its first numbers are right and others are not"
    for name, shape in _DENSE.items() if dense else ():
        if [each.shape for each in arrays.get(name, [])] != [shape, shape[1:]]:
            return f"it has no dense layer {name}"
    return ""


def is_first_kernel(kernel: np.ndarray) -> bool:
    """Whether a kernel, ``(3, 3, 3, 64)``, is that of ``block1_conv1`` in these weights."""
    return kernel.shape == (3, 3, 3, 64) and all(
        abs(float(found) - known) < 1e-7
        for found, known in zip(kernel[0, 0, 0], FIRST_KERNEL, strict=False)
    )


def credited(attribution: str) -> str:
    """The attribution of a network that was trained on: it says so, once."""
    changed = "; trained further by vsearch train"
    return attribution.removesuffix(changed) + changed


def imagenet_file(layer: str, dense: bool, log: Callable[[str], None]) -> Path:
    """Path of the weights, downloaded into Keras' cache where they are nowhere on this machine.

    ``layer`` is what they are wanted for, ``dense`` whether that lies in the dense layers (528 MiB
    instead of 56 MiB). Raises ExportError where they cannot be had; ModelError as
    `on_this_machine`.
    """
    found = on_this_machine(dense)
    if found.path is not None:
        log(f"ImageNet weights: {found.path}")
        return found.path
    name, md5 = FILES[dense]
    models = keras_home() / "models"
    log(f"ImageNet weights are not in {' nor in '.join(found.places)}: asking {URL}")
    reason = _unreachable(URL + name, PROBE_SECONDS)
    if reason:
        raise _no_download(reason, layer, dense, found)
    return _download(name, md5, models, layer, dense, found)


def _download(name: str, md5: str, models: Path, layer: str, dense: bool, found: Search) -> Path:
    from . import backend

    backend.prepare_keras()
    import keras

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PROBE_SECONDS)  # a stalled download is given up too
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras' progress bar
            path = keras.utils.get_file(
                name,
                URL + name,
                cache_dir=str(models.parent),
                cache_subdir="models",
                file_hash=md5,
            )
        return Path(path)
    except Exception as error:  # Keras raises a bare Exception for a failed download
        raise _no_download(str(error) or type(error).__name__, layer, dense, found) from error
    finally:
        socket.setdefaulttimeout(before)


def _no_download(reason: str, layer: str, dense: bool, found: Search) -> ExportError:
    name = FILES[dense][0]
    cause = (
        f"The ImageNet weights are not on this machine and cannot be downloaded from {URL}{name} "
        f"({reason.rstrip('.')}); looked for in: {', '.join(found.places)}"
    )
    put = f"Put the file where Keras looks for it, {keras_home() / 'models' / name}"
    files = (
        "or pass a file: --weights FILE.keras (a whole model) or --weights FILE.h5 (VGG-16 "
        "weights); to try the line without training there is --weights random:0"
    )
    if not dense:
        return ExportError(
            cause,
            "Nothing was exported",
            f"{put}, or name it or its folder by {VARIABLE}, {files}",
        )
    small = on_this_machine(dense=False).path
    have = (
        f"which {small} holds"
        if small is not None
        else f"which need {FILES[False][0]} alone (56 MiB)"
    )
    return ExportError(
        f"{cause}. {layer} lies behind dense weights, which that file alone holds",
        "Nothing was exported",
        f"{put}, or name it or its folder by {VARIABLE}. Without it, what needs the convolutions "
        f"alone works, {have}: every layer up to block5_pool (--layer block5_pool --unit-length), "
        "and vsearch train --base imagenet; and so does the network of the package, for clothing. "
        f"Or {files.removeprefix('or ')}",
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
