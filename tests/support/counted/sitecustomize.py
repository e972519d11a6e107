"""Python runs this at its start where this folder is in PYTHONPATH: `make test COVERAGE=1`.

While a module of another project is imported, no lines are counted: none of them are ours. To
trace them all the same takes half as long again as the import; TensorFlow's is 7 seconds.
"""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType

_traced = SourceFileLoader.exec_module


def _exec_module(self: SourceFileLoader, module: ModuleType) -> None:
    tracer = sys.gettrace()
    # Coverage's own, in C, which stops and starts in the frame that asks it to.
    if type(tracer).__name__ != "CTracer" or "site-packages" not in self.path:
        _traced(self, module)
        return
    tracer.stop()  # type: ignore[union-attr]
    try:
        _traced(self, module)
    finally:
        tracer.start()  # type: ignore[union-attr]


SourceFileLoader.exec_module = _exec_module  # type: ignore[method-assign,assignment]
