"""Shapes that people have: 64 to 4096 dimensions, few and many rows, k from 1 to 1,000.

Clustered unit vectors, like embeddings of any model, as float32, float16 and sign bits. Small
work tells what a large case hides: the cost of a call, of selection, of a row's ends.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..search.dispatch import topk
from .cases import DTYPES, Case
from .contenders import Contender
from .tables import significant

#: Rows of a case by its dimension: one run takes about a second at most.
ROWS = {
    64: 200_000, 128: 200_000, 256: 150_000, 384: 100_000, 512: 80_000, 768: 60_000, 1024: 40_000,
    2048: 20_000, 4096: 10_000,
}  # fmt: skip
QUERIES = (1, 64)
KS = (1, 10, 100, 1000)
#: Dimensions that are taken with every k, and of a quick run.
FEW = (128, 768, 4096)
QUICK = (64, 384, 1024)
PEERS = ("numpy", "faiss", "usearch", "numkong")
#: Share of our time from which a lost case is laid to the call, or to memory.
_MOSTLY = 0.5


def shapes_of(
    metrics: Sequence[str],
    *,
    dim: int | None = None,
    rows: int | None = None,
    queries: int | None = None,
    k: int | None = None,
    quick: bool = False,
) -> list[Case]:
    """The cases, ordered so that neighbours share a database.

    k = 10 for every dimension and type, the others for `FEW` dimensions of float32 and codes.
    What is given replaces what the table has.
    """
    dims = (dim,) if dim else QUICK if quick else tuple(ROWS)
    cases = []
    for metric in dict.fromkeys(metrics):
        dtypes = DTYPES if metric != "hamming" and not quick else DTYPES[:1]
        for each in dims:
            count = rows or ROWS.get(each) or max(10_000, min(200_000, 40_000_000 // each))
            if quick and not rows:
                count //= 10
            for dtype in dtypes:
                all_k = not quick and dtype == DTYPES[0] and (dim or each in FEW)
                for neighbours in (k,) if k else KS if all_k else (10,):
                    cases += [
                        Case(metric, count, q, each, neighbours, "clusters", dtype=dtype)  # type: ignore[arg-type]
                        for q in ((queries,) if queries else QUERIES)
                    ]
    return cases


def peers_of(contenders: Sequence[Contender]) -> list[Contender]:
    """Those that take part: whose exact search is meant to be fast."""
    return [contender for contender in contenders if contender.key in PEERS]


def cost_of_a_call(queries: NDArray, database: NDArray, case: Case, repeats: int = 25) -> float:
    """Median seconds of the same search in eight rows: what does not grow with them."""
    few = np.ascontiguousarray(database[:8])
    runs = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        topk(queries, few, case.k, metric=case.metric)
        runs.append(time.perf_counter() - start)
    return statistics.median(runs[1:])


def why_lost(ours: dict[str, Any], other: dict[str, Any]) -> str:
    """What our time of a case goes to, where another is faster: by what was measured of it."""
    call = ours["call_seconds"] / ours["seconds"]
    if call >= _MOSTLY:
        return f"the call itself is {min(call, 1):.0%} of our time"
    memory = ours["shares"].get("memory", 0)
    if memory >= _MOSTLY:
        return f"we read at {min(memory, 1):.0%} of what memory gives"
    each, theirs = (
        significant(r["seconds"] * 1e9 / (r["rows"] * r["queries"])) for r in (ours, other)
    )
    strategy = (ours["proof"] or {}).get("strategy", "scan")
    return f"{each} ns a pair ({strategy}), theirs {theirs}"


def _key(r: dict[str, Any]) -> tuple[Any, ...]:
    return r["metric"], r["dtype"], r["dim"], r["rows"], r["queries"], r["k"]


def kind_of(r: dict[str, Any]) -> str:
    """The type of the stored rows, as a table calls it."""
    return "bits" if r["metric"] == "hamming" else r["dtype"]


def table_lines(results: Sequence[dict[str, Any]]) -> list[str]:
    """A row for each case: our time, and the others' as multiples of it; lost ones in bold."""
    others = list(dict.fromkeys(r["contender"] for r in results if not r["ours"]))
    lines = [
        f"| distance | rows of | dims | rows | queries | k | ms | {' | '.join(others)} |",
        f"|---|---|--:|--:|--:|--:|--:|{'--:|' * len(others)}",
    ]
    cells: dict[tuple[Any, ...], dict[str, str]] = {}
    for r in results:
        if not r["ours"] and not r["why_not"]:
            ratio = f"{significant(r['ratio'])} x"
            found = cells.setdefault(_key(r), {})
            found[r["contender"]] = f"**{ratio}**" if r["ratio"] < 1 else ratio
    for r in results:
        if r["ours"]:
            ratios = " | ".join(cells.get(_key(r), {}).get(other, "") for other in others)
            lines.append(
                f"| {r['metric']} | {kind_of(r)} | {r['dim']} | {r['rows']:,} | {r['queries']} "
                f"| {r['k']:,} | {significant(r['seconds'] * 1e3)} | {ratios} |"
            )
    return lines


def lost_lines(results: Sequence[dict[str, Any]]) -> list[str]:
    """The lost cases, and why each was lost."""
    ours = {_key(r): r for r in results if r["ours"]}
    lines = []
    for r in results:
        if r["ours"] or r["why_not"] or r["ratio"] >= 1:
            continue
        queries = "1 query" if r["queries"] == 1 else f"{r['queries']} queries"
        lines.append(
            f"{r['metric']}, {kind_of(r)}, {r['dim']} dimensions, {queries}, k = {r['k']:,}: "
            f"{r['contender']} takes {r['ratio']:.2f} of our time; {why_lost(ours[_key(r)], r)}"
        )
    return lines


def summary(results: Sequence[dict[str, Any]]) -> str:
    """How many cases were lost to anyone."""
    cases = {_key(r) for r in results if r["ours"]}
    lost = {_key(r) for r in results if not r["ours"] and not r["why_not"] and r["ratio"] < 1}
    return f"{len(lost)} of {len(cases)} cases are lost to another."
