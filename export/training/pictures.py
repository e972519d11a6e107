"""Pictures decoded once, as memory-mapped files that every epoch reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...datasets.records import Record
from ...disk.files import reserve
from ...disk.replacing import replace_text
from ...errors import ExportError, ImageError
from ...images.decoding import load
from ...machine import available_threads
from ...threads import run_ahead
from ..scaling import BGR_MEAN
from .catalogue import stamp

Log = Callable[[str], None]


class Rows(Protocol):
    """An array, or something that gives rows of one when it is indexed."""

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: Any) -> Any: ...


class Selected:
    """Rows of an array through a list of row numbers, read when they are asked for."""

    def __init__(self, rows: Rows, numbers: NDArray[np.intp]) -> None:
        self.rows, self.numbers = rows, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, chosen: Any) -> Any:
        return self.rows[self.numbers[chosen]]


def preprocessed(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the network takes: BGR minus VGG's mean, float32, of RGB uint8 (n, S, S, 3)."""
    return pixels[..., ::-1].astype(np.float32) - np.array(BGR_MEAN, np.float32)


def decoded(
    records: Sequence[Record], side: int, resize: str, folder: Path, log: Log, progress: bool
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """The pictures, stretched to squares: uint8 (n, side, side, 3), memory-mapped.

    Also says which cannot be read, by number, and why; their rows are zeros. The file stays in
    `folder` and is used again. Raises ExportError where the disk has no room for it.
    """
    name = stamp(records, side, resize)
    file, failed_file = folder / f"pixels-{name}.npy", folder / f"pixels-{name}.json"
    noted = read_json(failed_file)
    if noted is not None and file.is_file():
        failed = {int(k): v for k, v in noted.items()}
        return np.load(file, mmap_mode="r"), failed
    shape = (len(records), side, side, 3)
    rows = create(file, shape, np.uint8, f"{len(records):,} pictures of {side} pixels", log)
    failed = {}
    done = run_ahead(
        partial(load_square, side, resize), records, threads=available_threads(), depth=32
    )
    for number, pixels in enumerate(bar(done, len(records), "decoding", progress)):
        if isinstance(pixels, ImageError):
            failed[number] = str(pixels)
        else:
            rows[number] = pixels
    rows.flush()
    replace_text(failed_file, json.dumps(failed), flush=True)
    return np.load(file, mmap_mode="r"), failed


def load_square(side: int, resize: str, record: Record) -> NDArray[np.uint8] | ImageError:
    """A record's pixels, cut to its box and stretched, or why there are none."""
    try:
        return load(record.path, side, record.box, resize=resize)
    except ImageError as error:
        return error


def create(
    file: Path, shape: tuple[int, ...], dtype: type[np.generic], what: str, log: Log
) -> np.memmap:
    """A new .npy file of this shape to write into, its size announced and its space reserved.

    Without the reservation a full disk would end the process (SIGBUS) instead of raising.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size > 2**20:
        log(f"{what}: {size / 1e9:.2f} GB in {file.parent}")
    try:
        rows = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
        with file.open("r+b") as opened:
            reserve(opened.fileno(), rows.offset + size)
    except OSError as error:
        file.unlink(missing_ok=True)
        raise ExportError(
            f"{what} cannot be cached in {file.parent} ({error.strerror or error})",
            "Nothing was trained",
            f"Free {size / 1e9:.1f} GB there, or name another folder: --work FOLDER",
        ) from error
    return rows


def read_json(file: Path) -> Any:
    """What a file holds; None for one that is not there or is no JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def bar(items: object, total: int, what: str, shown: bool, done: int = 0) -> tqdm:
    """A progress bar with rate and time left, on stderr."""
    return tqdm(
        items, total=total, initial=done, desc=what, unit=" pictures", mininterval=0.5,
        leave=False, disable=not shown,
    )  # fmt: skip
