"""Changes of an index by name, as tests of any mix of them draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vsearch_fast.index import Index


def changed(
    index: Index, folder: Path, truth: Any, put: Callable[..., None], what: str, step: int,
    number: int,
) -> tuple[Index, int]:  # fmt: skip
    """Do what is named, in the index and in ``truth``, whose `rows` are by id.

    Args:
        put: called with index, truth, ids, seed and whether they are replaced, adds rows to both.
        what: "add N", "remove", "replace", "compact", "optimize", "join N" (to segments
            of so many rows, or of fewer than before), "undone" or "reopen".
        step: of how many before; seeds and chooses.
        number: of ids that were ever added; they count up.

    Returns:
        The index, which may have been opened anew, and the number of ids.
    """
    ids = list(truth.rows)
    if what.startswith("add"):
        count = int(what.split()[1])
        put(index, truth, [f"{number + i}" for i in range(count)], step)
        number += count
    elif what == "remove" and ids:
        gone = ids[step::5]
        index.remove(gone)
        for id_ in gone:
            del truth.rows[id_]
    elif what == "replace" and ids:
        put(index, truth, ids[:: 7 + step], step, True)
    elif what == "compact":
        index.compact()
    elif what == "optimize":
        index.optimize()
    elif what.startswith("join"):
        index.optimize(segment_rows=int(what.split()[1]))
    elif what == "undone":
        with pytest.raises(KeyError), index.transaction():
            put(index, type(truth)(), [f"{number + i}" for i in range(70)], step)
            raise KeyError
    elif what == "reopen":
        index.close()
        index = Index.open(folder, mode="rw")
    return index, number
