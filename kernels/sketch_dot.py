"""The first tier of exact search by inner products: bounds of `cosine` and `ip` from 8-bit
sketches.

As `sketch_scan`, of which it differs in the bounds alone. The product of two sketches is

    q_hat . x_hat = d lo**2 + lo step (sum u + sum v) + step**2 S,      S = sum u v

with S exact in whole numbers. Each of the other rows of q and x lies within e of its sketch; so

- ``ip``: |q.x - q_hat.x_hat| <= |q| e(x) + e(q) |x_hat|;
- ``cosine``: the angle of q and x is within t(q) + t(x) of that of the sketches, where
  sin t = e / |x_hat|: x lies in a ball about x_hat. A row whose ball holds 0 has no bound.

A pair passes a tile unless S is below what the limit demands, in float32 with slack: the sum
``S + a(q) + a(x) + b(q) b(x) + c(q) c(x)`` in units of step**2. For ``ip`` b b + c c is the error
above and a(q) has the limit; for ``cosine``, with f = arccos(1 - limit) + t(q), the product of
sketches must reach ``|q_hat| |x_hat| cos(f + t(x)) = |q_hat| (cos f r(x) - sin f e(x))``, with
r**2 = |x_hat|**2 - e**2. What passes is bounded in float64. See README.md for rounding.
"""

from __future__ import annotations

import numba
import numpy as np

from ..loading import once
from .cache import Kernel, compiled, within
from .layout import E2, SQUARES, SUM
from .pairs import PAIRS, drop_both
from .rows import next_tile
from .select import append_bound, shrink_bounds
from .simd import count_trailing_zeros
from .simd_dot import product_tile
from .simd_u8 import PRODUCT, QUERIES, ROWS, prefetch, stream, tile
from .sketch_scan import BLOCK

#: Columns of a query's terms, float64. OWN is d lo**2 + lo step sum v, and OWN_SIZE the same with
#: all signs positive. SIZE is for `ip` at least |q|, for `cosine` about |q_hat|, of which its error
#: is at most the share OFF. ERROR is e(q), or the sine of t(q) rounded up, and COSINE its cosine.
OWN, OWN_SIZE, SIZE, ERROR, COSINE, OFF = range(6)
TERMS = 6

_SLACK = 2.0**-19  # of each term in float32; 16 roundings of 2**-24 are half of it
_TINY = 1e-20  # in units of step**2, of which S is whole: more than float32 loses below 1e-38
_FAR = 1e18  # what is larger passes: float32 holds sums of products of what is not
_TILT = 2.0**-40  # of a cosine and a sine: more than they are off by
ROUNDED = 2.0**-50  # of the sum of sizes, eight roundings: five of the sum itself, one of its use
CLEAR = 2.0**24  # how many times its error a row's r**2 must be to be tested in float32

_F32, _F64, _I32, _I64 = numba.float32, numba.float64, numba.int32, numba.int64
_SIGNATURE = numba.types.UniTuple(_I64, 3)(
    numba.intp, numba.intp, _I64,  # query sketches: address, stride in bytes, how many
    numba.types.Array(_F64, 2, "C"), _F64, _I64, numba.boolean,  # terms, lo, numbers a row, cosine
    numba.intp, _I64,  # row sketches: address, bytes a row
    numba.types.Array(_F64, 2, "C", readonly=True), _F64, _F64,  # their facts, step, gamma
    _I64, _I64, _I64,  # first row, row behind the last, id of row 0
    numba.types.Array(numba.uint8, 1, "C", readonly=True), _I64, _I64,  # live, rows a tile, k
    numba.types.Array(_F64, 2, "C"), numba.types.Array(_I64, 1, "C"),  # upper bounds, counts
    numba.types.Array(_F64, 1, "C"), numba.types.Array(_F64, 1, "C"),  # limits, caps
    numba.types.Array(_I64, 1, "C"),  # order: work space of the selection
    *PAIRS, _I64, _I64,  # listed pairs: query, row id, lower bound; refined ones, all
)  # fmt: skip


@within
def _pass_all(q, own, tests):
    """Nothing is excluded for this query; for padding everything is."""
    tests[0, q] = np.inf if own > -np.inf else -np.inf
    tests[1, q], tests[2, q] = np.float32(0.0), np.float32(0.0)


@within
def _aim(q, limit, terms, step, gamma, cosine, tests):
    """The three float32 of a query's test by its limit."""
    own, size, error = terms[q, OWN], terms[q, SIZE], terms[q, ERROR]
    inverse = 1.0 / step
    own_size = terms[q, OWN_SIZE]
    if cosine:
        reach = 1.0 - limit - (4.0 * gamma + 2.0**-46)
        if not (reach > -1.0 and error < 1.0):
            _pass_all(q, own, tests)
            return
        reach = min(reach, 1.0)
        across = np.sqrt((1.0 - reach) * (1.0 + reach))
        along = reach * terms[q, COSINE] - across * error
        across = across * terms[q, COSINE] + reach * error
        if reach < 0.0 and across <= 0.0:  # beyond the opposite direction: nothing is excluded
            _pass_all(q, own, tests)
            return
        if along < 0.0:
            across = 1.0  # never stricter, and right beyond the opposite direction, too
        first = size * inverse * (across + _TILT) * (1.0 + _SLACK)
        second = -size * inverse * (along - _TILT)
        second += _SLACK * abs(second)
    else:
        own += limit
        own_size += abs(limit)
        first = size * (1.0 + gamma) * inverse * (1.0 + _SLACK)
        second = (error + gamma * size) * inverse * (1.0 + _SLACK)
    own = (own + _SLACK * own_size) * inverse * inverse + _TINY
    if not (abs(own) < _FAR * _FAR and first < _FAR and abs(second) < _FAR):
        _pass_all(q, terms[q, OWN], tests)
        return
    tests[0, q], tests[1, q], tests[2, q] = own, first, second


@within
def _size_of(total, squares, ratio, dim):
    """|x_hat|**2 in units of step**2, and how far it is off at most; ``ratio`` is lo / step."""
    own = dim * ratio * ratio
    mixed = 2.0 * ratio * total
    return own + mixed + squares, ROUNDED * (own + abs(mixed) + squares)


@within
def product_bounds(own, own_size, size, error, cos_error, off, whole, facts, row,
                   lo, step, dim, gamma, cosine):  # fmt: skip
    """(lower, upper) bounds on the defined distance of a query of these terms and a row, of whose
    sketches the sum of products is ``whole``. What is not finite excludes nothing."""
    total, squares, row_error = facts[row, SUM], facts[row, SQUARES], facts[row, E2]
    mixed, product = lo * step * total, step * step * whole
    dot = own + mixed + product
    dot_off = ROUNDED * (own_size + abs(mixed) + product)
    square, square_off = _size_of(total, squares, lo / step, dim)
    if not cosine:
        row_size = step * np.sqrt(square + square_off)
        reach = size * row_error + error * row_size + gamma * size * (row_size + row_error)
        reach = reach * (1.0 + 2.0**-48) + dot_off
        return 0.0 - dot - reach, 0.0 - dot + reach
    margin = 3.0 * gamma + 2.0**-46
    nothing = (-margin, 2.0 + margin)
    if not square > CLEAR * square_off:
        return nothing
    row_off = square_off / square
    row_size = step * np.sqrt(square)
    sine = row_error / row_size * (1.0 + row_off + 2.0**-50)
    if not (sine < 1.0 and error < 1.0):
        return nothing
    cos_row = np.sqrt((1.0 - sine) * (1.0 + sine))
    turned = error * cos_row + cos_error * sine
    kept = cos_error * cos_row - error * sine
    sizes = size * row_size
    angle = dot / sizes
    angle_off = dot_off / sizes * (1.0 + 2.0**-20) + abs(angle) * (row_off + off + 2.0**-50)
    if not angle_off < np.inf:
        return nothing
    high, low = max(angle + angle_off, -1.0), min(angle - angle_off, 1.0)
    most, least = 1.0, -1.0
    if high < kept:
        most = high * kept + np.sqrt((1.0 - high) * (1.0 + high)) * turned
    if low > -kept:
        least = low * kept - np.sqrt((1.0 - low) * (1.0 + low)) * turned
    return 1.0 - most - margin, 1.0 - least + margin


@once
def scanner(level: int, wide: bool) -> Kernel:
    """The scan kernel at a level of instructions: as `sketch_scan.scanner`, with the terms of the
    queries in place of their constants and errors."""
    signed = 128 if level == 0 else 0

    def scan(
        query_base, query_stride, queries,
        terms, lo, numbers_a_row, cosine,
        row_base, width,
        facts, step, gamma,
        start, stop, id_offset,
        live, tile_rows, k,
        uppers, counts,
        limits, caps,
        order,
        pair_queries, pair_rows, pair_lowers, refined, pairs,
    ):  # fmt: skip
        dim, ratio = float(numbers_a_row), lo / step
        numbers = np.empty(tile_rows + ROWS, np.int64)
        row_constants = np.zeros(tile_rows + ROWS, np.int32)
        row_tests = np.empty((3, tile_rows + ROWS), np.float32)
        tests = np.empty((3, len(limits)), np.float32)
        sums = np.empty(16, np.int32)
        totals = np.zeros((tile_rows + ROWS) // ROWS * (-(-queries // QUERIES)) * 16, np.int64)
        numbers_at, sums_at = numbers.ctypes.data, sums.ctypes.data
        tests_at, row_tests_at = tests.ctypes.data, row_tests.ctypes.data
        constants_at = row_constants.ctypes.data
        uppers_at, counts_at, capacity = uppers.ctypes.data, counts.ctypes.data, uppers.shape[1]
        for q in range(len(limits)):
            _aim(q, limits[q], terms, step, gamma, cosine, tests)
        position = start
        while position < stop:
            room = min(tile_rows, stop - position) * queries
            if pairs + room > len(pair_rows):
                refined, pairs = drop_both(
                    pair_queries, pair_rows, pair_lowers, refined, pairs, limits
                )
                if pairs + room > len(pair_rows) // 2 and pairs > 0:
                    break
            count, position = next_tile(position, stop, live, numbers, tile_rows, ROWS)
            if count == 0:
                break
            for i in range(count + ROWS):
                row = numbers[i]
                total, error = facts[row, SUM], facts[row, E2] / step
                square, off = _size_of(total, facts[row, SQUARES], ratio, dim)
                first = ratio * total
                first += _SLACK * abs(first)
                clear = True
                if cosine:
                    square -= error * error
                    clear = square > CLEAR * off
                    square = np.sqrt(max(square, 0.0))
                else:
                    square = np.sqrt(square + off)
                if not (clear and abs(first) < _FAR * _FAR and error < _FAR and square < _FAR):
                    first, error, square = np.inf, 0.0, 0.0
                row_tests[0, i], row_tests[1, i], row_tests[2, i] = first, error, square
                if signed:
                    row_constants[i] = np.int32(np.int64(signed) * np.int64(total))
            if wide:
                for i in range(len(totals)):
                    totals[i] = 0
                for block in range(0, width, BLOCK):
                    length = min(BLOCK, width - block)
                    at = 0
                    for q in range(0, queries, QUERIES):
                        for r in range(0, count, ROWS):
                            tile(
                                PRODUCT, level,
                                query_base + q * query_stride + block, query_stride,
                                row_base + block, width, numbers_at + 8 * r, length, sums_at,
                            )  # fmt: skip
                            for i in range(16):
                                totals[at + i] += sums[i]
                            at += 16
            at = -16
            for q in range(0, queries, QUERIES):
                query = query_base + q * query_stride
                group = ROWS
                if queries == 1 and not wide:
                    group = 1
                for r in range(0, count, group):
                    at += 16
                    if wide:
                        passed = (1 << 16) - 1
                    elif group == 1:
                        whole = stream(PRODUCT, level, query, row_base + numbers[r] * width, width)
                        whole += row_constants[r]
                        totals[0] = whole
                        reach = np.float32(whole) + tests[0, 0] + row_tests[0, r]
                        reach += tests[1, 0] * row_tests[1, r]
                        reach += tests[2, 0] * row_tests[2, r]
                        passed = np.int64(not reach < np.float32(0.0))
                    else:
                        if q == 0:
                            # The next group: see `sketch_scan`.
                            for i in range(ROWS):
                                ahead = numbers[min(r + ROWS + i, count)]
                                prefetch(row_base + ahead * width, width)
                        passed = product_tile(
                            level, query, query_stride, row_base, width, numbers_at + 8 * r, width,
                            constants_at + 4 * r,
                            tests_at + 4 * q, 4 * tests.shape[1],
                            row_tests_at + 4 * r, 4 * row_tests.shape[1], sums_at,
                        )  # fmt: skip
                    while passed != 0:
                        place = count_trailing_zeros(passed)
                        passed &= passed - 1
                        a, b = q + place // ROWS, r + place % ROWS
                        if a >= queries or b >= count:
                            continue
                        row = numbers[b]
                        if wide:
                            whole = totals[at + place]
                            whole += np.int64(signed) * np.int64(facts[row, SUM])
                        elif group == 1:
                            whole = totals[0]
                        else:
                            whole = np.int64(sums[place])
                        lower, upper = product_bounds(
                            terms[a, OWN], terms[a, OWN_SIZE], terms[a, SIZE], terms[a, ERROR],
                            terms[a, COSINE], terms[a, OFF], float(whole), facts, row,
                            lo, step, dim, gamma, cosine,
                        )  # fmt: skip
                        if lower > limits[a]:
                            continue
                        pair_queries[pairs] = a
                        pair_rows[pairs] = id_offset + row
                        pair_lowers[pairs] = lower
                        pairs += 1
                        if upper < limits[a] and append_bound(
                            a, upper, uppers_at, counts_at, capacity
                        ):
                            limit = shrink_bounds(a, k, uppers, counts, order)
                            limits[a] = min(limit, caps[a])
                            _aim(a, limits[a], terms, step, gamma, cosine, tests)
        return position, refined, pairs

    name = f"sketch_dot_{level}_{int(wide)}"
    scan.__name__ = name
    scan.__qualname__ = name
    return compiled(_SIGNATURE)(scan)
