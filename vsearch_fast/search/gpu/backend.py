"""One search on all CUDA devices that it is asked of."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.cuda import sources
from ...kernels.cuda.device import Device
from ...threads import run
from .. import tiling
from ..proof import Work
from . import lists as _lists
from . import ranging as _ranging
from .blocks import Block
from .devices import failures_named
from .host import HostRows
from .passing import Passing, parts_of, pass_through
from .request import Request
from .rounds import Problem, search


def run_search(request: Request, distances: NDArray, ids: NDArray[np.int64]) -> tuple[Work, str]:
    """Search on the resident rows' devices, or on all; write the result to ``distances`` and
    ``ids``. Returns the work and the name of what did it.

    Raises:
        DeviceError: not enough memory, or a device that failed.
    """
    plan = _Plan.of(request)
    results: list[Any] = [None] * len(plan.devices)

    def work(number: int) -> None:
        device = plan.devices[number]
        with device.use():
            results[number] = search(
                device, plan.problem, request.queries, lambda: plan.blocks(number)
            )

    with failures_named():
        run(work, len(plan.devices), Event())
    return _merge(results, distances, ids), plan.name


def run_ranges(
    request: Request, radii: NDArray[np.float64], gathering: Any
) -> Iterator[tuple[int, Work]]:
    """Find all rows within a radius of each query, a batch of queries at a time.

    ``gathering`` (`cpu.gathering.Gathering`) is told what is found, by as many workers as there are
    devices. Yields queries and work of each batch, in order, when it is gathered and not ended.

    Raises:
        DeviceError: not enough memory, or a device that failed.
    """
    plan = _Plan.of(request)
    exact = request.metric == "hamming"
    capacity = _lists.capacity_for(1, tiling.TILING.device_list)
    each = _lists.bytes_a_query(capacity, not exact)
    room = min(tiling.TILING.device_bytes, *(device.free_bytes() // 4 for device in plan.devices))
    size = max(1, min(_ranging.QUERIES, room // each))
    for first in range(0, len(request.queries), size):
        some = slice(first, first + size)
        works: list[Any] = [None] * len(plan.devices)
        gathering.begin(len(plan.devices))

        def search_one(number: int, some: slice = some, works: list[Any] = works) -> None:
            device = plan.devices[number]
            with device.use():
                batch = _ranging.RangeBatch(
                    device, plan.problem, request.queries[some], capacity, radii[some],
                    lambda *pairs: gathering.add(number, *pairs, None),
                )  # fmt: skip
                with closing(plan.blocks(number)) as coming:
                    for block in coming:
                        batch.take(block)
                batch.close()
                works[number] = batch.work

        with failures_named():
            run(search_one, len(plan.devices), Event())
        done = Work()
        for work in works:
            done.add(work)
        yield len(request.queries[some]), done


def name_of(request: Request) -> str:
    """What searches, as a `Proof` calls it."""
    some = request.devices()
    name = f"cuda {sources.architecture(some[0].capability)}"
    return name + (f" x {len(some)}" if len(some) > 1 else "")


@dataclass(frozen=True, eq=False)
class _Plan:
    """A search as devices share it."""

    request: Request
    devices: Sequence[Device]
    problem: Problem
    covered: tuple[range, ...]  # rows that are resident
    mask: NDArray[np.uint8] | None
    shares: list[list[list[Passing]]]  # of each device

    @classmethod
    def of(cls, request: Request) -> _Plan:
        """Raises what refuses a resident row that is not finite."""
        some = request.devices()
        covered = request.covered()
        mask = _joined(request.masks, request.segments) if covered else None
        if covered:
            assert request.resident is not None
            bad = request.resident.lowest_bad(covered, mask)
            if bad is not None:
                raise request.refuse_first(bad)
        exact = request.metric == "hamming"
        problem = Problem(
            request.metric, request.queries.shape[1], request.k,
            None if exact else HostRows(list(request.segments), request.threads),
            request.refuse_first,
        )  # fmt: skip
        kinds = parts_of(
            request.metric, request.segments, request.masks, request.sketches, covered,
            request.strategy,
        )  # fmt: skip
        shares = [_share(kinds, number, len(some)) for number in range(len(some))]
        return cls(request, some, problem, covered, mask, shares)

    @property
    def name(self) -> str:
        return name_of(self.request)

    def blocks(self, number: int) -> Generator[Block]:
        """The rows of a device: those that are there, then those that pass."""
        request, device = self.request, self.devices[number]
        if self.covered:
            assert request.resident is not None
            yield from request.resident.blocks(
                device, request.metric, self.covered, self.mask, request.strategy
            )
        for kind in self.shares[number]:
            yield from pass_through(
                device, request.metric, kind, request.threads, request.refuse_first
            )


def _share(kinds: list[list[Passing]], number: int, devices: int) -> list[list[Passing]]:
    """A device's rows of each kind: every part is cut among all devices."""
    shares = []
    for kind in kinds:
        mine = []
        for part in kind:
            rows = len(part.rows)
            size = max(1, -(-rows // devices))
            mine += list(part.cut(size))[number : number + 1] if devices > 1 else [part]
        shares.append(mine)
    return shares


def _joined(
    masks: Sequence[NDArray[np.uint8] | None], segments: Sequence[NDArray]
) -> NDArray[np.uint8] | None:
    """Masks of segments as one, None where all rows live."""
    if all(mask is None for mask in masks):
        return None
    return np.concatenate(
        [
            np.ones(len(segment), np.uint8) if mask is None else mask
            for mask, segment in zip(masks, segments, strict=True)
        ]
    )


def _merge(results: list[Any], distances: NDArray, ids: NDArray[np.int64]) -> Work:
    """The nearest of all devices' nearest."""
    work = Work()
    for result in results:
        work.add(result[3])
    if len(results) == 1:
        found, found_ids, counts, _ = results[0]
        assert (counts == distances.shape[1]).all(), "a device returned too few rows"
        distances[:], ids[:] = found[:, : distances.shape[1]], found_ids[:, : distances.shape[1]]
        return work
    for query in range(len(distances)):
        some = np.concatenate([found[query, : counts[query]] for found, _, counts, _ in results])
        some_ids = np.concatenate([f[query, : counts[query]] for _, f, counts, _ in results])
        order = np.lexsort((some_ids, some))[: distances.shape[1]]
        distances[query], ids[query] = some[order], some_ids[order]
    return work
