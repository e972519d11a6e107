"""The tables of the benchmark page, made of the records in `benchmarks/results`.

Speed goes through the benchmark's own table code, so that a page and a terminal show the same.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import scale_tables

from vsearch_fast import words
from vsearch_fast.bench import filters, growth, tables
from vsearch_fast.bench import shapes as bench_shapes
from vsearch_fast.bench.roofs import Roofs
from vsearch_fast.evaluate.report import DISTANCES

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"

METRICS = {metric: DISTANCES[metric] for metric in words.JUDGED}


def table(request: str) -> str:
    """What a page asks for: the name of a table and its arguments, as in ``speed features``."""
    name, *arguments = request.split()
    if name not in _TABLES:
        raise KeyError(f"no table {name!r}; there are {', '.join(_TABLES)}")
    return _TABLES[name](*arguments)


def _load(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def _without_columns(lines: list[str], number: int) -> list[str]:
    """The lines of a table without its first columns."""
    return ["|" + line.split("|", number + 1)[-1] for line in lines]


def speed(data: str, name: str = "cpu-2core-zen5.json") -> str:
    """Ours and the peers on one kind of data, a table for each distance."""
    results = [r for r in _load(name)["results"] if r["data"] == data]
    parts = []
    for metric, heading in METRICS.items():
        found = [r for r in results if r["metric"] == metric]
        rows = tables.rows_of(found)
        if rows:
            lines = _without_columns([*tables.HEAD.splitlines(), *rows], 2)
            parts.append(f"**{heading}, `{data}`**\n\n" + "\n".join(lines))
    parts += [f"*{line}*" for line in tables.absent(results)]
    return "\n\n".join(parts)


def proofs(data: str, name: str = "cpu-2core-zen5.json") -> str:
    """How each of our answers was proved."""
    results = [r for r in _load(name)["results"] if r["data"] == data and r["ours"]]
    return "\n".join(f"- {tables.proof_line(r)}" for r in results)


def machine(name: str = "cpu-2core-zen5.json") -> str:
    """What was measured on, and with which versions."""
    record = _load(name)
    facts = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = [
        f"- command: `{record['command']}`",
        f"- {facts['cores']} cores, {facts['cpu']}, {facts['instructions']}, {facts['system']}, "
        f"Python {facts['python']}",
        f"- {versions}",
    ]
    if "roofs" in record:
        lines += [f"- {line}" for line in tables.roofs_lines(Roofs(**record["roofs"]))]
    return "\n".join(lines)


def small(data: str, name: str = "cpu-2core-small.json") -> str:
    """Small databases: our time and strategy, and what the others took of it."""
    results = [r for r in _load(name)["small"] if r["data"] == data]
    others = list(dict.fromkeys(r["contender"] for r in results if not r["ours"]))
    lines = [
        f"| distance | rows | queries | ms | strategy | {' | '.join(others)} |",
        f"|---|--:|--:|--:|---|{'--:|' * len(others)}",
    ]
    for r in results:
        if not r["ours"]:
            continue
        case = (r["metric"], r["rows"], r["queries"])
        ratios = {
            other["contender"]: f"{tables.significant(other['ratio'])} x"
            for other in results
            if (other["metric"], other["rows"], other["queries"]) == case
            and not other["ours"]
            and not other["why_not"]
        }
        lines.append(
            f"| {METRICS[r['metric']]} | {r['rows']:,} | {r['queries']} "
            f"| {tables.significant(r['seconds'] * 1e3)} | {r['proof']['strategy']} "
            f"| {' | '.join(ratios.get(other, '') for other in others)} |"
        )
    return "\n".join(lines)


def filtered(name: str = "cpu-2core-zen3-filters.json") -> str:
    """What a filter costs."""
    return filters.filters_table(_load(name)["filters"])


def shapes(name: str = "cpu-2core-zen3-shapes.json") -> str:
    """All shapes, a table for each distance, and why cases were lost."""
    results = _load(name)["shapes"]
    parts = []
    for metric, heading in METRICS.items():
        found = [r for r in results if r["metric"] == metric]
        # What nobody was measured at is no column.
        present = {r["contender"] for r in found if not r["why_not"]}
        found = [r for r in found if r["contender"] in present]
        lines = _without_columns(bench_shapes.table_lines(found), 1)
        parts.append(f"**{heading}.** {bench_shapes.summary(found)}\n\n" + "\n".join(lines))
        if lost := bench_shapes.lost_lines(found):
            parts.append("\n".join(f"- {line}" for line in lost))
    return "\n\n".join(parts)


def by_rows(name: str = "cpu-2core-zen5-growth.json") -> str:
    """Time a row by the number of rows, noise after a ReLU and plain noise apart."""
    return _by_data(_load(name)["growth"], growth.growth_table)


def by_k(name: str = "cpu-2core-zen5-growth.json") -> str:
    """k = 1000 against k = 10."""
    return _by_data(_load(name)["large_k"], growth.large_k_table)


def _by_data(results: list[dict[str, Any]], render: Callable[[list[dict[str, Any]]], str]) -> str:
    kinds = dict.fromkeys(r["data"] for r in results)
    return "\n\n".join(render([r for r in results if r["data"] == kind]) for kind in kinds)


def serving(name: str = "serve-load.json") -> str:
    """Searches over HTTP."""
    lines = [
        "| distance | clients | p50 ms | p95 ms | p99 ms | searches/s | queries a scan |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {METRICS[run['metric']]} | {run['clients']} | {run['p50']:.0f} | {run['p95']:.0f} "
        f"| {run['p99']:.0f} | {run['rate']:,.0f} | {run['batch']:.1f} |"
        for run in _load(name)["runs"]
    ]
    return "\n".join(lines)


def lists(name: str = "serve-lists.json") -> str:
    """Lists of a large catalogue over HTTP."""
    record = _load(name)
    lines = [
        f"| asked of {record['rows']:,} items | p50 ms | p95 ms |",
        "|---|--:|--:|",
    ]
    lines += [f"| {q['question']} | {q['p50']:.0f} | {q['p95']:.0f} |" for q in record["questions"]]
    lines += [
        "",
        f"The server answered {record['start_seconds']:.0f} s after its start, with "
        f"{record['memory_mb']:,} MB in memory, and had {record['grown_mb']:,} MB more at the end.",
    ]
    return "\n".join(lines)


def page(name: str = "page.json") -> str:
    """The search page in a browser."""
    record = _load(name)
    view, scroll = record["first_view"], record["scrolling"]
    before, after = record["before"], record["after"]
    rows = [
        ("first cards", f"{view['cards_s']:.2f} s"),
        ("no request open", f"{view['rest_s']:.2f} s"),
        ("bytes of the first view, but for pictures", f"{view['bytes']:,}"),
        (f"scrolling through {scroll['cards']:,} cards", f"{scroll['seconds']:.0f} s"),
        ("frames a second, median", f"{scroll['frames_a_second']}"),
        ("frames in the slowest second", f"{scroll['slowest_second']}"),
        ("longest frame", f"{scroll['longest_frame_ms']} ms"),
        ("scripts' memory, before and after", f"{before['heap_mb']}, {after['heap_mb']} MB"),
        ("elements, before and after", f"{before['elements']:,}, {after['elements']:,}"),
    ]
    return "\n".join(["| Chromium | |", "|---|--:|", *(f"| {a} | {b} |" for a, b in rows)])


def checksums(name: str = "checksums.json") -> str:
    """What checksums cost."""
    record = _load(name)
    lines = ["| what | with | without | cost | in checks |", "|---|--:|--:|--:|--:|"]

    def line(what: str, with_: list[float], without: list[float], share: str = "") -> str:
        one, other = 1000 * statistics.median(with_), 1000 * statistics.median(without)
        cost = f"{100 * (one / other - 1):+.1f}%"
        return f"| {what} | {one:,.1f} ms | {other:,.1f} ms | {cost} | {share} |"

    adding = record["adding"]
    lines.append(line("adding 20,000 rows", adding["with"], adding["without"]))
    for metric, title in METRICS.items():
        for place, what in enumerate(("cold", "warm, the same query", "warm, other queries")):
            runs = record[metric]
            with_, without = ([run[place][0] for run in runs[side]] for side in ("with", "without"))
            share = statistics.median(run[place][1] for run in runs["with"])
            lines.append(line(f"{title}, {what}", with_, without, f"{100 * share:.1f}%"))
    return "\n".join(lines)


def _accuracy(name: str) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Figures over all categories, and the rows that were not run with their commands."""
    with (RESULTS / name).open(encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["scope"] == "all categories"]
    missing = {line["row"]: line["not_run"] for line in lines if line["not_run"]}
    return [line for line in lines if not line["not_run"]], missing


def _figure(line: dict[str, str] | None, interval: bool) -> str:
    if line is None:
        return ""
    value = f"{float(line['value']):.3f}"
    if interval and line["low"] and line["distance"]:
        value += f" ({float(line['low']):.3f} to {float(line['high']):.3f})"
    return value


def accuracy(name: str, measure: str = "P", k: str = "1") -> str:
    """One measure for every row by distance; matches of the query's own group beside it."""
    lines, missing = _accuracy(name)
    measure = measure.replace("_", " ")
    chosen = {
        (line["row"], line["distance"], line["rule"]): line
        for line in lines
        if (line["measure"], line["k"], line["average"]) == (measure, k, "micro")
    }
    rules = {rule for _, _, rule in chosen}
    rule = "other groups" if "other groups" in rules else "any other picture"
    beside = "any other picture" if rule == "other groups" and len(rules) > 1 else ""
    head = "| features | L1 | L2 | Hamming |" + (" L2, own group allowed |" if beside else "")
    out = [head, "|---|--:|--:|--:|" + ("--:|" if beside else "")]
    rows = dict.fromkeys(row for row, _, _ in chosen)

    def best(row: str) -> float:
        return max(float(chosen[key]["value"]) for key in chosen if key[::2] == (row, rule))

    for row in sorted(rows, key=best, reverse=True):
        cells = []
        for distance in ("l1", "l2", "hamming"):
            line = chosen.get((row, distance, rule)) or chosen.get((row, "", rule))
            cells.append(_figure(line, interval=True))
        if beside:
            line = chosen.get((row, "l2", beside)) or chosen.get((row, "", beside))
            cells.append(_figure(line, interval=False))
        out.append(f"| {row} | " + " | ".join(cells) + " |")
    end = " |" if beside else ""
    out += [f"| {row} | not run | not run | not run |{end}" for row in missing]
    return "\n".join(out)


def sender(name: str) -> str:
    """How much of each row's P@1, by the distance that is best with the own group allowed, is
    left where it is forbidden, and of what it has above chance."""
    chosen = {
        (line["row"], line["distance"], line["rule"]): float(line["value"])
        for line in _accuracy(name)[0]
        if (line["measure"], line["k"], line["average"]) == ("P", "1", "micro")
    }
    allowed, forbidden = "any other picture", "other groups"
    control = next(row for row, distance, _ in chosen if not distance)
    chance = {rule: chosen[control, "", rule] for rule in (allowed, forbidden)}
    best = {
        row: max(
            (value, distance)
            for (name, distance, rule), value in chosen.items()
            if name == row and rule == allowed
        )
        for row in dict.fromkeys(row for row, _, _ in chosen if row != control)
    }
    out = [
        "| features | distance | own sender allowed | forbidden | of what is above chance, the "
        "sender's |",
        "|---|---|--:|--:|--:|",
    ]
    for row, (value, distance) in sorted(best.items(), key=lambda item: -item[1][0]):
        left = chosen[row, distance, forbidden]
        share = 1 - (left - chance[forbidden]) / (value - chance[allowed])
        out.append(f"| {row} | {DISTANCES[distance]} | {value:.3f} | {left:.3f} | {share:.0%} |")
    out.append(f"| {control} | | {chance[allowed]:.3f} | {chance[forbidden]:.3f} | |")
    return "\n".join(out)


def not_run(name: str) -> str:
    """The rows that were not run, with the commands that run them."""
    return "\n".join(f"- {row}: `{command}`" for row, command in _accuracy(name)[1].items())


def no_match(name: str, quantile: str = "0.95") -> str:
    """How many photos of a category held out still had a match, by rule and distance."""
    lines = [
        "| compared with | distance | false accepts (95% interval) | by category | true accepts "
        "| AUC |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for o in _load(name)["outcomes"]:
        if o["quantile"] == float(quantile):
            rule = "other groups" if o["groups"] else "all others"
            lines.append(
                f"| {rule} | {METRICS[o['metric']]} | {o['false_accepts']:.3f} "
                f"({o['low']:.3f} to {o['high']:.3f}) | {o['by_category']:.3f} "
                f"| {o['true_accepts']:.3f} | {o['auc']:.3f} |"
            )
    return "\n".join(lines)


def views(name: str) -> str:
    """Whole picture or box: the nearest of another group, and a picture of the catalogue itself."""
    lines = [
        "| distance | query | catalogue | P@1 (95% interval) | to whole with whole "
        "| itself first | in the first twelve |",
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for o in _load(name)["outcomes"]:
        gain = f"{o['gain']:+.3f} ({o['gain_low']:+.3f} to {o['gain_high']:+.3f})"
        whole = o["query"] == o["catalogue"] == "whole"
        lines.append(
            f"| {METRICS[o['metric']]} | {o['query']} | {o['catalogue']} | {o['p1']:.3f} "
            f"({o['low']:.3f} to {o['high']:.3f}) | {'' if whole else gain} "
            f"| {o['itself']:.0%} | {o['in_twelve']:.0%} |"
        )
    return "\n".join(lines)


def labels(name: str) -> str:
    """How often hits are rightly called, by kind of photo and distance."""
    lines = [
        "| photos | distance | said | right (95% interval) | same item, true | similar, true "
        "| not similar, true | ECE same | ECE similar |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for o in _load(name)["outcomes"]:
        interval = "" if o["low"] is None else f" ({o['low']:.3f} to {o['high']:.3f})"
        cells = [
            _share(o["said"]),
            _share(o["right"]) + interval,
            *(_share(o["true_of"][word]) for word in ("same item", "similar", "not similar")),
            *(_share(o["ece"][name]) for name in ("same", "similar")),
        ]
        lines.append(f"| {o['situation']} | {METRICS[o['metric']]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def duplicates(name: str) -> str:
    """Copies found, by measure and threshold: recall / precision of each kind."""
    found = _load(name)["truth"]
    kinds = list(found["measures"]["cosine"][0]["kinds"])
    called = {
        "cosine": "cosine, distance",
        "hamming": f"Hamming, of {found['bits']:,} bits",
        "phash": "perceptual hash, of 64 bits",
    }
    lines = [
        f"| measure | within | {' | '.join(kinds)} | pairs of photos |",
        "|---|--:|" + "--:|" * len(kinds) + "--:|",
    ]
    for measure, outcomes in found["measures"].items():
        for outcome in outcomes:
            each = [
                f"{_share(one['recall'])} / {_share(one['precision'])}"
                for one in outcome["kinds"].values()
            ]
            lines.append(
                f"| {called[measure]} | {outcome['threshold']:g} | {' | '.join(each)} "
                f"| {outcome['photos']:,} |"
            )
    return "\n".join(lines) + "\n\n*Recall / precision, by kind of copy.*"


def duplicate_times(name: str) -> str:
    """Medians of the seconds that pass, and that processors work, for all pairs of near rows."""
    record = _load(name)
    called = {
        "self_join": "`self_join`, of an array", "index": "`Index.duplicates`",
        "faiss": "FAISS, `range_search`", "imagededup": "imagededup, `find_duplicates`",
    }  # fmt: skip
    of = {
        "time": f"{record['rows']:,} x {record['dim']:,} features",
        "hash_time": f"{record['rows']:,} hashes of 64 bits",
    }
    lines = ["| of | by | seconds | of work | found |", "|---|---|--:|--:|--:|"]
    for part, rows in of.items():
        for way, seconds in record[part]["seconds"].items():
            work = statistics.median(record[part]["work"][way])
            found = f"{record[part]['pairs'][way]:,} {'groups' if way == 'index' else 'pairs'}"
            passed = statistics.median(seconds)
            lines.append(f"| {rows} | {called[way]} | {passed:.2f} | {work:.2f} | {found} |")
        for way, why in record[part].get("not_run", {}).items():
            lines.append(f"| {rows} | {called[way]} | not run: {why} | | |")
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def scale(section: str, name: str = "scale.json") -> str:
    """A table of the page on scale."""
    return scale_tables.TABLES[section](_load(name))


_TABLES: dict[str, Callable[..., str]] = {
    "speed": speed,
    "proofs": proofs,
    "machine": machine,
    "small": small,
    "filtered": filtered,
    "shapes": shapes,
    "by-rows": by_rows,
    "by-k": by_k,
    "serving": serving,
    "lists": lists,
    "page": page,
    "checksums": checksums,
    "accuracy": accuracy,
    "sender": sender,
    "not-run": not_run,
    "no-match": no_match,
    "views": views,
    "labels": labels,
    "scale": scale,
    "duplicates": duplicates,
    "duplicate-times": duplicate_times,
}
