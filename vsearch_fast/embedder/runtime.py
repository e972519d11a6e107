"""The one door to ONNX Runtime: loaded when it is needed, and without its telemetry.

From 1.29 on the official builds collect events and send them to Microsoft; they begin when the
package is imported, with a device id and a database in the home's cache folder. The switch is
read at that moment and no later, so every part of ONNX Runtime comes through here.
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from typing import Any

from ..errors import MissingDependencyError
from ..installing import how_to_install
from ..loading import package

#: ONNX Runtime's own switch; a value that the user has set stands, "0" included.
SWITCH = "ORT_DISABLE_TELEMETRY"


def without_telemetry() -> None:
    """Switch it off for this process and those it starts, before anything imports the package."""
    os.environ.setdefault(SWITCH, "1")


def runtime(part: str = "") -> Any:
    """The module onnxruntime, or a `part` of it ("quantization").

    Raises MissingDependencyError without it.
    """
    without_telemetry()
    fresh = "onnxruntime" not in sys.modules
    try:
        onnxruntime = package("onnxruntime")
        if fresh and os.environ[SWITCH] == "1":
            # Windows' own kind of it knows the function alone.
            with contextlib.suppress(AttributeError):
                onnxruntime.disable_telemetry_events()
        return import_module(f"onnxruntime.{part}") if part else onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "The package onnxruntime, which runs the network, is not installed",
            "No picture can be turned into features",
            f"Install it with {how_to_install('cpu')}",
        ) from error
