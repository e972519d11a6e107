"""Exact visual item search: from a photo to the same or most similar items of a catalogue.

::

    photo ──images──> pixels ──Embedder──> 4096 features ──pack_bits──> 512 bytes of sign bits
                               (ONNX file)       │                            │
                                                 └──── Index.add ─────────────┤
    catalogue on disk: index.sqlite + .npy segments <─────────────────────────┘
                                                 │
    query features ──Index.search──> topk (L1, L2 or Hamming; exact) ──> hits

>>> import vsearch_fast as vs
>>> embedder = vs.Embedder("vgg16-fc1.onnx")                       # doctest: +SKIP
>>> with vs.Index.open("catalogue.index") as index:                # doctest: +SKIP
...     hits = index.search(embedder.embed("photo.jpg"), k=10, metric="l1")[0]

The names below are loaded when first used: importing the package costs little more than
importing NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .loading import LOCK
from .version import __version__

if TYPE_CHECKING:
    from . import datasets, errors
    from .cluster import connect
    from .embedder import Embedder
    from .index import Answers, Hit, Hits, Index, Item, Label, Likeness, Threshold
    from .neighbors import ExactNeighbors
    from .search import (
        Proof,
        Resident,
        Sketched,
        pack_bits,
        range_search,
        self_join,
        self_join_blocks,
        topk,
    )
    from .shards import ShardedIndex

_HOME = {
    "Answers": "index",
    "ExactNeighbors": "neighbors",
    "Embedder": "embedder",
    "Hit": "index",
    "Hits": "index",
    "Index": "index",
    "Item": "index",
    "Label": "index",
    "Likeness": "index",
    "Proof": "search",
    "Resident": "search",
    "ShardedIndex": "shards",
    "Sketched": "search",
    "Threshold": "index",
    "connect": "cluster",
    "pack_bits": "search",
    "range_search": "search",
    "self_join": "search",
    "self_join_blocks": "search",
    "topk": "search",
}

__all__ = [
    "Answers",
    "Embedder",
    "ExactNeighbors",
    "Hit",
    "Hits",
    "Index",
    "Item",
    "Label",
    "Likeness",
    "Proof",
    "Resident",
    "ShardedIndex",
    "Sketched",
    "Threshold",
    "__version__",
    "connect",
    "datasets",
    "errors",
    "pack_bits",
    "range_search",
    "self_join",
    "self_join_blocks",
    "topk",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        with LOCK:  # a fork meanwhile would leave the child with half of it
            return getattr(import_module(f".{_HOME[name]}", __name__), name)
    if name in ("datasets", "errors"):
        with LOCK:
            return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
