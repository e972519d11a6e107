"""Opening a model file of the export: an ONNX Runtime session and checked metadata."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vsearch_fast.errors import ArgumentError, MissingDependencyError, ModelError
from vsearch_fast.images import RESIZE_FILTERS

PREFIX = "vsearch_fast."
"""Before each name in the model file's metadata."""

FORMAT = "1"
"""The version of the model file's contract that this package reads."""

CPU = "CPUExecutionProvider"

Provider = str | tuple[str, dict[str, Any]]
"""An ONNX Runtime execution provider: its name, or its name and options."""


def open_session(path: Path, providers: Sequence[Provider] | None, threads: int) -> Any:
    """An ``onnxruntime.InferenceSession`` that runs on the providers asked for.

    `providers` are tried for each operation in that order; None is the CPU alone. Nothing is
    replaced silently: ArgumentError for a provider that the installed ONNX Runtime lacks,
    ModelError where a session comes up without one that was asked for, and for a file that
    is missing or not a model. MissingDependencyError without ONNX Runtime.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "The package onnxruntime, which runs the network, is not installed",
            "No picture can be turned into features",
            "Install it with pip install 'vsearch_fast[cpu]'",
        ) from error
    wanted: list[Provider] = [CPU] if providers is None else list(providers)
    names = [provider if isinstance(provider, str) else provider[0] for provider in wanted]
    available = onnxruntime.get_available_providers()
    absent = [name for name in names if name not in available]
    if absent or not names:
        problem = f"lacks {', '.join(absent)}" if absent else "was given no execution provider"
        raise ArgumentError(
            f"The installed ONNX Runtime {problem}",
            "The model was not loaded",
            f"Choose among {', '.join(available)}; for a GPU install 'vsearch_fast[gpu]' "
            "in place of 'vsearch_fast[cpu]'",
        )
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(
            f"The model file {path} {problem}",
            "No picture can be turned into features",
            "Make one with vsearch export, or correct the path",
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A waiting pool thread sleeps rather than spins: the cores it would burn between two
    # operators or batches are the ones that decode the next pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=wanted, enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's own types have no common base but this
        raise ModelError(
            f"ONNX Runtime cannot load {path} ({' '.join(str(error).split())})",
            "No picture can be turned into features",
            "If the file is damaged or no ONNX model, make it anew with vsearch export",
        ) from error
    session.disable_fallback()  # nor later, after a provider has failed in a run
    used = session.get_providers()
    lost = [name for name in names if name not in used]
    if lost:
        raise ModelError(
            f"ONNX Runtime could not start {', '.join(lost)} and would run {path} "
            f"on {', '.join(used)} instead",
            "The model was not loaded",
            "See ONNX Runtime's message above for the library that it misses, "
            "or ask for other providers",
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
    if metadata["format"] != FORMAT:
        raise ModelError(
            f"{path} has model format {metadata['format']}, and this version reads {FORMAT}",
            "The model was not loaded",
            "Export the model again with this version, or install the one that wrote it",
        )
    try:
        size, dim = int(metadata["input_size"]), int(metadata["dim"])
    except (KeyError, ValueError) as error:
        raise _foreign(f"{path} does not say its input_size and dim as whole numbers") from error
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
        {"features": ("tensor(float)", [dim]), "codes": ("tensor(uint8)", [-(-dim // 8)])},
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
