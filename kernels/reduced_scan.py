"""The level below the sketches: rows reduced to few numbers exclude most pairs.

Each row has a *coarse* reduction of some tens of bytes and a *fine* one of some hundreds
(`reduce` says which, and why they bound the distance from below). A pair that the coarse one
does not exclude is compared by the fine one, and what that leaves by its sketch, as `sketch_scan`
does for all pairs. What is listed, and what becomes of upper bounds and limits, is the same.

A tile of rows passes all queries before its survivors are looked at: their fine rows, and then
their sketches, are on their way from memory by then.
"""

from __future__ import annotations

import numba
import numpy as np

from ..loading import once
from .cache import Kernel, compiled
from .coarse import PAGE, QUERIES, coarse_page, fine_differences, fine_product, float_at, page_bytes
from .pairs import PAIRS, drop_both
from .select import append, append_bound, shrink, shrink_bounds
from .simd import count_trailing_zeros
from .simd_u8 import PRODUCT, pair_sum, prefetch, row_sums
from .simd_u8 import QUERIES as TOGETHER
from .sketch import bounds

#: What float32 arithmetic on weights may lose, of them: eight roundings of 2**-24, doubled.
SLACK = 2.0**-20
#: The same of a limit and errors.
REACH = 1.0 + 2.0**-20

_F32, _F64, _I32, _I64 = numba.float32, numba.float64, numba.int32, numba.int64
_COARSE = (
    numba.intp, _I64, _I64,  # coarse queries: address, stride in bytes, how many
    # Weights and residuals of L2; in place of the latter L1 has scales, four to a number.
    numba.types.Array(_F32, 1, "C"), numba.types.Array(_F32, 1, "C"),
    numba.types.Array(_F64, 1, "C"), _F64, _F64,  # errors; scale of sums; growth of limits
    numba.intp,  # coarse pages: address
)  # fmt: skip
_FINE = (
    numba.intp, _I64,  # fine queries: address, stride in bytes
    numba.types.Array(_F32, 1, "C"), numba.types.Array(_F32, 1, "C"),
    numba.types.Array(_F64, 1, "C"), _F64,
    numba.intp, _I64, _I64,  # fine rows: address, stride in bytes, bytes of numbers; 0: none
)  # fmt: skip
_SKETCH = (
    numba.intp, _I64,  # query sketches: address, stride in bytes
    numba.types.Array(_I64, 1, "C"), numba.types.Array(_F64, 1, "C"),  # their constants, errors
    numba.intp, _I64,  # row sketches: address, bytes a row
    numba.types.Array(_F64, 2, "C", readonly=True), _F64, _F64,  # their facts, step, gamma
)  # fmt: skip
_SIGNATURE = numba.types.UniTuple(_I64, 5)(
    *_COARSE, *_FINE, *_SKETCH,
    _I64, _I64, _I64,  # first row, a multiple of 16; row behind the last; id of row 0
    numba.types.Array(numba.uint8, 1, "C", readonly=True), _I64, _I64,  # live, rows a tile, k
    numba.types.Array(_F64, 2, "C"), numba.types.Array(_I64, 1, "C"),  # upper bounds, counts
    numba.types.Array(_F64, 1, "C"), numba.types.Array(_F64, 1, "C"),  # limits, caps
    numba.types.Array(_I64, 1, "C"),  # order: work space of the selection
    *PAIRS, _I64, _I64,  # listed pairs: query, row id, lower bound; refined ones, all
)  # fmt: skip


@once
def reduced_scanner(operation: int, level: int, numbers: int) -> Kernel:
    """The scan kernel for ABSOLUTE (L1) or PRODUCT (L2) at a level, of coarse rows of so many
    numbers.

    The kernel scans rows ``start`` to ``stop`` (numbered as pages, fine rows, sketches and
    ``live`` begin) for all queries, and returns (row where it stopped, refined pairs, pairs
    listed, pairs that coarse rows left, pairs that fine ones left). It stops early where the
    list has no room for another tile, and goes on from there when called again.
    """
    squared = operation == PRODUCT
    error_column = 1 if squared else 0
    signed = 256 if squared and level == 0 else 0
    halves, size = numbers // 2, page_bytes(operation, numbers)
    apiece = 4 if operation == PRODUCT else 0  # bytes of a residual; scales are all queries' own

    def scan(
        coarse_base, coarse_stride, queries,
        coarse_weights, coarse_residuals, coarse_errors, coarse_scale, growth,
        pages,
        fine_base, fine_stride, fine_weights, fine_residuals, fine_errors, fine_scale,
        fine_rows, fine_size, fine_numbers,
        query_base, query_stride, query_constants, query_errors,
        row_base, width, facts, step, gamma,
        start, stop, id_offset,
        live, tile_rows, k,
        uppers, counts,
        limits, caps,
        order,
        pair_queries, pair_rows, pair_lowers, refined, pairs,
    ):  # fmt: skip
        found_queries = np.empty(tile_rows * queries, np.int32)
        found_rows = np.empty(tile_rows * queries, np.int32)
        by_row_queries, by_row_rows = found_queries, found_rows
        if queries > 1:
            by_row_queries, by_row_rows = np.empty_like(found_queries), np.empty_like(found_rows)
        begins = np.empty(tile_rows + 1, np.int64)
        together, sums = np.empty(TOGETHER, np.int64), np.empty(TOGETHER, np.int32)
        together_at, sums_at = together.ctypes.data, sums.ctypes.data
        reaches = np.empty(len(coarse_errors), np.float32)
        nothing = np.empty(0, np.float32)
        nothing_at = nothing.ctypes.data
        reaches_at = reaches.ctypes.data
        weights_at, residuals_at = coarse_weights.ctypes.data, coarse_residuals.ctypes.data
        fine_scales_at = fine_residuals.ctypes.data
        uppers_at, counts_at, capacity = uppers.ctypes.data, counts.ctypes.data, uppers.shape[1]
        scale, slack = np.float32(coarse_scale), np.float32(1.0 - SLACK)
        left_coarse, left_fine = 0, 0
        position = start
        while position < stop:
            end = min(stop, position + tile_rows)
            room = (end - position) * queries
            if pairs + room > len(pair_rows):
                refined, pairs = drop_both(
                    pair_queries, pair_rows, pair_lowers, refined, pairs, limits
                )
                if pairs + room > len(pair_rows) // 2 and pairs > 0:
                    break
            for q in range(len(reaches)):
                reaches[q] = (limits[q] * growth + coarse_errors[q]) * REACH
            found = 0
            for q in range(0, queries, QUERIES):
                query = coarse_base + q * coarse_stride
                for first in range(position, end, PAGE):
                    if len(live) != 0:
                        alive = 0
                        for number in range(first, min(first + PAGE, end)):
                            alive |= live[number]
                        if alive == 0:
                            continue
                    page = pages + first // PAGE * size
                    if queries == 1:
                        passed = coarse_page(
                            operation, level, halves, 1, 0,
                            page, query, coarse_stride, weights_at, residuals_at, reaches_at,
                            scale, slack, nothing_at,
                        )  # fmt: skip
                    else:
                        passed = coarse_page(
                            operation, level, halves, 4, 0,
                            page, query, coarse_stride,
                            weights_at + 4 * q, residuals_at + apiece * q, reaches_at + 4 * q,
                            scale, slack, nothing_at,
                        )  # fmt: skip
                    if q + QUERIES > queries:  # padding
                        passed &= (1 << (PAGE * (queries - q))) - 1
                    while passed != 0:
                        place = count_trailing_zeros(passed)
                        passed &= passed - 1
                        number = first + place % PAGE
                        if number >= end or (len(live) != 0 and live[number] == 0):
                            continue
                        if fine_numbers != 0:
                            prefetch(fine_rows + number * fine_size, fine_size)
                        found_queries[found], found_rows[found] = q + place // PAGE, number
                        found += 1
            left_coarse += found
            if fine_numbers != 0:
                kept = 0
                for i in range(found):
                    a, row = np.int64(found_queries[i]), np.int64(found_rows[i])
                    at = fine_rows + row * fine_size
                    error = float_at(at + fine_numbers + 8)
                    reach = (limits[a] * growth + fine_errors[a] + error) * REACH
                    if squared:
                        total = fine_product(level, fine_base + a * fine_stride, at, fine_numbers)
                        near = (float_at(at + fine_numbers) + float(fine_weights[a])) * (
                            1.0 - SLACK
                        ) - 2.0 * (
                            fine_scale * total
                            + float(fine_residuals[a]) * float_at(at + fine_numbers + 4)
                        )
                        out = near > reach * reach
                    else:
                        total = fine_differences(
                            level, fine_base + a * fine_stride, at, fine_scales_at, fine_numbers
                        )
                        out = fine_scale * total > reach
                    if out:  # not where a NaN compares
                        continue
                    found_queries[kept], found_rows[kept] = a, row
                    kept += 1
                found = kept
            left_fine += found
            # By row: a row comes from memory once for all its queries, and two before its turn.
            if queries > 1:
                begins[:] = 0
                for i in range(found):
                    begins[found_rows[i] - position + 1] += 1
                for i in range(end - position):
                    begins[i + 1] += begins[i]
                for i in range(found):
                    place = begins[found_rows[i] - position]
                    begins[found_rows[i] - position] = place + 1
                    by_row_queries[place], by_row_rows[place] = found_queries[i], found_rows[i]
            i, ahead, row_ahead, awaited = 0, 0, np.int64(-1), 0
            while i < found:
                row = np.int64(by_row_rows[i])
                while ahead < found and awaited < 3:
                    if by_row_rows[ahead] != row_ahead:
                        row_ahead = np.int64(by_row_rows[ahead])
                        prefetch(row_base + row_ahead * width, width)
                        awaited += 1
                    ahead += 1
                awaited -= 1
                behind = i + 1
                while behind < found and by_row_rows[behind] == row:
                    behind += 1
                error, constant = facts[row, error_column], np.int64(0)
                if squared:
                    constant = np.int64(facts[row, 3]) - signed * np.int64(facts[row, 2])
                while i < behind:
                    some = min(TOGETHER, behind - i)
                    for j in range(TOGETHER):
                        together[j] = by_row_queries[i + min(j, some - 1)]
                    if some > 1:
                        row_sums(
                            operation, level, query_base, query_stride, together_at,
                            row_base + row * width, width, sums_at,
                        )  # fmt: skip
                    else:
                        sums[0] = pair_sum(
                            operation, level, query_base + together[0] * query_stride,
                            row_base + row * width, width,
                        )  # fmt: skip
                    i += some
                    for j in range(some):
                        a, whole = together[j], np.int64(sums[j])
                        if squared:
                            # The parts are exact modulo 2**32, the distance lies within.
                            whole = np.int64(np.int32(query_constants[a] + constant - 2 * whole))
                        sketched = step * (np.sqrt(float(whole)) if squared else float(whole))
                        lower, upper = bounds(sketched, query_errors[a] + error, gamma)
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
            position = end
        return position, refined, pairs, left_coarse, left_fine

    name = f"reduced_scan_{operation}_{level}_{numbers}"
    scan.__name__ = name
    scan.__qualname__ = name
    return compiled(_SIGNATURE)(scan)


@once
def coarse_nearest(operation: int, level: int, numbers: int) -> Kernel:
    """The kernel that holds, for each query, the k rows of each ``stride``-th page that are
    nearest by their coarse reductions. Nothing is proved by it."""
    halves, size = numbers // 2, page_bytes(operation, numbers)
    apiece = 4 if operation == PRODUCT else 0  # bytes of a residual; scales are all queries' own

    def nearest(
        coarse_base, coarse_stride, queries,
        coarse_weights, coarse_residuals, coarse_errors, coarse_scale, growth,
        pages,
        start, stop, id_offset, stride,
        live, k,
        distances, ids, counts, limits,
    ):  # fmt: skip
        reaches = np.zeros(len(coarse_errors), np.float32)
        values = np.empty(QUERIES * PAGE, np.float32)
        reaches_at, values_at = reaches.ctypes.data, values.ctypes.data
        weights_at, residuals_at = coarse_weights.ctypes.data, coarse_residuals.ctypes.data
        distances_at, ids_at, counts_at = (
            distances.ctypes.data, ids.ctypes.data, counts.ctypes.data,
        )  # fmt: skip
        capacity = distances.shape[1]
        scale, slack = np.float32(coarse_scale), np.float32(1.0 - SLACK)
        for first in range(start, stop, PAGE * stride):
            for q in range(0, queries, QUERIES):
                page, query = pages + first // PAGE * size, coarse_base + q * coarse_stride
                if queries == 1:
                    coarse_page(
                        operation, level, halves, 1, 1,
                        page, query, coarse_stride, weights_at, residuals_at, reaches_at,
                        scale, slack, values_at,
                    )  # fmt: skip
                else:
                    coarse_page(
                        operation, level, halves, 4, 1,
                        page, query, coarse_stride,
                        weights_at + 4 * q, residuals_at + apiece * q, reaches_at + 4 * q,
                        scale, slack, values_at,
                    )  # fmt: skip
                for a in range(q, min(q + QUERIES, queries)):
                    for row in range(first, min(first + PAGE, stop)):
                        value = np.float64(values[(a - q) * PAGE + row - first])
                        if not value < limits[a] or (len(live) != 0 and live[row] == 0):
                            continue
                        if append(
                            a, value, id_offset + row, distances_at, ids_at, counts_at, capacity
                        ):
                            shrink(a, k, distances, ids, counts, limits)

    name = f"coarse_nearest_{operation}_{level}_{numbers}"
    nearest.__name__ = name
    nearest.__qualname__ = name
    return compiled(
        numba.void(
            *_COARSE,
            _I64, _I64, _I64, _I64,
            numba.types.Array(numba.uint8, 1, "C", readonly=True), _I64,
            numba.types.Array(_F64, 2, "C"), numba.types.Array(_I64, 2, "C"),
            numba.types.Array(_I64, 1, "C"), numba.types.Array(_F64, 1, "C"),
        )
    )(nearest)  # fmt: skip
