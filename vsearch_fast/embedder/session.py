"""Opening a model file of the export: an ONNX Runtime session and checked metadata."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..images.decoding import RESIZE_FILTERS
from ..models.shipped import NETWORKS
from .providers import (
    CPU,
    Attempt,
    ProviderFallbackWarning,
    Providers,
    attempts,
    briefly,
    cure,
    missing_libraries,
)
from .runtime import runtime

PREFIX = "vsearch_fast."
"""Before each name in the model file's metadata."""

FORMATS = ("1", "2")
"""The versions of the model file's contract that this package reads. In 2 the codes follow another
rule than ``features > 0``; what knows 1 alone would make wrong codes of features."""

# The export writes the metadata behind the weights, some tens of kilobytes with all classes.
_TAIL = 2**20


def open_session(path: Path, providers: Providers, threads: int) -> Any:
    """An ``onnxruntime.InferenceSession`` that runs on the providers asked for.

    `providers` is "auto", "cpu", "cuda", "tensorrt" or ONNX Runtime's own names, with options
    or without, in order (`providers.attempts`). What is asked for by name is used or is an
    error: ArgumentError for a provider that the installed ONNX Runtime lacks, ModelError
    where a session comes up without it. "auto" falls back to the CPU, with a
    ProviderFallbackWarning where ONNX Runtime offers a GPU. ModelError also for a file that
    is missing or not a model; MissingDependencyError without ONNX Runtime.
    """
    ort = runtime()
    tried = attempts(providers, ort, file_precision(path))
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(
            f"The model file {path} {problem}",
            "No picture can be turned into features",
            "Make one with vsearch export, correct the path, or name a network of the package "
            f"({', '.join(NETWORKS)})",
        )
    failure: ModelError | None = None
    for attempt in tried:
        try:
            session = _open(path, attempt, threads, ort)
        except ModelError as error:
            if attempt is tried[-1]:
                raise
            failure = error
            continue
        if failure is not None and session.get_providers()[0] == CPU:
            warnings.warn(
                f"{failure.cause}. The network runs on the CPU instead. {cure(ort)}.",
                ProviderFallbackWarning,
                stacklevel=3,
            )
        return session
    raise AssertionError("there is always an attempt")


def file_precision(path: Path) -> str:
    """The precision that an exported file names, without loading it; "fp32" where it does not.

    Options of a session are chosen by it, and ONNX Runtime tells a model's metadata only
    when the session is there.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            found = re.search(rb"vsearch_fast\.precision\x12.(fp16|fp32|int8)", file.read(), re.S)
    except OSError:
        return "fp32"
    return found[1].decode() if found else "fp32"


def _open(path: Path, attempt: Attempt, threads: int, ort: Any) -> Any:
    """A session by one attempt, with the providers that it requires; raises ModelError."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # A waiting pool thread sleeps rather than spins: the cores it would burn between two
    # operators or batches are the ones that decode the next pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(
            str(path), options, providers=attempt.providers, enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's own types have no common base but this
        said = briefly(error)
        name = attempt.required[0]
        raise ModelError(
            f"ONNX Runtime cannot load {path}{'' if name == CPU else f' with {name}'} ({said})",
            "No picture can be turned into features",
            "If the file is damaged or no ONNX model, make it anew with vsearch export"
            if name == CPU
            else cure(ort, name),
        ) from error
    session.disable_fallback()  # nor later, after a provider has failed in a run
    used = session.get_providers()
    lost = [name for name in attempt.required if name not in used]
    if attempt.first and not lost and used[0] != attempt.required[0]:
        lost = attempt.required[:1]
    if lost:
        said = missing_libraries(ort)
        raise ModelError(
            f"ONNX Runtime {ort.__version__} could not start {', '.join(lost)} and would run "
            f"{path} on {', '.join(used)} instead{f', missing {said}' if said else ''}",
            "The model was not loaded",
            cure(ort, lost[0]),
        )
    return session


def read_metadata(session: Any, path: Path) -> dict[str, str]:
    """The export's metadata without their prefix, checked against the session's graph.

    Raises ModelError for a model that this project's export did not write, one of another
    format version, and one whose metadata and graph contradict each other.
    """
    found = session.get_modelmeta().custom_metadata_map
    metadata = {
        key.removeprefix(PREFIX): value for key, value in found.items() if key.startswith(PREFIX)
    }
    if not metadata.get("format") or not metadata.get("model_id"):
        raise _foreign(f"{path} is an ONNX model, but was not exported by vsearch_fast")
    if metadata.get("belongs_to"):
        raise _foreign(f"{path} is the file beside a model that finds boxes, and no model itself")
    if metadata["format"] not in FORMATS:
        raise ModelError(
            f"{path} has model format {metadata['format']}, and this version reads "
            f"{' and '.join(FORMATS)}",
            "The model was not loaded",
            "Export the model again with this version, or install the one that wrote it",
        )
    try:
        size, dim = int(metadata["input_size"]), int(metadata["dim"])
        bits = int(metadata.get("bits", dim))
    except (KeyError, ValueError) as error:
        raise _foreign(
            f"{path} does not say its input_size, dim and bits as whole numbers"
        ) from error
    if metadata.get("resize") not in RESIZE_FILTERS:
        raise _foreign(
            f"{path} asks for the resize rule {metadata.get('resize')!r}, which is not one of "
            + ", ".join(RESIZE_FILTERS)
        )
    _check_ends(path, "inputs", session.get_inputs(), {"image": ("tensor(uint8)", [size, size, 3])})
    _check_ends(
        path,
        "outputs",
        session.get_outputs(),
        {"features": ("tensor(float)", [dim]), "codes": ("tensor(uint8)", [-(-bits // 8)])},
    )
    return metadata


def _check_ends(path: Path, side: str, ends: Sequence[Any], contract: dict[str, Any]) -> None:
    """Names, types and shapes (behind the batch axis) of the graph's inputs or outputs."""
    actual = {end.name: (end.type, list(end.shape[1:])) for end in ends}
    for name, expected in contract.items():
        if actual.get(name) != expected:
            raise _foreign(
                f"The {side} of {path} are {actual}, and {name} should be {expected} by its "
                "metadata"
            )


def _foreign(cause: str) -> ModelError:
    return ModelError(
        cause,
        "The model was not loaded, as its features could not be told from another model's",
        "Make the model file with vsearch export",
    )
