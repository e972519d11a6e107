"""A sharded index on the disks of some nodes alone, and a catalogue of what its answers are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from index_data import described, features
from ray_nodes import DISK, PATIENCE
from sharded_data import filled

import vsearch_fast as vs
from vsearch_fast.cluster.index import ClusterIndex
from vsearch_fast.shards import ShardedIndex

DIM = 12
ROWS = 80


def rows_with_ties() -> np.ndarray:
    """Of which many are equal, in all shards."""
    rows = features(ROWS, DIM)
    rows[30:40] = rows[:10]
    rows[60:70] = rows[:10]
    return rows


def spread(whole: Path, disks: Sequence[Path], shards: Sequence[Sequence[str]]) -> str:
    """Make the shards a, b, c and d of all rows in a folder, and put those that are named, with
    the list, into a folder of each of these disks.

    Returns:
        Its place, as each node names its own. No other test has a folder of that name on a disk
        that outlives it: a node that has the files there may search them, whoever put them.
    """
    own = whole.parent.name  # a test's temporary folder
    rows = rows_with_ties()
    for place, start in zip("abcd", range(0, ROWS, 20), strict=True):
        items = [described(row) for row in range(start, start + 20)]
        filled(whole / place, rows[start : start + 20], items)
    ShardedIndex.create(whole, [whole / place for place in "abcd"]).close()
    for disk, names in zip(disks, shards, strict=True):
        (disk / own).mkdir()
        shutil.copy(whole / "shards.json", disk / own)
        for name in names:
            shutil.copytree(whole / name, disk / own / name, copy_function=os.link)
    return f"${DISK}/{own}"


def connect(address: str, index: str | Path, **options: Any) -> ClusterIndex:
    """`vs.connect`, with the time that answers may take on a busy machine."""
    connected: ClusterIndex = vs.connect(address, index, **{"timeout": PATIENCE, **options})
    return connected
