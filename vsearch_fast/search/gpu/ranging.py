"""All rows within a fixed limit of each query, on devices: as `rounds`, with limits that stay.

A round scans rows until a list might overflow; what is listed is decided at once, and what lies
within the radius goes to the host, so that lists begin empty again. A round that listed more than
there is room for is forgotten and begun again with fewer rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.cuda.device import Device
from . import lists as _lists
from .blocks import Block, ReducedPart
from .products import Products, distances_of, keys_of
from .rounds import Problem, _Batch
from .scans import Compared

#: Queries that are searched together, at most: their lists are sent to the host.
QUERIES = 1024
#: A list that is filled to less than one part of so many lets the next round be twice as large.
_SPARSE = 4
#: Rows of a round that overflowed, by so many for the next try.
_SHRINK = 8

#: Is told pairs: numbers of queries, distances, ids.
Found = Callable[[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]], None]


def limits_of(radii: NDArray[np.float64], metric: str) -> NDArray[np.uint64]:
    """Keys that leave what lies within: distances of codes must be below theirs, lower bounds not
    above."""
    if metric != "hamming":
        return keys_of(radii + 0.0, metric)  # of -0 and 0 the same
    most = np.iinfo(np.int32).max - 1
    return np.minimum(np.floor(radii), most).astype(np.uint64) + np.uint64(1)


class RangeBatch(_Batch):
    """Some queries with their radii on a device.

    Args:
        radii: float64 (q,).
        found: is told what lies within.
    """

    def __init__(
        self, device: Device, problem: Problem, queries: NDArray, capacity: int,
        radii: NDArray[np.float64], found: Found,
    ) -> None:  # fmt: skip
        super().__init__(device, problem, queries, capacity)
        self._found = found
        device.write(self.lists.limits, limits_of(radii, problem.metric))

    def _rounds(
        self, block: Block, live: Any, queries: Compared, scale: float, products: Products,
        first: int, last: int, part: ReducedPart | None,
    ) -> None:  # fmt: skip
        lists = self.lists
        size = last - first
        while first < last:
            size = min(size, last - first)
            asked = None
            if part is not None and not self._flat:
                asked = self._reduced(part)
            self._scan(block, live, queries, scale, products, first, first + size, part, asked)
            state = self._state()
            left = None if asked is None else state.left
            if state.overflowed:  # which as many rows as there is room for cannot
                lists.rewind()
                size = max(lists.capacity, size // _SHRINK)
                continue
            if block.runs:
                self._count(block, size, part, left)
            if state.longest:
                self._hand_over(block)
            first += size
            if state.longest < lists.capacity // _SPARSE:
                size *= 2

    def _hand_over(self, block: Block) -> None:
        """Decide all that is listed, tell what lies within, and begin anew."""
        lists, device = self.lists, self.device
        if not self.problem.exact:
            self._decide_all(block)
            lists.drop()
            self._state()
        counts = device.download(lists.counts)
        longest = int(counts.max(initial=0))
        if longest:
            keys = device.download(lists.keys[:, :longest])
            ids = device.download(lists.ids[:, :longest])
            listed = np.arange(longest) < counts[:, None]
            some = keys[listed]
            distances = (
                some.astype(np.float64)
                if self.problem.exact
                else distances_of(some, self.problem.metric)
            )
            self._found(np.nonzero(listed)[0], distances, ids[listed].astype(np.int64))
        device.fill(lists.counts, 0)
        lists.keep()

    def close(self) -> None:
        """Leave the lists to the next search."""
        self._state()
        _lists.give_back(self.lists)
