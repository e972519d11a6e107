"""A store, and rows to fill it with."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import numpy as np

from vsearch_fast.index import sealing
from vsearch_fast.index.changes import Changes
from vsearch_fast.index.items import Item
from vsearch_fast.index.schema import create
from vsearch_fast.index.store import Store

DIM = 12


def make(folder: Path, segment_rows: int = 8) -> Store:
    create(folder, DIM, "model", {"layer": "fc1"}, segment_rows)
    return Store(folder, writable=True)


def block(start: int, count: int) -> dict[str, np.ndarray]:
    numbers = np.arange(start, start + count, dtype=np.float32)
    vectors = np.repeat(numbers[:, None], DIM, axis=1)
    return {"vectors": vectors, "codes": np.packbits(vectors > 3, axis=-1)}


def fill(store: Store, start: int, count: int, **metadata: str) -> None:
    items = [Item(f"id{row}", metadata=metadata) for row in range(start, start + count)]
    Changes(store).append(items, [block(start, count)], replace=False)


def rows_of(store: Store, kind: str) -> np.ndarray:
    view = store.view(None, (kind,), "")
    return np.concatenate(view.reading.arrays(kind))


def tampered(folder: Path, *statements: str, sealed: bool = True) -> None:
    """Change the tables of a closed index by SQL, and have the seal say that it was meant."""
    with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as sql:
        for statement in statements:
            sql.execute(statement)
        if sealed:
            sealing.seal(sql)
        sql.commit()
