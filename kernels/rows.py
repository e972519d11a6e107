"""Which rows a scan looks at: the live ones, a cache-sized tile at a time."""

from __future__ import annotations

from .cache import within


@within
def next_tile(position, stop, live, numbers, tile_rows, pad):
    """List up to ``tile_rows`` live rows from ``position`` on in ``numbers``.

    ``live`` is uint8, one a row, or empty where all rows live. ``numbers`` has ``pad``
    places more than ``tile_rows``: the last row is repeated there, so that a micro-kernel
    may always read a full set of rows. Returns (count, position of the next tile).
    """
    count = 0
    if len(live) == 0:
        count = min(tile_rows, stop - position)
        for i in range(count):
            numbers[i] = position + i
        position += count
    else:
        while position < stop and count < tile_rows:
            if position + 8 > stop or count + 8 > tile_rows:
                numbers[count] = position
                count += 1 if live[position] else 0
                position += 1
                continue
            # Eight by eight, since a filter of few rows passes over most; and without a branch a
            # row, which one of half of them would mislead.
            some = live[position]
            for i in range(1, 8):
                some |= live[position + i]
            if some:
                for i in range(8):
                    numbers[count] = position + i
                    count += 1 if live[position + i] else 0
            position += 8
    if count > 0:
        for i in range(count, count + pad):
            numbers[i] = numbers[count - 1]
    return count, position
