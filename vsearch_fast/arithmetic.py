"""Arithmetic as IEEE 754 and NumPy have it by default, whatever the process has set.

Rounding and the flushing of tiny numbers to zero are a thread's own; libraries change them
(some, by being loaded), and new threads inherit them. Bounds and distances are defined, and
proved, for the usual ones.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np

_Environment = ctypes.c_char * 512  # room for a fenv_t of any platform


def _functions() -> tuple[Any, Any, Any] | None:
    """C's fegetenv, fesetenv and FE_DFL_ENV; None where they are not found."""
    if sys.platform == "win32":
        return None
    try:
        # Of the process itself: Python is linked with it. A call takes less than the GIL's return.
        library = ctypes.PyDLL(None)
        get, put = library.fegetenv, library.fesetenv
        if sys.platform == "darwin":
            usual: Any = ctypes.byref(ctypes.c_char.in_dll(library, "_FE_DFL_ENV"))
        else:
            usual = ctypes.c_void_p(-1)
    except (OSError, AttributeError, ValueError):
        return None
    get.argtypes = put.argtypes = [ctypes.c_void_p]
    return get, put, usual


_FUNCTIONS = _functions()


class usual_arithmetic:
    """Context: this thread rounds to nearest, flushes nothing, and NumPy raises and warns of
    nothing; what was set before is put back."""

    __slots__ = ("_before", "_errors")

    def __enter__(self) -> None:
        self._errors = np.errstate(all="ignore")
        self._errors.__enter__()
        if _FUNCTIONS is not None:
            get, put, usual = _FUNCTIONS
            self._before = _Environment()
            get(self._before)
            put(usual)

    def __exit__(self, *error: object) -> None:
        if _FUNCTIONS is not None:
            _FUNCTIONS[1](self._before)
        self._errors.__exit__(None, None, None)


Function = TypeVar("Function", bound=Callable[..., Any])


def usually(function: Function) -> Function:
    """Decorator: a call computes with `usual_arithmetic`."""

    @wraps(function)
    def computing(*arguments: Any, **named: Any) -> Any:
        with usual_arithmetic():
            return function(*arguments, **named)

    return computing  # type: ignore[return-value]
