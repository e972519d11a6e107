"""The exported file on another execution provider: how many code bits differ from the CPU's.

The pictures go through an `vsearch_fast.embedder.Embedder`, as they will when the file
is used: the same options, the same buffers, the same batches.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ArgumentError, ExportError, ModelError


@dataclass(frozen=True)
class ProviderFigures:
    """How a provider's results compare with those of the CPU, for the same file and pictures.

    ``provider`` is ONNX Runtime's name. ``bits`` is the number of code bits compared and
    ``bits_different`` how many of them differ; ``largest_difference`` is that of two features,
    and ``relative_error`` the worst picture's ‖provider - cpu‖₂ / ‖cpu‖₂.
    """

    provider: str
    pictures: int
    bits: int
    bits_different: int
    largest_difference: float
    relative_error: float


def require(provider: str) -> None:
    """Raise ExportError unless ``provider`` ("cpu", "cuda" or "tensorrt") starts here.

    Tried on a network of one node, so that it is known before the minutes of an export.
    """
    from onnx import TensorProto, helper, save

    from ..embedder.session import open_session

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 8]) for n in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "trial", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.onnx"
        save(model, path)
        try:
            open_session(path, provider, threads=1)
        except (ArgumentError, ModelError) as error:
            raise ExportError(
                f"--verify-on {provider} cannot be done here: {error.cause}",
                "Nothing was exported",
                f"{error.cure}, or leave --verify-on {provider} out",
            ) from error


def compare(
    path: Path, pixels: np.ndarray, features: np.ndarray, codes: np.ndarray, provider: str
) -> ProviderFigures:
    """Run ``pixels`` (uint8 ``(n, S, S, 3)``) on ``provider``; compare with the CPU's results.

    ``features`` and ``codes`` are those of the same file on the CPU. Raises ModelError when
    the provider does not start or fails.
    """
    from ..embedder.embedder import Embedder

    embedder = Embedder(path, providers=provider)
    batches = list(embedder.stream(list(pixels)))
    found = np.concatenate([batch.features for batch in batches]).astype(np.float64)
    found_codes = np.concatenate([batch.codes for batch in batches])
    apart = np.linalg.norm(found - features, axis=1)
    norms = np.linalg.norm(features.astype(np.float64), axis=1)
    relative = np.divide(apart, norms, out=np.where(apart > 0, np.inf, 0.0), where=norms > 0)
    return ProviderFigures(
        provider=embedder.provider,
        pictures=len(pixels),
        bits=len(pixels) * embedder.bits,
        bits_different=int(np.bitwise_count(found_codes ^ codes).sum()),
        largest_difference=float(np.abs(found - features).max(initial=0.0)),
        relative_error=float(relative.max(initial=0.0)),
    )
