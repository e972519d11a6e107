"""What is searched: noise, or features of a real network made into as many rows as asked for.

``relu``      ReLU of normal noise: half zeros, like features of VGG-16. Its sign bits are fair
              coins.

``gaussian``  normal noise, the hard case: all distances are nearly the same, so that bounds
              exclude few rows. Sign bits as above.

``clusters``  unit vectors about 512 centres, the cosine of two about the same one 0.7: like
              embeddings of any dimension. Codes are their signs.

``features``  rows of a matrix, repeated. Repeated rows are multiplied by noise of 10%, so zeros
              stay zeros; of their sign bits one in 32 is flipped. Queries are copies of rows
              that the database leaves out, as a photo is not in the catalogue.

All data depends on its seed alone, and a smaller database is the beginning of a larger one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..kernels.reference import pack_bits
from ..machine import available_threads
from ..words import ZERO
from .cases import Case

_BLOCK = 2048
_NOISE = 0.1
#: Centres of clusters, and how far their rows are from them: the centre itself has length 1.
_CENTRES, _SPREAD = 512, 0.65
#: One in this many rows of a features file is kept for queries.
_HELD_OUT = 5
#: Garments and pictures of each that are rendered where no folder of pictures is given.
_GARMENTS, _VIEWS = 160, 3

Rows = tuple[int, int]


class Data:
    """Makes (queries, database) of cases; keeps the last database for the next case.

    Args:
        features: float32 (n, d) for cases of ``features``, n at least 2.
        codes: uint8 (n, b) of the same pictures, where a rule of their model makes them.
    """

    def __init__(
        self, features: NDArray[np.float32] | None = None, codes: NDArray[np.uint8] | None = None
    ) -> None:
        self.features, self.codes = features, codes
        self._key: tuple[object, ...] = ()
        self._database: NDArray | None = None

    def load(self, case: Case) -> tuple[NDArray, NDArray]:
        """(queries, database): packed uint8 for ``hamming``, otherwise float32 queries and rows of
        the case's type."""
        packed = case.metric == "hamming"
        key = (packed, case.rows, case.dim, case.data, case.seed, case.dtype)
        if key != self._key or self._database is None:
            self._database = None  # before the next is made: both may not fit
            self._database = self._make(case, case.rows, part=0)
            self._key = key
        return self._make(case, case.queries, part=1), self._database

    def clear(self) -> None:
        """Free the last database."""
        self._database = None

    def _make(self, case: Case, rows: int, part: int) -> NDArray:
        if case.metric == "hamming":
            out = np.empty((rows, case.row_bytes), np.uint8)
        else:
            out = np.empty((rows, case.dim), np.float32 if part else case.dtype)
        if case.data == "features":
            fill = self._copies(case, part, out)
        elif case.data == "clusters":
            fill = _clusters(case, part, out)
        else:
            fill = _noise(case, part, out)
        with ThreadPoolExecutor(available_threads()) as pool:
            list(pool.map(fill, range(0, rows, _BLOCK)))
        return out

    def _copies(self, case: Case, part: int, out: NDArray) -> Callable[[int], None]:
        if self.features is None or len(self.features) < 2:
            raise ArgumentError(
                "the case asks for features and there are none",
                "Nothing was timed",
                "Give a matrix of at least 2 rows",
            )
        held = np.arange(len(self.features)) % _HELD_OUT == 0
        chosen = held if part else ~held
        base = self.features[chosen]
        if self.codes is not None and case.metric == "hamming":
            base = self.codes[chosen]

        def fill(start: int) -> None:
            rng = np.random.default_rng((case.seed, part, start))
            block = out[start : start + _BLOCK]
            numbers = np.arange(start, start + len(block))
            rows = base[numbers % len(base)]
            again = numbers >= len(base)
            if block.dtype == np.uint8:
                block[:] = rows if rows.dtype == np.uint8 else pack_bits(rows)
                flips = rng.integers(0, 256, (5, *block.shape), np.uint8)
                whole, rest = divmod(case.dim, 8)
                flips = np.bitwise_and.reduce(flips)
                if rest:  # padding bits stay zero
                    flips[:, whole] &= np.uint8(0xFF00 >> rest & 0xFF)
                block[again] ^= flips[again]
                return
            noise = rng.standard_normal(rows.shape, np.float32)
            noise *= _NOISE
            noise += 1
            noise[~again] = 1
            np.multiply(rows, noise, out=block, casting="same_kind")

        return fill


def _noise(case: Case, part: int, out: NDArray) -> Callable[[int], None]:
    whole, rest = divmod(case.dim, 8)

    def fill(start: int) -> None:
        rng = np.random.default_rng((case.seed, part, start))
        block = out[start : start + _BLOCK]
        if block.dtype == np.uint8:
            block[:] = rng.integers(0, 256, block.shape, np.uint8)
            if rest:  # padding bits stay zero
                block[:, whole] &= np.uint8(0xFF00 >> rest & 0xFF)
            return
        numbers = rng.standard_normal(block.shape, np.float32)
        if case.data == "relu":
            np.maximum(numbers, 0, out=numbers)
        block[:] = numbers

    return fill


def _clusters(case: Case, part: int, out: NDArray) -> Callable[[int], None]:
    centres = np.random.default_rng(case.seed).standard_normal((_CENTRES, case.dim), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)

    def fill(start: int) -> None:
        rng = np.random.default_rng((case.seed, part, start))
        block = out[start : start + _BLOCK]
        near = rng.integers(0, _CENTRES, _BLOCK)[: len(block)]
        rows = rng.standard_normal((len(block), case.dim), np.float32)
        rows *= _SPREAD / case.dim**0.5
        rows += centres[near]
        if block.dtype == np.uint8:
            block[:] = pack_bits(rows)
        else:
            block[:] = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return fill


def read_features(file: Path) -> NDArray[np.float32]:
    """The matrix of a .npy file as float32, checked."""
    try:
        features = np.load(file, allow_pickle=False)
    except ValueError:
        raise ArgumentError(
            f"{file.name} is no .npy file of numbers",
            "Nothing was timed",
            "Save features by numpy.save(file, embedder.embed(pictures))",
        ) from None
    if features.ndim != 2 or features.dtype.kind != "f" or len(features) < 2:
        raise ArgumentError(
            f"{file.name} holds {features.dtype} of the shape {features.shape}",
            "Nothing was timed",
            "Save a matrix of float32, one row a picture, at least 2",
        )
    return np.ascontiguousarray(features, np.float32)


def embed_features(
    model: Path, pictures: Path | None, say: Callable[[str], None] = lambda _: None
) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None, int]:
    """Features of the pictures of a folder, or of rendered garments, by a model file.

    With them their codes, where a rule of the model makes them (None: ``features > 0``), and how
    many bits these have.
    """
    from ..embedder.embedder import Embedder

    embedder = Embedder(model)
    for folder in _folder(pictures, say):
        say(f"features of the pictures of {folder.name}")
        features, codes = embedder.both(folder, on_error="skip")
    if len(features) < 2:
        raise ArgumentError(
            f"{folder.name} holds {len(features)} pictures that can be read",
            "Nothing was timed",
            "Give a folder of at least 2, or none for rendered garments",
        )
    return features, None if embedder.binarize == ZERO else codes, embedder.bits


def _folder(pictures: Path | None, say: Callable[[str], None]) -> Iterator[Path]:
    """The folder of pictures; a rendered one lives as long as the caller's loop over it."""
    if pictures is not None:
        yield pictures
        return
    from ..datasets.garments.catalogue import render_catalogue

    with tempfile.TemporaryDirectory() as folder:
        say(f"drawing {_GARMENTS} garments")
        render_catalogue(Path(folder) / "garments", items=_GARMENTS, views=_VIEWS)
        yield Path(folder) / "garments"
