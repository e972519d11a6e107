"""Plain values that many rooms take: their types, and checks of them."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError, DTypeError

PixelBox = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels of the upright picture; x2 and y2 are outside the box."""

Scalar = str | int | float | bool | None
"""A value of a metadata column, or one of several."""

Value = Scalar | Sequence[Scalar]
"""What an item has in a metadata column: a value, or a list of them."""

Progress = Callable[[int, int], None]
"""Is called with what is done and what there is to do."""

_LARGEST_INT_BITS = 1024  # Python writes longer ones only when told to


def positive(value: Any, name: str, consequence: str) -> int:
    """A whole number of at least 1 (of any integer type, but no bool)."""
    try:
        number = 0 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ArgumentError(
            f"{name} is {value!r}, not a whole number of at least 1", consequence, f"Change {name}"
        )
    return number


def array_of(value: Any, name: str, consequence: str) -> NDArray:
    """An array as it is, or what NumPy makes of `value`; no pictures, no hidden numbers.

    Raises:
        ArgumentError: a masked array that hides values.
        DTypeError: paths or pictures.
    """
    # Who has such an array has imported its module; to import it here would take a lock of
    # Python's, which a child forked meanwhile waits for in vain.
    masked: Any = sys.modules.get("numpy.ma")
    if masked is not None and masked.isMaskedArray(value):
        if masked.is_masked(value):
            raise ArgumentError(
                f"{name} is a masked array that hides {int(masked.count_masked(value)):,} values",
                consequence,
                "Fill them (.filled(0)), or leave these rows out",
            )
        return np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype.kind not in "OSU":
        return np.asarray(value)
    first = value
    while isinstance(first, list | tuple) and len(first):
        first = first[0]
    if isinstance(first, np.ndarray) and first.dtype.kind in "OSU" and first.size:
        first = first.flat[0]
    if isinstance(first, str | bytes | PurePath) or type(first).__module__.startswith("PIL."):
        shown = repr(first) if len(repr(first)) <= 80 else repr(first)[:77] + "..."
        picture = type(first).__module__.startswith("PIL.")
        raise DTypeError(
            f"{name} holds {'a picture' if picture else shown}, not features",
            consequence,
            "Embed it first: Embedder().embed([...])",
        )
    return np.asarray(value)


def check_text(value: object, what: str, consequence: str) -> str:
    """`value` when SQLite can hold it as it is: a str of valid Unicode without NUL."""
    if not isinstance(value, str):
        cure = "Pass str(...) of it"
        raise ArgumentError(f"{what} is {value!r}, which is not a string", consequence, cure)
    if "\0" in value or not value.isascii():
        try:
            broken = "\0" in value or not value.encode()
        except UnicodeEncodeError:
            broken = True
        if broken:
            raise ArgumentError(
                f"{what} is {value!r}, which holds a NUL or half a Unicode character",
                consequence,
                "Use text that UTF-8 can encode",
            )
    return str(value)  # NumPy's strings are a subclass; SQLite and JSON know the plain ones


def check_scalar(value: object, what: str, consequence: str) -> Scalar:
    """`value` when it is a JSON scalar (NaN and infinity are none); NumPy's as Python's."""
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is None or isinstance(plain, str | bool):
        return plain
    if type(plain) is int and plain.bit_length() <= _LARGEST_INT_BITS:
        return plain
    if type(plain) is float and math.isfinite(plain):
        return plain
    cure = f"Use str, int (up to {_LARGEST_INT_BITS} bits), finite float, bool or None"
    if isinstance(plain, float) and math.isnan(plain):
        cure = "Use None for a value that is missing, or leave the column out"
    raise ArgumentError(f"{what} holds {value!r} ({type(value).__name__})", consequence, cure)


def check_value(value: object, what: str, consequence: str) -> Value:
    """`value` when it is a JSON scalar, or a list or tuple of them, as a list."""
    if not isinstance(value, list | tuple):
        return check_scalar(value, what, consequence)
    return [check_scalar(each, what, consequence) for each in value]
