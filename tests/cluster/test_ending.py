"""Nodes that tests begin leave the process that began them as it was."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

from ray_nodes import Nodes


def _wait() -> None:
    time.sleep(600)


def test_what_is_forked_beside_nodes_ends_when_it_is_told_to(cluster: Nodes) -> None:
    """And no node with it."""
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    child = multiprocessing.get_context("fork").Process(target=_wait)
    child.start()
    child.terminate()
    child.join(60)
    assert child.exitcode == -signal.SIGTERM
    for node in cluster.cluster.list_all_nodes():
        for process in node.live_processes():
            os.kill(process[1].pid, 0)
