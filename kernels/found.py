"""The pairs that a range search finds, brought into the order (query, distance, id)."""

from __future__ import annotations

import numba

from .cache import compiled
from .select import sort_pairs

_F64, _I32, _I64 = numba.float64, numba.int32, numba.int64

#: Pairs of a query up to which `sort_found` sorts them; it would miss the cache with more.
SORTED = 1 << 14


@compiled(
    numba.void(
        numba.types.Array(_I32, 1, "C"), numba.types.Array(_F64, 1, "C"),
        numba.types.Array(_I64, 1, "C"), numba.types.Array(_I64, 1, "C"),
        numba.types.Array(_F64, 1, "C"), numba.types.Array(_I64, 1, "C"),
    )
)  # fmt: skip
def place_found(queries, distances, ids, places, placed, placed_ids):
    """Write each pair to its query's next place, and move that on."""
    for i in range(len(queries)):
        place = places[queries[i]]
        placed[place], placed_ids[place] = distances[i], ids[i]
        places[queries[i]] = place + 1


@compiled(
    numba.void(
        numba.types.Array(_F64, 1, "C"), numba.types.Array(_I64, 1, "C"),
        numba.types.Array(_I64, 1, "C"), _I64, _I64,
    )
)  # fmt: skip
def sort_found(distances, ids, offsets, first, last):
    """Sort the pairs of queries ``first`` to ``last`` by (distance, id), in place, but for those
    that have more than `SORTED`."""
    for query in range(first, last):
        start, stop = offsets[query], offsets[query + 1]
        if stop - start <= SORTED:
            sort_pairs(distances[start:stop], ids[start:stop], stop - start)
