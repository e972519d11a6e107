"""How work is cut to fit the processor's caches."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}


@cache
def second_level_cache() -> int:
    """Bytes of the first processor's second-level cache; 1 MiB where the system tells none."""
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level = (folder / "level").read_text().strip()
            size = re.fullmatch(r"(\d+)([KM]?)", (folder / "size").read_text().strip())
        except OSError:
            continue
        if level == "2" and size:
            return int(size[1]) * _UNITS[size[2]]
    return 1 << 20


def _share_of_cache(parts: int) -> int:
    size: int = field(default_factory=lambda: second_level_cache() // parts)
    return size


@dataclass(frozen=True)
class Tiling:
    """How work is cut. It never changes a result, and tests shrink it to cross every border."""

    tile_bytes: int = _share_of_cache(4)
    """Rows that stay in the second-level cache while all queries of a batch pass them."""
    query_bytes: int = 1 << 20
    """Queries of a batch that is scanned: they stay in cache while the rows stream."""
    sketch_query_bytes: int = 8 << 20
    """float32 queries of a batch that is sketched; what passes the rows is a quarter of it."""
    buffer_bytes: int = 24 << 20
    """Selection buffers of all threads: bounds the batch where k is large."""
    chunk_rows: int | None = None
    """Rows a thread takes at a time; None: an eighth of its share, not too few."""
    copy_bytes: int = 16 << 20
    """Rows that must be converted are copied this many bytes at a time."""
    inline_bytes: int = 1 << 20
    """Work (rows x queries x bytes a row) below which threads cost more than they bring."""
    list_bytes: int = 36 << 20
    """Undecided pairs of rows and queries that all threads list before they decide them."""
    device_list: int = 16384
    """Pairs that a query's list on a CUDA device has room for at least."""
    device_rows: int = 1024
    """Rows of a device's first round, of which every pair is listed."""
    device_bytes: int = 2 << 30
    """Lists of all queries of a batch on a device, which has at least four times as much."""
    device_block_bytes: int = 64 << 20
    """Rows that pass through a device at a time; it holds two such blocks."""
    sketch_rows: int = 1024
    """Rows that are sketched at a time, and for which (lo, step) are chosen."""


TILING = Tiling()
