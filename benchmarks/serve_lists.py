"""How long lists of a large catalogue take over HTTP: words, filters, orders, counts; and searches
with a filter, from stored features to JSON.

    python benchmarks/serve_lists.py                          100,000 items, made for it
    python benchmarks/serve_lists.py --rows 10000 --rounds 5

The server runs in a process of its own, as ``vsearch serve`` runs it, over rows of 64 numbers:
lists read no features, and `serve_load.py` times searches of 4096. One client asks one question
after the other, each in `--rounds` forms that differ, so that no answer is a kept one. *p50* and
*p95* are milliseconds as the client sees them; *start* is the time from the server's start to its
address, and the memory is what its process has then, and has more at the end.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
from server_process import server

from vsearch_fast.bench.machine import command_line, environment
from vsearch_fast.index import Index
from vsearch_fast.search import available_threads

_DIM = 64
_COLOURS = ("red", "blue", "green", "black", "white")
_KINDS = ("dress", "shirt", "shoe", "lamp")


def make_index(path: Path, rows: int) -> None:
    """Items with a name, kind, colour, price and sizes; ids "0", "1", ..."""
    rng = np.random.default_rng(0)
    with Index.create(path, _DIM) as index:
        for first in range(0, rows, 10_000):
            ids = [str(n) for n in range(first, min(first + 10_000, rows))]
            features = np.maximum(rng.standard_normal((len(ids), _DIM), np.float32), 0)
            numbers = rng.integers(0, 1000, len(ids)).tolist()
            items = [
                {
                    "name": f"{_COLOURS[n % 5]} {_KINDS[n % 4]} no. {id_}",
                    "category": _KINDS[n % 4],
                    "colour": _COLOURS[n % 5],
                    "price": n / 10,
                    "sizes": ["S", "M", "L"][: 1 + n % 3],
                }
                for id_, n in zip(ids, numbers, strict=True)
            ]
            index.add(ids, features, items)


def questions() -> dict[str, Callable[[int], tuple[str, str, dict[str, Any]]]]:
    """What is asked, by name: method, path and parameters of a round."""

    def items(**parameters: Any) -> tuple[str, str, dict[str, Any]]:
        return "GET", "/api/items", parameters

    def price(n: int) -> str:
        return f"price < {20 + n / 7:.3f} and not colour = red"

    return {
        "first page": lambda n: items(limit=48),
        "words": lambda n: items(text=f"blue {n % 90 + 10}"),
        "filter": lambda n: items(filter=price(n)),
        "filter, sorted": lambda n: items(filter=price(n), sort="-price"),
        "from the middle": lambda n: items(offset=2000 + n, sort="name"),
        "values of a column": lambda n: (
            "GET", "/api/values", {"column": "colour", "filter": price(n), "where": "sizes=M"}
        ),
        "values, searched": lambda n: (
            "GET", "/api/values", {"column": "name", "text": f"no. {n}"}
        ),
        "search with a filter": lambda n: (
            "POST", "/api/search", {"id": str(n), "k": 48, "filter": price(n)}
        ),
        "search, 2,000 skipped": lambda n: (
            "POST", "/api/search", {"id": str(n), "k": 48, "offset": 1952, "filter": price(n)}
        ),
    }  # fmt: skip


def measure(address: str, rounds: int) -> list[dict[str, Any]]:
    """A line a question."""
    lines = []
    with httpx.Client(base_url=address, timeout=120) as client:
        for name, question in questions().items():
            times = []
            for n in range(rounds):
                method, path, given = question(n)
                began = time.perf_counter()
                sent = {"params": given} if method == "GET" else {"json": given}
                answer = client.request(method, path, **sent)  # type: ignore[arg-type]
                times.append(1000 * (time.perf_counter() - began))
                answer.raise_for_status()
            p50, p95 = np.percentile(times, [50, 95])
            line = {"question": name, "p50": round(float(p50), 1), "p95": round(float(p95), 1)}
            lines.append(line)
            print(f"{name:24} {line['p50']:9.1f} {line['p95']:9.1f} ms", flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        path = Path(folder, "made.index")
        make_index(path, arguments.rows)
        with server(path) as served:
            before = served.resident()
            lines = measure(served.address, arguments.rounds)
            grown = served.resident() - before
    facts = {
        "command": command_line("benchmarks/serve_lists.py"),
        "machine": environment(available_threads()),
        "rows": arguments.rows, "rounds": arguments.rounds, "start_seconds": round(served.start, 1),
        "memory_mb": round(before), "grown_mb": round(grown), "questions": lines,
    }  # fmt: skip
    print(f"start {served.start:.1f} s, {before:.0f} MB, {grown:.0f} MB more at the end")
    if arguments.output:
        arguments.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
