"""What the tiers of a cascade do by one metric: which kernels they call, and what those need to
know of the queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels import layout, sketch_dot
from ...kernels.cache import Kernel
from ...kernels.dots import squares_of
from ...kernels.refine import pair_distances, refine_f32, refine_f64
from ...kernels.refine_dot import exact_dots, near_dots, pair_dots
from .scan import scanning

#: Metrics that are made of inner products, with bounds of their own.
PRODUCTS = ("cosine", "ip")

_BEYOND = 1.5  # of a query's own angle to its sketch: what a row's bounds are off by, less to spare


def kernels_of(metric: str, *, nearest: bool = True) -> list[Kernel]:
    """What the second and third tier need compiled: `Tiers.exact`, or else `Tiers.pairs`."""
    if metric in PRODUCTS:
        return [squares_of, near_dots, exact_dots if nearest else pair_dots]
    return [refine_f32, refine_f64 if nearest else pair_distances]


@dataclass(frozen=True, eq=False)
class Tiers:
    """For some queries.

    Attributes:
        near, exact: the second and third tier; take what `refine_f32` and `refine_f64` do, but
            which metric it is.
        pairs: distances by the definition, likewise `refine.pair_distances`.
        scan: distances by the definition, likewise `lane_scan`.
        terms: of products: what the first tier must know of these queries, sketched with (lo,
            step), of which the bytes have these facts; as `kernels.sketch_dot` takes it.
    """

    near: Callable[..., int]
    exact: Callable[..., int]
    pairs: Callable[..., None]
    scan: Callable[..., int]
    terms: Callable[[NDArray[np.float64], float, float], tuple[Any, ...]] | None


def tiers_of(metric: str, queries: NDArray[np.float32], count: int) -> Tiers:
    """Those of a metric for these queries, padded, of which the first ``count`` are real."""
    _, scan = scanning(metric)
    if metric not in PRODUCTS:
        squared = metric == "l2"
        return Tiers(
            lambda *arguments: refine_f32(*arguments, squared),
            lambda *arguments: refine_f64(*arguments, squared),
            lambda *arguments: pair_distances(*arguments, squared),
            scan, None,
        )  # fmt: skip
    cosine = metric == "cosine"
    dim = queries.shape[1]
    squares = np.zeros(len(queries))
    squares_of(queries.ctypes.data, queries.strides[0], 4 * dim, squares)

    def terms(facts: NDArray[np.float64], lo: float, step: float) -> tuple[Any, ...]:
        made = query_terms(facts, squares, lo, step, dim, cosine)
        made[count:, sketch_dot.OWN] = -np.inf
        return made, lo, dim, cosine

    return Tiers(
        lambda *arguments: near_dots(*arguments, squares, cosine),
        lambda *arguments: exact_dots(*arguments, squares, cosine),
        lambda *arguments: pair_dots(*arguments, squares, cosine),
        scan, terms,
    )  # fmt: skip


def query_terms(
    facts: NDArray[np.float64],
    squares: NDArray[np.float64],
    lo: float,
    step: float,
    dim: int,
    cosine: bool,
) -> NDArray[np.float64]:
    """Terms (n, `sketch_dot.TERMS`) of queries, of which sketches have these facts, and of which
    the squares add up to these sums, by the definition."""
    total, errors = facts[:, layout.SUM], facts[:, layout.E2]
    terms = np.zeros((len(facts), sketch_dot.TERMS))
    own, mixed = dim * lo * lo, lo * step * total
    terms[:, sketch_dot.OWN] = own + mixed
    terms[:, sketch_dot.OWN_SIZE] = own + np.abs(mixed)
    if not cosine:
        terms[:, sketch_dot.SIZE] = np.sqrt(squares) * (1 + 2 * layout.rounding(dim))
        terms[:, sketch_dot.ERROR] = errors
        return terms
    # As `sketch_dot` has it of rows: |q_hat|**2, and how far that is off.
    square = own + 2 * mixed + step * step * facts[:, layout.SQUARES]
    off = sketch_dot.ROUNDED * (own + 2 * np.abs(mixed) + step * step * facts[:, layout.SQUARES])
    clear = square > sketch_dot.CLEAR * off
    size = np.sqrt(np.where(clear, square, 1))
    share = np.where(clear, off, 0) / np.where(clear, square, 1)
    sine = errors / size * (1 + share + 2.0**-50)
    bounded = clear & (sine < 1)
    terms[:, sketch_dot.SIZE] = size
    terms[:, sketch_dot.OFF] = share
    terms[:, sketch_dot.ERROR] = np.where(bounded, sine, 2)
    terms[:, sketch_dot.COSINE] = np.sqrt(np.where(bounded, (1 - sine) * (1 + sine), 0))
    return terms


def lowered(
    metric: str,
    limits: NDArray[np.float64],
    terms: tuple[Any, ...],
    mean_error: float,
) -> NDArray[np.float64]:
    """Upper bounds of products, less what they are likely to be above the distances: a guess."""
    of_queries = terms[0]
    if metric == "ip":
        return limits - of_queries[:, sketch_dot.SIZE] * mean_error
    with np.errstate(invalid="ignore"):
        angles = np.arccos(np.clip(1 - limits, -1, 1))
        own = np.arcsin(np.minimum(of_queries[:, sketch_dot.ERROR], 1))
    guessed = 1 - np.cos(np.maximum(angles - _BEYOND * own, 0))
    return np.where(np.isfinite(limits), guessed, limits)
