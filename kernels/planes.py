"""Hamming distance of many queries: rows are taken apart into planes of nibbles, and looked up.

Where a processor has no instruction that counts bits in vectors, it counts them by a table of 16
bytes: ``vpshufb`` looks up 32 or 64 nibbles at once. What is looked up here are nibbles of
different *rows*: a plane holds the same half of the same byte of 128 rows, and the query's nibble
there is known, so that a table of its own gives at once how many bits differ. A nibble of a pair
costs a 32nd (64th) of a look-up and of an addition; nothing is masked, shifted or summed across a
register. Rows are taken apart once for all queries, a block of bytes at a time that stays in the
first-level cache.

Sums are bytes over up to `CHUNK` planes, which cannot pass 255, and 16 bits beyond: rows of less
than 8,192 bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ..loading import once
from .cache import Kernel, compiled
from .level import counts_in_vectors, simd_level
from .memory import aligned
from .rows import next_tile
from .select import append, histogram_for, shrink_whole
from .simd import count_trailing_zeros
from .simd_bits import (
    GROUP,
    below_u8_64,
    below_u16_64,
    padded_words,
    planes_32x8,
    planes_add,
    planes_below,
    queries_at_once,
)
from .simd_u8 import number_of

QUERY_MULTIPLE = 4
MINIMUM_QUERIES = 16  # from here on taking rows apart pays: measured for 8 to 512 bytes
MOST_BYTES = 8184  # of a row: sums of its bits stay below the largest limit of 16 bits
CHUNK = 56  # planes whose sums stay in bytes: 4 * 56 < 256
BLOCK = 7  # words of a row that are taken apart at a time: 112 planes of 128 bytes

_U8, _I32, _I64 = numba.uint8, numba.int32, numba.int64
_SIGNATURE = _I64(
    numba.intp, numba.intp, _I64, numba.intp,  # offsets: address, stride, queries; tables
    numba.intp, numba.intp, _I64,  # rows: address, stride in bytes, bytes a row
    _I64, _I64, _I64,  # first row, row behind the last, id of row 0
    numba.types.Array(_U8, 1, "C", readonly=True), _I64,  # live, k
    numba.types.Array(_I32, 2, "C"), numba.types.Array(_I64, 2, "C"),
    numba.types.Array(_I64, 1, "C"), numba.types.Array(_I32, 1, "C"),
)  # fmt: skip


def available() -> bool:
    """Whether planes can be looked up here, and are faster than counting."""
    return simd_level() != "portable" and not counts_in_vectors()


@cache
def tables() -> NDArray[np.uint8]:
    """``(16, 64)``: table n holds popcount(n ^ i) for nibbles i, for each 16 bytes of a vector."""
    nibbles = np.arange(16, dtype=np.uint8)
    made = aligned((16, 64), np.uint8)
    made[:] = np.tile(np.bitwise_count(nibbles[:, None] ^ nibbles), 4)
    made.flags.writeable = False
    return made


def pack_queries(queries: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Packed bits ``(q, b)`` as offsets of tables, one for each plane: ``(q, 16 * ceil(b / 8))``.

    Planes beyond the row's bytes are zeros, and so are their offsets: they count nothing.
    """
    count, length = queries.shape
    packed = np.zeros((count, 16 * -(-length // 8)), np.uint16)
    packed[:, 0 : 2 * length : 2] = queries & 15
    packed[:, 1 : 2 * length : 2] = queries >> 4
    packed *= 64
    return packed


def kernel() -> Kernel:
    """What such a scan needs compiled."""
    return _scanner(number_of(simd_level()))


@once
def _scanner(level: int) -> Kernel:
    width = queries_at_once(level)

    def hamming_planes_scan(
        offsets_at, offsets_stride, queries, tables_at,
        row_base, row_stride, length,
        start, stop, id_offset,
        live, k,
        distances, ids, counts, limits,
    ):  # fmt: skip
        words = (length + 7) // 8
        whole = length // 8
        short = 16 * words <= CHUNK
        numbers = np.empty(2 * GROUP, np.int64)
        in_turn = np.arange(32)
        tail = np.empty(32, np.int64)
        memory = np.empty(16 * BLOCK * GROUP + 64, np.uint8)
        memory16 = np.empty((1 if short else queries) * GROUP + 32, np.uint16)
        memory8 = np.empty(width * GROUP + 64, np.uint8)
        bytes_of = np.empty(queries, np.uint8)  # limits where distances are bytes
        # Numba frees an array after the last use of its name: these are named in the loop, too.
        planes_at, sums_at, tile_at = memory.ctypes.data, memory16.ctypes.data, memory8.ctypes.data
        planes_at += -planes_at % 64
        sums_at += -sums_at % 64
        tile_at += -tile_at % 64
        sums = memory16[(sums_at - memory16.ctypes.data) // 2 :]
        tile = memory8[tile_at - memory8.ctypes.data :]
        numbers_at, in_turn_at, tail_at = (
            numbers.ctypes.data, in_turn.ctypes.data, tail.ctypes.data,
        )  # fmt: skip
        bytes_at = bytes_of.ctypes.data
        histogram = histogram_for(8 * length)
        distances_at, ids_at, counts_at = distances.ctypes.data, ids.ctypes.data, counts.ctypes.data
        capacity = distances.shape[1]
        for q in range(queries):
            bytes_of[q] = max(0, min(limits[q], 255))
        position = start
        while position < stop:
            count, position = next_tile(position, stop, live, numbers, GROUP, GROUP)
            if count == 0:
                break
            for block in range(0, words, BLOCK):
                some = min(BLOCK, words - block)
                for part in range(0, GROUP, 32):  # 32 rows' cache lines, then the next ones'
                    for w in range(block, block + some):
                        out = planes_at + (w - block) * 16 * GROUP + part
                        if w < whole:
                            planes_32x8(row_base + 8 * w, row_stride, numbers_at + 8 * part, out)
                        else:
                            padded_words(
                                row_base + 8 * w, row_stride, numbers_at + 8 * part,
                                length - 8 * w, tail_at,
                            )  # fmt: skip
                            planes_32x8(tail_at, 8, in_turn_at, out)
                if short:
                    break
                for q in range(0, queries, width):
                    for plane in range(0, 16 * some, CHUNK):
                        planes_add(
                            level, planes_at + plane * GROUP, min(CHUNK, 16 * some - plane),
                            offsets_at + q * offsets_stride + 2 * (16 * block + plane),
                            offsets_stride, tables_at, np.intp(block + plane == 0),
                            sums_at + 2 * GROUP * q,
                        )  # fmt: skip
            for first in range(0, queries, width):
                if short and not planes_below(
                    level, planes_at, 16 * words, offsets_at + first * offsets_stride,
                    offsets_stride, tables_at, bytes_at + first, tile_at,
                ):  # fmt: skip
                    continue
                for q in range(first, first + width):
                    limit = np.int64(limits[q])
                    for part in range(0, count, 64):
                        if short:
                            at = (q - first) * GROUP + part
                            below = below_u8_64(tile_at + at, np.int64(bytes_of[q]))
                        else:
                            at = q * GROUP + part
                            below = below_u16_64(sums_at + 2 * at, max(0, min(limit, 65535)))
                        while below != 0:
                            j = count_trailing_zeros(below)
                            below &= below - 1
                            if short:
                                distance = np.int32(tile[at + j])
                            else:
                                distance = np.int32(sums[at + j])
                            # Ascending rows, so that equal distances come by ascending id.
                            if part + j < count and distance < limit and append(
                                q, distance, id_offset + numbers[part + j],
                                distances_at, ids_at, counts_at, capacity,
                            ):  # fmt: skip
                                shrink_whole(q, k, distances, ids, counts, limits, histogram)
                                limit = np.int64(limits[q])
                                bytes_of[q] = min(limit, 255)
        # What addresses alone know until here.
        memory[0] = tail[0] + in_turn[0]
        return -1

    name = f"hamming_planes_scan_{level}"
    hamming_planes_scan.__name__ = hamming_planes_scan.__qualname__ = name
    return compiled(_SIGNATURE)(hamming_planes_scan)


def scanner(queries: NDArray[np.uint8]) -> Callable[..., int]:
    """`hamming.hamming_scan` for these queries, padded to `QUERY_MULTIPLE`, packed once."""
    packed, counting = pack_queries(queries), tables()
    scan_planes = kernel()

    def scan(
        query_base: int, query_stride: int, count: int,
        row_base: int, row_stride: int, length: int,
        start: int, stop: int, id_offset: int,
        live: NDArray[np.uint8], tile_rows: int, k: int, *held: Any,
    ) -> int:  # fmt: skip
        return scan_planes(
            packed.ctypes.data, packed.strides[0], len(packed), counting.ctypes.data,
            row_base, row_stride, length, start, stop, id_offset, live, k, *held,
        )  # fmt: skip

    return scan
