"""What frozen convolutions make of the pictures, computed once and kept on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vsearch_fast.export.training.augment import STRENGTHS, vary
from vsearch_fast.export.training.network import Network
from vsearch_fast.export.training.pictures import Log, Rows, bar, create, preprocessed, write_text

#: Pictures a run of the convolutions.
_BATCH = 16

#: Largest number that float16 holds; what convolutions give beyond it is held there.
_LARGEST = float(np.finfo(np.float16).max)


def outputs(
    network: Network,
    pixels: Rows,
    folder: Path,
    name: str,
    log: Log,
    *,
    varied: tuple[str, int, int] | None = None,
) -> NDArray[np.float16]:
    """The body's output for each picture, float16 (n, width), memory-mapped.

    `pixels` are as the network takes them; with `varied`, (strength, seed, copy), larger ones
    of which each gives one variant. The file in `folder` is named after `name`, which must
    stand for all that the numbers depend on; an interrupted run goes on where it stopped.
    """
    n, width = len(pixels), network.body.outputs[0].shape[1]
    file, progress_file = folder / f"outputs-{name}.npy", folder / f"outputs-{name}.json"
    done = json.loads(progress_file.read_text())["done"] if progress_file.is_file() else 0
    if not file.is_file():
        done = 0
        progress_file.unlink(missing_ok=True)
        create(file, (n, width), np.float16, f"the convolutions' outputs of {n:,} pictures", log)
    if done == n:
        return np.load(file, mmap_mode="r")
    rows = np.load(file, mmap_mode="r+")
    shown = bar(None, n, "convolutions")
    shown.update(done)
    try:
        for start in range(done, n, _BATCH):
            batch = _varied(pixels, start, network.shape.input_size, varied)
            found = np.asarray(network.body.predict_on_batch(preprocessed(batch)))
            rows[start : start + len(batch)] = np.minimum(found, _LARGEST)
            shown.update(len(batch))
            if start // _BATCH % 64 == 63:
                rows.flush()
                write_text(progress_file, json.dumps({"done": start + len(batch)}))
    finally:
        shown.close()
    rows.flush()
    write_text(progress_file, json.dumps({"done": n}))
    return np.load(file, mmap_mode="r")


def _varied(
    pixels: Rows, start: int, size: int, varied: tuple[str, int, int] | None
) -> NDArray[np.uint8]:
    chosen = range(start, min(start + _BATCH, len(pixels)))
    if varied is None:
        return np.asarray(pixels[chosen.start : chosen.stop])
    strength, seed, copy = varied
    return np.stack(
        [
            vary(pixels[i], size, STRENGTHS[strength], np.random.default_rng([seed, copy, i]))
            for i in chosen
        ]
    )
