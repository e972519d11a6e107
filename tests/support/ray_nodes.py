"""Nodes of a Ray cluster on this machine, to be added and killed by tests."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

DISK = "VSEARCH_TEST_DISK"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Nodes:
    """Two nodes, of which the first is the head, and those that a test adds.

    Args:
        folder: for the nodes' disks.

    Attributes:
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
        self._cluster: Any = Cluster(
            initialize_head=True, head_node_args=self._node() | {"ray_client_server_port": port}
        )
        self.address = str(self._cluster.address)
        self._cluster.add_node(**self._node())
        self._added: list[Any] = []

    def _node(self) -> dict[str, Any]:
        disk = self._folder / f"disk-{len(self.disks)}"
        disk.mkdir()
        self.disks.append(disk)
        return {
            "num_cpus": 2, "num_gpus": 0, "object_store_memory": 100 << 20,
            "include_dashboard": False, "env_vars": {DISK: str(disk)},
        }  # fmt: skip

    def add(self) -> tuple[Any, Path]:
        """Another node, and its disk."""
        node = self._cluster.add_node(**self._node())
        self._added.append(node)
        self._cluster.wait_for_nodes()
        return node, self.disks[-1]

    def kill(self, node: Any) -> None:
        """Kill an added node, without any notice."""
        self._added.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def tidy(self) -> None:
        """Kill those that were added."""
        for node in list(self._added):
            self.kill(node)

    def close(self) -> None:
        import ray

        ray.shutdown()
        self._cluster.shutdown()
