"""A database of codes with sums of groups of their bits, for many searches.

    fast = Grouped(codes)                            # once
    distances, ids = topk(queries, fast, k=10, metric="hamming")

An `Index` stores such sums beside its codes and needs none of this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from . import bit_grouping, learning, tiling
from .arguments import checked_array
from .bit_groups import BitGroups, Summed


class Grouped:
    """Packed codes with their sums, where these pay: pass it to `topk` for the array.

    Args:
        database: ``(n, b)`` packed uint8; kept, not copied, and not to be changed.
        groups: how bits are grouped; None: learnt from a sample of the codes.
        threads: None for all processors that the process may use.

    Attributes:
        array: the database.
        groups: None where a sample said that sums would not pay; searches scan then, as ever.
        summed: the codes' sums, 32 bytes a row, or nothing.

    Raises:
        ArgumentError, DTypeError: as `topk`; groups of other bits.
    """

    def __init__(
        self,
        database: NDArray[np.uint8],
        groups: BitGroups | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        self.array = checked_array(database, "the database", "hamming")
        if groups is not None and groups.length != self.array.shape[1]:
            raise ArgumentError(
                f"the groups are of codes of {groups.length} bytes, and these have "
                f"{self.array.shape[1]}",
                "No sums were made",
                "Choose groups by a sample of these codes",
            )
        if groups is None and len(self.array) >= tiling.TILING.reduce_rows:
            sample = self.array[learning.sample_of(len(self.array), bit_grouping.SAMPLE)]
            groups = bit_grouping.learn(np.ascontiguousarray(sample))
        self.groups = groups
        self.summed: list[Summed] = []
        if groups is not None:
            self.summed.append(Summed(groups, 0, groups.sums(self.array, threads)))

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> Any:
        """(n, b)."""
        return self.array.shape
