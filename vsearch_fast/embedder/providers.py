"""Which ONNX Runtime execution providers run the network, and with which options.

Nothing is replaced in silence. ONNX Runtime itself lists a GPU provider wherever its wheel
was built with one, GPU or not, and runs on the CPU when a library is missing; so what counts
is what a session says it uses (`session.open_session` asks it).
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..installing import how_to_install

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

Provider = str | tuple[str, dict[str, Any]]
"""An ONNX Runtime execution provider: its name, or its name and options."""

Providers = str | Sequence[Provider] | None
"""What a caller may ask for: a name of `NAMES`, providers in order, or None for "auto"."""

AUTO = "auto"
NAMES = (AUTO, "cpu", "cuda", "tensorrt")

_NOT_LOADED = "The model was not loaded"

_CUDA_OPTIONS = {
    # A product of float32 keeps its 23 bits; the default rounds its factors to 10.
    "use_tf32": "0",
    # Tensor cores want channels last: no transposition around every convolution.
    "prefer_nhwc": "1",
    # The default times the algorithms, so that two runs may choose two, and differ.
    "cudnn_conv_algo_search": "HEURISTIC",
    # ONNX Runtime captures a graph in CUDA's global mode: while it does, an allocation by any other
    # thread fails (cudaErrorStreamCaptureUnsupported), and ends the capture. Servers embed by one
    # thread and search by others. A graph would save some tens of launches a batch.
    "enable_cuda_graph": "0",
}


class ProviderFallbackWarning(UserWarning):
    """The network runs on the CPU, though ONNX Runtime offers a GPU provider."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Providers to open a session with, and those of them that it must come up with.

    `first` says that the session must prefer `required[0]` to all others.
    """

    providers: list[tuple[str, dict[str, Any]]]
    required: list[str]
    first: bool = True


def attempts(asked: Providers, ort: Any, precision: str) -> list[Attempt]:
    """What to try, in order; with "auto" the last one is the CPU, which always works.

    `precision` is the model's. "auto" takes TensorRT, where its libraries are, for models
    other than fp32 alone: TensorRT multiplies float32 in TF32, and ONNX Runtime has no option
    against it (its issue 26029). Raises ArgumentError for a provider that the installed ONNX
    Runtime lacks and for a name that is none of `NAMES`.
    """
    if asked is None or asked == AUTO:
        preload(ort)  # first: a wheel may register its CUDA provider then
        available = ort.get_available_providers()
        tried = []
        if TENSORRT in available and precision != "fp32" and tensorrt_is_there():
            tried.append(_tensorrt(precision))
        if CUDA in available:
            tried.append(_cuda())
        return [*tried, Attempt([(CPU, {})], [CPU])]
    if isinstance(asked, str):
        if asked not in NAMES:
            raise ArgumentError(
                f"There is no provider {asked!r}",
                _NOT_LOADED,
                f"Choose one of {', '.join(NAMES)}, or give a list of ONNX Runtime's names",
            )
        attempt = {
            "cpu": lambda: Attempt([(CPU, {})], [CPU]),
            "cuda": _cuda,
            "tensorrt": lambda: _tensorrt(precision),
        }[asked]()
    else:
        attempt = _explicit(asked, precision)
    if {CUDA, TENSORRT} & set(attempt.required):
        preload(ort)
        if TENSORRT in attempt.required:
            tensorrt_is_there()  # loads it, where it comes from NVIDIA's pip package
    available = ort.get_available_providers()
    absent = [name for name in attempt.required if name not in available]
    if absent or not attempt.required:
        problem = f"lacks {', '.join(absent)}" if absent else "was given no execution provider"
        raise ArgumentError(
            f"The installed ONNX Runtime {problem}",
            _NOT_LOADED,
            f"Choose among {', '.join(available)}; for a GPU, pip uninstall onnxruntime, then "
            f"{how_to_install('gpu')} (CUDA 12; for CUDA 13 the extra gpu-cuda13)",
        )
    return [attempt]


def missing_libraries(ort: Any) -> str:
    """Names of the CUDA and cuDNN libraries that cannot be loaded, "" for none."""
    return ", ".join(re.findall(r"^Failed to load (\S+):", preload(ort), re.MULTILINE))


def preload(ort: Any) -> str:
    """Load the CUDA and cuDNN libraries of NVIDIA's pip packages; returns its complaints.

    Without it a GPU provider finds only what the system's loader knows. It does nothing for
    a wheel without CUDA.
    """
    said = io.StringIO()
    load = getattr(ort, "preload_dlls", None)  # since ONNX Runtime 1.21
    built_for = getattr(ort, "cuda_version", None)
    if load is not None and built_for:
        # It prints, to standard output, where other programs read results.
        with contextlib.redirect_stdout(said), contextlib.suppress(Exception):
            load()
    return said.getvalue()


def tensorrt_is_there() -> bool:
    """Whether TensorRT's library can be loaded, also from NVIDIA's pip package."""
    for package in ("tensorrt_libs", "tensorrt"):  # importing it loads its libraries
        with contextlib.suppress(Exception):
            importlib.import_module(package)
            break
    # What ONNX Runtime 1.26 to 1.31 are linked with.
    for library in ("libnvinfer.so.10", "nvinfer_10.dll"):
        with contextlib.suppress(OSError):
            ctypes.CDLL(library)
            return True
    return False


def cure(ort: Any, provider: str = CUDA) -> str:
    """What to install so that this ONNX Runtime can start a GPU provider."""
    major = str(getattr(ort, "cuda_version", "") or "12").split(".")[0]
    wanted, cupy = "'onnxruntime-gpu[cuda,cudnn]>=1.24,<1.27'", "cupy-cuda12x"
    if major == "13":
        wanted, cupy = "'onnxruntime-gpu[cuda,cudnn]>=1.28'", "cupy-cuda13x"
    tensorrt = f" 'tensorrt-cu{major}<11'" if provider == TENSORRT else ""
    return (
        f"On a machine with an NVIDIA GPU and its driver, pip install {wanted} {cupy}{tensorrt}; "
        "without a GPU, ask for the provider cpu"
    )


def briefly(error: Exception) -> str:
    """An ONNX Runtime error without the C++ signatures before it and the file names behind."""
    said = " ".join(str(error).split())
    failure = re.search(r"CUDA failure \d+: [^;]*[^; ]", said)
    return failure[0] if failure else said


def cuda_device(session: Any) -> int | None:
    """The CUDA device that a session computes on; None for other providers."""
    used = session.get_providers()[0]
    if used not in (CUDA, TENSORRT):
        return None
    options = session.get_provider_options().get(used, {})
    return int(options.get("device_id", 0))


def _cuda() -> Attempt:
    return Attempt([(CUDA, dict(_CUDA_OPTIONS)), (CPU, {})], [CUDA])


def _tensorrt(precision: str) -> Attempt:
    providers = [(TENSORRT, _tensorrt_options(precision)), (CUDA, dict(_CUDA_OPTIONS)), (CPU, {})]
    return Attempt(providers, [TENSORRT])


def _explicit(asked: Sequence[Provider], precision: str) -> Attempt:
    """Providers as named, with this module's options under the caller's own."""
    pairs = [(each, {}) if isinstance(each, str) else (each[0], dict(each[1])) for each in asked]
    names = [name for name, _ in pairs]
    defaults = {
        CUDA: _CUDA_OPTIONS,
        TENSORRT: _tensorrt_options(precision) if TENSORRT in names else {},
    }
    providers = [(name, {**defaults.get(name, {}), **options}) for name, options in pairs]
    return Attempt(providers, names, first=False)


def _tensorrt_options(precision: str) -> dict[str, Any]:
    options = {"trt_fp16_enable": "1" if precision == "fp16" else "0"}
    folder = engine_folder()
    if folder is not None:
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(folder),
        }
    return options


def engine_folder() -> Path | None:
    """Where TensorRT keeps the engines it builds, made; None where nothing can be written."""
    from ..machine import cache_root

    try:
        folder = cache_root() / "tensorrt"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return None
    return folder
