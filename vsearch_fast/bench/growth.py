"""How time grows with the catalogue, and with k."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from .cases import Case, width_of
from .contenders import OurSearch
from .data import Data
from .machine import available_memory
from .measure import Say, alternate
from .tables import significant

QUERIES = 64
SIZES = {
    "hamming": (10_000, 100_000, 1_000_000),
    "l1": (10_000, 50_000, 100_000, 200_000),
    "l2": (10_000, 50_000, 100_000, 200_000),
    "cosine": (10_000, 50_000, 100_000, 200_000),
    "ip": (10_000, 50_000, 100_000, 200_000),
}
LARGE_K = (10, 1000)
LARGE_K_ROWS = {
    "hamming": 1_000_000, "l1": 100_000, "l2": 100_000, "cosine": 100_000, "ip": 100_000,
}  # fmt: skip
#: Memory that a size may take for one byte of its rows: the rows, their sketch, some room.
_ROOM = 1.4


def _timed(
    searches: dict[str, Callable[[], object]], pairs: int, budget: float, say: Say
) -> dict[str, float]:
    """Median seconds of each, run in turn after one run that is not timed."""
    first = {}
    for name, search in searches.items():
        say(f"{name}, first run")
        start = time.perf_counter()
        search()
        first[name] = time.perf_counter() - start
    seconds = alternate(searches, pairs, budget, first, say)
    return {name: statistics.median(runs.values()) for name, runs in seconds.items()}


def growth(
    data: Data,
    metrics: tuple[str, ...],
    *,
    dim: int,
    bits: int | None = None,
    kind: str,
    pairs: int,
    threads: int,
    quick: bool = False,
    budget: float = 30.0,
    say: Say = lambda _: None,
) -> list[dict[str, Any]]:
    """Time a row in batches of 64 queries, by the number of rows; sizes beyond memory are named."""
    results: list[dict[str, Any]] = []
    for metric in metrics:
        sizes = [size // (10 if quick else 1) for size in SIZES[metric]]
        room = available_memory()
        width = width_of(metric, kind, dim, bits)
        row_bytes = Case(metric, dim=width).row_bytes  # type: ignore[arg-type]
        fitting = [rows for rows in sizes if rows * row_bytes * _ROOM <= room]
        say(f"growth: {metric}, data")
        case = Case(metric, fitting[-1], QUERIES, width, data=kind)  # type: ignore[arg-type]
        queries, database = data.load(case)
        searches: dict[str, Callable[[], object]] = {}
        for rows in fitting:
            ours = OurSearch(database[:rows], case, threads)
            searches[f"growth: {metric}, {rows:,} rows"] = partial(ours, queries)
        seconds = list(_timed(searches, pairs, budget, say).values())
        for rows, spent in zip(fitting, seconds, strict=True):
            results.append(
                {
                    "metric": metric,
                    "data": kind,
                    "rows": rows,
                    "queries": QUERIES,
                    "dim": width,
                    "seconds": spent,
                    "ns_a_row": spent / rows * 1e9,
                    "ratio": (spent / rows) / (seconds[0] / fitting[0]),
                }
            )
        results += [
            {"metric": metric, "data": kind, "rows": rows, "why_not": "memory"}
            for rows in sizes[len(fitting) :]
        ]
    return results


def large_k(
    data: Data,
    metrics: tuple[str, ...],
    *,
    dim: int,
    bits: int | None = None,
    kind: str,
    pairs: int,
    threads: int,
    quick: bool = False,
    budget: float = 30.0,
    say: Say = lambda _: None,
) -> list[dict[str, Any]]:
    """Time of a batch of 64 queries with k = 1000 against k = 10."""
    results = []
    for metric in metrics:
        rows = LARGE_K_ROWS[metric] // (10 if quick else 1)
        say(f"large k: {metric}, data")
        width = width_of(metric, kind, dim, bits)
        cases = [Case(metric, rows, QUERIES, width, min(k, rows), kind) for k in LARGE_K]  # type: ignore[arg-type]
        queries, database = data.load(cases[0])
        searches: dict[str, Callable[[], object]] = {}
        ours = OurSearch(database, cases[0], threads)
        for case in cases:
            one = OurSearch(ours.database, case, threads)  # the same sketch
            searches[f"{metric}, k = {case.k}"] = partial(one, queries)
        few, many = _timed(searches, pairs, budget, say).values()
        results.append(
            {
                "metric": metric,
                "data": kind,
                "rows": rows,
                "queries": QUERIES,
                "dim": width,
                "k": [case.k for case in cases],
                "seconds": [few, many],
                "ratio": many / few,
            }
        )
    return results


def growth_table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| metric | data | rows | queries | ms | ns a row | to the smallest |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for r in results:
        if "why_not" in r:
            lines.append(
                f"| {r['metric']} | {r['data']} | {r['rows']:,} | | more than memory holds | | |"
            )
            continue
        lines.append(
            f"| {r['metric']} | {r['data']} | {r['rows']:,} | {r['queries']} "
            f"| {significant(r['seconds'] * 1e3)} | {significant(r['ns_a_row'])} "
            f"| {r['ratio']:.2f} x |"
        )
    return "\n".join(lines)


def large_k_table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| metric | data | rows | queries | k = 10, ms | k = 1000, ms | ratio |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for r in results:
        few, many = (significant(s * 1e3) for s in r["seconds"])
        lines.append(
            f"| {r['metric']} | {r['data']} | {r['rows']:,} | {r['queries']} | {few} | {many} "
            f"| {r['ratio']:.2f} x |"
        )
    return "\n".join(lines)
