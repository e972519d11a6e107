"""Kernels made ready before a search asks for them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..loading import once, package
from ..words import Metric
from .bit_grouping import can_be
from .cpu.chunks import Problem


@once
def _parts() -> tuple[Any, ...]:
    package("numba")
    from ..kernels import cache
    from .cpu import buffers, cascade, scan, summed

    return cache, buffers, cascade, scan, summed


def warm(metrics: Iterable[Metric], dim: int) -> tuple[int, Path | None]:
    """Compile, or read, all that searches with these distances need for rows of ``dim`` numbers.

    Returns how many kernels that is, and the folder where they are kept, if there is one.
    """
    cache, buffers, cascade, scan, summed = _parts()
    kernels = []
    for metric in metrics:
        width = -(-dim // 8) if metric == "hamming" else dim
        family = scan.family(metric, width)
        kernels += [family.kernel, buffers.merging(family.distances)]
        if family.many is not None:
            kernels.append(family.many.kernel)
        if metric == "hamming":
            kernels += summed.kernels_for(width) if can_be(width) else ()
        else:
            rows = np.empty((0, dim), np.float32)
            kernels += cascade.kernels_for(Problem(metric, [rows], [None], [None], 1))
    wanted = list(dict.fromkeys(kernels))
    cache.prepare(wanted)
    return len(wanted), cache.folder()
