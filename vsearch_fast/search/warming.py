"""Kernels made ready before a search asks for them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..loading import once, package
from ..words import Metric
from .cpu.chunks import Problem


@once
def _parts() -> tuple[Any, ...]:
    package("numba")
    from ..kernels import cache
    from .cpu import buffers, cascade, scan

    return cache, buffers, cascade, scan


def warm(metrics: Iterable[Metric], dim: int) -> tuple[int, Path | None]:
    """Compile, or read, all that searches with these distances need for rows of ``dim`` numbers.

    Returns how many kernels that is, and the folder where they are kept, if there is one.
    """
    cache, buffers, cascade, scan = _parts()
    kernels = []
    for metric in metrics:
        width = -(-dim // 8) if metric == "hamming" else dim
        family = scan.family(metric, width)
        kernels += [family.kernel, buffers.merging(family.distances)]
        if family.many is not None:
            kernels.append(family.many.kernel)
        if metric != "hamming":
            rows = np.empty((0, dim), np.float32)
            kernels += cascade.kernels_for(Problem(metric, [rows], [None], [None], 1))
    wanted = list(dict.fromkeys(kernels))
    cache.prepare(wanted)
    return len(wanted), cache.folder()
