"""Nodes of a Ray cluster on this machine, to be added and killed by tests."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vsearch_fast.cluster.joining import join

DISK = "VSEARCH_TEST_DISK"

#: Seconds for what comes about for certain, however busy the machine is: processes begin by then,
#: import what they need, and compile it.
PATIENCE = 300.0


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _children() -> set[int]:
    """Processes that this one has started."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(child) for child in (task / "children").read_text().split()}
    return found


@contextlib.contextmanager
def own_ending() -> Iterator[None]:
    """What SIGTERM does stays as it is. Ray would have it end the nodes: also in processes that are
    forked from this one later and are told to end, which wait for the nodes' answer, or kill them.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@own_ending()
def _begun(begin: Callable[[], Any]) -> Any:
    """A node that is begun; again where it was not there in the half minute that Ray gives it, as
    on a machine with much else to do. To wait for longer is of no use: a node that has waited 15 s
    for one of its helpers has ended."""
    for attempt in range(5):
        before = _children()
        try:
            return begin()
        except Exception as error:
            if "timed out during startup" not in str(error) or attempt == 4:
                raise
            for process in _children() - before:  # which Ray has left
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
    raise AssertionError


class Nodes:
    """Two nodes, of which the first is the head, and those that a test adds.

    Args:
        folder: for the nodes' disks.

    Attributes:
        cluster: Ray's own of the nodes.
        address: of the cluster.
        client: of its server for Ray Client, ray://...
        disks: a folder a node, in the order in which nodes were added.
    """

    def __init__(self, folder: Path) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        self._folder = folder
        self.disks: list[Path] = []
        port = free_port()
        self.client = f"ray://127.0.0.1:{port}"
        # Nobody reads what its watchers of logs and of loads tell, and they take long to begin.
        unwatched = {"no_monitor": True, "include_log_monitor": False}
        head = self._node() | {"ray_client_server_port": port} | unwatched
        self.cluster: Any = _begun(lambda: Cluster(initialize_head=True, head_node_args=head))
        self.address = str(self.cluster.address)
        # While it is the only one, so that this process hangs by no node that a test kills.
        with own_ending():
            join(self.address, "Nothing was tested")
        self._begin()
        self._added: list[Any] = []

    def _node(self) -> dict[str, Any]:
        disk = self._folder / f"disk-{len(self.disks)}"
        disk.mkdir()
        self.disks.append(disk)
        return {
            "num_cpus": 2, "num_gpus": 0, "object_store_memory": 100 << 20,
            "include_dashboard": False, "env_vars": {DISK: str(disk)},
        }  # fmt: skip

    def _begin(self) -> Any:
        options = self._node()
        return _begun(lambda: self.cluster.add_node(**options))

    def add(self) -> tuple[Any, Path]:
        """Another node, and its disk."""
        node = self._begin()
        self._added.append(node)
        self.cluster.wait_for_nodes(timeout=PATIENCE)
        return node, self.disks[-1]

    def kill(self, node: Any) -> None:
        """Kill an added node, without any notice."""
        self._added.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)

    def tidy(self) -> None:
        """Kill those that were added, and wait until the cluster knows: who asked next which nodes
        there are would be told of them."""
        for node in list(self._added):
            self.kill(node)
        self.cluster.wait_for_nodes(timeout=PATIENCE)

    def close(self) -> None:
        import ray

        ray.shutdown()
        self.cluster.shutdown()
