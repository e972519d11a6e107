"""The machine: its processors and caches, and where this user's caches lie."""

from __future__ import annotations

import math
import os
import re
import sys
from functools import cache
from pathlib import Path, PurePosixPath

from .system import processors


def available_threads() -> int:
    """Processors that this process may use: those it may run on, and no more than its time."""
    found, quota = processors(), _quota_of_this_process()
    return found if quota is None else max(1, min(found, math.ceil(quota)))


@cache
def _quota_of_this_process() -> float | None:
    return cpu_quota()


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Processors' worth of time that control groups (containers) allow; None without a limit.

    A limit of any group above the process's own holds as well. ``root`` is where ``proc`` and
    ``sys`` are.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text("utf-8", "replace").splitlines()
    except (OSError, ValueError):
        return None
    quotas = []
    for line in groups:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            mount, read = root / "sys/fs/cgroup", _quota
        elif "cpu" in controllers.split(","):
            mount, read = root / "sys/fs/cgroup/cpu", _quota_v1
            if not mount.is_dir():
                mount = root / "sys/fs/cgroup" / controllers
        else:
            continue
        # In a container the mount may begin at its own group, and the path be the host's: then
        # there is no such folder, and the mount alone tells.
        part = PurePosixPath(path.lstrip("/"))
        for folder in (part, *part.parents):
            if ".." in folder.parts:
                continue
            found = read(mount / folder)
            if found is not None:
                quotas.append(found)
    return min(quotas, default=None)


def _quota(folder: Path) -> float | None:
    """Version 2: ``cpu.max`` holds microseconds of time ("max" without limit) and a period."""
    return _share(_words(folder / "cpu.max"))


def _quota_v1(folder: Path) -> float | None:
    """Version 1: two files; -1 is no limit."""
    return _share(_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us"))


def _share(words: list[str]) -> float | None:
    try:
        quota, period = (int(word) for word in words)
    except ValueError:  # "max", or not there
        return None
    return quota / period if quota > 0 and period > 0 else None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}


@cache
def second_level_cache() -> int:
    """Bytes of the first processor's second-level cache; 1 MiB where the system tells none."""
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level, told = (
                (folder / name).read_text(encoding="ascii").strip() for name in ("level", "size")
            )
        except OSError:
            continue
        size = re.fullmatch(r"(\d+)([KM]?)", told)
        if level == "2" and size:
            return int(size[1]) * _UNITS[size[2]]
    return 1 << 20


def cache_root() -> Path:
    """Per-user folder: ``VSEARCH_CACHE_DIR``, else the platform's usual place."""
    if chosen := os.environ.get("VSEARCH_CACHE_DIR"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "vsearch_fast"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "vsearch_fast" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vsearch_fast"
