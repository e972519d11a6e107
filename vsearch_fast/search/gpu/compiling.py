"""The kernels of a device compiled, several units at a time, before the first is asked for.

A device compiles a unit when one of its kernels is first launched, one after the other; all of a
Hopper's take more than a minute of processor time. CuPy knows what it has compiled by source and
options, in the process as in its cache folder, so that `CudaDevice` finds all of it done.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor, as_completed, wait

from ...kernels.cuda import sources
from ...kernels.cuda.device import Device
from ...kernels.cuda.module import CudaDevice
from ...loading import package
from ...machine import available_threads
from .simpler import give_way

#: Shown by the commands (`terminal.console.Compiling`).
log = logging.getLogger("vsearch_fast.kernels")

#: Seconds after which it is said that kernels are compiled: what is in a cache takes less.
_PATIENCE = 1.0


def compile_units(device: Device) -> dict[str, float]:
    """Compile what is not compiled yet, and say so where it takes a while.

    Returns:
        seconds by unit. Whatever a compiler raises is raised, but of a unit whose kernels have
        simpler ones: they give way, and the unit is left out.
    """
    units = sources.units_for(device.capability)
    with ThreadPoolExecutor(
        min(len(units), available_threads()), thread_name_prefix="vsearch-compile"
    ) as pool:
        coming = {unit: pool.submit(_timed, device, unit) for unit in units}
        ready, others = wait(coming.values(), timeout=_PATIENCE)
        if others:
            _say(device, len(ready), len(units))
        for number, _ in enumerate(as_completed(others), len(ready) + 1):
            _say(device, number, len(units))
    seconds = {}
    for unit, future in coming.items():
        kernels = sources.kernels_of(unit, device.capability)
        error = future.exception()
        if error is None:
            seconds[unit] = future.result()
        elif not set(kernels) <= set(sources.SIMPLER):
            raise error
        else:
            for kernel in kernels:
                give_way(device, kernel, f"{type(error).__name__}: {error}")
    return seconds


def _say(device: Device, done: int, total: int) -> None:
    log.info(
        "Compiling kernels for %s: %d of %d files", device.name, done, total,
        extra={"total": total, "done": done, "target": device.name},
    )  # fmt: skip


def _timed(device: Device, unit: str) -> float:
    start = time.perf_counter()
    with device.use():
        if isinstance(device, CudaDevice):
            options = sources.options(device.capability)
            package("cupy").RawModule(code=sources.source(unit), options=options).compile()
        # Any kernel's: the device loads the unit.
        device.shape_of(sources.kernels_of(unit, device.capability)[0])
    return time.perf_counter() - start
