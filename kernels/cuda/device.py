"""What a search asks of a device, so that it can run on a CUDA device or on an emulated one.

Arrays are whatever the device makes of them: they have a shape, a dtype, slices and `view`s of
another dtype, and are handed back to the device for everything else. `launch` takes arrays, None
for a null pointer, NumPy scalars of exactly the types of the kernel's parameters, and
`arguments.Record` for a struct.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True)
class Shape:
    """How a kernel is launched, as its source says (`SHAPE`).

    Attributes:
        threads: of a block.
        queries, rows: of a block's tile.
        shared, shared_a_byte: bytes of shared memory, and more for each byte of a row's width
            (`keep_nearest`: for each pair that is sorted there).
        blocks: that a processor has registers for, at least.
        cluster: blocks that run together: as many, or a multiple, are launched along queries.
    """

    threads: int
    queries: int
    rows: int
    shared: int
    shared_a_byte: int
    blocks: int
    cluster: int = 1

    def shared_bytes(self, width: int) -> int:
        """Shared memory of a block for rows of so many bytes."""
        return self.shared + self.shared_a_byte * width


class Device(Protocol):
    """One device with its memory and one stream of work.

    Attributes:
        name: of the hardware, for messages.
        capability: compute capability, (9, 0) for a Hopper.
        processors: streaming multiprocessors.
        shared_limit: bytes of shared memory that a block may have.
        spare: lists of pairs that searches leave for the next one.
        avoided: kernels that were found to be wrong here, and have simpler ones.
    """

    name: str
    capability: tuple[int, int]
    processors: int
    shared_limit: int
    spare: list[Any]
    avoided: set[str]

    def use(self) -> Any:
        """A context in which the calling thread works with this device."""

    def free_bytes(self) -> int:
        """Memory that can still be had."""

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> Any:
        """An array of this device, of undefined content, that begins on 256 bytes."""

    def upload(self, host: NDArray) -> Any:
        """A new array with this content."""

    def write(self, target: Any, host: NDArray) -> None:
        """Copy to an array of the device."""

    def copy(self, target: Any, source: Any) -> None:
        """Copy between arrays of the device."""

    def fill(self, target: Any, value: int) -> None:
        """Set all elements."""

    def download(self, source: Any) -> NDArray:
        """The content, when all work before has been done."""

    def shape_of(self, kernel: str) -> Shape:
        """How a scan is launched."""

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int],
        threads: int,
        shared: int,
        arguments: Sequence[Any],
    ) -> None:
        """Start a kernel behind what was started before."""

    # Transfers beside the work: what `feed.Feed` needs.

    def pinned(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray:
        """Host memory that transfers read directly."""

    def send(self, target: Any, host: NDArray, after: Any) -> Any:
        """Begin to copy from pinned memory, behind ``after``. Returns what marks its end."""

    def mark(self) -> Any:
        """What marks the end of all work that was started so far."""

    def work_after(self, mark: Any) -> None:
        """Work that is started from now on waits for this mark."""

    def wait_for(self, mark: Any) -> None:
        """Wait here for a mark."""


#: Scalars by the kernels' types.
I32, I64, U32, F64 = np.int32, np.int64, np.uint32, np.float64
