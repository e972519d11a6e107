"""Ray beside a command whose standard output others read."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """What Ray prints of lost nodes and workers, to standard output, goes to standard error; a
    cluster that is joined in the block is left at its end, so that nothing is printed later."""

    def connected() -> bool:
        ray = sys.modules.get("ray")
        return ray is not None and bool(ray.is_initialized())

    before = connected()
    with contextlib.redirect_stdout(sys.stderr):
        try:
            yield
        finally:
            if connected() and not before:
                sys.modules["ray"].shutdown()
