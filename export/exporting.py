"""From a Keras network to the ONNX file: the steps of `export`."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ArgumentError, ModelError
from ..terminal.keeping import stands
from ..words import ZERO
from .architectures import VGG16, chosen, find
from .arguments import check_arguments
from .asked import asked, differences, held
from .bits import Bits
from .samples import sample_pictures
from .target import temporary_beside, writing
from .weights import Source, resolve

if TYPE_CHECKING:
    import keras
    import numpy as np

    from .on_provider import ProviderFigures
    from .verify import Figures


@dataclass(frozen=True)
class ExportReport:
    """What was exported and how well it agrees with Keras.

    Attributes:
        path: the ONNX file; ``file_size`` in bytes.
        model_id: SHA-256 of the graph with its weights.
        trained: False for ``random:SEED``.
        classes: how many class names the file carries.
        codes: the rule by which they are made of the features, in words.
        pictures: where the sample pictures came from, in words.
        figures: agreement with Keras over the samples (`verify.Figures`).
        calibrated_on: pictures used for int8, otherwise 0.
        on_provider: with ``verify_on`` the provider's results beside the CPU's
            (`on_provider.ProviderFigures`), otherwise None.
        locate_path: with ``locate`` the file that finds boxes, otherwise None.
        locate_error: its worst relative error against Keras.
        seconds: wall time of each step, in order; ``total`` last.
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
    codes: str
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
    architecture: str = VGG16,
    layer: str | None = None,
    pool: str = "",
    input_size: int | None = None,
    precision: str = "fp32",
    half_weights: bool = False,
    unit_length: bool = False,
    resize: str = "",
    preprocess: str = "",
    binarize: str = ZERO,
    bits: int | None = None,
    binarize_images: Sequence[str | os.PathLike[str]] = (),
    calibrate: Sequence[str | os.PathLike[str]] = (),
    verify_images: Sequence[str | os.PathLike[str]] = (),
    verify_on: str = "",
    locate: bool = False,
    log: Callable[[str], None] | None = None,
) -> ExportReport:
    """Export a Keras VGG-16, or a network like it, to an ONNX file that has proved itself.

    An older file at `output` is replaced; `is_exported` tells whether it needs to be.

    Args:
        weights: ``imagenet`` (Keras' download, cached by Keras), ``random:SEED`` (an untrained
            network) or a ``.keras`` or ``.h5`` file: a whole model, or VGG-16 weights.
        output: the ONNX file; replaced at the end, in one step, or left as it is.
        architecture: a network of ``keras.applications`` (`architectures.ARCHITECTURES`).
        layer: ``fc1``, ``fc2`` or another layer's name; the layers behind it are left out. By
            default ``fc1`` of VGG-16 and VGG-19, and of the others ``last``: all but the
            classifier, by ``pool``, else averaged, over rows and columns.
        pool: ``avg`` or ``max`` over rows and columns of a convolutional layer's output, which is
            flattened otherwise.
        input_size: side of the square pictures, pixels; by default the model's own, or 224.
        precision: ``fp32``, ``fp16`` or ``int8``.
        half_weights: store weights as float16 and widen them when the file is loaded: half the
            file, the arithmetic as ``precision`` says.
        unit_length: divide each picture's features by their length, so that L2 distance orders as
            the angle does; the codes are the same.
        resize: the rule by which pictures are stretched to squares, a name in
            ``images.RESIZE_FILTERS``; by default the one the model was trained with, or nearest.
        preprocess: what a whole model is fed: ``vgg``, what
            ``keras.applications.vgg16.preprocess_input`` makes; ``tf``, -1 to 1; ``torch``, by
            ImageNet's means and deviations; or ``inside``, RGB pixels from 0 to 255 as they are. By
            default ``vgg``, and a model that has preprocessing inside is refused.
        binarize: how codes are made of features (`binarize.py`): ``zero``, those above 0;
            ``median``, above the median over given pictures; ``itq``, ``bits`` learnt ones.
        bits: of ``itq``, a multiple of 8; by default 256, or as many as the pictures allow.
        binarize_images: picture files and folders that ``median`` and ``itq`` learn from, 2,000
            used at most; by default those of ``verify_images``, else of ``calibrate``.
        calibrate: picture files and folders for int8, at least one; 48 pictures are used at most.
        verify_images: picture files and folders to verify with, 36 used at most; by default
            drawn pictures, and for int8 those of ``calibrate`` not used to calibrate.
        verify_on: ``cpu``, ``cuda`` or ``tensorrt``: run the same pictures there too, and count
            the code bits that differ from the CPU's.
        locate: write NAME.locate.onnx beside it too, with which ``Embedder.locate`` finds boxes.
            The model file is the same with and without.
        log: called with a line of text for each step.

    Raises:
        ArgumentError, ImageError, ModelError: an argument, a picture or a weights file is wrong.
        MissingDependencyError: one of the packages of the ``export`` extra is missing.
        ExportError: the file disagrees with Keras or cannot be written, a download is out of
            reach, or the provider to verify on does not start here.

    Whatever is raised, KeyboardInterrupt included, ``output`` is as it was before.
    """
    clock = _Clock(log or (lambda line: None))
    target = Path(output).expanduser()
    if target.suffix.lower() != ".onnx" and not target.is_dir():
        raise ArgumentError(
            f"the output {target} does not end in .onnx",
            "Nothing was exported",
            "Name it FILE.onnx",
        )
    known, layer, pool = chosen(architecture, layer, pool)
    check_arguments(layer, pool, input_size, precision, resize, calibrate, verify_on, preprocess)
    wanted = Bits.of(binarize, bits, binarize_images, verify_images, calibrate)
    with temporary_beside(target) as temporary:
        source = resolve(os.fspath(weights), layer, clock.log, known.name)
        if not source.trained:
            clock.log(
                f"UNTRAINED NETWORK: {source.label} draws the weights from a random generator. It "
                "finds copies of a picture, not similar things"
            )
        with clock.step("load TensorFlow"):
            from . import backend

            backend.prepare()
        if verify_on:
            from . import on_provider

            on_provider.require(verify_on)
        return _export(
            source, target, temporary, layer, pool, input_size, precision, half_weights,
            unit_length, resize, preprocess,
            wanted, list(calibrate), list(verify_images), verify_on, locate, clock,
        )  # fmt: skip


def is_exported(
    weights: str | os.PathLike[str] = "imagenet",
    *,
    output: str | os.PathLike[str],
    architecture: str = VGG16,
    layer: str | None = None,
    pool: str = "",
    input_size: int | None = None,
    precision: str = "fp32",
    half_weights: bool = False,
    unit_length: bool = False,
    resize: str = "",
    preprocess: str = "",
    binarize: str = ZERO,
    bits: int | None = None,
    binarize_images: Sequence[str | os.PathLike[str]] = (),
    calibrate: Sequence[str | os.PathLike[str]] = (),
    verify_images: Sequence[str | os.PathLike[str]] = (),
    locate: bool = False,
    log: Callable[[str], None] | None = None,
) -> bool:
    """Whether the file that `export` would write with these arguments is there already.

    Without TensorFlow, and from what the file says of itself. False where there is none, or
    none beside it that `locate` asks for. Raises ArgumentError where `output` is something
    else: a model of other weights or choices, or no model of this package.
    """
    target = Path(output).expanduser()
    if not target.is_file():
        return False
    known, layer, pool = chosen(architecture, layer, pool)
    check_arguments(layer, pool, input_size, precision, resize, calibrate, "", preprocess)
    wanted = Bits.of(binarize, bits, binarize_images, verify_images, calibrate)
    source = resolve(os.fspath(weights), layer, log or (lambda line: None), known.name)
    there = held(target)
    found = stands(
        target,
        there.get("asked"),
        _asked(
            source, layer, pool, input_size, precision, half_weights, unit_length, resize,
            preprocess, wanted, calibrate,
        ),
        consequence="Nothing was exported",
        differences=differences(
            there, weights=source.label, layer=layer, pool=pool, precision=precision,
            input_size=input_size, resize=resize or None, binarize=wanted.named(there),
        ),
        name="--output",
    )  # fmt: skip
    if not found or not locate:
        return found
    from ..embedder.locate import locate_file

    return locate_file(target).is_file()


def _asked(
    source: Source,
    layer: str,
    pool: str,
    input_size: int | None,
    precision: str,
    half_weights: bool,
    unit_length: bool,
    resize: str,
    preprocess: str,
    wanted: Bits,
    calibrate: Sequence[str | os.PathLike[str]],
) -> str:
    more = {} if source.architecture == VGG16 else {"architecture": source.architecture}
    return asked(
        source, wanted.with_pictures(calibrate), layer=layer, pool=pool, input_size=input_size,
        precision=precision, half_weights=half_weights, unit_length=unit_length, resize=resize,
        preprocess=preprocess or "vgg", **more, **wanted.choices,
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
    preprocess: str,
    wanted: Bits,
    calibrate: Sequence[str | os.PathLike[str]],
    verify_images: Sequence[str | os.PathLike[str]],
    verify_on: str,
    locate: bool,
    clock: _Clock,
) -> ExportReport:
    from . import applications, backend, on_provider, onnx, verify, vgg16
    from . import graph as graphs

    with clock.step("build the network"):
        builder = vgg16 if source.architecture == VGG16 else applications
        model, digest = builder.feature_model(source, layer, pool, input_size)
        size = vgg16.input_size(model)
        prepare = _prepares(model, source, preprocess)
        credit = (
            vgg16.attribution(model, source.training)
            if source.architecture == VGG16
            else applications.attribution(source)
        )
    with clock.step("load the pictures"):
        calibration, samples, pictures = sample_pictures(size, precision, calibrate, verify_images)
    with clock.step(f"Keras' features of {len(samples)} pictures"):
        reference = verify.keras_features(model, samples, prepare)
        if unit_length:
            reference = verify.of_unit_length(reference)
    with clock.step(f"the rule of the bits, {wanted.name}"):
        rule = wanted.learnt(model, size, prepare, unit_length, reference.shape[1])
    boxes = _Boxes(target, model, samples, prepare, clock) if locate else None
    with clock.step("convert"):
        graph = onnx.convert(model)
        # Half a gigabyte that is not needed again.
        del model
        _free_keras()
        if precision == "fp16":
            graphs.to_float16(graph)
        graphs.add_preprocessing(graph, prepare)
    if precision == "int8":
        with clock.step(f"quantise, calibrated on {len(calibration)} pictures"):
            from . import quantize

            with writing(target):
                quantize.quantize(graph, calibration, target.parent)
    if half_weights:
        graphs.store_float16(graph)
    with clock.step("write"):
        if unit_length:
            graphs.add_unit_length(graph)
        graphs.add_codes(graph, rule)
        dim = graph.dim
        metadata = {
            "asked": _asked(
                source,
                layer,
                pool,
                input_size,
                precision,
                half_weights,
                unit_length,
                resize,
                preprocess,
                wanted,
                calibrate,
            ),
            "layer": layer,
            "pool": pool,
            "weights": source.label,
            "weights_sha256": digest,
            "trained": "yes" if source.trained else "no",
            "classes": json.dumps(source.classes, ensure_ascii=False),
            "precision": precision,
            **({"unit_length": "yes"} if unit_length else {}),
            **({"preprocess": prepare} if prepare != "vgg" else {}),
            **({"architecture": source.architecture} if builder is applications else {}),
            "input_size": str(size),
            "resize": resize or source.training.get("recipe", {}).get("resize", "nearest"),
            "dim": str(dim),
            "exporter": json.dumps(backend.versions(), sort_keys=True),
            **wanted.metadata(rule),
        }
        if credit:
            metadata["attribution"] = f"{credit}; cut at {layer} and converted to ONNX"
        if source.training:
            metadata["training"] = json.dumps(source.training, ensure_ascii=False, sort_keys=True)
        proto = graphs.finish(graph)
        with writing(target), temporary.open("wb") as file:
            model_id = graphs.write(proto, metadata, file)
            file.flush()
            os.fsync(file.fileno())
        del proto, graph
        gc.collect()
        graphs.check(temporary)
    with clock.step("verify"):
        features, codes = verify.onnx_outputs(temporary, samples)
        figures = verify.compare(reference, features, codes, rule)
        # What halved weights lose is what fp16 loses, whatever the arithmetic.
        verify.judge(figures, "fp16" if half_weights and precision == "fp32" else precision)
    across = None
    if verify_on:
        with clock.step(f"verify on {verify_on}"):
            across = on_provider.compare(temporary, samples, features, codes, verify_on)
    length = temporary.stat().st_size
    with contextlib.ExitStack() as stack:
        if boxes is not None:
            beside = stack.enter_context(temporary_beside(boxes.path))
            boxes.write(metadata, model_id, beside)
            # First, and refused beside an older model: what is in place is never a wrong pair.
            with writing(boxes.path):
                os.replace(beside, boxes.path)
        with writing(target):
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
        codes=rule.in_words,
        pictures=pictures,
        figures=figures,
        calibrated_on=len(calibration),
        on_provider=across,
        locate_path=boxes.path if boxes is not None else None,
        locate_error=boxes.error if boxes is not None else 0.0,
        seconds=clock.finished(),
    )


def _prepares(model: keras.Model, source: Source, preprocess: str) -> str:
    """What becomes of pixels before the model; raises where that is not clear."""
    from .loading import preprocessing

    if source.kind != "model":
        own = find(source.architecture).prepares
        if preprocess not in ("", own):
            raise ArgumentError(
                f"--preprocess {preprocess} is for whole models, and {source.label} holds the "
                f"weights of {source.architecture}, which were learnt behind its own",
                "Nothing was exported",
                "Leave --preprocess out",
            )
        return own
    found = preprocessing(model)
    if found and not preprocess:
        raise ModelError(
            f"The model {source.path} prepares its pictures itself, before its first weights "
            f"({', '.join(found)})",
            "Nothing was exported, because VGG's preprocessing on top of that would give wrong "
            "features",
            "If it was trained on RGB pixels from 0 to 255 as they are, pass --preprocess inside; "
            "if on what keras.applications.vgg16.preprocess_input makes, --preprocess vgg",
        )
    return preprocess or "vgg"


class _Boxes:
    """The second file of ``locate``: converted while the Keras network is there, written last."""

    def __init__(
        self,
        target: Path,
        model: keras.Model,
        samples: np.ndarray,
        prepare: str,
        clock: _Clock,
    ) -> None:
        from ..embedder.locate import locate_file
        from . import locate

        self.path = locate_file(target)
        self.error = 0.0
        self._samples, self._clock = samples, clock
        with clock.step("convert what finds boxes"):
            convolutions = locate.locating_model(model)
            self._reference = locate.keras_activations(convolutions, samples, prepare)
            self._graph = locate.convert(convolutions, prepare)

    def write(self, metadata: dict[str, str], model_id: str, temporary: Path) -> None:
        from . import locate

        with self._clock.step("write and verify what finds boxes"):
            with writing(self.path):
                locate.write(self._graph, metadata, model_id, temporary)
            self.error = locate.verify(temporary, self._samples, self._reference)


def _free_keras() -> None:
    import keras

    keras.backend.clear_session()
    gc.collect()


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
