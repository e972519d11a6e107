"""Hamming distance in three stages: sums of groups of bits exclude most rows, the first half of a
row most of the others, and what is left is counted whole.

The bits of a row are divided into disjoint groups of at most 255, some of them inverted, and each
group's set bits are counted: a byte a group. Where two rows differ in h bits of a group, these
counts differ by at most h. So

    d(q, x) >= sum over groups of |S(q) - S(x)|,

in whole numbers, whatever the groups. Nothing is rounded and nothing has to be proved of how they
were chosen; groups of bits that are set together make the bound tight. The first 16 groups are of
the first half of a row's bytes (the smaller, where these are odd), the others of the second. So
with the distance of the first halves counted

    d(q, x) >= d1(q, x) + sum over the groups of the second half of |S(q) - S(x)|.

A row whose bound reaches the limit is read no further.
"""

from __future__ import annotations

import numba
import numpy as np

from ..loading import once
from .cache import Kernel, compiled
from .hamming import UNROLLED
from .layout import SUMS
from .level import counts_by_bytes
from .select import append, histogram_for, shrink_whole
from .simd import count_trailing_zeros, hamming_u8_1x8
from .simd_groups import (
    ROWS,
    add_bytes,
    copy_row,
    groups_below,
    groups_rest,
    list_rows,
    set_bytes,
)
from .simd_u8 import prefetch

TILE_BYTES = 128 << 10  # rows that stay in the second-level cache while the queries pass
SEVERAL = 8  # queries between which few rows are not read
FEW_ROWS = 64  # of a tile, for one query: those that are left are asked for ahead

_U8, _I32, _I64 = numba.uint8, numba.int32, numba.int64


def words_of(length: int) -> int:
    """Vectors of 64 bytes of either half of a row, where kernels know them; else 0."""
    return length // 128 if length in UNROLLED and length % 128 == 0 else 0


@compiled(
    numba.void(
        numba.intp, numba.intp, _I64, _I64,  # rows: address, stride in bytes, bytes a row, how many
        numba.types.Array(_U8, 3, "C", readonly=True), numba.types.Array(_U8, 2, "C"),
    )
)  # fmt: skip
def group_sums(row_base, row_stride, length, rows, table, sums):
    """Write the sums of all groups of each row.

    ``table`` ``(2 * length, 16, SUMS)`` has what a value of each half byte adds to each sum, the
    lower half first; ``sums`` is ``(rows, SUMS)``. Both begin on 32 bytes.
    """
    table_at, sums_at = table.ctypes.data, sums.ctypes.data
    row = np.empty(length, np.uint8)
    row_at = row.ctypes.data
    for r in range(rows):
        out = sums_at + r * SUMS
        sums[r] = 0
        copy_row(row_at, row_base + r * row_stride, length)
        for i in range(length):
            value = np.int64(row[i])
            add_bytes(out, table_at + (32 * i + (value & 15)) * SUMS, 1)
            add_bytes(out, table_at + (32 * i + 16 + (value >> 4)) * SUMS, 1)


_ROWS = (
    numba.intp, numba.intp, _I64, numba.intp,  # queries: address, stride, how many; their sums
    numba.intp, numba.intp, _I64, numba.intp,  # rows: address, stride, bytes a row; their sums
    _I64, _I64,  # first row, row behind the last
)  # fmt: skip
_LIVE = numba.types.Array(_U8, 1, "C", readonly=True)
_BEST = (
    numba.types.Array(_I32, 2, "C"), numba.types.Array(_I64, 2, "C"),
    numba.types.Array(_I64, 1, "C"), numba.types.Array(_I32, 1, "C"),
)  # fmt: skip


@once
def scanner(level: int, words: int) -> Kernel:
    """The scan for rows of two halves of ``words`` times 64 bytes (0: any length).

    It scans rows ``start`` to ``stop`` (numbered as rows, sums and ``live`` begin) for all queries;
    see `select` for the buffers. Limits may begin at any distance that k rows are known to be
    below. Queries' sums begin on 32 bytes. Returns how many pairs the bounds left, and how many
    of them the first halves.
    """
    by_bytes = int(counts_by_bytes())

    def hamming_groups_scan(
        query_base, query_stride, queries, query_sums,
        row_base, row_stride, length, row_sums,
        start, stop, id_offset,
        live, k,
        distances, ids, counts, limits,
    ):  # fmt: skip
        tile = FEW_ROWS if queries == 1 else max(ROWS, TILE_BYTES // max(1, length) // ROWS * ROWS)
        half = length // 2
        # A tile's rows that sums have left; those of them that their first halves have, with the
        # distances of these: two of each, by turns.
        found = np.empty((2, tile + 2 * ROWS), np.int64)
        kept = np.empty((2, tile + 2 * ROWS), np.int64)
        parts = np.empty((2, tile + 2 * ROWS), np.int32)
        halves, places = np.empty(tile + 2 * ROWS, np.int32), np.empty(tile + 2 * ROWS, np.int64)
        eight, rest, whole_limit = (
            np.empty(ROWS, np.int32), np.empty(ROWS, np.int32), np.empty(ROWS, np.int32),
        )  # fmt: skip
        behind = np.zeros(ROWS * SUMS, np.uint8)
        # Numba frees an array after the last use of its name: these are named in the loop, too.
        behind_at = behind.ctypes.data
        found_at, kept_at, turn = found.ctypes.data, kept.ctypes.data, 8 * found.shape[1]
        halves_at, places_at, live_at = halves.ctypes.data, places.ctypes.data, live.ctypes.data
        eight_at, rest_at, limit_at = eight.ctypes.data, rest.ctypes.data, whole_limit.ctypes.data
        whole = start + (stop - start) // ROWS * ROWS
        copy_row(behind_at, row_sums + whole * SUMS, (stop - whole) * SUMS)
        histogram = histogram_for(8 * length)
        distances_at, ids_at, counts_at = distances.ctypes.data, ids.ctypes.data, counts.ctypes.data
        capacity = distances.shape[1]
        left, halved = 0, 0
        # One query's rows are counted a tile later than they are asked for, and their second
        # halves another one.
        lag = 1 if queries == 1 else 0
        waiting, halfway = 0, 0
        for first in range(start, stop + 2 * lag * tile, tile):
            last = min(first + tile, stop)
            side = (first - start) // tile & lag
            # Several queries leave most rows between them: the next tile's are asked for in a run,
            # a part of them while each query passes this one.
            ahead = last
            share = 0 if queries < SEVERAL else -(-tile // queries)
            for q in range(queries):
                query = query_base + q * query_stride
                sums = query_sums + q * SUMS
                limit = np.int64(limits[q])
                count = 0
                for r in range(ahead, min(ahead + share, last + tile, stop)):
                    prefetch(row_base + r * row_stride, length)
                ahead += share
                for r in range(first, last, ROWS):
                    at = behind_at if r == whole else row_sums + r * SUMS
                    below = groups_below(level, at, sums, limit)
                    # Listed also where there are none: which is seldom foreseen.
                    if r + ROWS > last:
                        below &= (1 << (last - r)) - 1
                        for j in range(last - r if len(live) else 0):
                            below &= ~(np.int64(live[r + j] == 0) << j)
                    elif len(live):
                        below &= set_bytes(live_at + r)
                    count += list_rows(below, r, found_at + side * turn + 8 * count)
                left += count
                now = side
                if lag:
                    for i in range(count):
                        prefetch(row_base + found[side, i] * row_stride, half)
                    now = 1 - side
                    count, waiting = waiting, count
                # First halves.
                near = 0
                for j in range(ROWS):
                    whole_limit[j] = limit
                    found[now, count + j] = found[now, max(0, count - 1)]
                for i in range(0, count, ROWS):
                    listed = found_at + now * turn + 8 * i
                    groups_rest(level, 1, row_sums, listed, sums, limit_at, rest_at)
                    below = hamming_u8_1x8(
                        words, by_bytes, query, query_stride, row_base, row_stride,
                        listed, half, rest_at, halves_at + 4 * i,
                    )  # fmt: skip
                    if i + ROWS > count:
                        below &= (1 << (count - i)) - 1
                    near += list_rows(below, i, places_at + 8 * near)
                for i in range(near):
                    kept[now, i], parts[now, i] = found[now, places[i]], halves[places[i]]
                halved += near
                then = now
                if lag:
                    for i in range(near):
                        prefetch(row_base + kept[now, i] * row_stride + half, length - half)
                    then = 1 - now
                    near, halfway = halfway, near
                # Second halves.
                for j in range(ROWS):
                    kept[then, near + j] = kept[then, max(0, near - 1)]
                for i in range(0, near, ROWS):
                    for j in range(ROWS):
                        rest[j] = limit - parts[then, min(i + j, near - 1)]
                    below = hamming_u8_1x8(
                        words, by_bytes, query + half, query_stride, row_base + half, row_stride,
                        kept_at + then * turn + 8 * i, length - half, rest_at, eight_at,
                    )  # fmt: skip
                    while below != 0:
                        j = count_trailing_zeros(below)
                        below &= below - 1
                        if i + j >= near:
                            break
                        distance = np.int32(parts[then, i + j] + eight[j])
                        # Ascending rows, so that equal distances come by ascending id.
                        if distance < limit and append(
                            q, distance, id_offset + kept[then, i + j],
                            distances_at, ids_at, counts_at, capacity,
                        ):  # fmt: skip
                            shrink_whole(q, k, distances, ids, counts, limits, histogram)
                            limit = np.int64(limits[q])
        # What their addresses alone know until here.
        behind[0] = 0
        eight[0] = rest[0] = whole_limit[0] = 0
        halves[0], places[0] = 0, 0
        return left, halved

    name = f"hamming_groups_scan_{level}_{words}_{by_bytes}"
    hamming_groups_scan.__name__ = hamming_groups_scan.__qualname__ = name
    return compiled(
        numba.types.UniTuple(_I64, 2)(*_ROWS, _I64, _LIVE, _I64, *_BEST)
    )(hamming_groups_scan)  # fmt: skip


@once
def prober(level: int, words: int) -> Kernel:
    """The kernel that adds to the buffers, for each query, true distances of a ``few`` live rows:
    those of least bounds among eight of each ``stride`` rows. It is for limits to begin with."""
    by_bytes = int(counts_by_bytes())

    def hamming_groups_probe(
        query_base, query_stride, queries, query_sums,
        row_base, row_stride, length, row_sums,
        start, stop, stride,
        live, few, k,
        distances, ids, counts, limits,
    ):  # fmt: skip
        half = length // 2
        near = np.empty((1, 2 * few + ROWS), np.int32)
        near_ids = np.empty((1, 2 * few + ROWS), np.int64)
        near_counts, near_limits = np.zeros(1, np.int64), np.zeros(1, np.int32)
        numbers = np.empty(ROWS, np.int64)
        eight, rest, most = (
            np.empty(ROWS, np.int32), np.empty(ROWS, np.int32), np.zeros(ROWS, np.int32),
        )  # fmt: skip
        numbers_at = numbers.ctypes.data
        eight_at, rest_at, most_at = eight.ctypes.data, rest.ctypes.data, most.ctypes.data
        near_at, near_ids_at = near.ctypes.data, near_ids.ctypes.data
        near_counts_at = near_counts.ctypes.data
        distances_at, ids_at, counts_at = distances.ctypes.data, ids.ctypes.data, counts.ctypes.data
        capacity, histogram = distances.shape[1], histogram_for(8 * length)
        for q in range(queries):
            query, sums = query_base + q * query_stride, query_sums + q * SUMS
            near_counts[0], near_limits[0] = 0, limits[q]
            for first in range(start, stop - ROWS + 1, stride):
                below = groups_below(level, row_sums + first * SUMS, sums, np.int64(near_limits[0]))
                if below == 0:
                    continue
                for j in range(ROWS):
                    numbers[j] = first + j
                groups_rest(level, 0, row_sums, numbers_at, sums, most_at, rest_at)
                while below != 0:
                    j = count_trailing_zeros(below)
                    below &= below - 1
                    bound = np.int32(-rest[j])
                    if (
                        (len(live) == 0 or live[first + j] != 0)
                        and bound < near_limits[0]
                        and append(
                            0, bound, np.int64(first + j),
                            near_at, near_ids_at, near_counts_at, near.shape[1],
                        )
                    ):  # fmt: skip
                        shrink_whole(
                            np.int64(0), few, near, near_ids, near_counts, near_limits, histogram
                        )
            count = near_counts[0]
            if count == 0:
                continue
            for i in range(0, count, ROWS):
                for j in range(ROWS):
                    numbers[j] = near_ids[0, min(i + j, count - 1)]
                hamming_u8_1x8(
                    words, by_bytes, query, query_stride, row_base, row_stride,
                    numbers_at, half, most_at, eight_at,
                )  # fmt: skip
                hamming_u8_1x8(
                    words, by_bytes, query + half, query_stride, row_base + half, row_stride,
                    numbers_at, length - half, most_at, rest_at,
                )  # fmt: skip
                for j in range(min(ROWS, count - i)):
                    distance = np.int32(eight[j] + rest[j])
                    if distance < limits[q] and append(
                        q, distance, numbers[j], distances_at, ids_at, counts_at, capacity
                    ):
                        shrink_whole(q, k, distances, ids, counts, limits, histogram)
            # What their addresses alone know until here.
            numbers[0] = near_ids[0, 0]
            eight[0] = rest[0] = 0
            most[0] = 0

    name = f"hamming_groups_probe_{level}_{words}_{by_bytes}"
    hamming_groups_probe.__name__ = hamming_groups_probe.__qualname__ = name
    return compiled(numba.void(*_ROWS, _I64, _LIVE, _I64, _I64, *_BEST))(hamming_groups_probe)
