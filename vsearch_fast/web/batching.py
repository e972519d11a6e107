"""Concurrent requests done together: one scan of the catalogue answers all that wait.

::

    request ─┐
    request ─┼─► waiting (bounded) ─► a batch ─► `work`, in a thread ─► each its answer
    request ─┘                        while it runs, the next one gathers

Nothing waits for company: an idle batcher takes a single request at once, and a busy one takes
all that came meanwhile. So the batch grows with the load by itself, and with it the rate, since
a scan reads the catalogue once for all queries of a batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from .faults import BusyError

Request = TypeVar("Request")
Answer = TypeVar("Answer")

Work = Callable[[Sequence[Request]], Sequence[Answer | Exception]]
"""Answers some requests, each by its result or by the exception that its sender shall see."""


class Batcher(Generic[Request, Answer]):
    """Gathers requests on one event loop and does them in a thread of its own.

    Args:
        work: called from one thread at a time.
        largest: requests of one call.
        waiting: requests that may wait.
        observe: told the size of each batch.
    """

    def __init__(
        self,
        work: Work[Request, Answer],
        *,
        largest: int,
        waiting: int,
        observe: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._work = work
        self._largest = largest
        self._limit = waiting
        self._observe = observe
        self._queue: deque[tuple[Request, asyncio.Future[Answer]]] = deque()
        self._executor = ThreadPoolExecutor(1)
        self._worker: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    async def submit(self, request: Request) -> Answer:
        """The answer to a request; raises what `work` gave for it, or BusyError at once.

        Who is cancelled while waiting leaves the queue: nothing is done for nobody.
        """
        if len(self._queue) >= self._limit:
            raise BusyError
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append((request, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._drain())
        try:
            return await future
        finally:
            if future.cancelled():
                # By identity: requests hold arrays, whose == is no truth.
                self._queue = deque(entry for entry in self._queue if entry[1] is not future)

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(self._largest, len(self._queue)))]
            requests = [request for request, _ in batch]
            self._observe(len(batch))
            answers: Sequence[Answer | Exception]
            try:
                answers = await loop.run_in_executor(self._executor, self._work, requests)
            except Exception as error:  # each of them is told; the next batch has its chance
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def close(self) -> None:
        """Let the running batch end and start no other."""
        self._queue.clear()
        self._executor.shutdown(wait=True)
