"""A progress bar for work that tells what is done and what there is to do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bar(what: str, *, unit: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Yields what takes the work done and the whole of it; the bar is on standard error, and only
    where somebody watches."""
    from tqdm import tqdm

    scaled = unit == "B"
    with tqdm(
        desc=what,
        unit=unit,
        unit_scale=scaled,
        unit_divisor=1024 if scaled else 1000,
        disable=True if quiet else None,
        leave=False,
    ) as shown:

        def advance(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield advance
