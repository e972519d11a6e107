"""How often the nearest picture is a right one: models, baselines and chance in one table.

::

    records ─► sampling ─► features (cached) ─► neighbours ─► protocol ─► study ─► report
               none that     a row each:        exact, own    P@k, item   figures  picture
               was trained   rows, baselines    group barred  recall, ... with CI  sheets

`evaluate` does it all and returns a `Study`, `write` makes the files of it; `vsearch eval` is
both as a command. What every figure means is defined in `protocol`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .figures import Difference, Figure
    from .output import write
    from .rows import STANDARD, ModelRow, table_rows
    from .study import Options, Study, evaluate

_HOME = {
    "STANDARD": "rows",
    "Difference": "figures",
    "Figure": "figures",
    "ModelRow": "rows",
    "Options": "study",
    "Study": "study",
    "evaluate": "study",
    "table_rows": "rows",
    "write": "output",
}

__all__ = [
    "STANDARD",
    "Difference",
    "Figure",
    "ModelRow",
    "Options",
    "Study",
    "evaluate",
    "table_rows",
    "write",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:  # imported when first used: `vsearch --help` needs no NumPy
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
