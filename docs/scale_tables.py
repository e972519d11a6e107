"""The tables of the page on scale, made of `benchmarks/results/scale.json`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Record = dict[str, Any]

_DISTANCES = {"l2": "L2", "hamming": "Hamming"}


def ms(seconds: float) -> str:
    """Milliseconds, to three figures."""
    value = 1e3 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machine(record: Record) -> str:
    """What was measured on, and what else it did."""
    facts = record["machine"]
    loads = record.get("load", {}).values()
    beside = f"; load average when a section began: {min(loads)} to {max(loads)}" if loads else ""
    return (
        f"Measured on {facts['cores']} cores, {facts['cpu']} ({facts['instructions']}), "
        f"{facts['system']}, Python {facts['python']}{beside}."
    )


def large(record: Record) -> str:
    """One index of many items: ms of the first time and of the median after it."""
    each = sorted(record["large"].values(), key=lambda found: found["items"])
    head = " | ".join(f"{found['items']:,}: first | then" for found in each)
    lines = [f"| ms, items | {head} |", f"|---|{'--:|--:|' * len(each)}"]
    for name in each[0]["seconds"]:
        cells = [
            ms(found["seconds"][name][which]) for found in each for which in ("first", "median")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shards(record: Record) -> str:
    """Processes of one thread, a shard each, against one process of as many threads."""
    found = record["shards"]
    lines = [
        "| | L2, ms | of one process | Hamming, ms | of one process |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in next(iter(found["metrics"].values())):
        cells = []
        for metric in _DISTANCES:
            seconds = found["metrics"][metric]
            cells += [ms(seconds[name]), f"{seconds['all threads'] / seconds[name]:.0%}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    what = f"{found['rows']:,} rows of {found['dim']}, {found['queries']} queries at once"
    return f"{what}, {found['cores']} cores.\n\n" + "\n".join(lines)


def overhead(record: Record) -> str:
    """Small shards: opened, the first search, and later ones."""
    lines = [
        "| shards | open, ms | first search, ms | of the processor | later searches, ms |",
        "|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {each['shards']:,} | {ms(each['open'])} | {ms(each['first'])} "
        f"| {ms(each['first_cpu'])} | {ms(each['again'])} |"
        for each in record["overhead"]
    ]
    return "\n".join(lines)


def merge(record: Record) -> str:
    """The exact merge of sorted answers."""
    lines = ["| shards | k | queries | ms |", "|--:|--:|--:|--:|"]
    lines += [
        f"| {each['shards']:,} | {each['k']:,} | {each['queries']} | {ms(each['seconds'])} |"
        for each in record["merge"]
    ]
    return "\n".join(lines)


def manifest(record: Record) -> str:
    """A list of very many shards."""
    found = record["manifest"]
    return (
        f"A list of {found['shards']:,} shards takes {found['bytes'] / 1e6:.1f} MB. It is written "
        f"in {found['write']:.2f} s, read in {found['read']:.2f} s, and opened, with a look for "
        f"each shard, in {found['open']:.2f} s."
    )


def codes(record: Record) -> str:
    """Codes in memory."""
    found = record["codes"]
    lines = [
        f"{found['rows']:,} codes of 4096 bits, {found['bytes'] / 1e9:.2f} GB in memory.",
        "",
        "| queries at once | ms | ms a query | GB of codes a second |",
        "|--:|--:|--:|--:|",
    ]
    for queries, each in found["seconds"].items():
        seconds, count = each["median"], int(queries)
        rate = count * found["bytes"] / seconds / 1e9
        lines.append(f"| {queries} | {ms(seconds)} | {ms(seconds / count)} | {rate:,.1f} |")
    return "\n".join(lines)


def disk(record: Record) -> str:
    """Vectors on the disk, memory limited."""
    found = record["disk"]
    told = {"all of it": found["whole"]}
    if "limited" in found:
        told[f"{found['limit'] / 1e9:.2f} GB"] = found["limited"]
    lines = [
        f"{found['rows']:,} x {found['dim']} float16, {found['vectors'] / 1e9:.2f} GB of vectors; "
        f"{found['queries']} queries, one at a time.",
        "",
        "| memory | distance | first round: median, ms | most, ms | read a query, MB "
        "| second round: median, ms | most, ms | read a query, MB |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for memory, each in told.items():
        for metric, heading in _DISTANCES.items():
            cells = []
            of = each["metrics"][metric]
            for seconds, read in zip(of["seconds"], of["read"], strict=True):
                middle = sorted(seconds)[len(seconds) // 2]
                cells += [ms(middle), ms(max(seconds)), f"{sum(read) / len(read) / 1e6:.1f}"]
            lines.append(f"| {memory} | {heading} | {' | '.join(cells)} |")
    if "limited" not in found:
        lines += ["", f"Not measured with less memory: {found['why_not']}."]
    return "\n".join(lines)


def ray(record: Record) -> str:
    """Calls of actors."""
    found = record["ray"]
    if "why_not" in found:
        return f"Not measured: {found['why_not']}."
    lines = [
        "| queries | k | sent, KB | back, KB | a call, ms | two shards, ms |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {each['queries']} | {each['k']:,} | {each['sent'] / 1e3:,.0f} "
        f"| {each['back'] / 1e3:,.1f} | {ms(each['one'])} | {ms(each['two'])} |"
        for each in found["calls"]
    ]
    rate = f"Pipelined, {found['calls_a_second']:,.0f} calls a second (Ray {found['version']})."
    return "\n".join(lines) + f"\n\n{rate}"


def trial(record: Record) -> str:
    """Held-out configurations, predicted and measured."""
    lines = [
        "| distance | shards | rows of each | queries | predicted, ms | measured, ms | off by |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {_DISTANCES[each['metric']]} | {each['shards']} | {each['rows']:,} | {each['queries']} "
        f"| {ms(each['predicted'])} | {ms(each['measured'])} | {each['error']:+.0%} |"
        for each in record["model"]["trial"]
    ]
    return "\n".join(lines)


def projection(record: Record) -> str:
    """What follows for more items."""
    lines = [
        "| items | distance | node | nodes | memory, GB | disk, TB | node-days to embed "
        "| a search, ms |",
        "|--:|---|---|--:|--:|--:|--:|--:|",
    ]
    for each in record["model"]["projected"]:
        node = each["node"] + ("" if each["measured"] else " *(not measured)*")
        lines.append(
            f"| {each['items']:,} | {_DISTANCES[each['metric']]} | {node} | {each['nodes']:,} "
            f"| {each['memory'] / 1e9:,.0f} | {each['disk'] / 1e12:,.1f} "
            f"| {each['embedding_days']:,.1f} | {ms(each['latency'])} |"
        )
    return "\n".join(lines)


TABLES: dict[str, Callable[[Record], str]] = {
    "machine": machine,
    "large": large,
    "shards": shards,
    "overhead": overhead,
    "merge": merge,
    "manifest": manifest,
    "codes": codes,
    "disk": disk,
    "ray": ray,
    "trial": trial,
    "projection": projection,
}
