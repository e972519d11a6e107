"""What users hand to a search, checked before anything is done with it."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import array_of, positive
from ..errors import ArgumentError, DTypeError
from ..words import LEAST, METRICS, plural
from .bit_groups import Summed
from .rows import Live, segment_name

Backend = Literal["auto", "cpu", "cuda"]
Strategy = Literal["auto", "scan", "sketch"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


def refuse_not_finite(queries: NDArray) -> None:
    bad = ~np.isfinite(queries).all(axis=1)
    if bad.any():
        raise ArgumentError(
            f"query {int(np.argmax(bad))} holds NaN or infinity",
            "Nothing was searched",
            "Check the features: float32 reaches 3.4e38",
        )


def checked_options(k: int, metric: str, backend: str, strategy: str, threads: int | None) -> int:
    checked_words(metric, backend, strategy, threads)
    return positive(k, "k", "Nothing was searched")


def checked_words(metric: str, backend: str, strategy: str, threads: int | None) -> None:
    for name, value, allowed in (
        ("metric", metric, METRICS),
        ("backend", backend, BACKENDS),
        ("strategy", strategy, STRATEGIES),
    ):
        if value not in allowed:
            raise ArgumentError(
                f"{name} is {value!r}", "Nothing was searched", f"Use one of {', '.join(allowed)}"
            )
    if threads is not None:
        positive(threads, "threads", "Nothing was searched")


def checked_radii(radius: ArrayLike, queries: int, metric: str) -> NDArray[np.float64]:
    """A radius for each query: float64 (queries,), no NaN, none that no distance can reach."""
    given = array_of(radius, "radius", "Nothing was searched")
    if given.dtype.kind not in "fiu":
        raise DTypeError(
            f"radius is of type {given.dtype}", "It is no distance", "Pass a number, or one a query"
        )
    if given.ndim and given.shape != (queries,):
        raise ArgumentError(
            f"radius has the shape {given.shape} for {plural(queries, 'query', 'queries')}",
            "Nothing was searched",
            "Pass one number, or one a query",
        )
    radii = np.array(np.broadcast_to(given, (queries,)), np.float64)
    least = LEAST[metric]
    bad = ~(radii >= least)  # NaN as well
    if bad.any():
        raise ArgumentError(
            f"radius is {radii[np.argmax(bad)]}",
            "Nothing was searched",
            "Pass a number" + (" of at least 0, or infinity" if np.isfinite(least) else ""),
        )
    return radii


def checked_limits(limits: NDArray, queries: int) -> NDArray[np.float64]:
    """A distance a query, which is a number or infinite."""
    given = np.asarray(limits, np.float64)
    if given.shape != (queries,) or np.isnan(given).any():
        raise ArgumentError(
            f"limits of the shape {given.shape} are for {plural(queries, 'query', 'queries')}, or"
            " one is no number",
            "Nothing was searched",
            "Pass one number a query; infinity for none",
        )
    return given


def checked_array(array: NDArray, name: str, metric: str) -> NDArray:
    """The array itself, as a plain ndarray, if it is a matrix of the metric's kind."""
    array = array_of(array, name, "Nothing was searched")
    if metric == "hamming":
        fits, wanted = array.dtype == np.uint8, "packed uint8: pack_bits(features)"
    else:
        fits = array.dtype.kind == "f" and array.dtype.itemsize in (2, 4, 8)
        wanted = "float32 (or float16, or float64, which is rounded to float32)"
    if not fits:
        raise DTypeError(
            f"{name} holds {array.dtype}", f"{metric} is not defined for it", f"Pass {wanted}"
        )
    if metric == "hamming" and array.shape[-1:] >= (1 << 28,):
        raise ArgumentError(
            f"{name} has rows of {array.shape[-1]:,} bytes",
            "Nothing was searched: an int32 cannot hold such a distance",
            "Use rows of less than 2**28 bytes",
        )
    if array.ndim != 2:
        raise ArgumentError(
            f"{name} has the shape {array.shape}",
            "Nothing was searched",
            "Pass a matrix, one row a picture; a single vector v is v[None]",
        )
    return array


def checked_masks(
    masks: Sequence[NDArray[np.bool_] | None] | None, segments: Sequence[NDArray]
) -> list[NDArray[np.uint8] | None]:
    """Masks as the kernels read them: read-only bytes, one a row."""
    if masks is None:
        return [None] * len(segments)
    if len(masks) != len(segments):
        raise ArgumentError(
            f"there are {len(masks)} masks for {len(segments)} segments",
            "Nothing was searched",
            "Pass one mask a segment, None where all rows live",
        )
    checked: list[NDArray[np.uint8] | None] = []
    for mask, segment in zip(masks, segments, strict=True):
        if mask is None:
            checked.append(None)
            continue
        mask = array_of(mask, "the mask", "Nothing was searched")
        if mask.dtype != np.bool_:
            raise DTypeError(
                f"the mask holds {mask.dtype}",
                "Row numbers and weights are no mask",
                "Pass booleans, true for the rows to search",
            )
        if mask.shape != (len(segment),):
            raise ArgumentError(
                f"the mask has the shape {mask.shape} and the database {len(segment)} rows",
                "Nothing was searched",
                "Pass one boolean a row",
            )
        live = np.ascontiguousarray(mask).view(np.uint8)
        live.flags.writeable = False
        checked.append(live)
    return checked


def checked_segments(
    segments: Sequence[NDArray],
    dim: int,
    metric: str,
    masks: Sequence[NDArray[np.bool_] | None] | None,
    sketches: Sequence[Sized | None] | None,
    summed: Sequence[Sequence[Summed]] | None = None,
) -> tuple[list[NDArray], list[Live]]:
    """The segments, of so many columns each, and their masks as kernels read them."""
    arrays = [
        checked_array(s, segment_name("database", i, segments), metric)
        for i, s in enumerate(segments)
    ]
    for i, segment in enumerate(arrays):
        if segment.shape[1] != dim:
            raise ArgumentError(
                f"queries have {dim} columns and "
                f"{segment_name('database', i, segments)} has {segment.shape[1]}",
                "Nothing was searched",
                "Use features of one model, packed alike, for both",
            )
    if sketches is not None and (
        len(sketches) != len(arrays)
        or any(s and len(s) > len(r) for s, r in zip(sketches, arrays, strict=True))
    ):
        raise ArgumentError(
            "the sketches are not those of the segments",
            "Nothing was searched",
            "Pass one a segment, made of its rows, or None",
        )
    if summed is not None and (
        len(summed) != len(arrays)
        or any(
            part.stop > len(rows) or part.groups.length != dim
            for parts, rows in zip(summed, arrays, strict=True)
            for part in parts
        )
    ):
        raise ArgumentError(
            "the sums are not those of the segments",
            "Nothing was searched",
            "Pass those of its codes for each segment",
        )
    return arrays, list(checked_masks(masks, arrays))
