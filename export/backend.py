"""Loads TensorFlow, Keras and tf2onnx once, quietly and on the CPU.

Nothing else in ``export/`` may be imported before `prepare` has run, except
``weights.py``, which decides what to load before the seconds that TensorFlow's import takes.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator

from ..embedder.runtime import without_telemetry
from ..errors import ExportError, MissingDependencyError
from ..installing import how_to_install

_PACKAGES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime")

# TensorFlow's C++ side writes these before its log level can be set.
_NOISE = re.compile(
    rb"^(WARNING: All log messages before absl|[IWE]\d{4} \d\d:|[IWE]0000 \d|"
    rb"\d{4}-\d\d-\d\d .*: [IW] |To enable the following instructions)"
)


def prepare() -> None:
    """Import the Keras side; afterwards plain ``import keras`` works everywhere in here.

    Only this process' TensorFlow is kept off the GPU (features are compared with a CPU
    session, and a GPU may multiply in TF32); ``CUDA_VISIBLE_DEVICES`` stays as it is, so
    that other code in the process keeps its GPU.

    Raises:
        MissingDependencyError: one of the packages of the ``export`` extra is missing.
        ExportError: Keras is already running on another backend than TensorFlow.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    without_telemetry()  # tf2onnx may import ONNX Runtime, too
    fresh = "tensorflow" not in sys.modules
    with _keras_on_tensorflow(), _without_noise() if fresh else contextlib.nullcontext():
        for package in _PACKAGES:
            _require(package)
        if fresh:
            _keep_off_the_gpu()
    import keras

    if keras.config.backend() != "tensorflow":
        raise ExportError(
            f"Keras is running on {keras.config.backend()} in this process, and the export needs "
            "its TensorFlow backend",
            "Nothing was exported",
            "Export in a process of its own: python -m vsearch_fast.export --help",
        )


def prepare_keras() -> None:
    """Import Keras on whichever backend the environment or its own settings choose, quietly.

    Training needs no more. Raises MissingDependencyError without Keras or without its backend.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow warns of every last batch that is smaller than the others.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with _without_noise() if "keras" not in sys.modules else contextlib.nullcontext():
        try:
            import keras

            # Now, not at the first step: a machine without a GPU is told so in many lines.
            keras.ops.zeros(1)
        except ImportError as error:
            chosen = os.environ.get("KERAS_BACKEND", "tensorflow")
            raise MissingDependencyError(
                f"Keras or its backend cannot be imported ({error})",
                "Nothing was trained",
                f"Install them with: {how_to_install('cpu,export')}, or set KERAS_BACKEND "
                f"to one that is installed (tensorflow, jax, torch; it is {chosen})",
            ) from error


def versions() -> dict[str, str]:
    """Versions of the packages that shape an exported file, for its metadata."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("vsearch_fast", *_PACKAGES, "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            # tensorflow-cpu and the like install the module under another name.
            found[package] = str(getattr(sys.modules.get(package), "__version__", "unknown"))
    return found


@contextlib.contextmanager
def _keras_on_tensorflow() -> Iterator[None]:
    """Have Keras, if it is imported now, choose TensorFlow whatever the environment says."""
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        yield
    finally:
        del os.environ["KERAS_BACKEND"]
        if before is not None:
            os.environ["KERAS_BACKEND"] = before


def _require(package: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"The export needs the package {package}, which cannot be imported ({error})",
            "Nothing was exported",
            f"Install what it needs with: {how_to_install('cpu,export')}",
        ) from error


def _keep_off_the_gpu() -> None:
    import tensorflow as tf

    # A RuntimeError means that somebody has used the GPU already: then it stays theirs.
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    """Hold back what is written to file descriptor 2; pass on all but known start-up noise."""
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        real = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            for line in held:
                if not _NOISE.match(line):
                    os.write(2, line)
