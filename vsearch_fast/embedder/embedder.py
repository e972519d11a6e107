"""Pictures to features or codes: decoding threads ahead of an ONNX Runtime session.

::

    images, boxes ─► decode, crop, resize ─► batches ─► network ─► features, codes
     any iterable       `threads` threads,    uint8      a GPU, or
                        a few batches ahead   (b, S, S, 3)  `threads` threads

On a CPU decoding and the network share the cores: while a batch is in the network, the
pictures of the next ones are decoded, and the network's threads sleep rather than spin when
they wait. How a GPU is fed says `runner.py`, and which one is taken `providers.py`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..checks import PixelBox, positive
from ..errors import ArgumentError, ImageError, ModelMismatchError
from ..images.boxes import Box
from ..images.decoding import Source, decode, load
from ..images.jpeg import AUTO, Decoder, find_decoder
from ..images.pairs import Boxes, Images, Pairs, pair
from ..images.refusals import MAX_PIXELS
from ..machine import available_threads
from ..models.shipped import default_model, model_path
from ..threads import run_ahead
from ..words import ZERO
from .bar import bar
from .locate import Locator
from .providers import ProviderFallbackWarning, Providers, cuda_device
from .runner import BoundRunner, Run, plain
from .runtime import runtime
from .session import open_session, read_metadata

__all__ = [
    "Batch",
    "Embedder",
    "ImageSkippedWarning",
    "ProviderFallbackWarning",
    "Skipped",
]

OnError = Literal["raise", "skip"]

_NOT_LOADED = "The model was not loaded"

BATCH_SIZE = 8
"""Pictures a `session.run` when the caller does not say.

Measured with the full VGG-16 on two cores, 1 to 32 pictures: 8 are within the noise of the
best rate, at a quarter of the memory of 32, and Ctrl-C waits for one batch at most.
"""

GPU_BATCH_SIZE = 32
"""The same on a GPU, where every batch costs as much as a full one; not measured yet."""


class ImageSkippedWarning(UserWarning):
    """A picture that could not be read was left out, as ``on_error="skip"`` asks."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A picture left out: its place among the pictures given, its name, and why."""

    position: int
    name: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some pictures' results, in the order given.

    `positions` int64 (b,) counts from 0 among all pictures given, `features` is float32
    (b, dim) and `codes` uint8 (b, ceil(bits / 8)). `skipped` are the pictures left out since
    the batch before; b is 0 where only such were left.
    """

    positions: NDArray[np.int64]
    features: NDArray[np.float32]
    codes: NDArray[np.uint8]
    skipped: list[Skipped]


@dataclass(frozen=True, slots=True, eq=False)
class _Decoded:
    """One picture's pixels, uint8 (S, S, 3), or why there are none."""

    position: int
    name: str
    pixels: np.ndarray | ImageError


class Embedder:
    """A model file of ``vsearch export``, ready to turn pictures into features.

    `model` is the file's path, or the name of a network that comes with the package
    ("slim-clothing"; ``vsearch models`` lists them), by default the one for anything
    (`models.default_model()`). A file of such a name in the current folder is meant by
    "./slim-clothing", or by a `Path`. `providers` says what runs the network: "auto" (TensorRT or
    CUDA where they work, else the CPU), "cpu", "cuda", "tensorrt", or ONNX Runtime execution
    providers (names, or pairs of name and options) in order of preference. What is asked for
    by name and is not there, or does not start, is an error; "auto" falls back to the CPU,
    and says so in a ProviderFallbackWarning where ONNX Runtime offers a GPU provider that
    does not start. TensorRT is taken for fp16 and int8 models; it builds an engine at the
    first batch, which takes minutes, and keeps it in the cache folder. Asked for by name it
    runs fp32 models too, in TF32 unless NVIDIA_TF32_OVERRIDE=0 is set.

    `batch_size` is the number of pictures a network run, by default `BATCH_SIZE`, on a GPU
    `GPU_BATCH_SIZE`. `threads` is the number of threads of the network (inside an operator)
    and, counted separately, of the decoders; by default the number of CPUs this process may
    use. `max_pixels` is the largest picture that is decoded, by default `images.MAX_PIXELS`.
    `decoder` is what decodes JPEG files: "auto" (libjpeg-turbo), "libjpeg-turbo",
    "nvimgcodec", or what an index records (`Index.decoder`); behind it "+srgb" (colours by ICC
    profiles) and "+reduced" (large JPEGs read smaller), as in "auto+srgb". An index and its queries
    need the same one; see `images/jpeg.py`.

    The batch size, the number of threads and the pictures' company do not change a result's
    bits on the CPU as far as measured (ONNX Runtime 1.32, x86-64 with AVX-512, a full and
    two slim VGG-16 networks in float32, batches of 1 to 32, 1 and 2 threads: features and
    codes were equal bit for bit). ONNX Runtime itself promises no such thing, and other
    providers and processors may differ in the last bits: ``vsearch export --verify-on cuda``
    counts how many code bits do.

    It can be pickled, for processes that are spawned, forkserver, joblib and the like: it is
    opened again there, from the same file.

    Attributes: `dim` (d), `bits` (of a code; dim unless the export said otherwise), `binarize` (the
    rule of the codes: "zero", bits are features > 0, or "median" or "itq"), `model_id` (64
    hexadecimal digits), `input_size` (S), `resize`
    (the rule's name), `metadata` (the export's entries, all strings), `provider` (ONNX
    Runtime's name of the one that runs the network) and `providers` (with those behind it),
    `decoder` and `decoder_version`, `batch_size`, `threads`, and `skipped`, the pictures that
    the last call of `embed` or `codes` left out (of the calls in one thread: give each thread
    its own Embedder, or use `stream`, whose batches carry it).

    Raises ModelError for a file that is missing, no ONNX model, of another origin or of
    another format version, and for a provider that does not start; ArgumentError for an
    unknown provider or decoder or a size below 1; MissingDependencyError without ONNX Runtime
    (the extra ``cpu``) or without the decoder.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        providers: Providers = "auto",
        batch_size: int | None = None,
        threads: int | None = None,
        *,
        max_pixels: int | None = None,
        decoder: str = AUTO,
    ) -> None:
        asked = None if batch_size is None else positive(batch_size, "batch_size", _NOT_LOADED)
        self.threads = positive(
            available_threads() if threads is None else threads, "threads", _NOT_LOADED
        )
        self.max_pixels = positive(
            MAX_PIXELS if max_pixels is None else max_pixels, "max_pixels", _NOT_LOADED
        )
        self._decoder = find_decoder(decoder)
        self.decoder, self.decoder_version = self._decoder.name, self._decoder.version
        path = model_path(model) if model is not None else default_model()
        session = open_session(path, providers, self.threads)
        self.metadata = read_metadata(session, path)
        self.model_id = self.metadata["model_id"]
        self.dim = int(self.metadata["dim"])
        self.binarize = self.metadata.get("binarize", ZERO)
        self.bits = int(self.metadata.get("bits", self.dim))
        self._code_bytes = -(-self.bits // 8)
        self.input_size = int(self.metadata["input_size"])
        self.resize = self.metadata["resize"]
        self.providers: list[str] = session.get_providers()
        self.provider = self.providers[0]
        self.skipped: list[Skipped] = []
        device = cuda_device(session)
        self.batch_size = asked or (BATCH_SIZE if device is None else GPU_BATCH_SIZE)
        # Found again after a change of the working folder, and where it is unpickled.
        self._path = Path(os.path.abspath(path))
        self._asked = (providers, batch_size, threads, self.max_pixels)
        self._locator: Locator | None = None
        self._session = session
        self._network: Run = plain(session)
        if device is not None:
            self._network = BoundRunner(
                session,
                runtime(),
                device="cuda",
                device_id=device,
                batch_size=self.batch_size,
                input_size=self.input_size,
                dim=self.dim,
                code_bytes=self._code_bytes,
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what opens it again, in another process as in this one: file and choices.

        The providers and threads that were left open are chosen where it is opened. Opening
        raises what `Embedder` does, and ModelMismatchError where the file is another by then.
        """
        return _reopened, (str(self._path), self.model_id, *self._asked, self.decoder)

    def __repr__(self) -> str:
        return (
            f"<Embedder {self._path.name}: {self.dim} features of {self.metadata.get('layer')}, "
            f"{self.input_size} pixels, {self.provider}, model {self.model_id[:12]}>"
        )

    @property
    def description(self) -> dict[str, Any]:
        """What an index should say about its features, for ``Index.create(model=...)``.

        The commands look for the model at its ``file``.
        """
        names = ("layer", "pool", "weights", "precision", "trained")
        said = {name: self.metadata.get(name, "") for name in names}
        if self.binarize != ZERO:
            said |= {"binarize": self.binarize, "bits": str(self.bits)}
        if "attribution" in self.metadata:
            said["attribution"] = self.metadata["attribution"]
        return said | {
            "file": str(self._path),
            "input_size": self.input_size,
            "resize": self.resize,
            "decoder": self.decoder,
            "decoder_version": self.decoder_version,
        }

    def embed(
        self,
        images: Images,
        boxes: Boxes | None = None,
        *,
        on_error: OnError = "raise",
        progress: bool = False,
    ) -> NDArray[np.float32]:
        """Features of the pictures, float32 (n, dim), in the order given.

        `images` is one picture (a path, the bytes of a file, a PIL image or a uint8 array;
        n is 1), a folder (its picture files at any depth, sorted by path), a uint8 array
        (n, h, w, c), or any iterable of pictures, read lazily. `boxes` cuts each picture:
        x1, y1, x2, y2 in pixels of the upright picture for a single one, otherwise an
        iterable of the same length with a box or None for each.

        A picture that cannot be read raises its ImageError with ``on_error="raise"``; with
        "skip" it is left out (n is then smaller), listed in `skipped` and told by an
        ImageSkippedWarning. `progress` shows a bar with rate and time left on stderr.
        ArgumentError for a folder without pictures and for unequal numbers of boxes.
        """
        return self._collect(["features"], images, boxes, on_error, progress)[0]

    def codes(
        self,
        images: Images,
        boxes: Boxes | None = None,
        *,
        on_error: OnError = "raise",
        progress: bool = False,
    ) -> NDArray[np.uint8]:
        """Packed bits of the features, uint8 (n, ceil(bits / 8)); arguments as `embed`.

        Computed in the network: ``numpy.packbits(features > 0, axis=-1)``, unless the model was
        exported with another rule (`binarize`), which it alone knows.
        """
        return self._collect(["codes"], images, boxes, on_error, progress)[0]

    def both(
        self,
        images: Images,
        boxes: Boxes | None = None,
        *,
        on_error: OnError = "raise",
        progress: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """What `embed` and `codes` return, by one run of the network; arguments as `embed`."""
        features, codes = self._collect(["features", "codes"], images, boxes, on_error, progress)
        return features, codes

    def stream(
        self,
        images: Images,
        boxes: Boxes | None = None,
        *,
        on_error: OnError = "raise",
        progress: bool = False,
        total: int | None = None,
    ) -> Iterator[Batch]:
        """Features and codes batch by batch, lazily; arguments as in `embed`.

        About three batches of pictures are held, however many
        are given. `total` tells the progress bar the number of pictures where
        ``len(images)`` does not. Every picture is in exactly one batch, among its positions
        or its `skipped`. The iterable is advanced in the caller's thread; closing the
        iterator, or leaving the loop over it, stops the decoding threads.
        """
        _check_on_error(on_error)
        pairs = pair(images, boxes)
        if pairs.total is None:
            pairs = Pairs(pairs.items, total)
        return self._stream(pairs, on_error, progress)

    def pixels(self, image: Source, box: Box | None = None) -> NDArray[np.uint8]:
        """What the network is fed of one picture: uint8 (S, S, 3), RGB.

        `embed` of it gives the features that `embed` of the picture gives; it is small, and
        what is wrong with a picture is known before the network is asked. Arguments and errors
        as for one picture of `embed`.
        """
        return load(
            image, self.input_size, box, self.resize, max_pixels=self.max_pixels,
            decoder=self._decoder,
        )  # fmt: skip

    def locate(self, image: Source) -> PixelBox:
        """Where the item is in one picture: x1, y1, x2, y2 in pixels of the upright picture.

        Found without training in the network's own activations (`locate.py`), by the file
        NAME.locate.onnx beside the model, always on the CPU. The box is never empty; it is
        the whole picture where nothing stands out. `image` is a path, bytes, a PIL image or
        a uint8 array; the box fits `embed`'s `boxes`.

        Raises ImageError for a picture that cannot be read, ModelError where the model has no
        such file (``vsearch export --locate`` writes it), ModelMismatchError where the file
        belongs to another model.
        """
        if self._locator is None:
            self._locator = Locator(self._path, self.model_id, self.threads)
        return self._locator.box(decode(image, max_pixels=self.max_pixels))

    def _stream(self, pairs: Pairs, on_error: OnError, progress: bool) -> Iterator[Batch]:
        for positions, (features, codes), skipped in self._batches(
            ["features", "codes"], pairs, on_error, progress
        ):
            yield Batch(positions, features, codes, skipped)

    def _collect(
        self,
        outputs: list[str],
        images: Images,
        boxes: Boxes | None,
        on_error: OnError,
        progress: bool,
    ) -> list[np.ndarray]:
        """The named outputs for all pictures, an array each."""
        _check_on_error(on_error)
        pairs = pair(images, boxes)
        self.skipped = []
        parts: list[list[np.ndarray]] = [[] for _ in outputs]
        # Where the number is known, rows go where they will stay: joining parts in the end
        # takes twice the memory.
        rows = self._empty(outputs, pairs.total or 0)
        filled = 0
        for positions, found, skipped in self._batches(outputs, pairs, on_error, progress):
            self.skipped += skipped
            if pairs.total is None:
                for part, values in zip(parts, found, strict=True):
                    part.append(values)
                continue
            end = filled + len(positions)
            if end + len(self.skipped) > pairs.total:
                raise _wrong_length("more", pairs.total)
            for whole, values in zip(rows, found, strict=True):
                whole[filled:end] = values
            filled = end
        if pairs.total is None:
            return [np.concatenate([none, *part]) for none, part in zip(rows, parts, strict=True)]
        if filled + len(self.skipped) < pairs.total:
            raise _wrong_length("fewer", pairs.total)
        return [whole[:filled] for whole in rows]

    def _empty(self, outputs: list[str], count: int) -> list[np.ndarray]:
        """An array for the named outputs of so many pictures each, not filled."""
        made: dict[str, np.ndarray] = {
            "features": np.empty((count, self.dim), np.float32),
            "codes": np.empty((count, self._code_bytes), np.uint8),
        }
        return [made[output] for output in outputs]

    def _batches(
        self, outputs: list[str], pairs: Pairs, on_error: OnError, progress: bool
    ) -> Iterator[tuple[NDArray[np.int64], list[np.ndarray], list[Skipped]]]:
        """Positions, the named outputs, and the pictures skipped, a batch at a time."""
        decoded = run_ahead(
            partial(_decode, self.input_size, self.resize, self.max_pixels, self._decoder),
            enumerate(pairs.items),
            threads=self.threads,
            depth=2 * self.batch_size,
        )
        advance, close_bar = bar(pairs.total, shown=progress)
        positions: list[int] = []
        pixels: list[np.ndarray] = []
        skipped: list[Skipped] = []
        try:
            for picture in decoded:
                if isinstance(picture.pixels, ImageError):
                    if on_error == "raise":
                        raise picture.pixels
                    skipped.append(_skip(picture.position, picture.name, picture.pixels))
                else:
                    positions.append(picture.position)
                    pixels.append(picture.pixels)
                if len(pixels) == self.batch_size:
                    results = self._run(outputs, pixels)
                    advance(len(positions) + len(skipped))
                    yield np.array(positions, np.int64), results, skipped
                    positions, pixels, skipped = [], [], []
            if pixels or skipped:
                results = self._run(outputs, pixels)
                advance(len(positions) + len(skipped))
                yield np.array(positions, np.int64), results, skipped
        finally:
            # In this order, so that no decoding goes on behind a closed bar. Closing the
            # generator stops its threads, whatever brought us here.
            decoded.close()
            close_bar()

    def _run(self, outputs: list[str], pixels: list[np.ndarray]) -> list[np.ndarray]:
        """The named outputs of one network run; empty arrays for no pictures."""
        if not pixels:
            return self._empty(outputs, 0)
        return self._network(outputs, pixels)


def _reopened(
    path: str,
    model_id: str,
    providers: Providers,
    batch_size: int | None,
    threads: int | None,
    max_pixels: int,
    decoder: str,
) -> Embedder:
    """What an Embedder is unpickled by."""
    embedder = Embedder(
        path, providers, batch_size, threads, max_pixels=max_pixels, decoder=decoder
    )
    if embedder.model_id != model_id:
        raise ModelMismatchError(
            f"{path} holds the model {embedder.model_id[:12]}…, and the Embedder was pickled with "
            f"{model_id[:12]}…",
            _NOT_LOADED,
            "Put the file of then back, or make the Embedder anew",
        )
    return embedder


def _decode(
    size: int,
    resize: str,
    max_pixels: int,
    decoder: Decoder,
    item: tuple[int, tuple[Source, Box | None]],
) -> _Decoded:
    """The pixels of one picture; its ImageError travels as a value, to its place in order."""
    position, (source, box) = item
    is_path = isinstance(source, (str, os.PathLike))
    name = os.fspath(source) if is_path else f"Picture {position}"  # type: ignore[arg-type]
    try:
        pixels = load(source, size, box, resize, name=name, max_pixels=max_pixels, decoder=decoder)
    except ImageError as error:
        return _Decoded(position, name, error)
    return _Decoded(position, name, pixels)


def _wrong_length(relation: str, total: int) -> ArgumentError:
    return ArgumentError(
        f"The iterable of pictures holds {relation} than the {total} that its len() says",
        "Its features were not returned",
        "Correct its __len__, or give a list",
    )


def _skip(position: int, name: str, error: ImageError) -> Skipped:
    warnings.warn(f"Skipped: {error.cause}", ImageSkippedWarning, stacklevel=5)
    return Skipped(position, name, error.cause)


def _check_on_error(on_error: Any) -> None:
    if on_error not in ("raise", "skip"):
        raise ArgumentError(
            f"on_error is {on_error!r}", "No picture was read", "Give 'raise' or 'skip'"
        )
