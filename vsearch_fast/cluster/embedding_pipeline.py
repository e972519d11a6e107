"""Units through a Ray cluster, by Ray Data.

::

    units ──► decode: a task a unit,   ──► network: a pool of actors,  ──► files of finished
    of the    on any processor             a session each                  units, as they come
    driver    pixels in the object store   processors or GPUs

Ray Data starts actors as there is work and room, holds tasks back while the object store is full,
and does again what a lost worker or node had in hand. A *window* of units is in one pipeline, so
that what is held of the list in the cluster is bounded; what an interrupted pipeline left out goes
into another one.
"""

from __future__ import annotations

import contextlib
import logging
import math
import pickle
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from ..errors import ArgumentError, ClusterError, VsearchError
from .embedding_units import Recipe, Unit
from .embedding_worker import EmbeddingWorker, Network, decoded

#: Units of one pipeline: half a million pictures, whose paths take some 50 MB.
WINDOW = 8192

#: Pipelines that may fail one after the other without a single finished unit.
_PATIENCE = 3

#: Of a processor, for a decoding task beside a network that is on processors, too: it takes so much
#: of its processor from each worker, so that there is always room to decode.
_DECODING = 0.25

_KEPT = "What was embedded before is kept, the rest was not embedded"


@dataclass(frozen=True, slots=True)
class Workers:
    """What embeds.

    Attributes:
        count: workers at most; None: as many as the cluster has room for.
        cpus: processors each, and threads of its network.
        gpus: GPUs each, or a part of one that several share; 0: the network runs on processors.
    """

    count: int | None = None
    cpus: float = 1
    gpus: float = 0

    def check(self) -> None:
        """Raise ArgumentError for numbers that cannot be."""
        for name, value, least in (
            ("count", 1 if self.count is None else self.count, 1),
            ("cpus", self.cpus, 1),
            ("gpus", self.gpus, 0),
        ):
            if not (math.isfinite(value) and value >= least):
                raise ArgumentError(
                    f"Workers have {name} {value}", "Nothing was embedded", f"Give {least} or more"
                )

    @property
    def threads(self) -> int:
        return max(1, int(self.cpus))

    def most(self, resources: dict[str, float]) -> int:
        """How many fit into a cluster, at least 1.

        Raises:
            ClusterError: not a single one does.
        """
        rooms = [resources.get("CPU", 0) / self.cpus]
        if self.gpus:
            # A processor is left to decode.
            rooms = [resources.get("CPU", 0) - 1, resources.get("GPU", 0) / self.gpus]
        room = int(min(rooms))
        if room < 1:
            raise ClusterError(
                f"The cluster has {resources.get('CPU', 0):g} processors and "
                f"{resources.get('GPU', 0):g} GPUs, and a worker takes {self.cpus:g} and "
                f"{self.gpus:g}",
                "Nothing was embedded",
                "Add nodes, or ask for less a worker: --worker-cpus, --worker-gpus",
            )
        return room if self.count is None else min(room, self.count)

    def resources(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What Ray keeps for a decoding task and for a worker."""
        if self.gpus:
            return {"num_cpus": 1}, {"num_cpus": min(self.cpus, 1) * 0.5, "num_gpus": self.gpus}
        return {"num_cpus": _DECODING}, {"num_cpus": self.cpus - _DECODING}


def finished(
    ray: Any, units: Iterator[Unit], recipe: Recipe, network: Network, workers: Workers
) -> Generator[tuple[Unit, bytes]]:
    """Each unit with the file of what became of it, as they are finished, about in their order.

    Raises:
        VsearchError: what a worker raises: a network that cannot be opened there, ...
        ClusterError: the cluster does not bring any more to an end.
    """
    while window := list(islice(units, WINDOW)):
        left = {unit.number: unit for unit in window}
        failures = 0
        while left:
            before = len(left)
            try:
                for number, block in _run(ray, list(left.values()), recipe, network, workers):
                    if number in left:
                        yield left.pop(number), block
            except VsearchError:
                raise
            except Exception as error:  # Ray's: of lost nodes, actors, objects, and of a bug's
                failures = failures + 1 if len(left) == before else 0
                if failures == _PATIENCE:
                    raise ClusterError(
                        f"The Ray cluster failed {_PATIENCE} times without embedding anything: "
                        f"{_said(error)}",
                        _KEPT,
                        "See the logs of Ray (`ray logs`), and run the same command again",
                    ) from error


def _run(
    ray: Any, units: Sequence[Unit], recipe: Recipe, network: Network, workers: Workers
) -> Iterator[tuple[int, bytes]]:
    """One pipeline, from its beginning to whatever ends it."""
    from ray import data

    rows = [{"unit": each.number, "key": each.key, "request": each.request()} for each in units]
    decoding, working = workers.resources()
    with _quiet(data):
        results = (
            data.from_items(rows, override_num_blocks=len(rows))
            .map(partial(decoded, recipe=recipe, network=network), **decoding)
            .map_batches(
                EmbeddingWorker,
                fn_constructor_args=(recipe, network, workers.threads),
                batch_size=1,
                compute=data.ActorPoolStrategy(
                    min_size=1, max_size=workers.most(ray.cluster_resources())
                ),
                **working,
            )
        )
        for row in results.iter_rows():
            if row["error"]:
                raise pickle.loads(row["error"])
            yield int(row["unit"]), row["block"]


@contextlib.contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """Without Ray Data's own bars and reports: there is a bar of ours."""
    context, log = data.DataContext.get_current(), logging.getLogger("ray.data")
    bars, level = context.enable_progress_bars, log.level
    context.enable_progress_bars = False
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars = bars
        log.setLevel(level)


def _said(error: BaseException) -> str:
    """The last line of an error of Ray's, which is what went wrong on a node."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".")
