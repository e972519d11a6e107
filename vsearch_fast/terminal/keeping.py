"""What took minutes is never replaced unasked: the one rule of all commands that make such things.

A command whose output is there already, made by the same choices from the same data, has nothing
to do. One whose output is there and is another refuses, and names the switch that replaces it.
Pages, tables and pictures that are made in seconds are replaced: their command is their record.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import KeptError

#: The switch that replaces; where a stopped run can go on it is called `RESTART`, as ever.
OVERWRITE = "--overwrite"
RESTART = "--restart"


def stands(
    target: Path,
    held: str | None,
    asked: str,
    *,
    consequence: str,
    differences: Sequence[str] = (),
    said: str = "",
    switch: str = OVERWRITE,
    name: str = "-o",
) -> bool:
    """Whether `target` is there and is what the command would make.

    Args:
        held: what `target` says that it was made by, None where it says nothing.
        asked: the same of what the command would make.
        differences: between the two, in words, where they can be told.
        said: what is there, where "was made otherwise" does not tell it.
        name: the option that names the target.

    Raises:
        KeptError: it is there and is something else.
    """
    if not target.exists():
        return False
    if held == asked:
        return True
    what = f" ({'; '.join(differences)})" if differences else ""
    said = said or ("was made otherwise" if held else "does not say how it was made")
    raise KeptError(
        f"{target} is there already and {said + what}",
        f"{consequence}, so that it is not lost",
        f"Name another file with {name}, or pass {switch} to replace this one",
    )
