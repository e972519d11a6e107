"""How long a search over HTTP takes, and how many there are a second, with 1, 8 and 32 clients.

    python benchmarks/serve_load.py                          100,000 rows of 4096, made for it
    python benchmarks/serve_load.py --rows 1000000 --metric hamming
    python benchmarks/serve_load.py --index photos.index --pictures photos/     uploads too

The server runs in a process of its own, as ``vsearch serve`` runs it; the clients, in this one,
each send their next search as soon as the last is answered, over one connection each. Searches are
for rows of the catalogue by id: their features are stored, so that what is timed is everything
*after the features*. With ``--pictures`` uploads are timed too, from the file to the answer.

*p50*, *p95*, *p99* are over the searches of a run, in milliseconds, as the client sees them; *scan*
is the median of what the server says of the search alone; *batch* is the mean number of queries of
a scan; *loop* is a bound for how late the server's event loop woke in 99 of 100 times, ten times a
second: it stays low as long as nothing blocks it. Clients and server share the machine's cores.

Rows that are made are noise of intrinsic dimension 40 after a ReLU, so that distances differ as
those of pictures do. Every answer is checked against the index's own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import platform
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from server_process import server

from vsearch_fast.bench.machine import command_line
from vsearch_fast.images import find_images
from vsearch_fast.index import Index
from vsearch_fast.search import available_threads

_INTRINSIC = 40
_BLOCK = 10_000
_K = 12


@dataclass(frozen=True)
class Run:
    """One line of the table; milliseconds, but for `rate` (searches a second)."""

    kind: str
    metric: str
    clients: int
    searches: int
    rate: float
    p50: float
    p95: float
    p99: float
    scan: float
    batch: float
    loop: float


def make_index(path: Path, rows: int, dim: int) -> None:
    """An index of `rows` made rows, ids "0", "1", ..."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((_INTRINSIC, dim), np.float32) / _INTRINSIC**0.5
    with Index.create(path, dim) as index:
        for first in range(0, rows, _BLOCK):
            count = min(_BLOCK, rows - first)
            block = np.maximum(rng.standard_normal((count, _INTRINSIC), np.float32) @ mixing, 0)
            ids = [str(first + n) for n in range(count)]
            index.add(ids, block, [{"category": f"kind {int(i) % 20}"} for i in ids])
            print(f"\r{first + count:,} of {rows:,} rows made", end="", file=sys.stderr)
    print(file=sys.stderr)


@contextlib.contextmanager
def learnt(index_path: Path, *, own_model: bool) -> Iterator[str]:
    """The address of a server that has learnt what distances say, and does nothing beside."""
    with server(index_path, own_model=own_model) as served:
        while len(httpx.get(f"{served.address}/api/catalogue", timeout=60).json()["labels"]) < 3:
            time.sleep(0.5)
        yield served.address


async def load(
    address: str, clients: int, seconds: float, forms: list[dict[str, Any]], kind: str, metric: str
) -> tuple[Run, dict[int, list[str]]]:
    """Searches for so long by so many clients; also the ids that each form's matches had."""
    times: list[float] = []
    scans: list[float] = []
    answers: dict[int, list[str]] = {}
    before = await counted(address)
    end = time.perf_counter() + seconds

    async def client(first: int) -> None:
        async with httpx.AsyncClient(base_url=address, timeout=60) as http:
            number = first
            while number == first or time.perf_counter() < end:  # one search at least
                form = forms[number % len(forms)]
                began = time.perf_counter()
                answer = await http.post("/api/search", data=form["data"], files=form.get("files"))
                took = time.perf_counter() - began
                answer.raise_for_status()
                found = answer.json()
                times.append(1000 * took)
                scans.append(found["milliseconds"]["search"])
                answers[number % len(forms)] = [m["id"] for m in found["results"][0]["matches"]]
                number += clients

    began = time.perf_counter()
    await asyncio.gather(*(client(first) for first in range(clients)))
    elapsed = time.perf_counter() - began
    after = await counted(address)
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    new = after - before
    batch = new["vsearch_batch_size_sum", "search"] / new["vsearch_batch_size_count", "search"]
    run = Run(
        kind, metric, clients, len(times), len(times) / elapsed, p50, p95, p99,
        float(np.median(scans)), batch, late(new),
    )  # fmt: skip
    return run, answers


async def counted(address: str) -> Counter[tuple[str, str]]:
    """The server's counts so far, by name and by stage or bucket."""
    async with httpx.AsyncClient(base_url=address) as http:
        lines = (await http.get("/metrics")).text.splitlines()
    pattern = re.compile(r'(\w+)\{(?:stage|le)="([^"]*)"\} (\S+)')
    found: Counter[tuple[str, str]] = Counter()
    for match in filter(None, map(pattern.fullmatch, lines)):
        found[match[1], match[2]] = float(match[3])  # type: ignore[assignment]
    return found


def late(counts: Counter[tuple[str, str]]) -> float:
    """The upper end, in milliseconds, of the bucket that 99% of the loop's wakings are within."""
    buckets = {
        float(bound): count
        for (name, bound), count in counts.items()
        if name == "vsearch_loop_late_seconds_bucket"
    }
    enough = 0.99 * max(buckets.values())
    return 1000 * min(bound for bound, count in buckets.items() if count >= enough)


def check(index: Index, ids: list[str], metric: Any, answers: dict[int, list[str]]) -> int:
    """Answers that differ from the index's own, which is one too many already."""
    numbers = sorted(answers)
    rows = index.features([ids[n] for n in numbers])
    wrong = 0
    for n, hits in zip(numbers, index.search(rows, _K + 1, metric), strict=True):
        expected = [hit.id for hit in hits if hit.id != ids[n]][:_K]
        wrong += expected != answers[n]
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--index", type=Path, help="an index of yours instead of made rows")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--pictures", type=Path, help="with --index: upload these pictures too")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=10, help="for each line of the table")
    parser.add_argument(
        "--metric", nargs="+", choices=["l2", "l1", "hamming"], default=["l2", "l1", "hamming"]
    )
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    if asked.pictures and not asked.index:
        parser.error("--pictures wants --index: made rows have no network")
    with tempfile.TemporaryDirectory() as folder:
        path = asked.index
        if path is None:
            path = Path(folder) / "made.index"
            make_index(path, asked.rows, asked.dim)
        runs, facts = measure(path, asked)
    if asked.output:
        asked.output.write_text(
            json.dumps(facts | {"runs": [asdict(run) for run in runs]}, indent=1) + "\n"
        )


def measure(path: Path, asked: argparse.Namespace) -> tuple[list[Run], dict[str, Any]]:
    runs = []
    with Index.open(path) as index, learnt(path, own_model=asked.index is not None) as address:
        rng = np.random.default_rng(1)
        items = index.page(50_000)[0]
        ids = [items[n].id for n in rng.permutation(len(items))[:2000]]
        facts = {
            "command": command_line("benchmarks/serve_load.py"),
            "pictures": len(index),
            "dim": index.dim,
            "threads": available_threads(),
            "machine": f"{platform.machine()} {platform.system()}",
            "python": platform.python_version(),
            "numpy": np.__version__,
        }
        print(f"{len(index):,} rows of {index.dim}, {available_threads()} threads, k = {_K}\n")
        print("| searches by | metric | clients | p50 ms | p95 ms | p99 ms | a second | scan ms "
              "| batch | loop ms |")  # fmt: skip
        print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")
        for metric in asked.metric:
            forms = [{"data": {"id": id_, "metric": metric, "k": str(_K)}} for id_ in ids]
            asyncio.run(load(address, 2, 1, forms, "warm", metric))
            for clients in asked.clients:
                run, answers = asyncio.run(
                    load(address, clients, asked.seconds, forms, "id", metric)
                )
                wrong = check(index, ids, metric, answers)
                if wrong:
                    raise SystemExit(f"{wrong} of {len(answers)} answers are wrong")
                runs.append(told(run))
            if asked.pictures:
                files = [(p.name, p.read_bytes()) for p in find_images(asked.pictures)[:200]]
                uploads: list[dict[str, Any]] = [
                    {"data": {"metric": metric, "k": str(_K)}, "files": {"image": file}}
                    for file in files
                ]
                for clients in asked.clients:
                    run, _ = asyncio.run(
                        load(address, clients, asked.seconds, uploads, "upload", metric)
                    )
                    runs.append(told(run))
    return runs, facts


def told(run: Run) -> Run:
    """Print a line of the table."""
    print(
        f"| {run.kind} | {run.metric} | {run.clients} | {run.p50:.0f} | {run.p95:.0f} "
        f"| {run.p99:.0f} | {run.rate:,.0f} | {run.scan:.0f} | {run.batch:.1f} | {run.loop:g} |",
        flush=True,
    )
    return run


if __name__ == "__main__":
    main()
