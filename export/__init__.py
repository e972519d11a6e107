"""The Keras side: turns a Keras network into the one ONNX file that the rest works with.

The only code of the project that imports TensorFlow or Keras, and only inside :func:`export`::

    --weights -> weights.py   what the argument names: download, file checks
              -> vgg16.py     the Keras network, cut off at --layer
              -> onnx.py      ONNX nodes and weights, preprocessing in front, codes behind
              -> quantize.py  (int8)
              -> verify.py    the written file against Keras, on pictures
              -> on_provider.py   (--verify-on) the same on a GPU against the CPU
              -> locate.py    (--locate) its convolutions, in a second file
              -> moved into place

On the command line: ``python -m vsearch_fast.export --help``.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vsearch_fast.errors import ArgumentError, ExportError
from vsearch_fast.export.weights import Source, resolve, write_classes

if TYPE_CHECKING:
    import keras
    import numpy as np

    from vsearch_fast.export.on_provider import ProviderFigures
    from vsearch_fast.export.verify import Figures

__all__ = ["ExportReport", "export", "write_classes"]

PRECISIONS = ("fp32", "fp16", "int8")
POOLS = ("", "avg", "max")
PROVIDERS = ("", "cpu", "cuda", "tensorrt")

#: The names in ``images.RESIZE_FILTERS``, without the imports that those need.
RESIZE_RULES = ("nearest", "box", "bilinear", "bicubic", "lanczos")

#: Pictures of a folder that are used at most, evenly spaced.
CALIBRATION_LIMIT = 48
VERIFY_LIMIT = 36
#: Pictures that the export draws itself to verify with.
SYNTHETIC = 12


@dataclass(frozen=True)
class ExportReport:
    """What was exported and how well it agrees with Keras.

    Attributes
    ----------
    path : the ONNX file; ``file_size`` in bytes.
    model_id : SHA-256 of the graph with its weights.
    trained : False for ``random:SEED``.
    classes : how many class names the file carries.
    pictures : where the sample pictures came from, in words.
    figures : agreement with Keras over the samples (:class:`~.verify.Figures`).
    calibrated_on : pictures used for int8, otherwise 0.
    on_provider : with ``verify_on`` the provider's results beside the CPU's
        (:class:`~.on_provider.ProviderFigures`), otherwise None.
    locate_path : with ``locate`` the file that finds boxes, otherwise None.
    locate_error : its worst relative error against Keras.
    seconds : wall time of each step, in order; ``total`` last.
    """

    path: Path
    file_size: int
    model_id: str
    weights: str
    weights_sha256: str
    trained: bool
    layer: str
    pool: str
    precision: str
    input_size: int
    dim: int
    classes: int
    pictures: str
    figures: Figures
    calibrated_on: int = 0
    on_provider: ProviderFigures | None = None
    locate_path: Path | None = None
    locate_error: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)


def export(
    weights: str | os.PathLike[str] = "imagenet",
    *,
    output: str | os.PathLike[str],
    layer: str = "fc1",
    pool: str = "",
    input_size: int | None = None,
    precision: str = "fp32",
    half_weights: bool = False,
    unit_length: bool = False,
    resize: str = "",
    calibrate: Sequence[str | os.PathLike[str]] = (),
    verify_images: Sequence[str | os.PathLike[str]] = (),
    verify_on: str = "",
    locate: bool = False,
    log: Callable[[str], None] | None = None,
) -> ExportReport:
    """Export a Keras VGG-16, or a network like it, to an ONNX file that has proved itself.

    Parameters
    ----------
    weights : ``imagenet`` (Keras' download, cached by Keras), ``random:SEED`` (an untrained
        network) or a ``.keras`` or ``.h5`` file: a whole model, or VGG-16 weights. Whole models
        are assumed to take what ``keras.applications.vgg16.preprocess_input`` makes.
    output : the ONNX file; replaced at the end, in one step, or left as it is.
    layer : ``fc1``, ``fc2`` or another layer's name; the layers behind it are left out.
    pool : ``avg`` or ``max`` over rows and columns of a convolutional layer's output, which is
        flattened otherwise.
    input_size : side of the square pictures, pixels; by default the model's own, or 224.
    precision : ``fp32``, ``fp16`` or ``int8``.
    half_weights : store weights as float16 and widen them when the file is loaded: half the
        file, the arithmetic as ``precision`` says.
    unit_length : divide each picture's features by their length, so that L2 distance orders as
        the angle does; the codes are the same.
    resize : the rule by which pictures are stretched to squares, a name in
        ``images.RESIZE_FILTERS``; by default the one the model was trained with, or nearest.
    calibrate : picture files and folders for int8, at least one; 48 pictures are used at most.
    verify_images : picture files and folders to verify with, 36 used at most; by default
        drawn pictures, and for int8 those of ``calibrate`` not used to calibrate.
    verify_on : ``cpu``, ``cuda`` or ``tensorrt``: run the same pictures there too, and count
        the code bits that differ from the CPU's.
    locate : write NAME.locate.onnx beside it too, with which ``Embedder.locate`` finds boxes.
        The model file is the same with and without.
    log : called with a line of text for each step.

    Raises
    ------
    ArgumentError, ImageError, ModelError, ExportError, MissingDependencyError
        ExportError also when the file disagrees with Keras or cannot be written, and when the
        provider to verify on does not start here. Whatever is raised, KeyboardInterrupt
        included, ``output`` is as it was before.
    """
    clock = _Clock(log or (lambda line: None))
    target = Path(output).expanduser()
    if target.suffix.lower() != ".onnx" and not target.is_dir():
        raise ArgumentError(
            f"the output {target} does not end in .onnx",
            "Nothing was exported",
            "Name it FILE.onnx",
        )
    _check_arguments(layer, pool, input_size, precision, resize, calibrate, verify_on)
    with _temporary_beside(target) as temporary:
        source = resolve(os.fspath(weights), layer, clock.log)
        if not source.trained:
            clock.log(
                f"UNTRAINED NETWORK: {source.label} draws the weights from a random generator. It "
                "finds copies of a picture, not similar things"
            )
        with clock.step("load TensorFlow"):
            from vsearch_fast.export import backend

            backend.prepare()
        if verify_on:
            from vsearch_fast.export import on_provider

            on_provider.require(verify_on)
        return _export(
            source, target, temporary, layer, pool, input_size, precision, half_weights,
            unit_length, resize or source.training.get("recipe", {}).get("resize", "nearest"),
            list(calibrate), list(verify_images), verify_on, locate, clock,
        )  # fmt: skip


def _export(
    source: Source,
    target: Path,
    temporary: Path,
    layer: str,
    pool: str,
    input_size: int | None,
    precision: str,
    half_weights: bool,
    unit_length: bool,
    resize: str,
    calibrate: Sequence[str | os.PathLike[str]],
    verify_images: Sequence[str | os.PathLike[str]],
    verify_on: str,
    locate: bool,
    clock: _Clock,
) -> ExportReport:
    from vsearch_fast.export import backend, on_provider, onnx, verify, vgg16

    with clock.step("build the network"):
        model, digest = vgg16.feature_model(source, layer, pool, input_size)
        size = vgg16.input_size(model)
    with clock.step("load the pictures"):
        calibration, samples, pictures = _pictures(size, precision, calibrate, verify_images)
    with clock.step(f"Keras' features of {len(samples)} pictures"):
        reference = verify.keras_features(model, samples)
        if unit_length:
            reference = verify.of_unit_length(reference)
    boxes = _Boxes(target, model, samples, clock) if locate else None
    with clock.step("convert"):
        graph = onnx.convert(model)
        # Half a gigabyte that is not needed again.
        del model
        _free_keras()
        if precision == "fp16":
            onnx.to_float16(graph)
        onnx.add_preprocessing(graph)
    if precision == "int8":
        with clock.step(f"quantise, calibrated on {len(calibration)} pictures"):
            from vsearch_fast.export import quantize

            with _writing(target):
                quantize.quantize(graph, calibration, target.parent)
    if half_weights:
        onnx.store_float16(graph)
    with clock.step("write"):
        if unit_length:
            onnx.add_unit_length(graph)
        onnx.add_codes(graph)
        dim = graph.dim
        metadata = {
            "layer": layer,
            "pool": pool,
            "weights": source.label,
            "weights_sha256": digest,
            "trained": "yes" if source.trained else "no",
            "classes": json.dumps(source.classes, ensure_ascii=False),
            "precision": precision,
            **({"unit_length": "yes"} if unit_length else {}),
            "input_size": str(size),
            "resize": resize,
            "dim": str(dim),
            "exporter": json.dumps(backend.versions(), sort_keys=True),
        }
        if source.training:
            metadata["training"] = json.dumps(source.training, ensure_ascii=False, sort_keys=True)
        proto = onnx.finish(graph)
        with _writing(target), temporary.open("wb") as file:
            model_id = onnx.write(proto, metadata, file)
            file.flush()
            os.fsync(file.fileno())
        del proto, graph
        gc.collect()
        onnx.check(temporary)
    with clock.step("verify"):
        features, codes = verify.onnx_outputs(temporary, samples)
        figures = verify.compare(reference, features, codes)
        # What halved weights lose is what fp16 loses, whatever the arithmetic.
        verify.judge(figures, "fp16" if half_weights and precision == "fp32" else precision)
    across = None
    if verify_on:
        with clock.step(f"verify on {verify_on}"):
            across = on_provider.compare(temporary, samples, features, codes, verify_on)
    length = temporary.stat().st_size
    with contextlib.ExitStack() as stack:
        if boxes is not None:
            beside = stack.enter_context(_temporary_beside(boxes.path))
            boxes.write(metadata, model_id, beside)
            # First, and refused beside an older model: what is in place is never a wrong pair.
            with _writing(boxes.path):
                os.replace(beside, boxes.path)
        with _writing(target):
            os.replace(temporary, target)
    return ExportReport(
        path=target,
        file_size=length,
        model_id=model_id,
        weights=source.label,
        weights_sha256=digest,
        trained=source.trained,
        layer=layer,
        pool=pool,
        precision=precision,
        input_size=size,
        dim=dim,
        classes=len(source.classes),
        pictures=pictures,
        figures=figures,
        calibrated_on=len(calibration),
        on_provider=across,
        locate_path=boxes.path if boxes is not None else None,
        locate_error=boxes.error if boxes is not None else 0.0,
        seconds=clock.finished(),
    )


class _Boxes:
    """The second file of ``locate``: converted while the Keras network is there, written last."""

    def __init__(
        self, target: Path, model: keras.Model, samples: np.ndarray, clock: _Clock
    ) -> None:
        from vsearch_fast.export import locate
        from vsearch_fast.locate import locate_file

        self.path = locate_file(target)
        self.error = 0.0
        self._samples, self._clock = samples, clock
        with clock.step("convert what finds boxes"):
            convolutions = locate.locating_model(model)
            self._reference = locate.keras_activations(convolutions, samples)
            self._graph = locate.convert(convolutions)

    def write(self, metadata: dict[str, str], model_id: str, temporary: Path) -> None:
        from vsearch_fast.export import locate

        with self._clock.step("write and verify what finds boxes"):
            with _writing(self.path):
                locate.write(self._graph, metadata, model_id, temporary)
            self.error = locate.verify(temporary, self._samples, self._reference)


def _check_arguments(
    layer: str,
    pool: str,
    input_size: int | None,
    precision: str,
    resize: str,
    calibrate: Sequence[str | os.PathLike[str]],
    verify_on: str,
) -> None:
    for name, value, allowed in (
        ("precision", precision, PRECISIONS),
        ("resize", resize, ("", *RESIZE_RULES)),
        ("pool", pool, POOLS),
        ("verify-on", verify_on, PROVIDERS),
    ):
        if value not in allowed:
            raise ArgumentError(
                f"--{name} {value} is unknown",
                "Nothing was exported",
                f"Choose one of: {', '.join(each for each in allowed if each)}",
            )
    if input_size is not None and input_size < 1:
        raise ArgumentError(
            f"--input-size {input_size} is no size",
            "Nothing was exported",
            "Give the side of the pictures in pixels, such as 224",
        )
    if not layer:
        raise ArgumentError("--layer is empty", "Nothing was exported", "Name a layer, such as fc1")
    if precision == "int8" and not calibrate:
        raise ArgumentError(
            "--precision int8 needs pictures to measure the ranges of the activations on",
            "Nothing was exported",
            "Name a folder with some dozens of pictures like those to be searched: "
            "--calibrate FOLDER",
        )
    if calibrate and precision != "int8":
        raise ArgumentError(
            f"--calibrate is for --precision int8, and the precision is {precision}",
            "Nothing was exported",
            "Leave one of the two out",
        )


def _pictures(
    size: int,
    precision: str,
    calibrate: Sequence[str | os.PathLike[str]],
    verify_images: Sequence[str | os.PathLike[str]],
) -> tuple[np.ndarray, np.ndarray, str]:
    """Pictures to calibrate on, pictures to verify with, and where the latter are from."""
    from vsearch_fast.export import verify

    calibration: list[Path] = []
    held_out: list[Path] = []
    if precision == "int8":
        spare = 0 if verify_images else VERIFY_LIMIT
        both = verify.find_pictures(
            [os.fspath(path) for path in calibrate], CALIBRATION_LIMIT + spare
        )
        if verify_images:
            calibration = both
        elif len(both) < 2 * SYNTHETIC:
            calibration = held_out = both
        else:
            share = VERIFY_LIMIT / (CALIBRATION_LIMIT + VERIFY_LIMIT)
            back = [int((i + 1) * share) > int(i * share) for i in range(len(both))]
            held_out = [path for path, kept in zip(both, back, strict=True) if kept]
            calibration = [path for path, kept in zip(both, back, strict=True) if not kept]
    pixels = verify.load_pictures(calibration, size)
    if verify_images:
        found = verify.find_pictures([os.fspath(path) for path in verify_images], VERIFY_LIMIT)
        samples = verify.load_pictures(found, size)
        return pixels, samples, "the pictures named by --verify-images"
    if held_out:
        origin = (
            "the pictures calibrated on (too few to keep some back)"
            if held_out is calibration
            else "pictures of --calibrate that were kept back"
        )
        return pixels, verify.load_pictures(held_out, size), origin
    drawn = verify.synthetic_pictures(SYNTHETIC, size)
    return pixels, drawn, "drawn pictures (smooth noise, hard edges, grain), no photos"


def _free_keras() -> None:
    import keras

    keras.backend.clear_session()
    gc.collect()


@contextlib.contextmanager
def _temporary_beside(target: Path) -> Iterator[Path]:
    """An empty file in the target's folder, gone afterwards unless it was moved away.

    Made before anything else, so that a wrong folder is known before the work.
    """
    if target.is_dir():
        raise ExportError(
            f"The output {target} is a folder", "Nothing was exported", "Name a file in it"
        )
    with _writing(target):
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        # mkstemp's files are private; the model file is like any other.
        mask = os.umask(0)
        os.umask(mask)
        os.fchmod(handle, 0o666 & ~mask)
        os.close(handle)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Turn the system's errors of writing into ExportErrors about ``target``."""
    try:
        yield
    except OSError as error:
        raise _not_written(target, error) from error


def _not_written(target: Path, error: OSError) -> ExportError:
    folder = target.parent
    cures = {
        errno.ENOENT: f"Create the folder first: mkdir -p {folder}",
        errno.ENOTDIR: f"{folder} is not a folder; choose another --output",
        errno.EACCES: "Choose another --output, or get the right to write there",
        errno.EROFS: "Choose an --output on a disk that can be written",
        errno.ENOSPC: "Free some space (the full VGG-16 takes 0.5 GiB), or choose an --output "
        "on another disk",
        errno.EFBIG: "Raise the limit on the size of files (ulimit -f), or choose an --output on "
        "another disk",
    }
    cures[errno.EDQUOT] = cures[errno.ENOSPC]
    cures[errno.EPERM] = cures[errno.EACCES]
    # ONNX Runtime's quantiser keeps files in the system's folder for temporary ones.
    system = tempfile.gettempdir()
    if str(error.filename or "").startswith(system) and not str(folder).startswith(system):
        cures[errno.ENOSPC] = f"Free some space in {system}, or set TMPDIR to a folder with more"
    return ExportError(
        f"The model cannot be written to {target} ({error.strerror or error})",
        "Nothing was written, and an older file of that name is as it was",
        cures.get(error.errno or 0, "Check the disk and the path"),
    )


class _Clock:
    """Times the steps and logs each when it is done."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self.log = log
        self._start = time.perf_counter()
        self._seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[name] = time.perf_counter() - start
        self.log(f"{self._seconds[name]:6.1f} s  {name}")

    def finished(self) -> dict[str, float]:
        return {**self._seconds, "total": time.perf_counter() - self._start}
