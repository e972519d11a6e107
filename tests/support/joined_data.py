"""An index of small segments, what is asked of it, and what its files must hold once they are
joined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from contract_data import NEVER, REDUCED

from vsearch_fast.index import Index
from vsearch_fast.kernels import reference
from vsearch_fast.search.tiling import Tiling
from vsearch_fast.words import Metric

DIM = 20
METRICS: list[Metric] = ["l2", "l1", "hamming", "cosine", "ip"]
#: Shares and pages of a few rows.
SMALL = Tiling(
    chunk_rows=32, inline_bytes=0, sketch_rows=32, hopeless=NEVER, reduced_left=NEVER,
    summed_bytes=1, **REDUCED,
)  # fmt: skip


def rows_of(count: int, seed: int = 0, views: int = 1) -> np.ndarray:
    """Few values, and so many equal distances."""
    shape = (count, DIM) if views == 1 else (count, views, DIM)
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


def filled(folder: Path, rows: int, gone: set[int], **options: Any) -> Index:
    """Row i has the id "i"; those of `gone` are removed again."""
    index = Index.create(folder, DIM, **{"segment_rows": 16} | options)
    metadata: list[dict[str, Any]] = [{"x": i % 3, "tags": ["a", f"{i % 5}"]} for i in range(rows)]
    index.add([f"{i}" for i in range(rows)], rows_of(rows, 0, len(index.views)), metadata)
    index.remove([f"{i}" for i in sorted(gone)])
    return index


def answers(index: Index) -> list[Any]:
    queries = rows_of(3, 9, len(index.views))
    found: list[Any] = [len(index), list(index), index.columns(), index.values("x")]
    found += [index.search(queries, 9, metric, strategy="sketch") for metric in METRICS]
    found.append(index.search(queries, len(index), "l2"))
    found.append(index.search(queries, 9, "hamming", {"x": [0, 1]}))
    found.append(index.search(queries, 9, "l1", {"tags": "3"}, within=30.0))
    ids = [item.id for item in index][::3]
    return [*found, index.features(ids).tolist(), index.codes(ids).tolist()]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def as_written(index: Index, rows: np.ndarray, segment_rows: int) -> None:
    """The files hold these rows, and no others are there."""
    info = index.info()
    generation = index._store.state().generation
    assert (info["rows"], info["segment_rows"]) == (len(rows), segment_rows)
    assert info["segments"] == -(-len(rows) // segment_rows)
    names = [f"vectors-{generation}-{i:05d}.npy" for i in range(info["segments"])]
    assert sorted(path.name for path in index.path.glob("vectors*")) == names
    loaded = [np.load(index.path / name) for name in names]
    assert all(len(part) == segment_rows for part in loaded)
    if names:
        flat = rows.reshape(len(rows), -1).astype(index.dtype)
        assert np.concatenate(loaded)[: len(rows)].tobytes() == flat.tobytes()
        codes = [np.load(index.path / name.replace("vectors", "codes")) for name in names]
        bits = reference.pack_bits(rows).reshape(len(rows), -1)
        assert np.concatenate(codes)[: len(rows)].tobytes() == bits.tobytes()
    every = {path.name.partition("-")[2] for path in index.path.glob("*.npy")}
    assert every <= {name.partition("-")[2] for name in names}
