"""An index cut into shards: runs of its items, in their order, as indexes of their own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ..checks import Progress, positive
from ..errors import ArgumentError
from . import manifest as manifests
from .copying import Copying, like, notes_of, unfinished
from .manifest import Likewise, Listed, Manifest
from .opening import open_index

_CONSEQUENCE = "No shards were made"


def split(source: Path, into: int, target: Path, progress: Progress | None = None) -> list[int]:
    """Make a sharded index of the items of an index, which is left as it is.

    Shards are of equal size, as far as that can be. Items, features, codes, what is said of the
    model and what was learnt are copied; removed rows are not. It may be written to meanwhile: what
    is copied is of one moment.

    Args:
        source: an index, or a sharded one, to be cut otherwise.
        into: how many shards, at most as many as there are items.
        target: new, or an empty folder.
        progress: called with the items that are done and those to do.

    Returns:
        The items of each shard.

    Raises:
        ArgumentError: a number of shards that cannot be.
        DamagedError: a row is not as it was written.
        StoreError: the target is there, or cannot be written; nothing is there then.
    """
    into = positive(into, "into", _CONSEQUENCE)
    with (
        open_index(source) as index,
        index.snapshot() as held,
        unfinished(target, _CONSEQUENCE) as place,
    ):
        total = len(held)
        if into > max(1, total):
            raise ArgumentError(
                f"{source} holds {total:,} items, and was to become {into:,} shards",
                _CONSEQUENCE,
                "Ask for as many shards as items, or fewer",
            )
        sizes = [total // into + (number < total % into) for number in range(into)]
        paths = [f"{number:05d}.index" for number in range(into)]
        copying, done = Copying(held), 0
        for path, size in zip(paths, sizes, strict=True):
            with like(held, place / path, held.model) as made:
                for block in copying.blocks(size):
                    ids = [item.id for item in block.items]
                    made.add(ids, block.vectors, block.items, codes=block.codes)
                    done += len(ids)
                    if progress:
                        progress(done, total)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        listed = tuple(map(Listed, paths, sizes))
        manifests.write(
            place, Manifest(created, Likewise.of(held), listed, notes_of(held)), _CONSEQUENCE
        )
    return sizes
