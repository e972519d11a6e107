"""Which CUDA devices this process may use, and what is missing where there are none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

from ...errors import DeviceError, MissingDependencyError, VsearchError
from ...installing import how_to_install
from ...kernels.cuda import sources
from ...kernels.cuda.device import Device
from ...loading import package

CURE = "Use backend='cpu', or see `vsearch gpu` for what is missing"


def installed() -> bool:
    """Whether CuPy can be imported; without importing it, which takes a second."""
    return find_spec("cupy") is not None


@cache
def devices() -> tuple[Device, ...]:
    """All CUDA devices that this process may use.

    Raises:
        MissingDependencyError: CuPy is not installed, or cannot be imported.
        DeviceError: no driver, too old a driver, no device, too old devices.
    """
    if not installed():
        raise MissingDependencyError(
            "CuPy is not installed",
            "Nothing was searched on a GPU",
            f"{how_to_install('gpu')} for CUDA 12; for CUDA 13 the extra gpu-cuda13",
        )
    try:
        cupy: Any = package("cupy")
    except Exception as error:  # whatever a broken installation raises
        raise MissingDependencyError(
            f"CuPy is installed and cannot be imported: {error}",
            "Nothing was searched on a GPU",
            "Install one CuPy alone, cupy-cuda12x or cupy-cuda13x, for the driver's CUDA version",
        ) from error
    from ...kernels.cuda.module import CudaDevice

    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise _no_device(str(error), _driver_version(runtime)) from error
    found = tuple(CudaDevice(number) for number in range(count))
    usable = tuple(device for device in found if device.capability >= sources.OLDEST)
    if not usable:
        raise DeviceError(
            "No device is of compute capability "
            f"{'.'.join(map(str, sources.OLDEST))} or later: {', '.join(d.name for d in found)}"
            if found
            else "CUDA sees no device",
            "Nothing was searched on a GPU",
            "Use backend='cpu', or a machine with an NVIDIA GPU (is CUDA_VISIBLE_DEVICES empty?)",
        )
    return usable


def _driver_version(runtime: Any) -> int:
    try:
        return int(runtime.driverGetVersion())
    except Exception:  # without a driver there is no version
        return 0


def _no_device(message: str, driver: int) -> DeviceError:
    consequence = "Nothing was searched on a GPU"
    if "InsufficientDriver" in message and driver:
        return DeviceError(
            f"The NVIDIA driver supports CUDA {driver // 1000}.{driver % 1000 // 10}, which is too"
            f" old for the installed CuPy ({message})",
            consequence,
            "Update the driver, or install the CuPy of the driver's CUDA version",
        )
    if "InsufficientDriver" in message:
        return DeviceError(
            f"No NVIDIA driver was found ({message})",
            consequence,
            "Install the driver, or use backend='cpu'",
        )
    return DeviceError(
        f"CUDA sees no device ({message})",
        consequence,
        "Use backend='cpu', or a machine with an NVIDIA GPU (is CUDA_VISIBLE_DEVICES empty?)",
    )


@contextmanager
def failures_named() -> Iterator[None]:
    """Errors of CUDA and CuPy as DeviceError, which says what to do."""
    try:
        yield
    except VsearchError:
        raise
    except Exception as error:
        raise _failed(error) from error


def _failed(error: Exception) -> DeviceError:
    if "OutOfMemory" in type(error).__name__ or "out of memory" in str(error):
        return DeviceError(
            f"The GPU's memory is full: {error}",
            "The search was given up",
            "Free memory on the device, search for fewer queries at a time or a smaller k,"
            " or use backend='cpu'",
        )
    return DeviceError(
        f"The GPU failed: {type(error).__name__}: {error}", "The search was given up", CURE
    )
