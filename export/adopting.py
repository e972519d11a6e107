"""A foreign ONNX encoder wrapped into a model file: the steps of `adopt`.

::

    image uint8 [n,S,S,3] -> (Gather BGR) -> (Transpose) -> Cast -> Div scale -> Sub mean -> Div std
          -> (Cast) -> the encoder as it is -> (Cast) -> token, or mean
          -> features float32 [n,d] -> codes

No TensorFlow and no Keras: the extra ``export`` is needed for the package onnx alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, MissingDependencyError
from ..installing import how_to_install
from ..terminal.keeping import stands
from ..words import ZERO
from .arguments import RESIZE_RULES
from .asked import asked, differences, held
from .bits import Bits
from .files import file_digest
from .target import temporary_beside, writing
from .weights import Source

if TYPE_CHECKING:
    import numpy as np

    from .foreign import Encoder
    from .trying import Preparation
    from .verify import Figures

_CONSEQUENCE = "Nothing was written"

#: Drawn pictures that it is tried and verified with.
PICTURES = 12

#: Means and deviations above this are not in units of 0 to 1.
_LARGEST = 2.0


@dataclass(frozen=True)
class AdoptReport:
    """What was adopted, and how well the file agrees with the encoder that it was made of.

    Attributes:
        path: the model file; ``file_size`` in bytes.
        model_id: SHA-256 of the graph with its weights.
        output, pool: the encoder's output, and what became of it: "", "mean" or "token N".
        layout, input_size, dim, precision: of the encoder.
        codes: the rule by which they are made of the features, in words.
        figures: agreement with the encoder on drawn pictures (`verify.Figures`).
    """

    path: Path
    file_size: int
    model_id: str
    output: str
    pool: str
    layout: str
    input_size: int
    dim: int
    precision: str
    codes: str
    figures: Figures


def adopt(
    encoder: str | os.PathLike[str],
    *,
    output_file: str | os.PathLike[str],
    size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    scale: float = 255.0,
    channels: str = "rgb",
    layout: str | None = None,
    resize: str = "bicubic",
    output: str | None = None,
    token: int | None = None,
    pool: str = "",
    unit_length: bool = False,
    binarize: str = ZERO,
    bits: int | None = None,
    binarize_images: Sequence[str | os.PathLike[str]] = (),
    overwrite: bool = False,
    log: Callable[[str], None] | None = None,
) -> AdoptReport | None:
    """Wrap an ONNX encoder of pictures into a model file, its preprocessing inside.

    Args:
        encoder: its ``.onnx`` file; weights may lie in files beside it, 2 GiB in all.
        output_file: the model file; replaced at the end, in one step, or left as it is.
        size: side of the square pictures, pixels; by default what the file declares.
        mean, std: of red, green and blue (or one number for all), in units of ``pixels / scale``.
            Needed unless the encoder takes uint8.
        scale: what pixels, 0 to 255, are divided by first; 1 leaves them.
        channels: ``rgb`` or ``bgr``, what the encoder takes.
        layout: ``nchw`` or ``nhwc``; by default what the file declares.
        resize: the rule by which pictures are stretched to squares (``images.RESIZE_FILTERS``).
        output: its output with the features; needed where there are several.
        token: of an output ``(n, tokens, d)``, the one to take; 0 is [CLS] where there is one.
        pool: ``mean``: average an output ``(n, tokens, d)``, or a map over rows and columns.
        unit_length: divide each picture's features by their length.
        binarize, bits, binarize_images: how codes are made of features, as in `export`.
        overwrite: replace a file that is there, whatever it is. Otherwise one that the same
            arguments made is left, and None returned; another one is a KeptError.
        log: called with a line of text for each step.

    Raises:
        ArgumentError: an argument that does not fit the encoder.
        ModelError: an encoder that cannot be read, does not take these pictures or any number of
            them, or gives nothing to tell pictures by.
        ExportError: the written file disagrees with the encoder, or cannot be written.
        MissingDependencyError: the package onnx or onnxruntime is missing.
    """
    say = log or (lambda line: None)
    path, target = Path(encoder).expanduser(), Path(output_file).expanduser()
    if target.suffix.lower() != ".onnx" and not target.is_dir():
        raise ArgumentError(
            f"the output {target} does not end in .onnx", _CONSEQUENCE, "Name it FILE.onnx"
        )
    _check_choices(size, scale, channels, layout, resize, token, pool)
    wanted = Bits.of(binarize, bits, binarize_images, (), ())
    _need_onnx()
    from . import foreign

    # Refused with its reasons before it is looked whether there is something.
    found = foreign.read(path, output, layout, size)
    preparation = _preparation(found, mean, std, scale, channels)
    source = Source(path.name, "model", path, file_digest(path, "sha256"))
    choices: dict[str, str | bool | int | None] = {
        "layer": found.output, "input_size": found.size, "layout": found.layout,
        "pool": _pooling(token, pool), "unit_length": unit_length, "resize": resize,
        "preparation": repr(preparation), **wanted.choices,
    }  # fmt: skip
    mark = asked(source, wanted.pictures, **choices)
    if not overwrite and target.is_file():
        there = held(target)
        different = differences(
            there, weights=source.label, layer=found.output, resize=resize,
            input_size=found.size, binarize=wanted.named(there),
        )  # fmt: skip
        if stands(
            target, there.get("asked"), mark, consequence=_CONSEQUENCE, differences=different,
            name="--output-file",
        ):  # fmt: skip
            return None
    with temporary_beside(target) as temporary:
        return _adopt(
            found, preparation, source, mark, target, temporary, resize, token, pool,
            unit_length, wanted, say,
        )  # fmt: skip


def _adopt(
    encoder: Encoder,
    preparation: Preparation | None,
    source: Source,
    mark: str,
    target: Path,
    temporary: Path,
    resize: str,
    token: int | None,
    pool: str,
    unit_length: bool,
    wanted: Bits,
    say: Callable[[str], None],
) -> AdoptReport:
    from . import graph as graphs
    from . import trying, verify, wrapping

    size = int(encoder.size or 0)
    samples = verify.synthetic_pictures(PICTURES, size)
    say(f"runs {source.label} on {PICTURES} drawn pictures of {size} pixels")
    output = trying.check_runs(encoder, samples, preparation)
    trying.check_shape(encoder, output, token, pool)

    def features_of(pixels: np.ndarray) -> np.ndarray:
        rows = trying.features_of(encoder, pixels, preparation, token)
        return verify.of_unit_length(rows) if unit_length else rows

    reference = features_of(samples)
    trying.check_features(encoder, reference)
    dim = reference.shape[1]
    rule = wanted.learnt_by(lambda files: features_of(_pixels(files, size, resize)), dim)
    precision = "fp16" if wrapping.is_half(encoder) else "fp32"
    say("wraps it")
    proto = wrapping.wrapped(
        encoder, preparation, token, output.ndim, dim, unit_length=unit_length, rule=rule
    )
    metadata = {
        "asked": mark,
        "layer": encoder.output,
        "pool": _pooling(token, pool),
        "weights": source.label,
        "weights_sha256": source.sha256,
        "trained": "yes",
        "classes": "[]",
        "precision": precision,
        **({"unit_length": "yes"} if unit_length else {}),
        "preprocess": _described(encoder, preparation),
        "input_size": str(size),
        "resize": resize,
        "dim": str(dim),
        "exporter": json.dumps(_versions(), sort_keys=True),
        **wanted.metadata(rule),
    }
    with writing(target), temporary.open("wb") as file:
        model_id = graphs.write(proto, metadata, file)
        file.flush()
        os.fsync(file.fileno())
    say("compares the file with the encoder")
    features, codes = verify.onnx_outputs(temporary, samples)
    figures = verify.compare(reference, features, codes, rule, "the encoder")
    verify.judge(figures, precision, "the encoder")
    length = temporary.stat().st_size
    with writing(target):
        os.replace(temporary, target)
    return AdoptReport(
        path=target, file_size=length, model_id=model_id, output=encoder.output,
        pool=_pooling(token, pool), layout=encoder.layout, input_size=size, dim=dim,
        precision=precision, codes=rule.in_words, figures=figures,
    )  # fmt: skip


def _pixels(files: Sequence[Path], size: int, resize: str) -> np.ndarray:
    import numpy as np

    from ..images.decoding import load

    return np.stack([load(file, size, resize=resize) for file in files])


def _check_choices(
    size: int | None,
    scale: float,
    channels: str,
    layout: str | None,
    resize: str,
    token: int | None,
    pool: str,
) -> None:
    for name, value, allowed in (
        ("layout", layout, (None, "nchw", "nhwc")),
        ("resize", resize, RESIZE_RULES),
        ("pool", pool, ("", "mean")),
        ("channels", channels, ("rgb", "bgr")),
    ):
        if value not in allowed:
            raise ArgumentError(
                f"--{name} {value} is unknown",
                _CONSEQUENCE,
                f"Choose one of: {', '.join(each for each in allowed if each)}",
            )
    if size is not None and size < 1:
        raise ArgumentError(f"--size {size} is no size", _CONSEQUENCE, "Give pixels, such as 224")
    if not 0 < scale < float("inf"):
        raise ArgumentError(f"--scale {scale} divides nothing", _CONSEQUENCE, "Give 255 or 1")
    if token is not None and pool:
        raise ArgumentError(
            "--token and --pool are both given", _CONSEQUENCE, "Leave one of the two out"
        )


def _preparation(
    encoder: Encoder,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    scale: float,
    channels: str,
) -> Preparation | None:
    import numpy as np

    from .trying import Preparation

    if encoder.dtype == np.uint8:
        if mean is not None or std is not None or scale != 255.0:
            raise ArgumentError(
                f"The input {encoder.picture} of {encoder.path} takes bytes, and does the rest "
                "itself",
                _CONSEQUENCE,
                "Leave --mean, --std and --scale out",
            )
        if channels != "bgr":
            return None
        raise ArgumentError(
            "--channels bgr is for encoders of floats", _CONSEQUENCE, "Leave it out"
        )
    if mean is None or std is None:
        raise ArgumentError(
            f"The input {encoder.picture} of {encoder.path} takes floats, and --mean and --std are "
            "not given",
            _CONSEQUENCE,
            "Give those that it was trained with (image_mean and image_std in "
            "preprocessor_config.json); numbers that are only divided have --mean 0 --std 1",
        )
    numbers = []
    for name, values in (("mean", mean), ("std", std)):
        three = tuple(float(each) for each in values) * (3 if len(values) == 1 else 1)
        if len(three) != 3 or not np.isfinite(three).all() or (name == "std" and min(three) <= 0):
            raise ArgumentError(
                f"--{name} {','.join(map(str, values))} is not one number or three"
                + (", above 0" if name == "std" else ""),
                _CONSEQUENCE,
                "Give those of red, green and blue, such as 0.485,0.456,0.406",
            )
        if scale == 255.0 and max(map(abs, three)) > _LARGEST:
            raise ArgumentError(
                f"--{name} {max(three):g} is in units of 0 to 255, and pixels are divided by 255 "
                "before it is used",
                _CONSEQUENCE,
                "Say --scale 1, or give it in units of 0 to 1",
            )
        numbers.append(three)
    return Preparation(numbers[0], numbers[1], scale, channels == "bgr")


def _pooling(token: int | None, pool: str) -> str:
    return pool if token is None else f"token {token}"


def _described(encoder: Encoder, preparation: Preparation | None) -> str:
    """What a reader of the metadata should know; the graph does it."""
    facts: dict[str, Any] = {"layout": encoder.layout}
    if preparation is not None:
        facts |= {
            "mean": preparation.mean, "std": preparation.std, "scale": preparation.scale,
            "channels": "bgr" if preparation.bgr else "rgb",
        }  # fmt: skip
    return json.dumps(facts)


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"Adopting an encoder needs the package onnx, which cannot be imported ({error})",
            _CONSEQUENCE,
            f"Install it with: {how_to_install('cpu,export')}",
        ) from error


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("vsearch_fast", "onnx", "onnxruntime", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"  # onnxruntime-gpu has the module under another name
    return found
