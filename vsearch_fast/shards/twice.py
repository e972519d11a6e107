"""Ids that are in more than one shard, which nothing but a look at all of them can find."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from xxhash import xxh3_64_intdigest

from ..index.index import Index


def found_twice(shards: Sequence[Path]) -> list[tuple[str, Path, Path]]:
    """Each id that is in several shards, with the first of them and another one, in the order of
    the shards. Takes 8 bytes an id.

    Raises:
        StoreError: a shard cannot be read.
    """
    sums = np.concatenate([np.empty(0, np.uint64), *map(_sums, shards)])
    sums.sort()
    suspects = set(sums[1:][sums[1:] == sums[:-1]].tolist())
    first: dict[str, Path] = {}
    twice = []
    for shard in shards if suspects else ():
        with Index.open(shard) as index:
            for item in index:
                if _sum(item.id) in suspects:
                    if item.id in first:
                        twice.append((item.id, first[item.id], shard))
                    first.setdefault(item.id, shard)
    return twice


def _sums(shard: Path) -> np.ndarray:
    with Index.open(shard) as index:
        return np.fromiter((_sum(item.id) for item in index), np.uint64)


def _sum(id_: str) -> int:
    return xxh3_64_intdigest(id_.encode("utf-8", "surrogatepass"))
