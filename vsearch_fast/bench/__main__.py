"""The command `python -m vsearch_fast.bench` (also `vsearch bench`)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from .._console import run
from ..kernels.reference import METRICS


def table(results: list[dict[str, Any]]) -> str:
    """The printed table, in Markdown so that it can be pasted as it is."""
    lines = [
        "| metric | rows | queries | contender | ms | million pairs/s | numpy / ours | GB/s "
        "| of read bandwidth | exact |",
        "|---|--:|--:|---|--:|--:|--:|--:|--:|---|",
    ]
    for r in results:
        times = f"{r['ratio']:.1f} x" if r["ratio"] else ""
        lines.append(
            f"| {r['metric']} | {r['rows']:,} | {r['queries']} | {r['contender']} "
            f"| {r['seconds'] * 1e3:.2f} | {r['mpairs_s']:.3g} | {times} | {r['gb_s']:.3g} "
            f"| {r['bandwidth_share']:.1%} | {'yes' if r['exact'] else 'NO'} |"
        )
    return "\n".join(lines)


@click.command(context_settings={"max_content_width": 100, "show_default": True})
@click.option("--rows", type=click.IntRange(1), default=10_000, help="Rows of the database.")
@click.option("--queries", type=click.IntRange(1), default=8, help="Queries of one call.")
@click.option("--dim", type=click.IntRange(1), default=4096, help="Features, or bits, a row.")
@click.option("--k", type=click.IntRange(1), default=10, help="Neighbours a query.")
@click.option(
    "--metric",
    "metrics",
    type=click.Choice(METRICS),
    multiple=True,
    default=METRICS,
    help="Distance; repeat for several.",
)
@click.option("--pairs", type=click.IntRange(1), default=5, help="Timed runs of each contender.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write all figures, single runs, versions and the command to this file.",
)
def command(
    rows: int,
    queries: int,
    dim: int,
    k: int,
    metrics: tuple[str, ...],
    pairs: int,
    json_file: Path | None,
) -> None:
    """Time exact search against the NumPy reference, on this machine, in one run.

    Both get the same data (ReLU of normal noise, or its packed sign bits) in alternating
    order; figures are medians. A pair is one query and one row. GB/s counts each stored
    row once a call; its share of the read bandwidth, measured first with as many threads,
    is 100% where a single query is as fast as memory allows.

    \b
    python -m vsearch_fast.bench
    python -m vsearch_fast.bench --metric hamming --rows 200000 --queries 64
    """
    # Loaded here, so that --help is quick.
    from .cases import CONTENDERS, OURS, REFERENCE, Case
    from .measure import environment, measure, ratio
    from .roofs import read_bandwidth

    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise click.UsageError(f"the folder of {json_file} does not exist")

    def say(text: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r\033[K{text}", nl=False, err=True)

    say("read bandwidth")
    bandwidth = read_bandwidth()
    results: list[dict[str, Any]] = []
    for metric in dict.fromkeys(metrics):
        case = Case(metric, rows, queries, dim, k)
        timings = measure(case, CONTENDERS, pairs=pairs, say=say)
        for timing in timings:
            rate = case.rows * case.row_bytes / timing.seconds
            results.append(
                {
                    **case.as_dict(),
                    "contender": timing.contender,
                    "seconds": timing.seconds,
                    "mpairs_s": case.pairs / timing.seconds / 1e6,
                    "ratio": ratio(timings, REFERENCE.name)
                    if timing.contender == OURS.name
                    else None,
                    "gb_s": rate / 1e9,
                    "bandwidth_share": rate / bandwidth,
                    "exact": timing.exact,
                    "runs": timing.runs,
                }
            )
    say("")
    machine = environment()
    click.echo(
        f"{machine['cpu']}, {machine['threads']} threads; {dim} dimensions, k = {k}, "
        f"medians of {pairs} pairs; read bandwidth {bandwidth / 1e9:.1f} GB/s\n"
    )
    click.echo(table(results))
    if json_file is not None:
        record = {
            "command": "python -m vsearch_fast.bench " + " ".join(sys.argv[1:]),
            "machine": machine,
            "read_bandwidth_gb_s": bandwidth / 1e9,
            "results": results,
        }
        json_file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if not all(r["exact"] for r in results):
        raise click.ClickException("an answer differs from the reference: please report it")


if __name__ == "__main__":
    run(command, "python -m vsearch_fast.bench")
