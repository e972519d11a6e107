"""The command on a cluster of two nodes, whose workers, nodes and driver are killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from embedding_cluster import assert_same, assert_shards, draw, on_one_machine, workers_of
from processes import SUPPORT
from ray_nodes import Nodes
from tiny_model import write_tiny_model

from vsearch_fast.embedder.embedder import Embedder

NODE: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 100 << 20}
PATIENCE = 400.0


@pytest.fixture(scope="module")
def apart() -> Iterator[Any]:
    """Two nodes of their own, which may be killed; this process is not connected to them."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with contextlib.ExitStack() as ends:
        made = _started(Cluster)
        ends.callback(made.shutdown)
        for _ in range(3):
            if len(made.list_all_nodes()) < 2:
                _added(made)
        yield made


def _added(cluster: Any) -> None:
    """Another node, which Ray gives 30 s, too; without one the cluster is smaller."""
    with contextlib.suppress(Exception):
        cluster.add_node(**NODE)


def _started(kind: Any) -> Any:
    """A head node: Ray gives it 30 s to come up, which a busy machine may not."""
    for attempt in range(3):
        try:
            return kind(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        except Exception:
            if attempt == 2:
                raise
    return None


class Command:
    """`vsearch index` in a process of its own."""

    def __init__(self, cluster: Any, folder: Path, target: Path, model: Path) -> None:
        words = ["index", folder, "-o", target, "--model", model, "--json"]
        words += ["--ray", cluster.address, "--shards", "3"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vsearch_fast", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> dict[str, Any]:
        """What it prints, and in "embedded" how many pictures it had embedded."""
        said, complained = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, complained
        counts = re.findall(r"(\d+)/(\d+) \[", complained)
        facts: dict[str, Any] = json.loads(said)
        return facts | {"embedded": int(counts[-1][1]) if counts else 0}


def finished_in(target: Path) -> int:
    """Pictures that a run has finished so far."""
    count = 0
    for block in (target / "unfinished").glob("*.block"):
        facts = json.loads(block.read_bytes().partition(b"\n")[0])
        count += len(facts["read"]) + len(facts["refused"])
    for shard in target.glob("0*.index"):
        facts = json.loads((target / "unfinished" / f"{shard.stem}.json").read_text())
        count += facts["rows"] + len(facts["refused"])
    return count


@pytest.mark.filterwarnings("ignore::vsearch_fast.embedder.ImageSkippedWarning")
def test_a_worker_is_killed(nodes: Nodes, tmp_path: Path) -> None:
    """The run ends well, and the index is that of one machine, broken pictures included."""
    cluster = nodes.cluster
    model = write_tiny_model(tmp_path / "tiny.onnx")
    folder = draw(tmp_path / "pictures", 300)
    (folder / "lamp" / "00001.png").write_bytes(b"broken")
    target, killed = tmp_path / "many", 0
    command = Command(cluster, folder, target, model)
    while command.process.poll() is None and not killed:
        if list((target / "unfinished").glob("*.block")):
            for process in workers_of(cluster):
                os.kill(process, signal.SIGKILL)
                killed += 1
        time.sleep(0.005)
    facts = command.wait()
    assert killed
    alone = on_one_machine(folder, tmp_path / "one", Embedder(model, "cpu"))
    assert [(each["name"], each["reason"]) for each in facts["skipped"]] == [
        (each.name, each.reason) for each in alone.skipped
    ]
    assert (facts["added"], facts["pictures"], facts["embedded"]) == (299, 299, 300)
    assert_same(tmp_path / "one", target)
    assert_shards(target, ["00000.index", "00001.index", "00002.index"])


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_memory_is_bounded(apart: Any, tmp_path: Path) -> None:
    """Of 385 MB of pixels no more are on their way than the stores have room for, and nothing is
    put on disks for lack of it; the command holds less than them, too."""
    count, size = 40 * 64, 224
    pixels = count * size * size * 3
    model = write_tiny_model(tmp_path / "tiny.onnx", size, 64)
    folder = draw(tmp_path / "pictures", count)
    watch = subprocess.Popen(
        [sys.executable, str(SUPPORT / "store_watch.py"), apart.address],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    command, resident, first = Command(apart, folder, tmp_path / "many", model), 0, 0
    while command.process.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{command.process.pid}/status").read_text()
            now = int(status.partition("VmRSS:")[2].split()[0]) << 10
            first = first or (now if list((tmp_path / "many").glob("*/*.block")) else 0)
            resident = max(resident, now)
        time.sleep(0.2)
    facts = command.wait()
    most, spilled = map(int, watch.communicate("end")[0].split())
    print(f"pixels {pixels:,}, in the stores {most:,}, on disks {spilled:,}, the command "
          f"{first:,} at the first unit and {resident:,} at most")  # fmt: skip
    assert facts["embedded"] == count
    assert 0 < most <= 2 * NODE["object_store_memory"] < pixels
    assert spilled == 0
    assert resident - first < pixels / 2


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_twenty_kills(apart: Any, tmp_path: Path) -> None:
    """Workers, nodes and the driver, at random moments: the same shards, and nothing that was
    finished is embedded again."""
    chance, count = random.Random(18), 640
    model = write_tiny_model(tmp_path / "tiny.onnx", 64, 512)
    folder = draw(tmp_path / "pictures", count)
    on_one_machine(folder, tmp_path / "one", Embedder(model, "cpu"))
    kinds = ["worker"] * 8 + ["node"] * 6 + ["driver"] * 6
    chance.shuffle(kinds)
    begun, trial = time.monotonic(), 0
    done: list[tuple[int, str, int]] = []
    while kinds:
        trial += 1
        target = tmp_path / f"many{trial}"
        command, finished = Command(apart, folder, target, model), 0
        while command.process.poll() != 0:
            if command.process.poll() is None:
                time.sleep(chance.uniform(0, 10) if kinds else 0.1)
                alive = bool(kinds) and command.process.poll() is None
                if alive and _kill(kinds[-1], apart, command, chance):
                    done.append((trial, kinds.pop(), round(time.monotonic() - begun)))
                    print(*done[-1], flush=True)
                continue
            # Killed, or by the loss of the node that it had joined the cluster by.
            complained = command.process.communicate()[1]
            assert done[-1][1] in ("driver", "node"), complained
            finished = finished_in(target)
            command = Command(apart, folder, target, model)
        facts = command.wait()
        assert facts["embedded"] == count - finished
        assert_same(tmp_path / "one", target)
        assert_shards(target, ["00000.index", "00001.index", "00002.index"])
    assert len(done) == 20


def _kill(kind: str, cluster: Any, command: Command, chance: random.Random) -> bool:
    """Whether there was something to kill."""
    if kind == "driver":
        command.process.kill()
        command.process.wait()
        return True
    if kind == "worker":
        workers = workers_of(cluster, "ray::")
        if not workers:
            return False
        os.kill(chance.choice(workers), signal.SIGKILL)
        return True
    # The head holds the cluster's own records; another node comes, as on a cluster that scales.
    others = [node for node in cluster.list_all_nodes() if node is not cluster.head_node]
    if not others:
        _added(cluster)
        return False
    cluster.remove_node(others[0], allow_graceful=False)
    _added(cluster)
    return True
