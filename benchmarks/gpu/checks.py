"""Parts ``compile``, ``selfcheck`` and ``sanitize`` of the GPU report: what comes before a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.cuda.device import Device
from vsearch_fast.kernels.cuda.module import CudaDevice
from vsearch_fast.search.gpu.compiling import compile_units
from vsearch_fast.search.gpu.trials import trials
from vsearch_fast.words import JUDGED

from .base import Bench

#: Tools of compute-sanitizer: addresses, races in shared memory, barriers.
_TOOLS = ("memcheck", "racecheck", "synccheck")
#: Bytes of a tool's output that are kept, of its end.
_KEPT = 4000
#: What runs under it.
TRIALS = Path(__file__).with_name("sanitized.py")


def compiled(bench: Bench, found: dict[str, Any]) -> None:
    """All units at the same time, as a first search has them; then what each kernel takes."""
    for device in bench.devices:
        bench.attempt(found, f"seconds {device!r}", partial(compile_units, device))
    device = bench.devices[0]
    for unit in sources.UNITS:
        bench.attempt(found, unit, partial(resources, device, unit))


def resources(device: Device, unit: str) -> dict[str, Any]:
    """By kernel: how it is launched, and what the compiler took for it where it is known."""
    found: dict[str, Any] = {}
    with device.use():
        for kernel in sources.kernels_of(unit, device.capability):
            found[kernel] = dict(device.shape_of(kernel).__dict__)
            if isinstance(device, CudaDevice):
                function = device._kernel(kernel)
                found[kernel] |= {
                    "registers": function.num_regs,
                    "local_bytes": function.local_size_bytes,
                    "static_shared_bytes": function.shared_size_bytes,
                }
    return found


def checked(bench: Bench, found: dict[str, Any]) -> None:
    """Every trial of the self-check, each recorded: one that fails does not hide the others."""
    wrong = 0
    for device in bench.devices:
        of_device = found.setdefault(repr(device), {})
        with device.use():
            for name, is_right in trials(device):
                bench.attempt(of_device, name, partial(_tried, is_right))
        wrong += any(not each.get("right") for each in of_device.values())
    bench.bar("self_check", wrong)


def _tried(is_right: Callable[[], bool]) -> dict[str, Any]:
    start = time.perf_counter()
    if not is_right():
        raise ArithmeticError("results are not those of the definition")
    return {"right": True, "seconds": time.perf_counter() - start}


def sanitized(bench: Bench, found: dict[str, Any]) -> None:
    """The self-check under compute-sanitizer, by tool and metric, each in a process of its own."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        found["skipped"] = "there is no compute-sanitizer on the path"
        return
    for check in _TOOLS:
        for metric in JUDGED:
            bench.attempt(found, f"{check} {metric}", partial(_under, bench, tool, check, metric))


def _under(bench: Bench, tool: str, check: str, metric: str) -> dict[str, Any]:
    """Raises RuntimeError where the tool found something, TimeoutExpired where time was short."""
    start = time.perf_counter()
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [tool, "--tool", check, "--error-exitcode", "7", sys.executable, str(TRIALS), metric],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env={**os.environ, "PYTHONPATH": path},
        timeout=max(1.0, min(bench.deadline - time.monotonic() + 30, 1e6)), check=False,
    )  # fmt: skip
    said = done.stdout[-_KEPT:]
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {said}")
    return {"seconds": time.perf_counter() - start, "said": said}
