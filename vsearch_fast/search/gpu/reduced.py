"""Reduced rows on a device: queries as reductions have them, and how the kernel is launched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.cuda.arguments import REDUCED, SCAN, Record
from ...kernels.cuda.device import F64, I32, I64, U32, Device
from ...loading import once, package
from .. import tiling
from ..reductions import ReducedQueries, Reduction
from .blocks import ReducedPart
from .lists import REDUCED as BY_REDUCTIONS
from .lists import Lists
from .scans import Compared

#: Blocks that run on each processor.
_BLOCKS = 8
_MOST_BLOCKS = 65535
#: Smaller scales of sums would be flushed as subnormal float32.
_SMALLEST_SCALE = 2.0**-100


@once
def _constants() -> tuple[int, float, float]:
    """(FINER, SLACK, REACH) of the processor's kernels."""
    package("numba")
    from ...kernels import coarse, reduced_scan

    return coarse.FINER, reduced_scan.SLACK, reduced_scan.REACH


def _scales(reduction: Reduction) -> tuple[float, float]:
    """What whole sums of coarse and of fine numbers are multiplied by."""
    planes = reduction.coarse, reduction.fine
    if reduction.shape.metric == "l2":
        finer = _constants()[0]
        return planes[0].step ** 2 / finer, planes[1].step ** 2 / finer
    # A little less: the product is rounded.
    return planes[0].step * (1 - 2.0**-20), planes[1].step * (1 - 2.0**-20)


def usable(reduction: Reduction) -> bool:
    """Whether a reduction is likely to exclude enough, and by numbers that a device tells apart."""
    left = reduction.left[1] if reduction.shape.fine else reduction.left[0]
    return left <= tiling.TILING.reduced_left and _scales(reduction)[0] >= _SMALLEST_SCALE


@dataclass(frozen=True, eq=False)
class Asked:
    """Queries by a reduction, on a device."""

    coarse: tuple[Any, ...]  # as `kernels/cuda/reduced.cu` takes them, up to the scale
    fine: tuple[Any, ...]
    growth: float

    @classmethod
    def of(
        cls, device: Device, reduction: Reduction, queries: NDArray[np.float32], gamma: float
    ) -> Asked:
        """Queries ``(q, d)`` reduced and sent; ``gamma`` is the rounding of distances."""
        squared = reduction.shape.metric == "l2"
        departure = max(reduction.coarse.departure, reduction.fine.departure) if squared else 0.0
        coarse, fine = reduction.queries(queries, len(queries))
        scales = _scales(reduction)
        return cls(
            _sent(device, coarse, squared, scales[0]),
            _sent(device, fine, squared, scales[1]),
            (1 + departure) * (1 + 2 * gamma) * (1 + 2.0**-40),
        )


def _sent(device: Device, asked: ReducedQueries, squared: bool, scale: float) -> tuple[Any, ...]:
    numbers = np.ascontiguousarray(asked.numbers).view(np.uint8)
    return (
        device.upload(numbers), I64(numbers.shape[1]),
        device.upload(asked.weights) if squared else None,
        device.upload(asked.residuals) if squared else None,
        device.upload(asked.errors),
        None if squared else device.upload(asked.residuals.view(np.uint8)),
        F64(scale),
    )  # fmt: skip


def scan_reduced(
    device: Device,
    kernel: str,
    queries: Compared,
    rows: Compared,
    live: Any,
    first: int,
    last: int,
    base: int,
    lists: Lists,
    step: float,
    gamma: float,
    part: ReducedPart,
    asked: Asked,
) -> None:
    """`scans.scan` of positions whose rows are reduced: what reductions leave is bounded by
    sketches, whose ``step`` this is. `Lists.left` counts it."""
    shape, count = device.shape_of(kernel), lists.queries
    width = rows.rows.shape[1]
    across = -(-count // shape.queries)
    tiles = -(-(last - first) // shape.rows)
    down = max(1, min(tiles, _MOST_BLOCKS, device.processors * _BLOCKS))
    reduced = part.reduction.shape
    fine = part.fine if reduced.fine else None
    _, slack, reach = _constants()
    device.launch(
        kernel, (across, down), shape.threads, shape.shared_bytes(width),
        (
            Record(SCAN, (
                *lists.turn(BY_REDUCTIONS),
                queries.rows, I64(width), I32(count), queries.errors, queries.sums,
                rows.rows, I64(width), rows.errors, rows.bounds_by(device, step), rows.sums,
                live, I64(first), I64(last), U32(base), I32(width),
                F64(step), F64(gamma), F64(0.0), *lists.of_queries(slice(count)),
                None, F64(0.0), I32(0), I32(0), None,
            )),
            Record(REDUCED, (
                *asked.coarse, part.coarse, I32(reduced.coarse),
                *asked.fine, fine, I32(reduced.fine), I32(reduced.fine_bytes),
                I64(part.start), F64(asked.growth), F64(1.0 - slack), F64(reach), lists.left,
            )),
        ),
    )  # fmt: skip
