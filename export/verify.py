"""Is the exported file the Keras model? Pictures, comparison, verdict.

The pictures go through Keras' own loading, preprocessing and network on one side, and as
uint8 pixels through the file and ONNX Runtime on the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, UnidentifiedImageError

from ..embedder.bits import ENOUGH, MUCH, tally
from ..embedder.runtime import runtime
from ..errors import ExportError, ImageError
from ..words import plural
from .binarize import Rule, zero

if TYPE_CHECKING:
    import keras

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
    ``k`` nearest other samples that the file finds too: ten, or the nearer half of fewer than
    twenty. None where that would certify nothing, whatever the file gives: below three samples,
    and where all samples are equally far from each other, as those are whose codes are equal.

    ``never`` and ``always`` count the bits of Keras' codes that no sample, and that every
    sample has set; ``empty`` the samples without a feature other than 0.
    """

    samples: int
    relative_error: float
    cosine: float
    mean_cosine: float
    bits_different: float
    recall_l2: float | None
    recall_hamming: float | None
    k: int = 0
    bits: int = 0
    never: int = 0
    always: int = 0
    empty: int = 0

    def warnings(self) -> list[str]:
        """What these figures cannot vouch for, in words."""
        found = []
        if self.samples < 3:
            found.append(
                f"{plural(self.samples, 'picture')} cannot show whether neighbours stay so: "
                "name more with --verify-images"
            )
        elif self.recall_l2 is None:
            found.append(
                "The network sees no difference between the sample pictures, so that nothing is "
                "known of its matches: name others with --verify-images"
            )
        constant = self.never + self.always
        if self.samples >= ENOUGH and constant > MUCH * self.bits:
            useless = constant == self.bits
            found.append(
                f"{'All' if useless else f'{constant:,} of'} {self.bits:,} bits are the same for "
                f"all {self.samples} pictures ({self.never:,} never set, {self.always:,} always): "
                f"Hamming distances tell {'nothing' if useless else 'little'}. Choose a layer with "
                "values on both sides of 0, or that ends in a ReLU, such as fc1, or another rule: "
                "--binarize"
            )
        if self.empty:
            found.append(
                f"{plural(self.empty, 'sample picture')} of {self.samples} gave no feature other "
                "than 0, and match each other"
            )
        return found


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
    import keras

    pixels = np.empty((len(paths), size, size, 3), np.uint8)
    for i, path in enumerate(paths):
        try:
            pixels[i] = keras.utils.img_to_array(
                keras.utils.load_img(path, target_size=(size, size)),
                data_format="channels_last",
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


def keras_input(pixels: np.ndarray, prepare: str) -> np.ndarray:
    """uint8 RGB ``(n, h, w, 3)`` as a model was trained with them, float32.

    ``vgg``, ``tf`` and ``torch`` are what ``preprocess_input`` of VGG-16, MobileNet and DenseNet
    do; ``inside``: the model does that, or something else, itself.
    """
    import keras

    batch = pixels.astype(np.float32)
    if prepare == "inside":
        return batch
    module = {"vgg": "vgg16", "tf": "mobilenet", "torch": "densenet"}[prepare]
    prepared: np.ndarray = getattr(keras.applications, module).preprocess_input(
        batch, data_format="channels_last"
    )
    return prepared


def keras_features(model: keras.Model, pixels: np.ndarray, prepare: str = "vgg") -> np.ndarray:
    """float32 ``(n, d)`` features of Keras; raises ExportError when they say nothing."""
    import keras

    parts = []
    for start in range(0, len(pixels), _KERAS_BATCH):
        batch = keras_input(pixels[start : start + _KERAS_BATCH], prepare)
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


def compare(
    reference: np.ndarray,
    features: np.ndarray,
    codes: np.ndarray,
    rule: Rule | None = None,
    origin: str = "Keras",
) -> Figures:
    """Compare with the ``reference`` of Keras, or another ``origin``; raises ExportError unless
    codes are the bits of the rule, by default those above 0. A projected bit that float32 cannot
    decide may be either."""
    rule = rule or zero(reference.shape[1])
    if features.shape != reference.shape or features.dtype != np.float32:
        raise _disagrees(
            f"features are {features.dtype} of shape {features.shape}, and those of {origin} are "
            f"float32 of shape {reference.shape}",
            origin=origin,
        )
    if codes.dtype != np.uint8 or not _are_codes(codes, features, rule):
        raise _disagrees(f"codes are not {rule.in_words} of its own features", origin=origin)
    if not np.isfinite(features).all():
        raise _disagrees(
            "some features are infinite or not a number (float16 ends at 65504)", origin=origin
        )
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
    true_bits = rule.margins(reference) > 0
    true_codes = np.packbits(true_bits, axis=-1)
    differing = np.bitwise_count(codes ^ true_codes).sum()
    k = neighbours_of(len(a))
    bits = tally(true_codes, rule.bits)
    return Figures(
        samples=len(a),
        relative_error=float(relative.max()),
        cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        bits_different=float(differing) / true_bits.size,
        recall_l2=_recall(_l2(a), _l2(b), k),
        recall_hamming=_recall(
            _hamming(np.unpackbits(codes, axis=1, count=rule.bits)), _hamming(true_bits), k
        ),
        k=k,
        bits=rule.bits,
        never=bits.never,
        always=bits.always,
        empty=int((norms_b == 0).sum()),
    )


def _are_codes(codes: np.ndarray, features: np.ndarray, rule: Rule) -> bool:
    if codes.shape != (len(features), -(-rule.bits // 8)):
        return False
    if not np.isfinite(features).all():
        return True  # said by itself
    margins = rule.margins(features)
    found = np.unpackbits(codes, axis=1)
    given = found[:, : rule.bits].astype(bool)
    decided = np.abs(margins) > rule.slack(features)
    if rule.projection is None:
        decided[:] = True
    return not found[:, rule.bits :].any() and bool((given == (margins > 0))[decided].all())


def judge(figures: Figures, precision: str, origin: str = "Keras") -> None:
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
        raise _disagrees(f"on {figures.samples} samples {' and '.join(reasons)}", precision, origin)


def _disagrees(what: str, precision: str = "fp32", origin: str = "Keras") -> ExportError:
    cures = {
        "fp32": "Report it with the model's layers and the versions of Keras, tf2onnx and ONNX "
        "Runtime",
        "fp16": "Use --precision fp32; the network's numbers may be too large or too small for "
        "float16",
        "int8": "Name pictures with --calibrate (and --verify-images) that are like those to be "
        "searched, or use --precision fp16",
    }
    return ExportError(
        f"The exported graph disagrees with {origin}: {what}",
        "Nothing was written",
        cures[precision],
    )


def _l2(rows: np.ndarray) -> np.ndarray:
    return np.stack([np.linalg.norm(rows - row, axis=1) for row in rows])


def _hamming(bits: np.ndarray) -> np.ndarray:
    return np.stack([(bits != row).sum(axis=1) for row in bits])


def neighbours_of(samples: int) -> int:
    """Of how many nearest others a recall is taken: never of all, which any file would find."""
    return max(0, min(10, (samples - 1) // 2))


def _recall(found: np.ndarray, true: np.ndarray, k: int) -> float | None:
    """Share of the ``k`` nearest in ``true`` that are in ``found``; ties go to the lower row.

    None where there is nothing to choose: no ``k``, or all others equally far from each row.
    """
    others = ~np.eye(len(true), dtype=bool)
    if not k or all(np.ptp(row[mask]) == 0 for row, mask in zip(true, others, strict=True)):
        return None
    hits = 0
    for row in range(len(true)):
        nearest = []
        for distances in (found[row], true[row]):
            order = np.argsort(distances, kind="stable")
            nearest.append(set(order[order != row][:k].tolist()))
        hits += len(nearest[0] & nearest[1])
    return hits / math.prod((len(true), k))
