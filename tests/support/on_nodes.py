"""A sharded index on the disks of some nodes alone, and a catalogue of what its answers are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from index_data import described, features
from sharded_data import filled

from vsearch_fast.shards import ShardedIndex

DIM = 12
ROWS = 80


def rows_with_ties() -> np.ndarray:
    """Of which many are equal, in all shards."""
    rows = features(ROWS, DIM)
    rows[30:40] = rows[:10]
    rows[60:70] = rows[:10]
    return rows


def spread(whole: Path, disks: Sequence[Path], shards: Sequence[Sequence[str]]) -> None:
    """Make the shards a, b, c and d of all rows in a folder, and put those that are named, with
    the list, into the folder ``own`` of each of these disks."""
    rows = rows_with_ties()
    for place, start in zip("abcd", range(0, ROWS, 20), strict=True):
        items = [described(row) for row in range(start, start + 20)]
        filled(whole / place, rows[start : start + 20], items)
    ShardedIndex.create(whole, [whole / place for place in "abcd"]).close()
    for disk, names in zip(disks, shards, strict=True):
        (disk / "own").mkdir()
        shutil.copy(whole / "shards.json", disk / "own")
        for name in names:
            shutil.copytree(whole / name, disk / "own" / name, copy_function=os.link)
