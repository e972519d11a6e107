"""`vsearch calibrate`, and the thresholds that `vsearch search --no-match` goes by."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from ..errors import StoreError
from ..index.index import Index
from ..index.thresholds import QUANTILE, SAMPLE, Threshold
from ..indexing.columns import column_named
from ..terminal import options
from ..terminal.console import tell
from ..words import METRICS, Metric, plural

#: Distances beyond a threshold below which it rests on a few items.
FEW_BEYOND = 5


def _sample(ctx: click.Context, parameter: click.Parameter, value: str) -> int | None:
    if value == "all":
        return None
    try:
        number: int = click.IntRange(1)(value, parameter, ctx)
    except click.BadParameter:
        raise click.BadParameter(f"{value!r} is neither a number from 1 on nor all") from None
    return number


@click.command(short_help="Take the distance beyond which nothing matches.")
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@click.option(
    "--metric",
    type=click.Choice([*METRICS, "all"]),
    default="all",
    show_default=True,
    help="Distance to calibrate.",
)
@click.option(
    "--quantile",
    type=click.FloatRange(0, 1, min_open=True),
    default=QUANTILE,
    show_default=True,
    help="Share of the items that are to have their nearest within the threshold.",
)
@click.option(
    "--group",
    metavar="COLUMN",
    help="Items with the same value in this metadata column (a sender, a product; by the index's "
    "name of it or your list's own) are not each other's nearest: a match is then another thing of "
    "its kind, not another view of it.",
)
@click.option(
    "--sample",
    callback=_sample,
    default=str(SAMPLE),
    show_default=True,
    metavar="N|all",
    help="Items to measure, always the same ones.",
)
@options.json_flag
@options.backend
@options.threads
def command(
    index_path: Path,
    metric: Metric | Literal["all"],
    quantile: float,
    group: str | None,
    sample: int | None,
    as_json: bool,
    backend: str,
    threads: int | None,
) -> None:
    """Take the distance beyond which a photo has no match from INDEX itself, and keep it there.

    Each item is searched for among the others; the threshold is the distance within which
    95% of them find their nearest. vsearch search --no-match goes by it, and takes one with
    the defaults where there is none. It is taken again, with the same options, when over a
    tenth of the items have come or gone.

    \b
    vsearch calibrate photos.index
    vsearch calibrate photos.index --group sender_id --quantile 0.9
    """
    names = METRICS if metric == "all" else (metric,)
    with Index.open(index_path, mode="rw") as found:
        if group is not None:
            group = column_named(found, group)
        taken = [
            found.calibrate(
                name, quantile=quantile, sample=sample, group=group, threads=threads,
                backend=backend,
            )
            for name in names
        ]  # fmt: skip
    if as_json:
        click.echo(json.dumps([asdict(threshold) for threshold in taken], indent=1))
    else:
        for threshold in taken:
            click.echo(str(threshold))
    few = [each for each in taken if each.beyond < FEW_BEYOND and each.quantile < 1]
    if few:
        one = few[0]
        tell(
            f"Warning: {plural(one.measured, 'item')} tell little of the farthest "
            f"{100 * (1 - one.quantile):.3g}%: {one.beyond} of them lie beyond. With other items "
            "the threshold may be quite another; take a lower --quantile, or name a distance"
        )


def thresholds(
    found: Index,
    metrics: Sequence[Metric],
    *,
    threads: int | None,
    backend: str,
    say: Callable[[str], None],
) -> dict[Metric, Threshold | None]:
    """The thresholds of an index opened for reading, by metric (None where it is empty); those
    that had to be taken are kept in it where that can be."""
    result = {name: found.threshold(name, threads=threads, backend=backend) for name in metrics}
    try:
        if found.save_thresholds():
            say(f"Thresholds were taken from {found.path} and are kept there (vsearch calibrate).")
    except StoreError as error:
        say(
            f"Thresholds were taken from the index for this search alone: {error.cause}. "
            "`vsearch calibrate`, by who may write there, keeps them."
        )
    return result


def told(facts: dict[str, dict[str, Any]]) -> list[str]:
    """The thresholds of `Index.info` as lines of text."""
    lines = []
    for values in facts.values():
        changes = values["changes"]
        own = {name: value for name, value in values.items() if name != "changes"}
        since = f"; {changes:,} added or removed since" if changes else ""
        lines.append(f"{Threshold(**own)}{since}")
    return lines
