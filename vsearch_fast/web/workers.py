"""Blocking work beside the event loop: a few threads, and a bounded queue before them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from .faults import BusyError

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """`threads` threads; of calls that found none free, `waiting` may wait."""

    def __init__(self, threads: int, waiting: int) -> None:
        self._executor = ThreadPoolExecutor(threads)
        self._limit = threads + waiting
        self._pending = 0

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work` in a thread; BusyError at once where too many wait."""
        if self._pending >= self._limit:
            raise BusyError
        loop = asyncio.get_running_loop()
        future = self._executor.submit(work, *args, **kwargs)
        self._pending += 1

        def ended(_: object) -> None:
            # In the worker's thread, also for a call that nobody waits for any longer.
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._ended)

        future.add_done_callback(ended)
        return await asyncio.wrap_future(future)

    def _ended(self) -> None:
        self._pending -= 1

    def close(self) -> None:
        """Start nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)
