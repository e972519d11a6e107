"""What a search costs beside its time: memory, and the start of a process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VsearchError
from .measure import Say

QUERIES, K = 64, 10
ROWS = 20_000

#: Each prints the seconds of one thing in a new process.
_IMPORT = """
import time; start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""
_FIRST_SEARCH = """
import time
import numpy as np
import vsearch_fast as vs
rng = np.random.default_rng(0)
x = np.maximum(rng.standard_normal((1000, 4096), np.float32), 0)
if {metric!r} == "hamming":
    x = np.packbits(x > 0, axis=1)
start = time.perf_counter()
vs.topk(x[:1], x, 10, metric={metric!r})
print(time.perf_counter() - start)
"""


def _seconds(code: str, environment: Mapping[str, str] | None = None) -> float:
    """What a new interpreter prints that runs the code."""
    return float(_output(["-c", code], environment))


def _output(arguments: list[str], environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise VsearchError(
            f"a process that measures the start or the memory failed: {last[0]}",
            "The footprint is not known",
            "Run that part alone: --only footprint",
        )
    return done.stdout


def start_up(
    metrics: tuple[str, ...], *, repeats: int = 7, say: Say = lambda _: None
) -> dict[str, Any]:
    """Seconds, medians over new processes: imports, first searches, and one with nothing cached.

    ``first_search`` has the kernels of an earlier process in the cache; of it, ``import numba``
    is the part that is not ours. ``compile`` starts from an empty cache folder, once.
    """
    imports: dict[str, list[float]] = {
        name: [] for name in ("numpy", "vsearch_fast", "vsearch_fast.search", "numba")
    }
    first: dict[str, list[float]] = {metric: [] for metric in metrics}
    compiling = {}
    for metric in metrics:
        say(f"start: {metric}, empty cache")
        with tempfile.TemporaryDirectory() as folder:
            compiling[metric] = _seconds(
                _FIRST_SEARCH.format(metric=metric), {"VSEARCH_CACHE_DIR": folder}
            )
        _seconds(_FIRST_SEARCH.format(metric=metric))
    for number in range(repeats):
        say(f"start: round {number + 1} of {repeats}")
        for module in imports:
            imports[module].append(_seconds(_IMPORT.format(module=module)))
        for metric in metrics:
            first[metric].append(_seconds(_FIRST_SEARCH.format(metric=metric)))
    return {
        "import": {name: statistics.median(times) for name, times in imports.items()},
        "first_search": {name: statistics.median(times) for name, times in first.items()},
        "compile": compiling,
        "repeats": repeats,
    }


def search_memory(
    metrics: tuple[str, ...], *, rows: int, dim: int, say: Say = lambda _: None
) -> list[dict[str, Any]]:
    """Megabytes that a search of 64 queries adds to a process with an index open on disk.

    Linux only: elsewhere an empty list.
    """
    if not Path("/proc/self/status").exists():
        return []
    from ..index.index import Index

    results = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.index"
        say(f"memory: an index of {rows:,} rows")
        with Index.create(path, dim) as index:
            rng = np.random.default_rng(0)
            for start in range(0, rows, 4096):
                names = [str(row) for row in range(start, min(start + 4096, rows))]
                features = rng.standard_normal((len(names), dim), np.float32)
                index.add(names, np.maximum(features, 0, out=features))
        stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        for metric in metrics:
            say(f"memory: {metric}")
            arguments = ["-m", "vsearch_fast.bench.search_memory", str(path), metric]
            found = json.loads(_output([*arguments, str(QUERIES), str(K)]))
            results.append(
                {
                    "metric": metric,
                    "rows": rows,
                    "dim": dim,
                    "queries": QUERIES,
                    "stored_mb": stored / 1e6,
                    "added_mb": found["peak_mb"] - found["before_mb"],
                    **found,
                }
            )
    return results


def footprint(
    metrics: tuple[str, ...],
    *,
    dim: int,
    quick: bool = False,
    repeats: int | None = None,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """`search_memory` and `start_up`; ``quick`` takes a quarter of the rows, fewer processes."""
    rows = ROWS // 4 if quick else ROWS
    return {
        "memory": search_memory(metrics, rows=rows, dim=dim, say=say),
        "start": start_up(metrics, repeats=repeats or (3 if quick else 7), say=say),
    }


def footprint_text(results: dict[str, Any]) -> str:
    """Two tables."""
    lines = []
    if results["memory"]:
        lines += [
            "| search of an index on disk | rows | queries | index, MB | memory added, MB |",
            "|---|--:|--:|--:|--:|",
        ]
        lines += [
            f"| {r['metric']}, {r['strategy']} | {r['rows']:,} | {r['queries']} "
            f"| {r['stored_mb']:,.0f} | {r['added_mb']:.1f} |"
            for r in results["memory"]
        ]
        lines += [""]
    start = results["start"]
    numba = start["import"]["numba"]
    lines += ["| start of a process | seconds |", "|---|--:|"]
    lines += [f"| `import {name}` | {s:.3f} |" for name, s in start["import"].items()]
    for metric, seconds in start["first_search"].items():
        lines.append(f"| first search, {metric} | {seconds:.3f} |")
        lines.append(f"| ... less `import numba` | {seconds - numba:.3f} |")
        lines.append(f"| ... kernels not in the cache yet | {start['compile'][metric]:.2f} |")
    return "\n".join(lines)
