"""Inner products and cosines on a device: keys, terms of queries, facts of rows.

How products are bounded is told in `kernels.sketch_dot`; what a device adds to that in
kernels/cuda/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...kernels import layout
from ...kernels.cuda.device import F64, I32, I64, Device
from ...kernels.cuda.sources import PRODUCTS
from ...loading import once, package
from ..sketches import Run

#: Terms of a sketched query, facts of a sketched row, as kernels/cuda/dot.cuh has them.
TERMS, FACTS = 6, 4
_SIGN = np.uint64(1 << 63)


class Products(NamedTuple):
    """What scans of products take beside what all do; of others nothing."""

    lo: float = 0.0
    numbers: int = 0
    cosine: bool = False


#: Of other scans.
NO_PRODUCTS = Products()


def keys_of(distances: NDArray[np.float64], metric: str) -> NDArray[np.uint64]:
    """Keys that order as distances do: their bits, but for products, which may be negative."""
    bits = np.ascontiguousarray(distances, np.float64).view(np.uint64)
    if metric not in PRODUCTS:
        return bits
    bits = (distances + 0.0).view(np.uint64)  # of -0 and 0 the same
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def distances_of(keys: NDArray[np.uint64], metric: str) -> NDArray[np.float64]:
    """The distances that have these keys."""
    if metric in PRODUCTS:
        keys = np.where(keys & _SIGN, keys ^ _SIGN, ~keys)
    return np.ascontiguousarray(keys).view(np.float64)


def no_limit(metric: str) -> int:
    """The key of an infinite distance."""
    return int(keys_of(np.array([np.inf]), metric)[0])


@once
def _kernels() -> tuple[Any, Any]:
    package("numba")
    from ...kernels.dots import squares_of
    from ..cpu.tiers import query_terms

    return squares_of, query_terms


def squares_of(queries: NDArray[np.float32]) -> NDArray[np.float64]:
    """The sums of the squares of queries (q, d), by the definition."""
    queries = np.ascontiguousarray(queries, np.float32)
    squares = np.zeros(len(queries))
    if len(queries):
        _kernels()[0](queries.ctypes.data, queries.strides[0], 4 * queries.shape[1], squares)
    return squares


def terms_of(
    facts: NDArray[np.float64], squares: NDArray[np.float64], run: tuple[float, float], dim: int,
    metric: str,
) -> NDArray[np.float64]:  # fmt: skip
    """Terms (q, `TERMS`) of queries whose sketches by (lo, step) have these facts."""
    terms: NDArray[np.float64] = _kernels()[1](facts, squares, *run, dim, metric == "cosine")
    return terms


def write_facts(
    device: Device, errors: Any, totals: Any, squares: Any, run: Run, dim: int, facts: Any
) -> None:
    """Facts of rows that are sketched by one run, for quick tests: (rows, `FACTS`)."""
    count = len(errors)
    if count:
        shape = device.shape_of("bound_dot_rows")
        device.launch(
            "bound_dot_rows", (-(-count // shape.rows), 1), shape.threads, 0,
            (errors, totals, squares, I64(count), F64(run.lo), F64(run.step), I32(dim), facts),
        )  # fmt: skip


def facts_of(
    device: Device, errors: Any, totals: Any, squares: Any, runs: Sequence[Run], dim: int
) -> Any:
    """Of a block's rows, on the device; the first run begins with the first row."""
    facts = device.empty((len(errors), FACTS), np.float32)
    stops = [*(run.start for run in runs[1:]), len(errors)]
    for run, stop in zip(runs, stops, strict=True):
        some = slice(run.start, stop)
        write_facts(device, errors[some], totals[some], squares[some], run, dim, facts[some])
    return facts


def write_squares(device: Device, rows: Any, dim: int, squares: Any, sizes: Any) -> None:
    """Sums of squares of float32 rows, and their sizes for quick tests."""
    count = len(rows)
    if count:
        shape = device.shape_of("square_rows")
        device.launch(
            "square_rows", (-(-count // shape.rows), 1), shape.threads, 0,
            (rows, I64(rows.shape[1]), I32(dim), I64(count), squares, sizes),
        )  # fmt: skip


def squares_there(device: Device, rows: Any, dim: int) -> tuple[Any, Any]:
    """(sums of squares, sizes) of float32 rows, on the device."""
    squares, sizes = device.empty((len(rows),), np.float64), device.empty((len(rows),), np.float32)
    write_squares(device, rows, dim, squares, sizes)
    return squares, sizes


def totals_of(facts: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Sums of the bytes of sketched rows."""
    with np.errstate(invalid="ignore"):  # of rows that are refused
        return facts[:, layout.SUM].astype(np.uint32)
