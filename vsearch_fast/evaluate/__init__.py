"""How often the nearest picture is a right one: models, baselines and chance in one table.

::

    records ─► sampling ─► features (cached) ─► neighbours ─► protocol ─► study ─► report
               none that     a row each:        exact, own    P@k, item   figures  picture
               was trained   rows, baselines    group barred  recall, ... with CI  sheets

`evaluate` does it all and returns a `Study`; `vsearch eval` is the same as a command. What
every figure means is defined in `protocol`.
"""

from .rows import STANDARD, ModelRow, table_rows
from .study import Difference, Figure, Options, Study, evaluate

__all__ = [
    "STANDARD",
    "Difference",
    "Figure",
    "ModelRow",
    "Options",
    "Study",
    "evaluate",
    "table_rows",
]
