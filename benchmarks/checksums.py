"""What checksums cost: adding rows, the first search of a process, and the searches after it.

    python benchmarks/checksums.py                         100,000 rows of 4096, made for it
    python benchmarks/checksums.py --rows 20000 --json results.json

Three costs, each a ratio of medians of runs that alternate, with checksums and without:

- *adding*: blocks of rows added to a new index. Without: the hash of every granule is a constant,
  so that all but the hashing is the same.
- *cold*: the first search of a process, as a user meets it: from opening the index to its answer,
  kernels loaded from their cache, files in the page cache (where reading is cheapest and the
  checksums' share the largest; --drop asks the kernel to forget the files first, as root).
- *warm*: the searches after it, the same query, and other queries (which read other candidates
  for the first time).

Wall-clock ratios of short runs are as noisy as the machine. So each process also says which share
of its processor time was spent in checks: in hashing, comparing, and asking whether to hash.

Every process prints its own times; nothing but the kernel's page cache is shared between them.
"""

from __future__ import annotations

import contextlib
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np
from serve_load import make_index

from vsearch_fast.bench.machine import command_line
from vsearch_fast.index import Index, sums
from vsearch_fast.words import JUDGED

_QUERIES = 32

_SEARCH = """
import json, sys, time
import numpy as np
from vsearch_fast import Index
from vsearch_fast.index import reading, store
path, metric, checks, count = sys.argv[1:]
queries = np.load(path + "-queries.npy")
spent = 0.0

def timed(owner, name):
    call = getattr(owner, name)
    def measured(*arguments):
        global spent
        start = time.thread_time()
        try:
            return call(*arguments)
        finally:
            spent += time.thread_time() - start
    setattr(owner, name, measured)

for name in ("rows", "sketches", "pairs"):
    timed(reading.Reading, name)
timed(store.Store, "settle")

def measured(search):
    global spent
    spent, start, cpu = 0.0, time.perf_counter(), time.process_time()
    search()
    return time.perf_counter() - start, spent / (time.process_time() - cpu)

def cold():
    global index
    index = Index.open(path, checksums=checks)
    index.search(queries[0], 10, metric)

first = measured(cold)
again = [measured(lambda: index.search(queries[0], 10, metric)) for _ in range(int(count))]
others = [measured(lambda: index.search(query, 10, metric)) for query in queries[1:]]
median = lambda runs: [sorted(values)[len(values) // 2] for values in zip(*runs)]
print(json.dumps([first, median(again), median(others)]))
"""


def _search(path: Path, metric: str, checks: str) -> list[list[float]]:
    """Seconds, and the share of processor time in checks: cold, the same query again, others."""
    done = subprocess.run(
        [sys.executable, "-c", _SEARCH, str(path), metric, checks, str(_QUERIES)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return list(json.loads(done.stdout))


def _add(rows: np.ndarray, summed: bool) -> float:
    """Seconds to add rows to a new index."""
    ids = [str(number) for number in range(len(rows))]
    nothing = mock.patch.object(
        sums, "sums_of", lambda some, granule: np.zeros(-(-len(some) // granule), np.uint64)
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        Index.create(Path(folder) / "index", rows.shape[1]) as index,
        contextlib.nullcontext() if summed else nothing,
    ):
        start = time.perf_counter()
        index.add(ids, rows)
        return time.perf_counter() - start


def _paired(runs: int, kinds: tuple[Any, Any], measure: Any) -> tuple[list[Any], list[Any]]:
    """Results of two kinds of run, alternating."""
    found: tuple[list[Any], list[Any]] = ([], [])
    for number in range(runs):
        for place in (0, 1) if number % 2 else (1, 0):
            found[place].append(measure(kinds[place]))
    return found


@click.command()
@click.option("--rows", default=100_000, show_default=True)
@click.option("--dim", default=4096, show_default=True)
@click.option("--runs", default=9, show_default=True, help="Runs of each kind.")
@click.option("--drop", is_flag=True, help="Drop the page cache before each cold search.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the record.")
def main(rows: int, dim: int, runs: int, drop: bool, json_file: Path | None) -> None:
    """Measure what checksums cost."""
    rng = np.random.default_rng(1)
    record: dict[str, Any] = {
        "command": command_line("benchmarks/checksums.py"),
        "machine": f"{platform.machine()}, {platform.python_version()}",
        "rows": rows, "dim": dim, "runs": runs, "dropped": drop,
    }  # fmt: skip

    some = np.maximum(rng.standard_normal((min(rows, 20_000), dim), np.float32), 0)
    _add(some[:2048], True)  # compiles
    with_, without = _paired(runs, (True, False), lambda summed: _add(some, summed))
    record["adding"] = {"with": with_, "without": without}
    _tell(f"adding {len(some):,} rows", with_, without)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        make_index(path, rows, dim)
        with Index.open(path) as index:
            numbers = rng.integers(0, rows, _QUERIES)
            np.save(f"{path}-queries.npy", index.features([str(n) for n in numbers]))
        for metric in JUDGED:
            _search(path, metric, "never")  # compiles

            def measure(checks: str, metric: str = metric) -> list[list[float]]:
                if drop:
                    Path("/proc/sys/vm/drop_caches").write_text("1", encoding="ascii")
                return _search(path, metric, checks)

            with_, without = _paired(runs, ("first", "never"), measure)
            record[metric] = {"with": with_, "without": without}
            for place, what in enumerate(("cold", "warm, the same query", "warm, other queries")):
                _tell(
                    f"{metric:7} {what}",
                    [run[place][0] for run in with_],
                    [run[place][0] for run in without],
                    statistics.median(run[place][1] for run in with_),
                )
    if json_file:
        json_file.write_text(json.dumps(record, indent=1) + "\n")


def _tell(what: str, with_: list[float], without: list[float], share: float | None = None) -> None:
    one, other = statistics.median(with_), statistics.median(without)
    click.echo(
        f"{what:32} {1000 * one:9.2f} ms with, {1000 * other:9.2f} ms without:"
        f" {100 * (one / other - 1):+5.1f}%"
        + ("" if share is None else f"; {100 * share:.1f}% of the processor time is in checks")
    )


if __name__ == "__main__":
    main()
