"""Features and codes of the sample by each model, kept on disk: computed once, and resumed.

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
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

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


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What a row gives of some pictures.

    Attributes:
        features: float32 ``(n, dim)``; a row of NaN for a picture that cannot be read.
        own_codes: uint8 ``(n, code_bytes)`` where a rule of the model makes codes, zeros for a
            picture that cannot be read; None where they follow from the features.
    """

    features: NDArray[np.float32]
    own_codes: NDArray[np.uint8] | None = None

    def codes(self) -> NDArray[np.uint8]:
        """Packed bits ``(n, b)``."""
        return pack_bits(self.features) if self.own_codes is None else self.own_codes

    def of(self, rows: NDArray[np.bool_]) -> Outputs:
        """Those of the pictures where `rows` is true."""
        return Outputs(
            self.features[rows], None if self.own_codes is None else self.own_codes[rows]
        )


def outputs(
    source: Extractor,
    records: Sequence[Record],
    cache: Path,
    *,
    provider: str = "auto",
    threads: int | None = None,
    progress: bool = False,
) -> Outputs:
    """Of each record, memory-mapped; the network is run once, for features and codes.

    Raises:
        LockedError: another process fills this cache.
        StoreError: the folder cannot be written, or the disk is full.
    """
    name = f"{slug(source.id.split()[0])[:16]}-{_key(source.id, records)}"
    names = [f"{name}-codes", name] if source.code_bytes else [name]
    paths = [cache / f"{each}.npy" for each in names]
    if not all(path.exists() for path in paths):
        try:
            cache.mkdir(parents=True, exist_ok=True)
            lock = WriteLock(cache, _CONSEQUENCE)
            try:
                partial = [cache / f"{each}.partial" for each in names]
                _fill(source, records, partial[::-1], provider, threads, progress)
                for unfinished, path in zip(partial, paths, strict=True):
                    os.replace(unfinished, path)
            finally:
                lock.release()
        except OSError as error:
            raise write_error(cache, error, _CONSEQUENCE) from error
    features, *codes = [np.load(path, mmap_mode="r") for path in paths[::-1]]
    return Outputs(features, codes[0] if codes else None)


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
    files: Sequence[Path],
    provider: str,
    threads: int | None,
    progress: bool,
) -> None:
    """Append the rows that are missing to the file of the features and, where there is one, that
    of the codes; whole rows stay whatever ends the process."""
    with ExitStack() as opened:
        open_files = [
            opened.enter_context(file.open("r+b" if file.exists() else "w+b")) for file in files
        ]
        kinds = (("<f4", source.dim), ("|u1", source.code_bytes))
        grown = [
            _Grown(out, np.dtype(dtype), (len(records), width))
            for out, (dtype, width) in zip(open_files, kinds, strict=False)
        ]
        done = min(each.rows for each in grown)
        for each in grown:
            each.cut(done)
        bar = _bar(source.row.name, len(records), done) if progress else None
        try:
            with closing(_stream(source, records[done:], provider, threads)) as rows:
                for blocks in rows:
                    for each, block in zip(grown, blocks, strict=False):
                        each.append(block)
                    if bar is not None:
                        bar.update(len(blocks[0]))
        finally:
            if bar is not None:
                bar.close()
        for out in open_files:
            out.flush()
            os.fsync(out.fileno())


class _Grown:
    """A .npy file in the making: its header says how many rows there will be."""

    def __init__(self, out: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, int]) -> None:
        np.lib.format.write_array_header_1_0(
            out, {"descr": dtype.str, "fortran_order": False, "shape": shape}
        )
        self.out, self.dtype = out, dtype
        self.header, self.width = out.tell(), dtype.itemsize * shape[1]
        self.rows = max(0, out.seek(0, os.SEEK_END) - self.header) // self.width

    def cut(self, rows: int) -> None:
        """Go on behind so many rows."""
        self.out.seek(self.header + rows * self.width)
        self.out.truncate()

    def append(self, block: NDArray[Any]) -> None:
        self.out.write(np.ascontiguousarray(block, self.dtype).tobytes())


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
    provider: str,
    threads: int | None,
) -> Generator[tuple[NDArray[Any], ...], None, None]:
    """Blocks of features ``(b, dim)`` and codes ``(b, code_bytes)``, every record's in its turn; of
    a baseline features alone."""
    if source.row.baseline is not None:
        baseline = BASELINES[source.row.baseline]
        for row in baseline.stream(records, threads or available_threads()):
            yield (row[None],)
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
            features = np.full((len(places), source.dim), np.nan, np.float32)
            features[batch.positions - next_row] = batch.features
            codes = np.zeros((len(places), source.code_bytes), np.uint8)
            if source.code_bytes:
                codes[batch.positions - next_row] = batch.codes
            next_row += len(places)
            yield features, codes
