"""A cost model of searches: fitted to what was measured, tried on what it was not fitted to, and
carried on to more items than one machine has.

Of one thread, seconds of a search of `queries` at once over `shards` of `rows` each:

    t = call + shards · shard + queries · query + shards · queries · pair
        + shards · rows · (row + queries · comparison)

*call* is what any search costs, *shard* what any shard adds, *query* what a query adds (its sketch,
its hits), *pair* what a query adds a shard, *row* what is read of a row once for all queries, and
*comparison* a row against a query. None of them is below 0. They are those of the smallest sum of
squares of relative errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

TERMS = ("call", "shard", "query", "pair", "row", "comparison")
METRICS = ("l2", "hamming")

#: Sections of a record without which nothing follows from it.
NEEDS = ("costs", "merge", "embedding", "shards")

#: Within what the held-out configurations must be predicted.
BAR = 0.25

#: What the answer is projected to: items.
SIZES = (10**8, 10**9, 10**10)

#: Longest that a search of one photo should take, in seconds, and hits it asks for.
LATENCY = 1.0


@dataclass(frozen=True)
class Node:
    """A kind of machine.

    Attributes:
        name: in the tables.
        threads: that search at once, each at the speed of the core that was measured.
        memory: bytes that rows may take.
        bandwidth: bytes of rows that it reads a second, of a machine that was not measured.
        cores: as many as it embeds pictures like.
    """

    name: str
    threads: int
    memory: float
    bandwidth: float | None
    cores: int

    @property
    def measured(self) -> bool:
        """Whether its figures follow from what was measured."""
        return self.bandwidth is None


#: Sixteen times the core that was measured.
CPU = Node("CPU, 16 cores, 128 GB", 16, 100e9, None, 16)

#: 141 GB at 4.8 TB/s, by NVIDIA's data sheet, of which two thirds are taken to be reached. That it
#: embeds as a hundred cores do is a guess.
GPU = Node("GPU, H200, 141 GB", 1, 120e9, 4.8e12 * 2 / 3, 100)


def terms(rows: int, shards: int, queries: int) -> list[float]:
    """What each of TERMS is multiplied by."""
    return [
        1, shards, queries, shards * queries, shards * rows, float(shards) * rows * queries,
    ]  # fmt: skip


def fitted(searches: Sequence[dict[str, Any]], metric: str) -> dict[str, float]:
    """The terms' seconds, of the configurations that are not held out."""
    used = [each for each in searches if not each["held_out"]]
    seconds = np.array([each["seconds"][metric] for each in used])
    table = np.array([terms(each["rows"], each["shards"], each["queries"]) for each in used])
    scale = table.max(axis=0)  # so that rows do not drown calls in rounding
    found, _ = nnls(table / scale / seconds[:, None], np.ones(len(used)))
    return dict(zip(TERMS, (found / scale).tolist(), strict=True))


def predicted(costs: dict[str, float], rows: int, shards: int, queries: int) -> float:
    """Seconds."""
    return float(np.dot(terms(rows, shards, queries), list(costs.values())))


def checked(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The held-out configurations, predicted and measured."""
    searches = record["costs"]["searches"]
    found = []
    for metric in METRICS:
        costs = fitted(searches, metric)
        for each in searches:
            if each["held_out"]:
                shape = {name: each[name] for name in ("rows", "shards", "queries")}
                told, measured = predicted(costs, **shape), each["seconds"][metric]
                found.append(
                    {
                        "metric": metric, **shape, "predicted": told, "measured": measured,
                        "error": told / measured - 1,
                    }
                )  # fmt: skip
    return found


def projected(record: dict[str, Any]) -> list[dict[str, Any]]:
    """For each number of items, metric and kind of node: nodes, memory, disk, embedding, latency.

    A node holds in memory what a search reads of every row: codes and their sums, or reduced rows
    and sketches; vectors lie on its disk, of which a search reads few. So many nodes are taken as
    memory asks for, and as bring the comparing of one photo below LATENCY; each has one shard. One
    process asks all of them, and merges what they answer.
    """
    kinds = record["costs"]["bytes"]
    stored = sum(kinds.values())
    read = {"hamming": ("codes", "bitsums"), "l2": ("sketches", "facts", "coarse", "fine")}
    resident = {
        metric: sum(size for kind, size in kinds.items() if kind.startswith(of))
        for metric, of in read.items()
    }
    [merge] = [
        each["seconds"] / each["shards"]
        for each in record["merge"]
        if (each["k"], each["queries"]) == (10, 1)
    ]
    call, another = _call(record.get("ray", {}))
    rate = record["embedding"]["rates"]["anything"] / record["machine"]["cores"]
    found = []
    for items in SIZES:
        for metric in METRICS:
            costs = fitted(record["costs"]["searches"], metric)
            for node in (CPU, GPU):
                by_row = (costs["row"] + costs["comparison"]) / node.threads
                if node.bandwidth is not None:
                    by_row = resident[metric] / node.bandwidth
                fixed = costs["call"] + costs["shard"] + costs["query"] + costs["pair"] + call
                nodes = max(
                    math.ceil(items * resident[metric] / node.memory),
                    math.ceil(items * by_row / max(LATENCY - fixed, LATENCY / 2)),
                )
                pictures = rate * node.cores
                found.append(
                    {
                        "items": items, "metric": metric, "node": node.name,
                        "measured": node.measured, "nodes": nodes,
                        "memory": items * resident[metric], "disk": items * stored,
                        "embedding_days": items / pictures / 86400,
                        "latency": fixed + items / nodes * by_row + (merge + another) * nodes,
                    }
                )  # fmt: skip
    return found


def _call(ray: dict[str, Any]) -> tuple[float, float]:
    """Seconds of a call of one node, of one query for ten hits, and of each further one, sent
    before that is answered. 0 where Ray was not measured."""
    for each in ray.get("calls", ()):
        if (each["queries"], each["k"]) == (1, 10):
            return each["one"], 1 / ray["calls_a_second"]
    return 0.0, 0.0


def lines(record: dict[str, Any]) -> list[str]:
    """The model, its trial and what it says, in text."""
    searches = record["costs"]["searches"]
    told = []
    for metric in METRICS:
        costs = fitted(searches, metric)
        told.append(
            f"{metric}: " + ", ".join(f"{name} {cost:.3g} s" for name, cost in costs.items())
        )
    return [*told, *map(_trial, checked(record)), *map(_projection, projected(record))]


def _trial(each: dict[str, Any]) -> str:
    verdict = "within" if abs(each["error"]) <= BAR else "NOT within"
    return (
        f"{each['metric']}, {each['shards']} x {each['rows']:,} rows, {each['queries']} queries:"
        f" predicted {1e3 * each['predicted']:.2f} ms, measured {1e3 * each['measured']:.2f} ms"
        f" ({each['error']:+.0%}, {verdict} {BAR:.0%})"
    )


def _projection(each: dict[str, Any]) -> str:
    return (
        f"{each['items']:.0e} items, {each['metric']}, {each['node']}: {each['nodes']} nodes,"
        f" {each['memory'] / 1e9:,.0f} GB of memory, {each['disk'] / 1e12:,.1f} TB of disk,"
        f" {each['embedding_days']:,.0f} node-days to embed, {1e3 * each['latency']:.0f} ms"
        + ("" if each["measured"] else " (not measured)")
    )
