"""A foreign encoder run on pictures: does it take them, and what does it make of them?

The NumPy side of `adopting`: what an adopted file's features are compared with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import ArgumentError, ModelError
from .files import first_line
from .foreign import LAYOUTS, NCHW, Encoder

_CONSEQUENCE = "Nothing was written"

#: ‖features of a picture in a batch - alone‖₂ / ‖alone‖₂ up to which they are the same: operators
#: may add in another order for another batch. In float16 about its rounding.
_SAME, _SAME_HALF = 1e-4, 2e-2

_BATCH = 4


@dataclass(frozen=True)
class Preparation:
    """What becomes of RGB pixels before the encoder: ``(pixels / scale - mean) / std``."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 255.0
    bgr: bool = False


def prepared(pixels: np.ndarray, preparation: Preparation | None, encoder: Encoder) -> np.ndarray:
    """uint8 RGB ``(n, S, S, 3)`` as the encoder takes them; None leaves the numbers as they are."""
    batch = pixels
    if preparation is not None:
        if preparation.bgr:
            batch = batch[..., ::-1]
        batch = batch.astype(np.float32) / np.float32(preparation.scale)
        mean, std = (np.array(each, np.float32) for each in (preparation.mean, preparation.std))
        batch = (batch - mean) / std
    if encoder.layout == NCHW:
        batch = batch.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(batch.astype(encoder.dtype))


def pooled(output: np.ndarray, encoder: Encoder, token: int | None) -> np.ndarray:
    """Features float32 ``(n, d)`` of an output ``(n, d)``, ``(n, tokens, d)`` or a map: a token, or
    an average."""
    found = output.astype(np.float32)
    if output.ndim == 3:
        return found[:, token] if token is not None else found.mean(axis=1)
    if output.ndim == 4:
        return found.mean(axis=axes_of_map(encoder))
    return found


def axes_of_map(encoder: Encoder) -> tuple[int, int]:
    """Rows and columns of a feature map, which lie where the picture's do."""
    return (2, 3) if encoder.layout == NCHW else (1, 2)


def features_of(
    encoder: Encoder,
    pixels: np.ndarray,
    preparation: Preparation | None,
    token: int | None,
) -> np.ndarray:
    """Features float32 ``(n, d)`` of uint8 pictures ``(n, S, S, 3)``, some at a time."""
    parts = [
        pooled(
            encoder.run(prepared(pixels[start : start + _BATCH], preparation, encoder)),
            encoder, token,
        )
        for start in range(0, len(pixels), _BATCH)
    ]  # fmt: skip
    return np.concatenate(parts)


def check_runs(encoder: Encoder, pixels: np.ndarray, preparation: Preparation | None) -> np.ndarray:
    """The output for three pictures; raises ModelError or ArgumentError where it is none.

    Tried: that it runs at all, with any number of pictures, and gives each the same in company.
    """
    three = pixels[:3]
    alone = []
    for i in range(len(three)):
        try:
            alone.append(encoder.run(prepared(three[i : i + 1], preparation, encoder)))
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            if encoder.batch not in (None, 1):
                raise _fixed(encoder, first_line(error)) from error
            raise _runs_not(encoder, three[i : i + 1], preparation, error) from error
    try:
        together = encoder.run(prepared(three, preparation, encoder))
    except Exception as error:
        raise _fixed(encoder, first_line(error)) from error
    if together.dtype.kind != "f" or together.ndim < 2:
        raise ArgumentError(
            f"The output {encoder.output} of {encoder.path} is {together.dtype} of shape "
            f"{together.shape}, and features are numbers for each picture",
            _CONSEQUENCE,
            "Name another one: --output NAME",
        )
    if len(together) != len(three):
        raise _fixed(encoder, f"three pictures give {len(together)} rows")
    limit = _SAME_HALF if np.float16 in (together.dtype, encoder.dtype) else _SAME
    for one, other in zip(together.astype(np.float64), alone, strict=True):
        norm = float(np.linalg.norm(other.astype(np.float64)))
        if one.shape != other.shape[1:] or (
            np.isfinite(norm) and np.linalg.norm(one - other[0]) > limit * max(norm, 1e-12)
        ):
            raise _fixed(encoder, "a picture gives other numbers in company than alone")
    return together


def check_shape(encoder: Encoder, output: np.ndarray, token: int | None, pool: str) -> None:
    """ArgumentError unless ``token`` and ``pool`` make rows of this output."""
    shape = output.shape[1:]
    said = f"The output {encoder.output} of {encoder.path} has the shape (n, {str(shape)[1:]}"
    said = said.replace(",)", ")")
    if output.ndim == 2:
        if token is not None or pool:
            raise ArgumentError(
                f"{said}: one row a picture", _CONSEQUENCE, "Leave --token and --pool out"
            )
        return
    if output.ndim == 3:
        if token is None and not pool:
            raise ArgumentError(
                f"{said}: {shape[0]} tokens a picture",
                _CONSEQUENCE,
                "Say what becomes of them: --token 0 takes the first, which is [CLS] where there "
                "is one; --pool mean averages all",
            )
        if token is not None and not 0 <= token < shape[0]:
            raise ArgumentError(
                f"{said}, and has no token {token}", _CONSEQUENCE, f"Choose 0 to {shape[0] - 1}"
            )
        return
    if output.ndim == 4:
        if token is not None or not pool:
            raise ArgumentError(
                f"{said}: a map of rows and columns",
                _CONSEQUENCE,
                "Average it: --pool mean, without --token",
            )
        return
    raise ArgumentError(
        f"{said}, of which no rows are made", _CONSEQUENCE, "Name another one: --output NAME"
    )


def check_features(encoder: Encoder, features: np.ndarray) -> None:
    """ModelError where features ``(n, d)`` of different pictures say nothing."""
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        raise ModelError(
            f"The output {encoder.output} of {encoder.path} is infinite or not a number for "
            f"{bad.sum()} of {len(features)} drawn pictures",
            _CONSEQUENCE,
            "Check --mean, --std and --scale; an encoder in float16 may need to be exported in "
            "float32",
        )
    if (features == features[:1]).all():
        raise ModelError(
            f"The output {encoder.output} of {encoder.path} is the same for {len(features)} "
            "different pictures",
            _CONSEQUENCE,
            "Name another output, and check --mean, --std and --scale",
        )


def _runs_not(
    encoder: Encoder, one: np.ndarray, preparation: Preparation | None, error: Exception
) -> ModelError:
    other = LAYOUTS[1 - LAYOUTS.index(encoder.layout)]
    cure = "Check --size and --layout; the encoder's own page says what it takes"
    try:
        turned = replace(encoder, layout=other)
        turned.run(prepared(one, preparation, turned))
        cure = f"It runs with --layout {other}"
    except Exception:  # neither
        pass
    size = one.shape[1]
    return ModelError(
        f"{encoder.path} does not run on pictures of {size} x {size} pixels, {encoder.layout} "
        f"({first_line(error)})",
        _CONSEQUENCE,
        cure,
    )


def _fixed(encoder: Encoder, why: str) -> ModelError:
    declared = "" if encoder.batch is None else f", which the file declares as {encoder.batch}"
    return ModelError(
        f"{encoder.path} does not take any number of pictures at once{declared} ({why})",
        _CONSEQUENCE,
        "Export it again with an open batch (torch.onnx.export: dynamic_axes or dynamic_shapes; "
        "optimum-cli does so by itself)",
    )
