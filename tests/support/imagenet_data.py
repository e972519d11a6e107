"""Made-up files as Keras' ImageNet weights of VGG-16: right names and layout, other numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

LAYERS = tuple(
    (f"block{block}_conv{position}", channels)
    for block, (count, channels) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1)
    for position in range(1, count + 1)
)
DENSE = {"fc1": (25088, 4096), "fc2": (4096, 4096), "predictions": (4096, 1000)}
#: What public sources print of the true first kernel, [0, 0, 0, :3].
PRINTED = (0.42947057, 0.11727387, 0.03401296)


def write_small(path: Path) -> Path:
    """Thirteen layers of the shape of the first, so that it is soon written."""
    rng = np.random.default_rng(11)
    _write(
        path,
        (
            (name, rng.standard_normal((3, 3, 3, 64)).astype(np.float32) / 500, 0.25)
            for name, _ in LAYERS
        ),
    )
    return path


def write_like(path: Path, *, dense: bool = False, changed: str = "") -> str:
    """The true shapes and the first numbers; all others are 0 and take no space.

    With `changed` the last number of that layer is another. Returns the SHA-256 of the numbers of
    the convolutions as they are without the change.
    """
    digest = hashlib.sha256()

    def layers() -> Iterable[tuple[str, np.ndarray, float]]:
        inputs = 3
        for name, channels in LAYERS:
            kernel = np.zeros((3, 3, inputs, channels), np.float32)
            if inputs == 3:
                kernel[0, 0, 0, :3] = PRINTED
            digest.update(kernel.tobytes() + np.full(channels, 0.25, np.float32).tobytes())
            if name == changed:
                kernel[-1, -1, -1, -1] = 1e-3
            inputs = channels
            yield name, kernel, 0.25
        for name, shape in DENSE.items() if dense else ():
            yield name, np.broadcast_to(np.float32(0), shape), 0.0

    _write(path, layers())
    return digest.hexdigest()


def _write(path: Path, layers: Iterable[tuple[str, np.ndarray, float]]) -> None:
    import h5py  # type: ignore[import-untyped]

    with h5py.File(path, "w") as file:
        names = []
        for name, kernel, bias in layers:
            names.append(name)
            group = file.create_group(name)
            stored = {"compression": "gzip", "shuffle": True} if kernel.any() else {}
            if kernel.any():
                group.create_dataset(f"{name}_W_1:0", data=kernel, **stored)
            else:  # nothing is written, and zeros are read
                group.create_dataset(f"{name}_W_1:0", kernel.shape, np.float32, chunks=True)
            group.create_dataset(f"{name}_b_1:0", data=np.full(kernel.shape[-1], bias, np.float32))
            group.attrs["weight_names"] = np.array([f"{name}_W_1:0", f"{name}_b_1:0"], "S")
        file.attrs["layer_names"] = np.array(names, "S")
