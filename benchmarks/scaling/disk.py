"""Vectors on the disk, and a quarter of the memory that they would take: latency, and the same
answers as with all of it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vsearch_fast.disk.files import forget_cached

from .rows import Rows, Say, grow

DIM = 4096

#: The signal by which a process ends that takes more memory than its group may.
_KILLED = 9

#: Where a group of processes may be given a limit of memory: of cgroups version 2, and version 1.
_GROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max"),
    (Path("/sys/fs/cgroup/unified"), "memory.max"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
)


@contextlib.contextmanager
def limited(limit: int) -> Iterator[Path | None]:
    """A group of processes whose memory, pages of files included, has this limit in bytes: the file
    that takes the number of a process. None where this user can make none."""
    for root, name in _GROUPS:
        group = root / f"scale-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if not (group / name).exists():
                continue
            (group / name).write_text(str(limit), encoding="ascii")
            yield group / "cgroup.procs"
            return
        finally:
            with contextlib.suppress(OSError):
                group.rmdir()
    yield None


def forget(folder: Path) -> None:
    """Have no page of its files in memory."""
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            forget_cached(descriptor)
        finally:
            os.close(descriptor)


def searched(folder: Path, group: Path | None, queries: Path) -> dict[str, Any]:
    """What a process of its own finds (`disk_search.py`), in a group or in none, from files of
    which nothing is in memory."""
    forget(folder)
    script = Path(__file__).with_name("disk_search.py")
    command = [sys.executable, str(script), str(folder), str(queries), str(group or "")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode == -_KILLED and group is not None:
        raise MemoryError("a process takes more than that by itself: raise --disk-rows")
    done.check_returncode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(folder: Path, rows: int, queries: int, say: Say) -> dict[str, Any]:
    """The section."""
    grow(folder, rows, DIM, say=say)
    vectors = rows * DIM * 2
    result: dict[str, Any] = {"rows": rows, "dim": DIM, "queries": queries, "vectors": vectors}
    # Drawn here: what draws them takes more memory than the search.
    asked = folder.with_suffix(".queries.npy")
    np.save(asked, Rows(DIM).queries(queries))
    say("all of the memory")
    whole = searched(folder, None, asked)
    with limited(vectors // 4) as group:
        if group is None:
            return {**result, "whole": _told(whole), "why_not": "no cgroup can be made here"}
        say(f"{vectors // 4 / 1e9:.2f} GB of memory")
        try:
            part = searched(folder, group, asked)
        except MemoryError as error:
            return {**result, "whole": _told(whole), "why_not": str(error)}
    if part["answers"] != whole["answers"]:
        raise AssertionError("with less memory the answers are others")
    return {**result, "limit": vectors // 4, "whole": _told(whole), "limited": _told(part)}


def _told(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "answers"}
