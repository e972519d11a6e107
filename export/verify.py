"""Is the exported file the Keras model? Pictures, comparison, verdict.

The pictures go through Keras' own loading, preprocessing and network on one side, and as
uint8 pixels through the file and ONNX Runtime on the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from PIL import Image, ImageDraw, UnidentifiedImageError

from ..embedder.runtime import runtime
from ..errors import ExportError, ImageError

#: fp32: largest ‖onnx - keras‖₂ / ‖keras‖₂ of a picture.
FP32_RELATIVE_ERROR = 1e-4
#: fp16 and int8: smallest cosine between a picture's features.
MINIMUM_COSINE = {"fp16": 0.999, "int8": 0.98}
#: int8: largest share of code bits that differ from fp32.
INT8_BITS_DIFFERENT = 0.03

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}

# Keras' convolutions need about 0.1 GiB of working memory a picture of 224 pixels.
_KERAS_BATCH = 4
# Odd, so that batches of more than one size are run.
_ORT_BATCH = 5


@dataclass(frozen=True)
class Figures:
    """How the file's features compare with Keras' over the samples.

    ``relative_error`` and ``cosine`` are those of the worst picture. ``bits_different`` is a
    share of all code bits. ``recall_l2`` and ``recall_hamming`` are the share of each sample's
    ten nearest other samples (all others, when fewer) that the file finds too; None below
    three samples.
    """

    samples: int
    relative_error: float
    cosine: float
    mean_cosine: float
    bits_different: float
    recall_l2: float | None
    recall_hamming: float | None


def find_pictures(paths: Iterable[str | Path], limit: int) -> list[Path]:
    """Picture files named by ``paths``, folders searched recursively, sorted within a folder.

    At most ``limit``, evenly spaced. Raises ImageError for a path that is missing and when
    there are no pictures at all.
    """
    named = [Path(path).expanduser() for path in paths]
    found: list[Path] = []
    for path in named:
        if path.is_dir():
            found += sorted(
                each
                for each in path.rglob("*")
                if each.suffix.lower() in _SUFFIXES and not each.name.startswith(".")
            )
        elif path.exists():
            found.append(path)
        else:
            raise ImageError(
                f"There is no file or folder {path}", "Nothing was exported", "Check the path"
            )
    if not found:
        raise ImageError(
            f"There are no pictures in {', '.join(map(str, named))}",
            "Nothing was exported",
            f"Name picture files, or folders with files ending in {', '.join(sorted(_SUFFIXES))}",
        )
    if len(found) <= limit:
        return found
    return [found[i] for i in np.linspace(0, len(found) - 1, limit).round().astype(int)]


def load_pictures(paths: Sequence[Path], size: int) -> np.ndarray:
    """uint8 ``(n, size, size, 3)`` RGB, loaded and resized by Keras (nearest)."""
    pixels = np.empty((len(paths), size, size, 3), np.uint8)
    for i, path in enumerate(paths):
        try:
            pixels[i] = keras.utils.img_to_array(
                keras.utils.load_img(path, target_size=(size, size))
            )
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            reason = str(error).splitlines()[0]
            if isinstance(error, UnidentifiedImageError):  # its text names a buffer
                reason = "it is no image of a known format"
            raise ImageError(
                f"The picture {path} cannot be read ({reason})",
                "Nothing was exported",
                "Remove it or name other pictures",
            ) from error
    return pixels


def synthetic_pictures(count: int, size: int) -> np.ndarray:
    """uint8 ``(count, size, size, 3)``: smooth noise, flat shapes with hard edges, grain."""
    rng = np.random.default_rng(20130)
    pixels = np.empty((count, size, size, 3), np.uint8)
    for i in range(count):
        cells = int(rng.integers(2, 9))
        coarse = rng.integers(0, 256, (cells, cells, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(picture)
        for _ in range(int(rng.integers(0, 5))):
            x, y = np.sort(rng.integers(0, size, (2, 2)), axis=1)
            colour = tuple(int(c) for c in rng.integers(0, 256, 3))
            shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
            shape([int(x[0]), int(y[0]), int(x[1]), int(y[1])], fill=colour)
        grain = rng.normal(0.0, rng.uniform(0.0, 12.0), (size, size, 3))
        pixels[i] = np.clip(np.asarray(picture) + grain, 0, 255)
    return pixels


def keras_features(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """float32 ``(n, d)`` features of Keras; raises ExportError when they say nothing."""
    parts = []
    for start in range(0, len(pixels), _KERAS_BATCH):
        batch = pixels[start : start + _KERAS_BATCH].astype(np.float32)
        batch = keras.applications.vgg16.preprocess_input(batch, data_format="channels_last")
        parts.append(keras.ops.convert_to_numpy(model(batch, training=False)))
    features = np.concatenate(parts).astype(np.float32, copy=False)
    if not np.isfinite(features).all() or not features.any():
        what = "zero" if np.isfinite(features).all() else "not finite"
        raise ExportError(
            f"Keras' own features of all sample pictures are {what}"
            if what == "zero"
            else "Keras' own features of the sample pictures are not all finite",
            "Nothing was written, because nothing could be told apart by them",
            "Check the weights, and that the model takes pixels as "
            "keras.applications.vgg16.preprocess_input makes them",
        )
    return features


def of_unit_length(features: np.ndarray) -> np.ndarray:
    """Each row of float32 ``(n, d)`` divided by its L2 norm; zeros stay zeros."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return (features / np.maximum(lengths, 1e-12)).astype(np.float32)


def onnx_outputs(path: Path, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``features`` and ``codes`` of the file at ``path``, by ONNX Runtime on the CPU."""
    ort = runtime()
    try:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        parts = [
            session.run(["features", "codes"], {"image": pixels[start : start + _ORT_BATCH]})
            for start in range(0, len(pixels), _ORT_BATCH)
        ]
        # Batches of five, of the rest, and of one: any size has to work.
        alone = session.run(["codes"], {"image": pixels[:1]})[0]
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise ExportError(
            f"ONNX Runtime {ort.__version__} cannot run the exported file: "
            f"{str(error).splitlines()[0]}",
            "Nothing was written",
            "Report it with the model's layers and the versions of tf2onnx and ONNX Runtime",
        ) from error
    features = np.concatenate([part[0] for part in parts])
    codes = np.concatenate([part[1] for part in parts])
    if alone.shape != (1, codes.shape[1]):
        raise _disagrees(f"a batch of one gives codes of shape {alone.shape}")
    return features, codes


def compare(reference: np.ndarray, features: np.ndarray, codes: np.ndarray) -> Figures:
    """Compare with Keras' ``reference``; raises ExportError unless codes are the sign bits."""
    if features.shape != reference.shape or features.dtype != np.float32:
        raise _disagrees(
            f"features are {features.dtype} of shape {features.shape}, and Keras' are float32 of "
            f"shape {reference.shape}"
        )
    packed = np.packbits(features > 0, axis=-1)
    if codes.dtype != np.uint8 or not np.array_equal(codes, packed):
        raise _disagrees("codes are not np.packbits(features > 0) of its own features")
    if not np.isfinite(features).all():
        raise _disagrees("some features are infinite or not a number (float16 ends at 65504)")
    a, b = features.astype(np.float64), reference.astype(np.float64)
    norms_a, norms_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    tiny = np.finfo(np.float64).tiny
    cosines = np.where(
        (norms_a == 0) & (norms_b == 0),
        1.0,
        (a * b).sum(axis=1) / np.maximum(norms_a * norms_b, tiny),
    )
    apart = np.linalg.norm(a - b, axis=1)
    relative = np.divide(apart, norms_b, out=np.where(apart > 0, np.inf, 0.0), where=norms_b > 0)
    differing = np.bitwise_count(packed ^ np.packbits(b > 0, axis=-1)).sum()
    enough = len(a) >= 3
    return Figures(
        samples=len(a),
        relative_error=float(relative.max()),
        cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        bits_different=float(differing) / b.size,
        recall_l2=_recall(_l2(a), _l2(b)) if enough else None,
        recall_hamming=_recall(_hamming(a > 0), _hamming(b > 0)) if enough else None,
    )


def judge(figures: Figures, precision: str) -> None:
    """Raise ExportError when ``figures`` are not good enough for ``precision``."""
    reasons = []
    if precision == "fp32" and not figures.relative_error <= FP32_RELATIVE_ERROR:
        reasons.append(
            f"the relative error is {figures.relative_error:.2e}, at most "
            f"{FP32_RELATIVE_ERROR:.0e} is allowed"
        )
    least = MINIMUM_COSINE.get(precision)
    if least is not None and not figures.cosine >= least:
        reasons.append(f"the cosine is {figures.cosine:.5f}, at least {least} is needed")
    if precision == "int8" and not figures.bits_different <= INT8_BITS_DIFFERENT:
        reasons.append(
            f"{figures.bits_different:.2%} of the bits differ, at most {INT8_BITS_DIFFERENT:.0%} "
            "are allowed"
        )
    if reasons:
        raise _disagrees(f"on {figures.samples} samples {' and '.join(reasons)}", precision)


def _disagrees(what: str, precision: str = "fp32") -> ExportError:
    cures = {
        "fp32": "Report it with the model's layers and the versions of Keras, tf2onnx and ONNX "
        "Runtime",
        "fp16": "Use --precision fp32; the network's numbers may be too large or too small for "
        "float16",
        "int8": "Name pictures with --calibrate (and --verify-images) that are like those to be "
        "searched, or use --precision fp16",
    }
    return ExportError(
        f"The exported graph disagrees with Keras: {what}", "Nothing was written", cures[precision]
    )


def _l2(rows: np.ndarray) -> np.ndarray:
    return np.stack([np.linalg.norm(rows - row, axis=1) for row in rows])


def _hamming(bits: np.ndarray) -> np.ndarray:
    return np.stack([(bits != row).sum(axis=1) for row in bits])


def _recall(found: np.ndarray, true: np.ndarray, k: int = 10) -> float:
    """Share of the ``k`` nearest in ``true`` that are in ``found``; ties go to the lower row."""
    k = min(k, len(true) - 1)
    hits = 0
    for row in range(len(true)):
        nearest = []
        for distances in (found[row], true[row]):
            order = np.argsort(distances, kind="stable")
            nearest.append(set(order[order != row][:k].tolist()))
        hits += len(nearest[0] & nearest[1])
    return hits / math.prod((len(true), k))
