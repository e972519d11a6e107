"""The machine: its processors and caches, and where this user's caches lie."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path


def available_threads() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


def cache_root() -> Path:
    """Per-user folder: ``VSEARCH_CACHE_DIR``, else the platform's usual place."""
    if chosen := os.environ.get("VSEARCH_CACHE_DIR"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "vsearch_fast"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vsearch_fast"
