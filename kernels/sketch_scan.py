"""The first tier of exact L1 and L2 search: bounds from 8-bit sketches decide most pairs.

A scan keeps, for each query, the k smallest upper bounds that it has met; the largest of them
is the query's *limit*, which no k-th smallest distance exceeds. A pair whose lower bound is
above the limit is out; the others are listed, with their lower bounds, for the tiers to come
(`refine`). Listed pairs are dropped again when the limit has fallen below them.

In a tile, a comparison in float32 with some slack stands before the bounds themselves
(`sketch.bounds`, float64), which only the few that pass it need.
"""

from __future__ import annotations

import numba
import numpy as np

from ..loading import once
from .cache import Kernel, compiled
from .pairs import PAIRS, drop_both
from .rows import next_tile
from .select import append_bound, shrink_bounds
from .simd import count_trailing_zeros
from .simd_u8 import PRODUCT, QUERIES, ROWS, bounded_tile, prefetch, stream, tile
from .sketch import bounds

QUERY_MULTIPLE = QUERIES  # query blocks are padded to this many rows, with limits of NaN

#: Rows of more bytes go block by block, so that a tile's blocks stay in cache, and their sums are
#: added in int64, which holds those of any row.
NARROW = 16_384
BLOCK = 4_096

_SLACK = 4e-7  # the float32 comparison errs by less than 2**-22 of either side

_F32, _F64, _I32, _I64 = numba.float32, numba.float64, numba.int32, numba.int64
_SIGNATURE = numba.types.UniTuple(_I64, 3)(
    numba.intp, numba.intp, _I64,  # query sketches: address, stride in bytes, how many
    numba.types.Array(_I64, 1, "C"), numba.types.Array(_F64, 1, "C"),  # their constants, errors
    numba.intp, _I64,  # row sketches: address, bytes a row
    numba.types.Array(_F64, 2, "C", readonly=True), _F64, _F64,  # their facts, step, gamma
    _I64, _I64, _I64,  # first row, row behind the last, id of row 0
    numba.types.Array(numba.uint8, 1, "C", readonly=True), _I64, _I64,  # live, rows a tile, k
    numba.types.Array(_F64, 2, "C"), numba.types.Array(_I64, 1, "C"),  # upper bounds, counts
    numba.types.Array(_F64, 1, "C"), numba.types.Array(_F64, 1, "C"),  # limits, caps
    numba.types.Array(_I64, 1, "C"),  # order: work space of the selection
    *PAIRS, _I64, _I64,  # listed pairs: query, row id, lower bound; refined ones, all
)  # fmt: skip


@once
def scanner(operation: int, level: int, wide: bool) -> Kernel:
    """The scan kernel for ABSOLUTE (L1) or PRODUCT (L2), at a level of instructions.

    ``wide`` for rows of more than `NARROW` bytes. The kernel scans rows ``start`` to ``stop``
    for all queries and returns (row where it stopped, refined pairs, all pairs listed): it
    stops early where the list has no room for another tile, and goes on from there when called
    again.
    """
    squared = operation == PRODUCT
    error_column = 1 if squared else 0
    # 128 * (sum of u) is what `vpdpbusd` with signed queries leaves out, twice.
    signed = 256 if squared and level == 0 else 0

    def scan(
        query_base, query_stride, queries,
        query_constants, query_errors,
        row_base, width,
        facts, step, gamma,
        start, stop, id_offset,
        live, tile_rows, k,
        uppers, counts,
        limits, caps,
        order,
        pair_queries, pair_rows, pair_lowers, refined, pairs,
    ):  # fmt: skip
        numbers = np.empty(tile_rows + ROWS, np.int64)
        row_constants = np.empty(tile_rows + ROWS, np.int32)
        row_thresholds = np.empty(tile_rows + ROWS, np.float32)
        thresholds = np.empty(len(limits), np.float32)
        sums = np.empty(16, np.int32)
        totals = np.zeros((tile_rows + ROWS) // ROWS * (-(-queries // QUERIES)) * 16, np.int64)
        narrow_constants = np.empty(len(query_constants), np.int32)
        numbers_at, sums_at = numbers.ctypes.data, sums.ctypes.data
        constants_at, tile_constants_at = narrow_constants.ctypes.data, row_constants.ctypes.data
        thresholds_at, tile_thresholds_at = thresholds.ctypes.data, row_thresholds.ctypes.data
        uppers_at, counts_at, capacity = uppers.ctypes.data, counts.ctypes.data, uppers.shape[1]
        scale = (1.0 + _SLACK) / step
        for q in range(len(limits)):
            thresholds[q] = (limits[q] + query_errors[q]) * scale
            narrow_constants[q] = np.int32(query_constants[q])
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
                row_thresholds[i] = facts[row, error_column] * scale
                if squared and not wide:
                    row_constants[i] = np.int32(
                        np.int64(facts[row, 3]) - signed * np.int64(facts[row, 2])
                    )
            if wide:
                for i in range(len(totals)):
                    totals[i] = 0
                for block in range(0, width, BLOCK):
                    length = min(BLOCK, width - block)
                    at = 0
                    for q in range(0, queries, QUERIES):
                        for r in range(0, count, ROWS):
                            tile(
                                operation, level,
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
                        total = stream(
                            operation, level, query, row_base + numbers[r] * width, width
                        )
                        reach = thresholds[0] + row_thresholds[r]
                        if squared:
                            total = np.int64(query_constants[0]) + row_constants[r] - 2 * total
                            # The parts are exact modulo 2**32, the distance lies within.
                            total = np.int64(np.int32(total))
                            reach *= reach
                        totals[0] = total
                        passed = np.int64(np.float32(total) <= reach)
                    else:
                        if q == 0:
                            # The next group, which the processor does not foresee: its rows
                            # are read side by side, and each crosses a page.
                            for i in range(ROWS):
                                ahead = numbers[min(r + ROWS + i, count)]
                                prefetch(row_base + ahead * width, width)
                        passed = bounded_tile(
                            operation, level, query, query_stride, row_base, width,
                            numbers_at + 8 * r, width,
                            constants_at + 4 * q, tile_constants_at + 4 * r,
                            thresholds_at + 4 * q, tile_thresholds_at + 4 * r, sums_at,
                        )  # fmt: skip
                    while passed != 0:
                        place = count_trailing_zeros(passed)
                        passed &= passed - 1
                        a, b = q + place // ROWS, r + place % ROWS
                        if a >= queries or b >= count:
                            continue
                        if wide:
                            whole = totals[at + place]
                            if squared:
                                whole = query_constants[a] - 2 * whole
                                whole += np.int64(facts[numbers[b], 3])
                                whole -= signed * np.int64(facts[numbers[b], 2])
                        elif group == 1:
                            whole = totals[0]
                        else:
                            whole = np.int64(sums[place])
                        sketched = step * (np.sqrt(float(whole)) if squared else float(whole))
                        errors = query_errors[a] + facts[numbers[b], error_column]
                        lower, upper = bounds(sketched, errors, gamma)
                        if lower > limits[a]:
                            continue
                        pair_queries[pairs] = a
                        pair_rows[pairs] = id_offset + numbers[b]
                        pair_lowers[pairs] = lower
                        pairs += 1
                        if upper < limits[a] and append_bound(
                            a, upper, uppers_at, counts_at, capacity
                        ):
                            limit = shrink_bounds(a, k, uppers, counts, order)
                            limits[a] = min(limit, caps[a])
                            thresholds[a] = (limits[a] + query_errors[a]) * scale
        return position, refined, pairs

    name = f"sketch_scan_{operation}_{level}_{int(wide)}"
    scan.__name__ = name
    scan.__qualname__ = name
    return compiled(_SIGNATURE)(scan)
