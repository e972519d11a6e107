"""What an export may be asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..errors import ArgumentError
from ..words import BINARIZE, ITQ, ZERO

PRECISIONS = ("fp32", "fp16", "int8")
POOLS = ("", "avg", "max")
#: What becomes of pixels before a network (`verify.keras_input`).
PREPROCESS = ("", "vgg", "tf", "torch", "inside")
PROVIDERS = ("", "cpu", "cuda", "tensorrt")

#: The names in ``images.RESIZE_FILTERS``, without the imports that those need.
RESIZE_RULES = ("nearest", "box", "bilinear", "bicubic", "lanczos")

#: Pictures that a rule is learnt from at most, evenly spaced.
LIMIT = 2000

#: Bits of ``itq`` when nobody says, or fewer where there are few pictures.
BITS = 256

#: At most: the projection is a matrix of features times bits, which the file holds.
MOST_BITS = 4096


def check_arguments(
    layer: str,
    pool: str,
    input_size: int | None,
    precision: str,
    resize: str,
    calibrate: Sequence[str | os.PathLike[str]],
    verify_on: str,
    preprocess: str = "",
) -> None:
    for name, value, allowed in (
        ("precision", precision, PRECISIONS),
        ("resize", resize, ("", *RESIZE_RULES)),
        ("pool", pool, POOLS),
        ("verify-on", verify_on, PROVIDERS),
        ("preprocess", preprocess, PREPROCESS),
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


def check_binarize(name: str, bits: int | None, pictures: Sequence[object]) -> None:
    """ArgumentError for what does not go together."""
    if name not in BINARIZE:
        raise ArgumentError(
            f"--binarize {name} is unknown",
            "Nothing was exported",
            f"Choose one of: {', '.join(BINARIZE)}",
        )
    if name != ZERO and not pictures:
        raise ArgumentError(
            f"--binarize {name} is learnt from pictures, and none are named",
            "Nothing was exported",
            "Name a folder of some hundred like those to be searched: --binarize-images FOLDER",
        )
    if bits is not None and name != ITQ:
        raise ArgumentError(
            f"--bits is for --binarize itq; with {name} there is a bit for each feature",
            "Nothing was exported",
            "Leave one of the two out",
        )
    if bits is not None and (bits % 8 or not 8 <= bits <= MOST_BITS):
        raise ArgumentError(
            f"--bits {bits} is no multiple of 8 from 8 to {MOST_BITS:,}",
            "Nothing was exported",
            f"Give one, such as {BITS}",
        )
