"""Groups of shards and the actors that hold them: one a replica, begun anew where it was lost.

Nothing of this is left to Ray's own restarts: they know which node an actor ran on, and not which
other one has its files. So an actor that is gone is replaced by one on a node that has them now.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ClusterError, VsearchError
from ..shards.manifest import Manifest
from ..version import __version__
from .copying import Lender
from .host import Host, Opened
from .placing import Seen, Share, located, look_everywhere, on_node, still_there

#: Calls that an actor does at a time; others wait in its queue.
_AT_ONCE = 16
#: Seconds between two attempts to begin a lost actor anew: at first, and at most. Each asks all
#: nodes, and may begin processes, of which nodes that have lost others have little to spare.
_AGAIN, _AGAIN_AT_MOST = 0.5, 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What all groups have in common.

    Attributes:
        path: of the index, as it was named.
        manifest: its list.
        replicas: of each group that are wanted.
        device: "cpu" or "cuda".
        copy_to: folder of copies on each node; None where files are read where they are.
        open_seconds: in which an actor must have opened its shards.
    """

    path: str
    manifest: Manifest
    replicas: int
    device: str
    copy_to: str | None
    open_seconds: float


@dataclass(eq=False, slots=True)
class Replica:
    """An actor that holds a group's shards.

    Attributes:
        actor: its handle.
        node: where it runs.
        process: its process id there, when it is open.
        waiting: calls that somebody waits for.
        abandoned: those that nobody waits for any more, since it was too slow.
    """

    actor: Any
    node: str
    process: int = 0
    waiting: int = 0
    abandoned: list[Any] = field(default_factory=list)


@dataclass(eq=False)
class Group:
    """Some shards and their replicas; safe to use from several threads.

    Attributes:
        numbers: of the shards, ascending.
        why: what was amiss when it was last begun anew, and failed.
    """

    ray: Any
    plan: Plan
    numbers: tuple[int, ...]
    replicas: list[Replica] = field(default_factory=list)
    why: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _reviving: bool = False
    _closed: bool = False
    _lending: tuple[Any, Seen] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its shards as they are listed."""
        return tuple(self.plan.manifest.shards[number].path for number in self.numbers)

    def begin(self, seen: Sequence[Seen], share: Share) -> list[Replica]:
        """Start an actor on each of the first nodes; `finish` waits for them."""
        folders = {each.node: each for each in seen}
        count = self.plan.replicas
        if len(share.nodes) < count:
            raise ClusterError(
                f"{len(share.nodes)} of the nodes can search {self.names[0]}, and {count} replicas"
                " were asked for",
                "Nothing was connected",
                "Ask for fewer, copy the files to more nodes, or name a folder for copies"
                " (copy_to)",
            )
        lender = self._lender(seen)
        self._lending = lender
        return [self._started(folders[node], lender) for node in share.nodes[:count]]

    def finish(self, begun: Sequence[Replica]) -> None:
        """Wait until these are open, and take them.

        Raises:
            VsearchError: of a shard that is missing, damaged or not like the others.
            ClusterError: an actor was lost, or took too long.
        """
        for replica in begun:
            self._open(replica)
            with self._lock:
                self.replicas.append(replica)
        self._end_lender(self._lending)

    def _lender(self, seen: Sequence[Seen]) -> tuple[Any, Seen] | None:
        if self.plan.copy_to is None:
            return None
        source = next(each for each in seen if all(each.there[n] for n in self.numbers))
        lending = self.ray.remote(Lender)
        return lending.options(max_concurrency=4, **on_node(source.node)).remote(), source

    def _end_lender(self, lender: tuple[Any, Seen] | None) -> None:
        if lender is not None:
            with contextlib.suppress(Exception):
                self.ray.kill(lender[0])

    def _started(self, there: Seen, lender: tuple[Any, Seen] | None) -> Replica:
        actor, source = (None, there) if lender is None else lender
        gpu = {"num_gpus": 1} if self.plan.device == "cuda" else {}
        kind = self.ray.remote(Host)
        host = kind.options(
            max_concurrency=_AT_ONCE, max_restarts=0, max_task_retries=0, **on_node(there.node),
            **gpu,
        ).remote(
            there.folder, located(self.plan.manifest, source.folder), self.numbers, actor,
            self.plan.copy_to or "",
        )  # fmt: skip
        return Replica(host, there.node)

    def _open(self, replica: Replica) -> None:
        ray = self.ray
        try:
            opened, error = ray.get(
                replica.actor.call.remote("open", self.plan.device), timeout=self.plan.open_seconds
            )
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.GetTimeoutError as late:
            self.end(replica)
            raise self._unopened(f"they were not opened in {self.plan.open_seconds:g} s") from late
        except ray.exceptions.RayError as lost:
            self.end(replica)
            raise self._unopened(type(lost).__name__) from lost
        if error is None and (told := self._of_another_version(opened)):
            error = told
        if error is not None:
            self.end(replica)
            raise error
        replica.process = opened.process

    def _unopened(self, why: str) -> ClusterError:
        return ClusterError(
            f"An actor for {self.names[0]} and others was lost while it began: {why}",
            "Its shards are not searched",
            "See that node's logs (ray logs), and connect again",
        )

    @staticmethod
    def _of_another_version(opened: Opened) -> ClusterError | None:
        if opened.version == __version__:
            return None
        return ClusterError(
            f"A node of the cluster has vsearch_fast {opened.version}, and this is {__version__}",
            "Nothing was connected, because their answers may differ",
            "Install one version on all nodes",
        )

    # Use

    def choose(self, asked: Sequence[Replica] = ()) -> Replica | None:
        """The replica that has the fewest calls to answer, and is none of those; None where there
        is none."""
        with self._lock:
            free = [replica for replica in self.replicas if replica not in asked]
            return min(free, key=self._load, default=None)

    def _load(self, replica: Replica) -> int:
        """Calls that a replica has not answered; one that is slow has those of others before."""
        if replica.abandoned:
            count = len(replica.abandoned)
            _, left = self.ray.wait(replica.abandoned, num_returns=count, timeout=0)
            replica.abandoned = left
        return replica.waiting + len(replica.abandoned)

    @contextlib.contextmanager
    def held(self) -> Iterator[list[Replica]]:
        """Its replicas, with nobody else changing which."""
        with self._lock:
            yield self.replicas

    def lost(self, replica: Replica) -> None:
        """An actor did not answer any more: it is used no longer, and replaced in a while."""
        with self._lock:
            if replica in self.replicas:
                self.replicas.remove(replica)
        self.end(replica)
        self.revive()

    def revive(self) -> None:
        """Begin to replace what was lost, in a thread; does nothing where that is under way."""
        with self._lock:
            if self._reviving or self._closed or len(self.replicas) >= self.plan.replicas:
                return
            self._reviving = True
        threading.Thread(target=self._revive, daemon=True, name="vsearch-revive").start()

    def _revive(self) -> None:
        end, wait = time.monotonic() + self.plan.open_seconds, _AGAIN
        try:
            while not self._closed and len(self.replicas) < self.plan.replicas:
                try:
                    self._replace_one()
                    self.why, wait = "", _AGAIN
                except Exception as error:  # whatever Ray raises of a cluster that is falling
                    self.why = error.cause if isinstance(error, VsearchError) else str(error)
                    if self.replicas or time.monotonic() > end:
                        return  # what is left serves; the next loss, or query, asks again
                    time.sleep(wait)
                    wait = min(2 * wait, _AGAIN_AT_MOST)
        finally:
            with self._lock:
                self._reviving = False

    def _replace_one(self) -> None:
        plan = self.plan
        seen = still_there(self.ray, plan.path, plan.manifest, self.numbers)
        lender = self._lender(seen)
        may = seen
        if plan.copy_to is not None:
            may = look_everywhere(self.ray, plan.path, plan.manifest)
        with self._lock:
            used = {replica.node for replica in self.replicas}
        free = [each for each in may if each.node not in used]
        if not free:
            raise ClusterError(
                f"No other node is left for a replica of {self.names[0]}", "There is one fewer",
                "Add nodes that have its files",
            )  # fmt: skip
        replica = self._started(free[hash(self.numbers) % len(free)], lender)
        try:
            self._open(replica)
        finally:
            self._end_lender(lender)
        with self._lock:
            if not self._closed:
                self.replicas.append(replica)
                return
        self.end(replica)

    def end(self, replica: Replica) -> None:
        """End an actor, if it is there."""
        with contextlib.suppress(Exception):
            self.ray.kill(replica.actor)

    def close(self) -> None:
        """End all its actors."""
        with self._lock:
            self._closed = True
            replicas, self.replicas = self.replicas, []
        for replica in replicas:
            self.end(replica)
