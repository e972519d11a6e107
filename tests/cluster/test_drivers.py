"""Other processes connect to the same shards at the same time: by the cluster's own address, and
as Ray Client."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from on_nodes import connect, rows_with_ties, spread
from ray_nodes import Nodes

from vsearch_fast.shards import ShardedIndex

DRIVER = """
import json, sys
import numpy as np
import vsearch_fast as vs
address, place, queries, new = sys.argv[1:]
rows = np.load(queries)
with vs.connect(address, place, groups=1, timeout=300) as index:
    found = [[[hit.id, hit.distance] for hit in hits] for hits in index.search(rows, 30, "l1")]
    threshold = index.threshold("l2").distance
    index.add([new], rows[:1])
    print(json.dumps({"found": found, "threshold": threshold, "count": len(index)}))
"""

#: Before and after it, of a client whose first server dies as it starts, as one that is forked at a
#: bad moment does.
UNLUCKY = """
from ray.util.client.worker import Worker
begun, met = Worker._server_init, []
def dies_once(self, *args):
    if not met:
        met.append(self)
        raise ConnectionAbortedError("Starting Ray client server failed")
    return begun(self, *args)
Worker._server_init = dies_once
"""
MET = "assert met\n"


@pytest.mark.parametrize(
    ("way", "driver"), [("address", DRIVER), ("client", UNLUCKY + DRIVER + MET)],
    ids=["address", "client"],
)  # fmt: skip
def test_two_drivers(cluster: Nodes, tmp_path: Path, way: str, driver: str) -> None:
    whole = tmp_path / "whole"
    spread(whole, [], [])
    rows = rows_with_ties()[[0, 33, 61]]
    queries = tmp_path / "queries.npy"
    np.save(queries, rows)
    with ShardedIndex.open(whole) as here, connect(cluster.address, whole) as connected:
        before = [[[hit.id, hit.distance] for hit in hits] for hits in here.search(rows, 30, "l1")]
        threshold = here.threshold("l2")
        other = subprocess.Popen(
            [sys.executable, "-c", driver, getattr(cluster, way), str(whole), str(queries), "new"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        old, answers = here.search(rows, 5), []
        while other.poll() is None:  # both at once
            answers.append(connected.search(rows, 5))
            time.sleep(0.02)
        assert other.stdout is not None and other.returncode == 0
        told = json.loads(other.stdout.read().splitlines()[-1])
        assert threshold is not None
        assert told == {"found": before, "threshold": threshold.distance, "count": 81}
        new = here.search(rows, 5)
        assert new != old
        assert all(answer in (old, new) for answer in answers)
        assert [hit.id for hit in connected.search(rows[0], 4)[0]].count("new") == 1
        other.stdout.close()
