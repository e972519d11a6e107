"""What is added and removed through a connection is in the shard that it belongs to."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_data import described, features
from on_nodes import DIM, connect, rows_with_ties, spread
from ray_nodes import Nodes, wait_for

from vsearch_fast.errors import (
    ArgumentError,
    ClusterError,
    DuplicateIdError,
    LockedError,
    UnknownIdError,
)
from vsearch_fast.index import Index
from vsearch_fast.shards import ShardedIndex


def test_adding_and_removing(cluster: Nodes, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    spread(whole, [], [])
    fresh = features(4, DIM, 99)
    rows = rows_with_ties()
    with connect(cluster.address, whole) as connected, ShardedIndex.open(whole) as here:

        def same() -> None:
            for metric in ("l2", "hamming"):
                queries = np.concatenate([rows[[0, 33]], fresh])
                assert connected.search(queries, 90, metric) == here.search(queries, 90, metric)
            assert list(connected) == list(here)

        connected.add(["new 0", "new 1"], fresh[:2], [described(0).metadata, {"colour": "pink"}])
        assert len(connected) == 82
        same()
        connected.add(["new 2"], fresh[2:3], shard="b")
        connected.add(["new 3"], fresh[3:], shard=0)
        same()
        with Index.open(whole / "b") as second, Index.open(whole / "a") as first:
            assert "new 2" in second and "new 3" in first
        connected.remove(["item 5", "new 3", "item 79", "new 2"])
        assert len(connected) == 80
        same()
        connected.add(["item 79"], fresh[:1])
        connected.add(["item 79"], fresh[1:2], replace=True)
        same()

        count = len(connected)
        for ids, options in ((["item 0"], {}), (["item 0"], {"replace": True})):
            with pytest.raises(DuplicateIdError, match="a holds an item 'item 0' already"):
                connected.add(ids, fresh[:1], **options)  # type: ignore[arg-type]
        with pytest.raises(UnknownIdError, match="holds no item 'item 5'"):
            connected.remove(["item 6", "item 5"])
        with pytest.raises(ArgumentError, match="shard is 'z', and there are 4"):
            connected.add(["x"], fresh[:1], shard="z")
        with pytest.raises(ArgumentError, match="shape"):
            connected.add(["x"], fresh[:1, :3])
        with Index.open(whole / "d", mode="rw"), pytest.raises(LockedError):
            connected.add(["x"], fresh[:1])
        assert len(connected) == count
        same()
    with (
        connect(cluster.address, whole, groups=1, replicas=2) as several,
        pytest.raises(ClusterError, match="would differ"),
    ):
        several.remove(["item 7"])


def test_a_reader_sees_whole_commits(cluster: Nodes, tmp_path: Path) -> None:
    """Ten rows are always added, and removed, together: all of them are seen, or none."""
    whole = tmp_path / "whole"
    spread(whole, [], [])
    fresh = np.repeat(features(1, DIM, 99) + np.float32(9), 10, axis=0)
    names = [f"new {number}" for number in range(10)]
    seen: list[int] = []
    done = threading.Event()
    with connect(cluster.address, whole, groups=1) as connected:

        def read() -> None:
            while not done.wait(0.01):
                [hits] = connected.search(fresh[0], 10, "l1")
                seen.append(sum(hit.id in names for hit in hits))

        def another() -> int:
            """What a search sees that has begun by now, or later."""
            count = len(seen)
            wait_for(lambda: len(seen) >= count + 2)
            return seen[-1]

        thread: Any = threading.Thread(target=read)
        thread.start()
        try:
            for _ in range(4):
                assert another() == 0
                connected.add(names, fresh)
                assert another() == 10
                connected.remove(names)
        finally:
            done.set()
            thread.join()
    assert set(seen) == {0, 10}
