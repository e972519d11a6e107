"""What adding rows to an index costs: writing them, sketching them, reducing them.

    python benchmarks/adding.py                         20,000 rows of 4096, 1,024 at a time
    python benchmarks/adding.py --features features.npy --json results.json

Four ways that take turns, each in a new index on the same disk:

- *rows alone*: vectors and codes, with their checksums;
- *sketched*: and the 8-bit sketches of complete blocks;
- *reduced*: and the rows reduced for L2 and L1, as an index adds them;
- *disk*: as many bytes as *reduced* writes, in as many pieces, each flushed (fsync): what the disk
  allows.

An index learns its reductions once, in the addition that gives it enough rows, and then reduces all
that it has: that addition is told apart, and not part of the rate. Rows are rendered with few
directions that matter, as features are, or those of a file repeated with noise.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np

from vsearch_fast.bench.machine import command_line
from vsearch_fast.index import Index, reducing, schema

_WAYS = ("rows alone", "sketched", "reduced", "disk")


def _rows(count: int, dim: int, features: Path | None) -> np.ndarray:
    """float32 (count, dim)."""
    rng = np.random.default_rng(1)
    if features is not None:
        some = np.load(features).astype(np.float32)
        rows = some[rng.integers(0, len(some), count)]
        rows += 0.05 * some.std() * rng.standard_normal(rows.shape, np.float32)
        return np.ascontiguousarray(np.maximum(rows, 0))
    turn = rng.standard_normal((40, dim), np.float32)
    rows = rng.standard_normal((count, 40), np.float32) @ turn
    rows += rng.standard_normal(rows.shape, np.float32)
    return np.maximum(rows, 0, out=rows)


def _add(rows: np.ndarray, step: int, way: str, folder: Path) -> tuple[list[float], int]:
    """Seconds of each addition, and the bytes that the index takes."""
    ways: dict[str, contextlib.AbstractContextManager[object]] = {
        "rows alone": mock.patch.object(schema.Meta, "sketched", False),
        "sketched": mock.patch.object(reducing, "plans", lambda *of, **more: []),
        "reduced": contextlib.nullcontext(),
    }
    seconds = []
    with ways[way], Index.create(folder / "index", rows.shape[1]) as index:
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            ids = [str(start + number) for number in range(len(part))]
            began = time.perf_counter()
            index.add(ids, part)
            seconds.append(time.perf_counter() - began)
        return seconds, index.info()["bytes"]


def _write(size: int, pieces: int, folder: Path) -> list[float]:
    """Seconds to write each of so many pieces, flushed."""
    piece, seconds = os.urandom(size // pieces), []
    descriptor = os.open(folder / "file", os.O_RDWR | os.O_CREAT)
    try:
        for _ in range(pieces):
            began = time.perf_counter()
            os.write(descriptor, piece)
            os.fsync(descriptor)
            seconds.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
    return seconds


@click.command()
@click.option("--rows", default=20_000, show_default=True)
@click.option("--dim", default=4096, show_default=True)
@click.option("--step", default=1024, show_default=True, help="Rows an addition.")
@click.option("--runs", default=5, show_default=True, help="Runs of each way.")
@click.option("--features", type=click.Path(path_type=Path), help="A .npy file of features.")
@click.option("--folder", type=click.Path(path_type=Path), help="On the disk to be measured.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the record.")
def main(
    rows: int, dim: int, step: int, runs: int, features: Path | None, folder: Path | None,
    json_file: Path | None,
) -> None:  # fmt: skip
    """Measure what adding rows costs."""
    data = _rows(rows, dim, features)
    found: dict[str, list[float]] = {way: [] for way in _WAYS}
    learning: list[float] = []
    size = 0
    for run in range(-1, runs):  # the first one compiles
        for way in _WAYS:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                if way == "disk":
                    seconds = _write(size, -(-rows // step), Path(place))
                else:
                    seconds, size = _add(data, step, way, Path(place))
            if run < 0:
                continue
            # The first addition makes files; the one that learns is told apart.
            rest = sorted(seconds[1:])
            found[way].append(statistics.fmean(rest[:-1]))
            if way == "reduced":
                learning.append(rest[-1])
    medians = {way: statistics.median(values) for way, values in found.items()}
    whole = medians["reduced"]
    for way, value in medians.items():
        click.echo(
            f"{way:12} {1000 * value:8.1f} ms for {step:,} rows, {step / value:8,.0f} rows/s"
        )
    added = {
        "sketching": medians["sketched"] - medians["rows alone"],
        "reducing": whole - medians["sketched"],
    }
    for what, value in added.items():
        click.echo(f"{what:12} {1000 * value:8.1f} ms, {value / whole:.0%} of adding")
    click.echo(f"adding is at {medians['disk'] / whole:.0%} of the disk's speed")
    click.echo(f"learning     {statistics.median(learning):8.1f} s, once")
    if json_file:
        record: dict[str, Any] = {
            "command": command_line("benchmarks/adding.py"),
            "machine": f"{platform.machine()}, {platform.python_version()}",
            "rows": rows, "dim": dim, "step": step, "runs": runs, "bytes": size,
            "seconds": found, "learning": learning,
        }  # fmt: skip
        json_file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
