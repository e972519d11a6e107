"""One search as the devices are asked for it, and whether it goes to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import DeviceError, VsearchError
from ...kernels.cuda.device import Device
from .. import tiling
from ..rows import converted, live_rows
from ..sketches import Sketch
from . import devices as cuda
from .resident_rows import ResidentRows
from .selfcheck import trusted

#: Numbers a row up to which sums of squares of 8-bit sketches fit 32 bits, and float32 sums
#: have a bound.
LARGEST_SKETCHED = 66_000
_LARGEST_DIM = 1 << 22
_LARGEST_ID = (1 << 32) - 2
_LARGEST_K = 1 << 20

_ROWS_READ = 1024


@dataclass(frozen=True, eq=False)
class Request:
    """One search, as `search.topk_segments` has checked it."""

    metric: str
    queries: NDArray
    segments: Sequence[NDArray]
    masks: Sequence[NDArray[np.uint8] | None]
    sketches: Sequence[Sketch | None]
    resident: ResidentRows | None
    strategy: str
    k: int  # at most the live rows
    threads: int | None
    refuse: Callable[[int], Exception]

    def refuse_first(self, row: int) -> Exception:
        """The error for the first live row that holds NaN or infinity, ``row`` or one before.

        Devices and blocks find such rows in no order. Read again only when there is one.
        """
        first = 0
        for segment, mask in zip(self.segments, self.masks, strict=True):
            for start in range(0, min(len(segment), row - first), _ROWS_READ):
                some = converted(segment[start : start + _ROWS_READ])
                bad = ~np.isfinite(some).all(axis=1)
                if mask is not None:
                    bad &= mask[start : start + _ROWS_READ] != 0
                if bad.any():
                    return self.refuse(min(row, first + start + int(np.argmax(bad))))
            first += len(segment)
        return self.refuse(row)

    def devices(self) -> Sequence[Device]:
        """Those that hold the resident rows, else all."""
        return cuda.devices() if self.resident is None else self.resident.devices

    @property
    def rows(self) -> int:
        return sum(map(len, self.segments))

    def unfit(self) -> str | None:
        """Why no device can search this, or None."""
        dim = self.queries.shape[1]
        if dim == 0:
            return "rows of no numbers"
        if self.rows > _LARGEST_ID:
            return f"{self.rows:,} rows"
        if self.k > _LARGEST_K:
            return f"k = {self.k:,}"
        if self.metric != "hamming" and dim > _LARGEST_DIM:
            return f"rows of {dim:,} numbers"
        sketching = self.strategy == "sketch" or (self.strategy == "auto" and any(self.sketches))
        if self.metric != "hamming" and dim > LARGEST_SKETCHED and sketching:
            return f"sketches of {dim:,} numbers"
        return None

    def covered(self) -> tuple[range, ...]:
        """Rows that the devices hold as the strategy needs them; the others are sent."""
        return () if self.resident is None else self.resident.covered(self.rows, self.strategy)

    def worth_it(self) -> bool:
        """Whether a device is likely the faster one."""
        if self.resident is not None:
            return True
        sizes = tiling.TILING
        bytes_ = sum(
            live_rows([s], [mask]) * s.shape[1] * s.itemsize
            for s, mask in zip(self.segments, self.masks, strict=True)
        )
        return (
            len(self.queries) >= sizes.device_worth_queries and bytes_ >= sizes.device_worth_bytes
        )


def wanted(backend: str, request: Request) -> bool:
    """Whether a search goes to the devices.

    Raises:
        MissingDependencyError, DeviceError: backend ``cuda``, and it cannot.
    """
    if backend == "cpu":
        return False
    unfit = request.unfit()
    if backend == "cuda":
        if unfit:
            raise DeviceError(f"A GPU cannot search {unfit}", "Nothing was searched", cuda.CURE)
        return trusted(request.devices())
    if unfit or not (request.worth_it() and (request.resident is not None or cuda.installed())):
        return False
    try:
        return trusted(request.devices())
    except VsearchError:
        return False  # `auto` on a machine without a GPU: the processor, and nothing to say
