"""Part ``rates`` of the GPU report: memory, and how fast each unit of a device is, alone.

They are the assumptions of the model of speed (`machines`), which is put beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.cuda.device import I32, Device
from vsearch_fast.loading import package
from vsearch_fast.search.gpu.resident_rows import count_bits

from .base import QUEUED_S, Bench, clocks_during, seconds
from .machines import machine_named

_ROW = 512  # bytes of a row that the read roof is measured on

SOURCE = Path(__file__).with_name("rates.cu")
#: As in the source: threads of a block, operations of a turn.
_THREADS, _CHAINS = 256, 8
_TURNS = 4096
#: Blocks of a processor: enough warps to hide what an operation takes.
_BLOCKS = 8
#: A matrix of 64 and one of 128 rows of 128 bytes.
_WARPGROUP_BYTES = (64 + 128) * 128

#: By kernel: feature of the device that it needs; its unit in `machines`; threads that do one
#: operation together.
RATES: dict[str, tuple[str | None, str, int]] = {
    "rate_popc": (None, "popc", 1),
    "rate_vabsdiff4": (None, "vabsdiff4", 1),
    "rate_dp4a": (None, "dp4a", 1),
    "rate_fma": (None, "fma", 1),
    "rate_dadd": (None, "double", 1),
    "rate_mma_b1": ("HAS_MMA_BITS", "mma_b1", 32),
    "rate_mma_u8": ("HAS_MMA_BYTES", "mma_u8", 32),
    "rate_wgmma_b1": ("HAS_WGMMA", "wgmma_b1", 128),
    "rate_wgmma_u8": ("HAS_WGMMA", "wgmma_u8", 128),
}

Launch = Callable[[str, int, int, int, Any], None]
"""Starts a kernel of the source: name, blocks, threads, bytes of shared memory, arguments."""


def run(bench: Bench, found: dict[str, Any]) -> None:
    """Bandwidth of the memory, then every unit."""
    bench.attempt(found, "memory", partial(memory, bench))
    features = sources.features_of(bench.devices[0].capability)
    for kernel, (needs, _, _) in RATES.items():
        if needs is None or needs in features:
            bench.attempt(found, kernel, partial(rate, bench, kernel))


def memory(bench: Bench) -> dict[str, Any]:
    """Bandwidth in bytes/s: a copy counts what is read and what is written."""
    device = bench.devices[0]
    timed = partial(seconds, device, repeats=bench.sizes.repeats, least_s=QUEUED_S)
    with device.use():
        size = min(bench.sizes.copy_bytes, device.free_bytes() // 4) // _ROW * _ROW
        source = device.empty((size // _ROW, _ROW), np.uint8)
        device.fill(source, 1)
        reading = [timed(lambda: count_bits(device, source))["median_s"]]
        if hasattr(source, "__cuda_array_interface__"):
            reading.append(timed(source.view(np.uint64).max)["median_s"])
        # As words: a library may copy element by element.
        words, target = source.view(np.uint64), device.empty((size // _ROW, _ROW // 8), np.uint64)
        copying = timed(lambda: device.copy(target, words))
    return {
        "bytes": size,
        "copy": 2 * size / copying["median_s"],
        "read": size / min(reading),
        "read_by": {
            name: size / time for name, time in zip(("count_bits", "max"), reading, strict=False)
        },
    }


def launcher(device: Device) -> Launch:
    """What starts the kernels of `SOURCE` on a device, compiled as the others are."""
    module = package("cupy").RawModule(
        code=SOURCE.read_text(), options=sources.options(device.capability)
    )

    def launch(kernel: str, blocks: int, threads: int, shared: int, arguments: Any) -> None:
        module.get_function(kernel)((blocks,), (threads,), arguments, shared_mem=shared)

    return launch


def rate(bench: Bench, kernel: str) -> dict[str, Any]:
    """Operations a second of a unit, and of what the model assumes."""
    device, (_, unit, together) = bench.devices[0], RATES[kernel]
    whole = kernel.startswith("rate_wgmma")  # a block fills a processor
    blocks = device.processors * (1 if whole else _BLOCKS)
    with device.use():
        launch = launcher(device)
        out = device.empty((blocks * _THREADS,), np.uint64)  # of the widest type
        work = partial(
            launch, kernel, blocks, _THREADS, _WARPGROUP_BYTES if whole else 0, (out, I32(_TURNS))
        )
        measured = seconds(device, work, bench.sizes.repeats, QUEUED_S)
        clocks = clocks_during(device, work)
    operations = blocks * _THREADS // together * _CHAINS * _TURNS
    found = {
        "operations": operations,
        **measured,
        "clocks": clocks,
        "per_s": operations / measured["median_s"],
    }
    machine = machine_named(device.name)
    if machine is not None:
        found["assumed_per_s"] = machine.per_second(unit)
        found["by_assumed"] = found["per_s"] / found["assumed_per_s"]
    return found
