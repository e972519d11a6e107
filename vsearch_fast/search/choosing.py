"""Which strategy is the faster one for L1 and L2: a model of the work, in nanoseconds.

Fitted to 1,100 searches of arrays (2 cores with AVX-512; 128 to 40,000 rows of 64 to 4096
numbers, 1 to 256 queries, k = 10 and 100; noise before and after a ReLU, and data of 40
dimensions). Only ratios matter, and these hold for the other levels of instructions: what is
chosen takes, summed over such searches, 0.5 to 3% longer than the best choice at each of them.
How many rows sketches exclude depends on the data, and is not known here; even of Gaussian noise
they exclude enough, and where they do not, the worker finds out (`tiling.Tiling.hopeless`).
"""

from __future__ import annotations

from . import tiling

#: Numbers a row below which sketches were never the faster way.
_LEAST_DIM = 128
#: Share of the rows that may be asked for before bounds have nothing to exclude.
_LARGEST_SHARE = 8


def strategy_for(rows: int, queries: int, dim: int, k: int, *, sketched: bool) -> str:
    """``sketch`` or ``scan``.

    Args:
        rows: live ones.
        k: rows that each query gets.
        sketched: the rows have sketches; else these would be made on the way.
    """
    if dim < _LEAST_DIM or k > rows // _LARGEST_SHARE:
        return "scan"
    cost = sketching(rows, queries, dim, k) + (0 if sketched else building(rows, dim))
    return "sketch" if cost < scanning(rows, queries, dim) else "scan"


def scanning(rows: int, queries: int, dim: int) -> float:
    """Nanoseconds of processor time: every distance in float64."""
    return 120_000 + rows * queries * (5 + 0.12 * dim)


def sketching(rows: int, queries: int, dim: int, k: int) -> float:
    """Nanoseconds: a bound a pair, and for k and some more pairs a query the distance."""
    bounds = bounding(rows * queries, dim)
    return 400_000 + 1_000 * queries + bounds + queries * k * (900 + 0.55 * dim)


def bounding(pairs: int, dim: int) -> float:
    """Nanoseconds: pairs bounded by their sketches."""
    return pairs * (10 + 0.013 * dim)


def building(rows: int, dim: int) -> float:
    """Nanoseconds: parameters for each run of rows, and their sketches."""
    runs = -(-rows // tiling.TILING.sketch_rows)
    return 300_000 + 700 * dim * runs + 0.75 * rows * dim


def reductions_pay(pairs: int, rows: int, dim: int) -> bool:
    """Whether rows that are sketched for these pairs alone are to be reduced, too.

    To learn the reductions of a metric takes half a millisecond a number, however many rows there
    are, and to reduce a row 8 ns a number. Joins of photos' features (4096 numbers, AVX-512) took
    as long with reductions as without at 20,000 rows by L1, and at 30,000 by L2: there bounds were
    taken to cost five to eight times that.
    """
    return bounding(pairs, dim) > 6 * (500_000 * dim + 8 * rows * dim)
