"""What frozen convolutions make of the pictures, computed once and kept on disk.

Pictures are decoded as they are needed: of a large data set the outputs are on disk (14.5 GB for
all of DeepFashion at full width), its pixels never.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ...datasets.records import Record
from ...datasets.splits import hashed
from ...disk.replacing import replace_text, replacing
from ...errors import ImageError
from ...machine import available_threads
from ...threads import run_ahead
from ...words import plural
from .augment import STRENGTHS, vary
from .catalogue import stamp
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

    def read(
        self, size: int, numbers: NDArray[np.intp]
    ) -> Generator[NDArray[np.uint8] | ImageError, None, None]:
        """Those of these numbers, uint8 (size, size, 3) each, or why it cannot be read."""
        return run_ahead(
            partial(self._one, size),
            numbers.tolist(),
            threads=available_threads(),
            depth=2 * _BATCH,
        )

    def _one(self, size: int, number: int) -> NDArray[np.uint8] | ImageError:
        pixels = load_square(self.side, self.resize, self.records[number])
        if self.varied is None or isinstance(pixels, ImageError):
            return pixels
        # By its id, so that a picture has the same variants among whatever others.
        picture = hashed(self.records[number].id)
        rng = np.random.default_rng([self.varied.seed, self.varied.copy, picture])
        return vary(pixels, size, STRENGTHS[self.varied.strength], rng)


@dataclass(frozen=True)
class Body:
    """Frozen convolutions.

    `run` maps preprocessed pixels (b, size, size, 3) to their output (b, width); `name` stands
    for all that the numbers depend on beside the pictures.
    """

    run: Callable[[NDArray[np.float32]], NDArray[Any]]
    name: str
    size: int
    width: int


def outputs(
    body: Body, source: Pictures, folder: Path, log: Log, progress: bool
) -> tuple[NDArray[np.float16], dict[int, str]]:
    """The body's output for each picture, float16 (n, width), memory-mapped.

    Also says which pictures cannot be read, by number, and why; their rows are zeros. The
    file stays in `folder`; an interrupted run goes on where it stopped, and what another file
    there has of the same body and pictures is copied.
    """
    n, keys = len(source.records), _keys(source)
    name = f"{body.name}-{hashlib.sha256(keys.tobytes()).hexdigest()[:16]}"
    file, note = folder / f"outputs-{name}.npy", folder / f"outputs-{name}.json"
    held = _Held.read(file)
    if held is None:
        note.unlink(missing_ok=True)
        what = f"the convolutions' outputs of {n:,} pictures"
        rows = create(file, (n, body.width), np.float16, what, log)
        held = _Held(keys, *_copied(rows, keys, folder, body.name))
        if copied := n - len(held.todo):
            log(f"{plural(copied, 'output')} of them copied from another run")
        rows.flush()
        held.write(file)
    todo = held.todo[held.done :]
    if not len(todo):
        return np.load(file, mmap_mode="r"), held.failed
    rows = np.load(file, mmap_mode="r+")
    shown = bar(None, n, "convolutions", progress, n - len(todo))
    decoded = source.read(body.size, todo)
    black = np.zeros((body.size, body.size, 3), np.uint8)
    try:
        for number, start in enumerate(range(0, len(todo), _BATCH), 1):
            numbers, some = todo[start : start + _BATCH], list(islice(decoded, _BATCH))
            bad = [i for i, each in enumerate(some) if isinstance(each, ImageError)]
            held.failed |= {int(numbers[i]): str(some[i]) for i in bad}
            batch = np.stack([black if isinstance(each, ImageError) else each for each in some])
            found = np.asarray(body.run(preprocessed(batch))).astype(np.float32)
            found[bad] = 0
            rows[numbers] = np.minimum(found, _LARGEST)
            shown.update(len(some))
            held.done += len(some)
            if number % _NOTE_EVERY == 0:
                rows.flush()
                held.note(file)
    finally:
        shown.close()
        decoded.close()
    rows.flush()
    held.note(file)
    return np.load(file, mmap_mode="r"), held.failed


@dataclass(eq=False)
class _Held:
    """What is noted about a file of outputs.

    `keys` uint64 (n,) stand for its pictures; `todo` are the numbers of those that it did not
    copy, of which the first `done` are computed; `failed` says which cannot be read, and why.
    """

    keys: NDArray[np.uint64]
    todo: NDArray[np.intp]
    failed: dict[int, str]
    done: int = 0

    @classmethod
    def read(cls, file: Path) -> _Held | None:
        """None where nothing, or nothing whole, is there."""
        noted = read_json(file.with_suffix(".json"))
        if noted is None or not file.is_file():
            return None
        try:
            with np.load(file.with_suffix(".npz")) as stored:
                keys, todo = stored["keys"], stored["todo"]
            return cls(keys, todo, {int(k): v for k, v in noted["failed"].items()}, noted["done"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, BadZipFile):
            return None

    def write(self, file: Path) -> None:
        place = file.with_suffix(".npz")
        with replacing(place, flush=True) as temporary, temporary.open("wb") as opened:
            np.savez(opened, keys=self.keys, todo=self.todo)
        self.note(file)

    def note(self, file: Path) -> None:
        text = json.dumps({"done": self.done, "failed": self.failed})
        replace_text(file.with_suffix(".json"), text, flush=True)


def _keys(source: Pictures) -> NDArray[np.uint64]:
    """A number for each picture as it is now, uint64 (n,)."""
    found = [int(stamp([record], record.id), 16) for record in source.records]
    return np.array(found, np.uint64)


def _copied(
    rows: NDArray[np.float16], keys: NDArray[np.uint64], folder: Path, body: str
) -> tuple[NDArray[np.intp], dict[int, str]]:
    """Fill the rows that other files of this body have: which are left, and which have failed."""
    left, failed = np.ones(len(rows), bool), {}
    for note in sorted(folder.glob(f"outputs-{body}-*.json")):
        file = note.with_suffix(".npy")
        other = _Held.read(file)
        if other is None:
            continue
        there = np.ones(len(other.keys), bool)
        there[other.todo[other.done :]] = False
        place = {int(other.keys[at]): int(at) for at in np.flatnonzero(there)}
        theirs = np.load(file, mmap_mode="r")
        for number in np.flatnonzero(left):
            at = place.get(int(keys[number]))
            if at is None:
                continue
            rows[number], left[number] = theirs[at], False
            if at in other.failed:
                failed[int(number)] = other.failed[at]
    return np.flatnonzero(left), failed
