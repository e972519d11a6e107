"""A small search on a device against the definition, before its first result is believed.

What it must catch is arithmetic that is not what was asked for: subnormal numbers flushed,
multiply-adds fused, a matrix layout that is not what was assumed; and work that does not wait for
what it needs. So it runs every scan that the device has (`trials`). A kernel that is wrong or fails
and has a simpler one gives way to it (`simpler`); any other is a reason to use the processor.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from threading import Lock

from ...kernels.cuda import sources
from ...kernels.cuda.device import Device
from .compiling import compile_units
from .simpler import give_way
from .trials import trials


def check(device: Device) -> str:
    """What went wrong, or the empty string.

    A warning tells of each kernel that gives way; they are in the device's ``avoided`` then.
    """
    try:
        compile_units(device)
        with device.use():
            for what, is_right in trials(device):
                kernel = what.split(",")[0]
                if kernel in sources.SIMPLER:
                    _try_or_give_way(device, kernel, is_right)
                elif not is_right():
                    return f"{what} gave wrong results"
    except Exception as error:  # a driver's, a compiler's: whatever it is, it cannot be trusted
        return f"{type(error).__name__}: {error}"
    return ""


def _try_or_give_way(device: Device, kernel: str, is_right: Callable[[], bool]) -> None:
    if kernel in device.avoided:
        return
    try:
        why = "" if is_right() else "it gave wrong results"
    except Exception as error:  # where the whole device is lost, the kernels that follow show it
        why = f"{type(error).__name__}: {error}"
    if why:
        give_way(device, kernel, why)


#: Error of a device that gave wrong results in this process, by its number.
_distrusted: dict[str, str] = {}
_checking = Lock()


def trusted(some: Sequence[Device]) -> bool:
    """Whether all devices pass the self-check, which runs once a process; warns where not."""

    with _checking:
        for device in some:
            key = repr(device)
            if key not in _distrusted:
                _distrusted[key] = check(device)
                if _distrusted[key]:
                    warnings.warn(
                        f"{device.name} failed the self-check: {_distrusted[key]}. Searches of this"
                        " process use the processor instead. Please report this, with the device"
                        " and the versions of CuPy and the driver.",
                        RuntimeWarning,
                        stacklevel=4,
                    )
        return not any(_distrusted[repr(device)] for device in some)
