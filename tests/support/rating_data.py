"""Small studies for the tests of ratings: drawn by hand, and made from small indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vsearch_fast.index import Index, Item
from vsearch_fast.rating import Picture, Settings, Study, System
from vsearch_fast.rating.study import Mode


def study(
    rows: Sequence[Sequence[Sequence[int]]],
    *,
    mode: Mode = "both",
    judged: int = 1,
    seed: int = 0,
    categories: Mapping[int, str | None] | None = None,
) -> Study:
    """A study of these ``rows[query][system]``, picture numbers; query q is picture 1000 + q."""
    queries = len(rows)
    count = 1000 + queries
    categories = categories or {}
    length = max([1, *(len(row) for of in rows for row in of)])
    return Study(
        "drawn.index",
        Settings(mode, queries, max(length, judged), judged, None, "category", seed),
        tuple(System(f"s{i}", f"/nowhere/{i}", "", "l2") for i in range(len(rows[0]))),
        tuple(Picture(f"id{n}", f"/nowhere/{n}.png", categories.get(n)) for n in range(count)),
        tuple(1000 + q for q in range(queries)),
        tuple(tuple(tuple(row) for row in of) for of in rows),
        tuple(tuple(tuple(float(n) for n in row) for row in of) for of in rows),
    )


def indexes(
    folder: Path,
    *,
    names: Sequence[str] = ("first", "second"),
    items: int = 24,
    dim: int = 8,
    pictures: bool = True,
) -> list[Path]:
    """Indexes of the same items with different random features; four categories, two senders a
    category."""
    ids = [f"item{n:02}" for n in range(items)]
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    described = []
    for n, name in enumerate(ids):
        path = photos / f"{name}.png"
        if pictures:
            Image.new("RGB", (40, 50), ((37 * n) % 256, (91 * n) % 256, (53 * n) % 256)).save(path)
        metadata = {"category": f"kind{n % 4}", "sender": f"sender{n % 8}"}
        box = (10, 5, 30, 60) if n == 3 else None  # it ends below the picture
        described.append(Item(name, path=str(path), box=box, metadata=metadata))
    paths = []
    for seed, name in enumerate(names):
        rng = np.random.default_rng(seed)
        path = folder / f"{name}.index"
        with Index.create(path, dim=dim, model_id="random") as index:
            index.add(ids, rng.standard_normal((items, dim)).astype(np.float32), described)
        paths.append(path)
    return paths
