"""Residual norms of sketched rows as scans test them: in steps, in float32, rounded up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...kernels.cuda.device import F64, I64, Device
from ..sketches import Run


def write_bounds(device: Device, errors: Any, step: float, bounds: Any) -> None:
    """Of rows that are sketched with one step."""
    count = len(errors)
    if count:
        shape = device.shape_of("bound_rows")
        device.launch(
            "bound_rows", (-(-count // shape.rows), 1), shape.threads, 0,
            (errors, I64(count), F64(step), bounds),
        )  # fmt: skip


def bounds_of(device: Device, errors: Any, runs: Sequence[Run]) -> Any:
    """Of a block's rows, on the device; the first run begins with the first row."""
    bounds = device.empty((len(errors),), np.float32)
    stops = [*(run.start for run in runs[1:]), len(errors)]
    for run, stop in zip(runs, stops, strict=True):
        rows = slice(run.start, stop)
        write_bounds(device, errors[rows], run.step, bounds[rows])
    return bounds
