"""A database that stays on GPUs, for many searches.

    there = Resident(codes)                          # once
    distances, ids = topk(queries, there, k=10, metric="hamming")

An `Index` has `Index.to` for this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from .sketches import Sketch, Sketched

__all__ = ["Resident"]


class Resident:
    """A database on all CUDA devices that the process may use: pass it to `topk` for the array.

    Codes take their own size of device memory; float rows a byte a number and 48 bytes a row for
    their sketch, some hundreds of bytes a row for reductions where these pay, and their vectors too
    where these fit (otherwise the host decides what the sketches leave). What does not fit is sent
    by each search.

    Args:
        database: ``(n, b)`` packed uint8 codes, or ``(n, d)`` float16, float32 or float64 (rounded
            to float32), or a `Sketched` one, whose sketch is taken; kept, not copied, and not to
            be changed.
        vectors: False to leave the float rows where they are.

    Attributes:
        array: the database.
        sketch: of a `Sketched` database; otherwise None.

    Raises:
        MissingDependencyError, DeviceError: no CuPy, no device, too old a driver.
        ArgumentError, DTypeError: as `topk`.
    """

    def __init__(self, database: NDArray | Sketched, *, vectors: bool = True) -> None:
        from .arguments import checked_array
        from .gpu.devices import devices, failures_named
        from .gpu.request import LARGEST_SKETCHED
        from .gpu.resident_rows import ResidentRows

        self.sketch: Sketch | None = None
        if isinstance(database, Sketched):
            self.array, self.sketch = database.array, database.sketch
        else:
            array = np.asarray(database)
            metric = "hamming" if array.dtype == np.uint8 else "l2"
            self.array = checked_array(array, "the database", metric)
        floats = self.array.dtype.kind == "f"
        if (floats and self.array.shape[1] > LARGEST_SKETCHED) or self.array.shape[1] == 0:
            raise ArgumentError(
                f"the database has rows of {self.array.shape[1]:,} numbers",
                "Nothing was sent to a GPU",
                f"Use rows of 1 to {LARGEST_SKETCHED:,}, or search the array itself",
            )
        self.rows_there = ResidentRows(
            devices(), "floats" if floats else "codes", self.array.shape[1],
            self.array.dtype == np.float16, vectors,
        )  # fmt: skip
        with failures_named():
            self.rows_there.extend([self.array], [self.sketch])

    def __reduce__(self) -> tuple[Any, ...]:
        raise ArgumentError(
            "A Resident database lies in the memory of this process's GPUs",
            "It was not pickled",
            "Pickle its .array, and make Resident(array) of it where it is to be searched",
        )

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> Any:
        """(n, d), or (n, bytes)."""
        return self.array.shape

    def __repr__(self) -> str:
        rows, dim = self.array.shape
        there = self.rows_there
        part = "" if there.rows == rows else f", {there.rows:,} rows of it"
        return f"<Resident {rows:,} x {dim}, {there.bytes / 1e6:,.0f} MB on a GPU{part}>"
