"""Features of the sample by each model, kept on disk: computed once, resumed after a stop.

A file is named by the model's id, and by a hash of all that its content depends on: the model,
the decoder, what runs the network, and of each picture its path, box, size and time of change.
Rows are appended in the sample's order, under another name until all are there; the next run
goes on behind the last whole row.
"""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.records import Record
from ..disk.lock import WriteLock
from ..disk.writing import write_error
from ..embedder.embedder import Embedder, ImageSkippedWarning
from ..embedder.providers import ProviderFallbackWarning
from ..errors import ModelError
from ..kernels.reference import pack_bits
from ..machine import available_threads
from ..words import ZERO
from .baselines import BASELINES
from .rows import ModelRow, Training, slug, training_of

_CONSEQUENCE = "Nothing was evaluated; features that were computed are kept"


@dataclass(frozen=True, slots=True)
class Extractor:
    """A row of the table that can be run.

    Attributes:
        id: of the features that it gives; part of the cache's key.
        facts: what the results say of it.
    """

    row: ModelRow
    id: str
    dim: int
    training: Training
    facts: dict[str, Any]
    code_bytes: int = 0  # where codes are made by a rule of the model; else they follow


def extractor(row: ModelRow, provider: str = "auto", threads: int | None = None) -> Extractor:
    """Look at a row's model without running it; the session is given back.

    Raises:
        ModelError: the file is missing, or no model of this package.
    """
    if row.baseline is not None:
        baseline = BASELINES[row.baseline]
        return Extractor(row, baseline.id, baseline.dim, Training(), {"dim": baseline.dim})
    if row.file is None:
        raise ModelError(f"{row.name} has no file", "It was not run", row.command)
    embedder = Embedder(row.file, provider, threads=threads)
    names = ("layer", "weights", "precision", "trained", "input_size", "resize")
    facts: dict[str, Any] = {name: embedder.metadata.get(name, "") for name in names}
    facts |= {"dim": embedder.dim, "model_id": embedder.model_id, "decoder": embedder.decoder}
    facts["file"] = row.file.name
    code_bytes = 0
    if embedder.binarize != ZERO:
        code_bytes = -(-embedder.bits // 8)
        facts |= {"binarize": embedder.binarize, "bits": embedder.bits}
    parts = (embedder.model_id, embedder.decoder, embedder.decoder_version, embedder.provider)
    return Extractor(
        row, " ".join(parts), embedder.dim, training_of(embedder.metadata, row.name), facts,
        code_bytes,
    )  # fmt: skip


def features(
    source: Extractor,
    records: Sequence[Record],
    cache: Path,
    *,
    provider: str = "auto",
    threads: int | None = None,
    progress: bool = False,
) -> NDArray[np.float32]:
    """``(n, dim)``, memory-mapped; a row of NaN for a picture that cannot be read.

    Raises:
        LockedError: another process fills this cache.
        StoreError: the folder cannot be written, or the disk is full.
    """
    return _cached(source, records, cache, "", provider, threads, progress)


def codes(
    source: Extractor,
    records: Sequence[Record],
    table: NDArray[np.float32],
    cache: Path,
    *,
    provider: str = "auto",
    threads: int | None = None,
    progress: bool = False,
) -> NDArray[np.uint8]:
    """Packed bits ``(n, b)`` of the same pictures, whose features are `table`: made of these, or,
    where a rule of the model makes them, by the network, and memory-mapped; zeros for a picture
    that cannot be read.

    Raises as `features`.
    """
    if not source.code_bytes:
        return pack_bits(table)
    return _cached(source, records, cache, "-codes", provider, threads, progress)


def _cached(
    source: Extractor,
    records: Sequence[Record],
    cache: Path,
    kind: str,
    provider: str,
    threads: int | None,
    progress: bool,
) -> NDArray[Any]:
    name = f"{slug(source.id.split()[0])[:16]}-{_key(source.id, records)}{kind}"
    path = cache / f"{name}.npy"
    if not path.exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            lock = WriteLock(cache, _CONSEQUENCE)
            try:
                _fill(
                    source, records, cache / f"{name}.partial", bool(kind), provider, threads,
                    progress,
                )  # fmt: skip
                os.replace(cache / f"{name}.partial", path)
            finally:
                lock.release()
        except OSError as error:
            raise write_error(cache, error, _CONSEQUENCE) from error
    return np.load(path, mmap_mode="r")


def _key(identity: str, records: Sequence[Record]) -> str:
    digest = hashlib.sha256(identity.encode())
    for record in records:
        try:
            status = os.stat(record.path)
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "gone"
        path = os.path.abspath(record.path)
        digest.update(f"\0{path}\0{record.box}\0{state}".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _fill(
    source: Extractor,
    records: Sequence[Record],
    file: Path,
    coded: bool,
    provider: str,
    threads: int | None,
    progress: bool,
) -> None:
    """Append the rows that are missing; whole rows stay whatever ends the process."""
    with file.open("r+b" if file.exists() else "w+b") as out:
        dtype = np.dtype("|u1" if coded else "<f4")
        shape = (len(records), source.code_bytes if coded else source.dim)
        np.lib.format.write_array_header_1_0(
            out, {"descr": dtype.str, "fortran_order": False, "shape": shape}
        )
        header, width = out.tell(), dtype.itemsize * shape[1]
        done = max(0, out.seek(0, os.SEEK_END) - header) // width
        out.seek(header + done * width)
        out.truncate()
        bar = _bar(source.row.name, len(records), done) if progress else None
        try:
            with closing(_stream(source, records[done:], coded, provider, threads)) as rows:
                for block in rows:
                    out.write(np.ascontiguousarray(block, dtype).tobytes())
                    if bar is not None:
                        bar.update(len(block))
        finally:
            if bar is not None:
                bar.close()
        out.flush()
        os.fsync(out.fileno())


def _bar(name: str, total: int, done: int) -> Any:
    from tqdm import tqdm

    interval = 0.1 if sys.stderr.isatty() else 30
    return tqdm(
        total=total, initial=done, desc=name, unit=" images", dynamic_ncols=True,
        mininterval=interval,
    )  # fmt: skip


def _stream(
    source: Extractor,
    records: Sequence[Record],
    coded: bool,
    provider: str,
    threads: int | None,
) -> Generator[NDArray[Any], None, None]:
    """Blocks of rows ``(b, dim)``, every record's in its turn."""
    if source.row.baseline is not None:
        baseline = BASELINES[source.row.baseline]
        for row in baseline.stream(records, threads or available_threads()):
            yield row[None]
        return
    assert source.row.file is not None
    if not records:
        return
    next_row = 0
    with warnings.catch_warnings():
        # Skipped pictures are counted and told at the end; a fallback was told by `extractor`.
        warnings.simplefilter("ignore", ImageSkippedWarning)
        warnings.simplefilter("ignore", ProviderFallbackWarning)
        embedder = Embedder(source.row.file, provider, threads=threads)
        for batch in embedder.stream(
            [record.path for record in records],
            [record.box for record in records],
            on_error="skip",
        ):
            places = [*batch.positions.tolist(), *(each.position for each in batch.skipped)]
            if coded:
                block = np.zeros((len(places), source.code_bytes), np.uint8)
            else:
                block = np.full((len(places), source.dim), np.nan, np.float32)
            block[batch.positions - next_row] = batch.codes if coded else batch.features
            next_row += len(places)
            yield block
