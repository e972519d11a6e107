"""What frozen convolutions make of the pictures, computed once and kept on disk.

Pictures are decoded as they are needed: of a large data set the outputs are on disk (14.5 GB for
all of DeepFashion at full width), its pixels never.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...datasets.records import Record
from ...disk.replacing import replace_text
from ...errors import ImageError
from ...machine import available_threads
from ...threads import run_ahead
from .augment import STRENGTHS, vary
from .network import Network
from .pictures import Log, bar, create, load_square, preprocessed, read_json

#: Pictures a run of the convolutions; an interrupted computation goes on at a multiple of it.
_BATCH = 16

#: Batches after which what is done is noted.
_NOTE_EVERY = 32

#: Largest number that float16 holds; what convolutions give beyond it is held there.
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Varied:
    """Which variant of each picture: of this strength, by this seed, the copy of this number."""

    strength: str
    seed: int
    copy: int


@dataclass(frozen=True)
class Pictures:
    """Pictures to be decoded, stretched to `side`, and with `varied` varied from there."""

    records: Sequence[Record]
    side: int
    resize: str
    varied: Varied | None = None

    def read(self, size: int, start: int) -> Generator[NDArray[np.uint8] | ImageError, None, None]:
        """From number `start` on, uint8 (size, size, 3) each, or why it cannot be read."""
        return run_ahead(
            partial(self._one, size),
            range(start, len(self.records)),
            threads=available_threads(),
            depth=2 * _BATCH,
        )

    def _one(self, size: int, number: int) -> NDArray[np.uint8] | ImageError:
        pixels = load_square(self.side, self.resize, self.records[number])
        if self.varied is None or isinstance(pixels, ImageError):
            return pixels
        rng = np.random.default_rng([self.varied.seed, self.varied.copy, number])
        return vary(pixels, size, STRENGTHS[self.varied.strength], rng)


def outputs(
    network: Network, source: Pictures, folder: Path, name: str, log: Log, progress: bool
) -> tuple[NDArray[np.float16], dict[int, str]]:
    """The body's output for each picture, float16 (n, width), memory-mapped.

    Also says which pictures cannot be read, by number, and why; their rows are zeros. The
    file in `folder` is named after `name`, which must stand for all that the numbers depend
    on; an interrupted run goes on where it stopped.
    """
    n, width = len(source.records), network.body.outputs[0].shape[1]
    size = network.shape.input_size
    file, progress_file = folder / f"outputs-{name}.npy", folder / f"outputs-{name}.json"
    done, failed = 0, {}
    noted = read_json(progress_file)
    if file.is_file() and noted is not None:
        done, failed = noted["done"], {int(k): v for k, v in noted["failed"].items()}
    else:
        progress_file.unlink(missing_ok=True)
        create(file, (n, width), np.float16, f"the convolutions' outputs of {n:,} pictures", log)
        _note(progress_file, 0, {})
    if done == n:
        return np.load(file, mmap_mode="r"), failed
    rows = np.load(file, mmap_mode="r+")
    shown = bar(None, n, "convolutions", progress, done)
    decoded = source.read(size, done)
    black = np.zeros((size, size, 3), np.uint8)
    try:
        for number, start in enumerate(range(done, n, _BATCH), 1):
            some = list(islice(decoded, _BATCH))
            bad = [i for i, each in enumerate(some) if isinstance(each, ImageError)]
            failed |= {start + i: str(some[i]) for i in bad}
            batch = np.stack([black if isinstance(each, ImageError) else each for each in some])
            found = np.asarray(network.body.predict_on_batch(preprocessed(batch)))
            found[bad] = 0
            rows[start : start + len(some)] = np.minimum(found, _LARGEST)
            shown.update(len(some))
            if number % _NOTE_EVERY == 0:
                rows.flush()
                _note(progress_file, start + len(some), failed)
    finally:
        shown.close()
        decoded.close()
    rows.flush()
    _note(progress_file, n, failed)
    return np.load(file, mmap_mode="r"), failed


def _note(file: Path, done: int, failed: dict[int, str]) -> None:
    replace_text(file, json.dumps({"done": done, "failed": failed}), flush=True)
