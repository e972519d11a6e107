"""Hamming distance of many queries by tile instructions: dot products of sign bits.

``popcount(q ^ x) = popcount(q) + popcount(x) - 2 * (q . x)``, all exact in int32. The bits of
32 rows at a time are expanded to bytes (-1 for a set bit), which stay in cache while all
queries of the batch pass them; queries are expanded once a call. For 4096 bits that is 64 tile
multiplications for 256 pairs, 4 cycles a pair, where population count takes 12.

Imported only where `amx.available`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from .amx import (
    TILE_BYTES,
    TILE_ROWS,
    below_i32_16,
    configuration,
    configure,
    dot_i8_32x32,
    expand_bits_16,
    release,
)
from .cache import compiled
from .memory import aligned
from .rows import next_tile
from .select import append, histogram_for, shrink_whole
from .simd import count_trailing_zeros, popcount_u8

QUERY_MULTIPLE = 32
MINIMUM_QUERIES = 96  # from here on faster than population count; measured at 4096 bits
BLOCK = 32  # rows at a time
STEPS = 16  # tiles of a row that stay in the first-level cache while the queries pass

_TILE = TILE_ROWS * TILE_BYTES

_I32, _I64 = numba.int32, numba.int64
_SIGNATURE = _I64(
    numba.intp, numba.intp, numba.intp, _I64,  # packed queries, work space (2), tiles a row
    numba.types.Array(_I32, 1, "C"), numba.types.Array(numba.uint8, 1, "C"),  # counts, tile setup
    numba.intp, numba.intp, _I64,  # rows: address, stride in bytes, bytes a row
    _I64, _I64, _I64,  # first row, row behind the last, id of row 0
    numba.types.Array(numba.uint8, 1, "C", readonly=True), _I64,  # live, k
    numba.types.Array(_I32, 2, "C"), numba.types.Array(_I64, 2, "C"),
    numba.types.Array(_I64, 1, "C"), numba.types.Array(_I32, 1, "C"),
)  # fmt: skip


@compiled(_SIGNATURE)
def _scan(
    packed_at, rows_at, sums_at, steps,
    query_counts, config,
    row_base, row_stride, length,
    start, stop, id_offset,
    live, k,
    distances, ids, counts, limits,
):  # fmt: skip
    pairs = len(query_counts) // QUERY_MULTIPLE
    numbers = np.empty(2 * BLOCK, np.int64)
    row_counts = np.empty(BLOCK, np.int64)
    line = np.empty(TILE_ROWS, np.int32)
    numbers_at, line_at = numbers.ctypes.data, line.ctypes.data
    counts_at, limits_at = query_counts.ctypes.data, limits.ctypes.data
    histogram = histogram_for(8 * length)
    distances_at, ids_at, held_at = distances.ctypes.data, ids.ctypes.data, counts.ctypes.data
    capacity = distances.shape[1]
    half = steps * _TILE  # bytes of 16 expanded rows, or of 16 packed queries
    configure(config.ctypes.data)
    position = start
    while position < stop:
        count, position = next_tile(position, stop, live, numbers, BLOCK, BLOCK)
        if count == 0:
            break
        for h in range(2):
            some = numbers_at + 8 * h * TILE_ROWS
            expand_bits_16(row_base, row_stride, some, length // 8, rows_at + h * half)
        for r in range(count):
            row_counts[r] = popcount_u8(row_base + row_stride * numbers[r], length)
        for first in range(0, steps, STEPS):
            for pair in range(pairs):
                dot_i8_32x32(
                    rows_at + first * _TILE, half,
                    packed_at + 2 * pair * half + first * _TILE, half,
                    min(STEPS, steps - first), sums_at + pair * 4 * _TILE, np.intp(first == 0),
                )  # fmt: skip
        for pair in range(pairs):
            for r in range(count):
                for side in range(2):
                    query = pair * QUERY_MULTIPLE + side * TILE_ROWS
                    tile = 4 * pair + 2 * (r // TILE_ROWS) + side
                    below = below_i32_16(
                        sums_at + tile * _TILE + (r % TILE_ROWS) * TILE_BYTES, row_counts[r],
                        counts_at + 4 * query, limits_at + 4 * query, line_at,
                    )  # fmt: skip
                    while below != 0:
                        q = count_trailing_zeros(below)
                        below &= below - 1
                        if append(
                            query + q, line[q], id_offset + numbers[r],
                            distances_at, ids_at, held_at, capacity,
                        ):  # fmt: skip
                            shrink_whole(query + q, k, distances, ids, counts, limits, histogram)
    release()
    return -1


#: What a scan by tiles needs compiled.
KERNEL = _scan


def pack_queries(queries: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Packed bits ``(q, b)`` as the columns of `amx.dot_i8_32x32`, -1 for a set bit.

    q is a multiple of 32 and b of 8. Returns ``(q / 16, b / 8, 16, 16, 4)``.
    """
    count, length = queries.shape
    signs = -np.unpackbits(queries, axis=1, bitorder="little").view(np.int8)
    columns = signs.reshape(count // TILE_ROWS, TILE_ROWS, length // 8, TILE_ROWS, 4)
    columns = columns.transpose(0, 2, 3, 1, 4)
    packed = aligned(columns.shape, np.int8)
    packed[:] = columns
    return packed


def scanner(queries: NDArray[np.uint8]) -> Callable[..., int]:
    """`hamming.hamming_scan` for these queries, padded to `QUERY_MULTIPLE`, packed once."""
    packed = pack_queries(queries)
    query_counts = np.bitwise_count(queries).sum(axis=1, dtype=np.int32)
    config = configuration()
    steps = packed.shape[1]

    def scan(
        query_base: int, query_stride: int, count: int,
        row_base: int, row_stride: int, length: int,
        start: int, stop: int, id_offset: int,
        live: NDArray[np.uint8], tile_rows: int, k: int, *held: Any,
    ) -> int:  # fmt: skip
        # Held here: Numba frees an array of its own after the last use of its name, and the
        # kernel knows only the addresses.
        rows = aligned((2, steps, _TILE), np.int8)
        sums = aligned((len(queries) // QUERY_MULTIPLE, 4, _TILE), np.int8)
        return _scan(
            packed.ctypes.data, rows.ctypes.data, sums.ctypes.data, steps, query_counts, config,
            row_base, row_stride, length, start, stop, id_offset, live, k, *held,
        )  # fmt: skip

    return scan
