"""Nodes of a Ray cluster on this machine, to be added and killed by tests."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

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


class _SlowerTime:
    """Python's `time`, with a clock in which `PATIENCE` is half a minute."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        return time.monotonic() * 30 / PATIENCE


@contextlib.contextmanager
def patiently() -> Iterator[None]:
    """A node that is begun within has `PATIENCE` for it, and not the half minute that Ray gives it,
    in which a machine with much else to do may not begin its processes."""
    from ray._private import node

    with mock.patch.object(node, "time", _SlowerTime()):
        yield


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
        with patiently():
            self.cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.address = str(self.cluster.address)
        # While it is the only one, so that this process hangs by no node that a test kills.
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
        with patiently():
            return self.cluster.add_node(**self._node())

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
