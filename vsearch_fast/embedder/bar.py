"""How far an embedder is, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable


def bar(total: int | None, *, shown: bool) -> tuple[Callable[[int], object], Callable[[], object]]:
    """A bar with rate and time left: its ``update`` and ``close``.

    Made only when it is shown: even a disabled tqdm bar starts a monitoring thread.
    """
    if not shown:
        return _nothing, _nothing
    from tqdm import tqdm

    # On a terminal it moves; a log needs no line a batch.
    interval = 0.1 if sys.stderr.isatty() else 30
    made = tqdm(total=total, unit=" images", dynamic_ncols=True, mininterval=interval)
    return made.update, made.close


def _nothing(_count: int = 0) -> None:
    """No progress bar."""
