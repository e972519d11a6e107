"""One index, and the same rows in several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from index_data import described

from vsearch_fast.index import Index, Item
from vsearch_fast.shards import ShardedIndex

MODEL = "m"


def filled(
    folder: Path,
    rows: np.ndarray,
    items: Sequence[Item],
    removed: Sequence[str] = (),
    **options: Any,
) -> Path:
    """An index of these rows and items, closed, of which some were removed."""
    options = {"segment_rows": 8} | options
    with Index.create(folder, rows.shape[-1], model_id=MODEL, **options) as index:
        index.add([item.id for item in items], rows, items)
        index.remove([item.id for item in items if item.id in set(removed)])
    return folder


def sharded(
    folder: Path,
    rows: np.ndarray,
    borders: Sequence[int],
    *,
    removed: Sequence[str] = (),
    items: Sequence[Item] | None = None,
    **options: Any,
) -> tuple[Path, Path]:
    """The folders of one index, and of a sharded one whose shards end at these borders."""
    items = [described(row) for row in range(len(rows))] if items is None else items
    one = filled(folder / "one", rows, items, removed, **options)
    starts = [0, *borders]
    stops = [*borders, len(rows)]
    places = [
        filled(
            folder / "many" / f"{start}-{i}", rows[start:stop], items[start:stop], removed,
            **options,
        )
        for i, (start, stop) in enumerate(zip(starts, stops, strict=True))
    ]  # fmt: skip
    ShardedIndex.create(folder / "many", places).close()
    return one, folder / "many"
