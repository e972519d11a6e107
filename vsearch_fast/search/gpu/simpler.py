"""Kernels give way to simpler ones of the same work, on devices where they are wrong or fail."""

from __future__ import annotations

import warnings

from ...kernels.cuda import sources
from ...kernels.cuda.device import Device


def give_way(device: Device, kernel: str, why: str) -> None:
    """This process avoids a kernel of `sources.SIMPLER` on a device, and a warning says so."""
    device.avoided.add(kernel)
    warnings.warn(
        f"{device.name}: the kernel {kernel} is not used: {why}. In this process"
        f" {sources.SIMPLER[kernel]} searches in its place, more slowly, with the same results."
        " Please report this, with the device and the versions of CuPy and the driver.",
        RuntimeWarning,
        stacklevel=2,
    )
