"""One search on all CUDA devices that it is asked of."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.cuda import sources
from ...threads import run
from ..proof import Work
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
    results: list[Any] = [None] * len(some)

    def work(number: int) -> None:
        device = some[number]

        def blocks() -> Generator[Block]:
            if covered:
                assert request.resident is not None
                yield from request.resident.blocks(
                    device, request.metric, covered, mask, request.strategy
                )
            for kind in shares[number]:
                yield from pass_through(
                    device, request.metric, kind, request.threads, request.refuse_first
                )

        with device.use():
            results[number] = search(device, problem, request.queries, blocks)

    with failures_named():
        run(work, len(some), Event())
    name = f"cuda {sources.architecture(some[0].capability)}"
    return _merge(results, distances, ids), name + (f" x {len(some)}" if len(some) > 1 else "")


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
