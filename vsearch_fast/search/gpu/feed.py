"""Rows that pass through a device: while one block is computed, the next is on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...kernels.cuda.device import Device

Part = TypeVar("Part")
#: Writes a part's rows to pinned arrays, and returns how many rows it wrote of each.
Fill = Callable[[Part, Mapping[str, NDArray]], int]


@dataclass(eq=False)
class _Slot:
    pinned: dict[str, NDArray]
    arrays: dict[str, Any]
    used: Any  # marks the end of the work on it, or of what its memory was in use for before
    sent: Any = None  # marks the end of the transfer


def feed(
    device: Device,
    parts: Sequence[Part],
    shapes: Mapping[str, tuple[Sequence[int], Any]],
    fill: Callable[[Part, Mapping[str, NDArray]], int],
) -> Iterator[tuple[Part, dict[str, Any]]]:
    """Each part with arrays of the device that hold what ``fill`` wrote for it.

    The arrays are those of the part before last: its work must have been started when the next
    part is asked for, not ended. Two parts are in memory, pinned and on the device.

    Args:
        shapes: by name, shape (rows first) and dtype of the largest part's arrays.
        fill: runs in a thread of its own; what it raises is raised here.
    """
    if not parts:
        return
    memory = [
        (
            {name: device.pinned(*shape) for name, shape in shapes.items()},
            {name: device.empty(*shape) for name, shape in shapes.items()},
        )
        for _ in range(min(2, len(parts)))
    ]
    # Work that was started before may still use this memory, which its owner has given back to
    # a pool; what comes next in that work's stream is behind it, but transfers have their own.
    free = device.mark()
    slots = [_Slot(pinned, arrays, free) for pinned, arrays in memory]

    def bring(part: Part, slot: _Slot) -> dict[str, Any]:
        with device.use():
            if slot.sent is not None:
                device.wait_for(slot.sent)
            rows = fill(part, slot.pinned)
            arrays = {name: array[:rows] for name, array in slot.arrays.items()}
            for name, array in arrays.items():
                slot.sent = device.send(array, slot.pinned[name][:rows], slot.used)
            return arrays

    thread = ThreadPoolExecutor(1, thread_name_prefix="vsearch-feed")
    coming: list[Future[dict[str, Any]]] = [
        thread.submit(bring, part, slot) for part, slot in zip(parts, slots, strict=False)
    ]
    try:
        for number, part in enumerate(parts):
            slot = slots[number % len(slots)]
            arrays = coming.pop(0).result()
            device.work_after(slot.sent)
            yield part, arrays
            slot.used = device.mark()
            if number + len(slots) < len(parts):
                coming.append(thread.submit(bring, parts[number + len(slots)], slot))
    finally:
        thread.shutdown(cancel_futures=True)
        # A search that was given up leaves transfers under way, to memory that others get next.
        for slot in slots:
            if slot.sent is not None:
                device.wait_for(slot.sent)


def as_bytes(array: NDArray, width: int) -> NDArray[np.uint8]:
    """A C-contiguous matrix as rows of so many bytes."""
    return array.reshape(-1).view(np.uint8).reshape(len(array), width)
