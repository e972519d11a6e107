"""What weights files hold: digests, and the arrays of an HDF5 file by layer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ..errors import MissingDependencyError
from ..installing import how_to_install


def file_digest(path: Path, algorithm: str) -> str:
    """The hexadecimal digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def need_h5py(path: Path) -> Any:
    """The package h5py; MissingDependencyError where it is not installed."""
    try:
        import h5py  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependencyError(
            f"Reading {path} needs the package h5py, which comes with Keras",
            "Nothing was exported",
            f"Install what the export needs with: {how_to_install('cpu,export')}",
        ) from error
    return h5py


def arrays_by_layer(file: Any) -> dict[str, list[Any]]:
    """The datasets of an open HDF5 file by the group they are in, at whatever depth.

    A model in a model has its layers in a group of its own. Of one layer the array with the most
    dimensions comes first: a kernel has more than a bias, whatever the two are called.
    """
    import h5py

    found: dict[str, list[Any]] = {}

    def note(path: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset) and not path.startswith("optimizer"):
            for part in set(path.split("/")[:-1]):
                found.setdefault(part, []).append(entry)

    file.visititems(note)
    return {name: sorted(each, key=lambda one: -one.ndim) for name, each in found.items()}


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for use within a sentence."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")[:300]
