"""The same cases with several levels of instructions, each in a process of its own.

A process compiles for one level (``VSEARCH_SIMD``), so that runs of two cannot alternate: what is
compared are medians of runs minutes apart. Small differences are the machine's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import VsearchError
from ..kernels.level import supported
from .measure import Say
from .tables import significant

#: Parts that have cases to compare, and what a record calls their results.
PARTS = {"bars": "results", "small": "small", "shapes": "shapes"}


def chosen(names: str) -> tuple[str, ...]:
    """Levels by their names, with commas between, or ``all`` that this processor has.

    Raises:
        ValueError: one that it does not have.
    """
    levels = supported()
    if names == "all":
        return levels
    wanted = tuple(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in wanted:
        if name not in levels:
            raise ValueError(f"{name!r} is none of all, {', '.join(levels)}")
    return wanted


def measure_levels(
    levels: Sequence[str], arguments: Sequence[str], say: Say
) -> dict[str, list[dict[str, Any]]]:
    """Our results of each level; `arguments` are those of the command, without peers and files."""
    found = {}
    for level in levels:
        say(f"level {level}")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "level.json"
            done = subprocess.run(
                [sys.executable, "-m", "vsearch_fast.bench", *arguments,
                 "--peers", "none", "--json", str(file)],
                env=os.environ | {"VSEARCH_SIMD": level}, capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode:
                said = done.stderr.strip() or done.stdout.strip()
                raise VsearchError(
                    f"the level {level} was not measured: {said.splitlines()[-1]}",
                    "The levels cannot be compared",
                    f"Run it by itself: VSEARCH_SIMD={level} python -m vsearch_fast.bench ...",
                )
            record = json.loads(file.read_text(encoding="utf-8"))
        found[level] = [r for name in PARTS.values() for r in record.get(name, []) if r["ours"]]
    return found


def levels_table(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A row for each case: milliseconds of each level, and how many times the first one's."""
    first, *others = found
    heads = [f"{first}, ms", *(f"{level}, ms | times" for level in others)]
    lines = [
        f"| metric | data | dims | rows | queries | k | {' | '.join(heads)} |",
        f"|---|---|--:|--:|--:|--:|--:|{'--:|--:|' * len(others)}",
    ]
    for number, r in enumerate(found[first]):
        cells = [significant(r["seconds"] * 1e3)]
        for level in others:
            seconds = found[level][number]["seconds"]
            cells += [significant(seconds * 1e3), f"{seconds / r['seconds']:.2f} x"]
        lines.append(
            f"| {r['metric']} | {r['data']} | {r['dim']} | {r['rows']:,} | {r['queries']} "
            f"| {r['k']:,} | {' | '.join(cells)} |"
        )
    return lines
