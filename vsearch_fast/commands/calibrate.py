"""`vsearch calibrate`: what distances say, and the thresholds of `vsearch search --no-match`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from ..errors import StoreError
from ..index import learning
from ..index.index import Index
from ..index.likeness import Likeness
from ..index.thresholds import QUANTILE, SAMPLE, Threshold
from ..indexing.columns import column_named
from ..terminal import options
from ..terminal.console import tell
from ..words import JUDGED, Metric, plural

#: Distances beyond a threshold below which it rests on a few items.
FEW_BEYOND = 5

#: Items of an index that a search learns from unasked, at most: a few seconds on two cores.
UNASKED = 20_000


def _sample(ctx: click.Context, parameter: click.Parameter, value: str) -> int | None:
    if value == "all":
        return None
    try:
        number: int = click.IntRange(1)(value, parameter, ctx)
    except click.BadParameter:
        raise click.BadParameter(f"{value!r} is neither a number from 1 on nor all") from None
    return number


@click.command(short_help="Learn what distances say: same item, similar, not.")
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@click.option(
    "--metric",
    type=click.Choice([*JUDGED, "all"]),
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
    "--item",
    metavar="COLUMN",
    default=learning.ITEM,
    show_default=True,
    help="Metadata column that tells items apart; several pictures of one teach what is the same.",
)
@click.option(
    "--category",
    metavar="COLUMN",
    default=learning.CATEGORY,
    show_default=True,
    help="Metadata column of kinds, which teach what is similar.",
)
@click.option(
    "--absent",
    type=click.FloatRange(0, 1, max_open=True),
    default=learning.ABSENT,
    show_default=True,
    help="Share of photos that are taken to show what INDEX does not have.",
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
    item: str,
    category: str,
    absent: float,
    sample: int | None,
    as_json: bool,
    backend: str,
    threads: int | None,
) -> None:
    """Learn from INDEX itself what its distances say of a match, and keep it there.

    How probable it is, at a distance, that a match shows the same item is learnt of items with
    several pictures, and that it shows a similar one, of categories. Searches and the page call
    matches by it: same item, similar, not similar. Where INDEX cannot teach it, nothing is said.

    And the threshold that vsearch search --no-match goes by is taken: the distance within
    which 95% of the items find their nearest.

    Both are learnt with the defaults where they are wanted and not there, and again, with
    the same options, when over a tenth of the items have come or gone. After categories or
    items of many pictures were changed, run this again.

    \b
    vsearch calibrate photos.index
    vsearch calibrate photos.index --group sender_id --quantile 0.9
    """
    names = JUDGED if metric == "all" else (metric,)
    with _opened(index_path) as found:
        if group is not None:
            group = column_named(found, group)
        learnt = [
            found.learn(
                name, item=column_named(found, item), category=column_named(found, category),
                group=group or learning.GROUP, absent=absent, threads=threads, backend=backend,
                **({} if sample == SAMPLE else {"sample": sample}),
            )
            for name in names
        ]  # fmt: skip
        taken = [
            found.calibrate(
                name, quantile=quantile, sample=sample, group=group, threads=threads,
                backend=backend,
            )
            for name in names
        ]  # fmt: skip
        # Of a sharded index, which is open for reading: in its list.
        found.save_learnt()
        found.save_thresholds()
    if as_json:
        together = [
            {**asdict(threshold), "likeness": likeness.facts()}
            for threshold, likeness in zip(taken, learnt, strict=True)
        ]
        click.echo(json.dumps(together, indent=1))
    else:
        for likeness in learnt:
            click.echo("\n".join(likeness.lines()))
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


def _opened(path: Path) -> Index:
    """To be written to, where it is one index."""
    from ..shards.manifest import is_sharded
    from ..shards.opening import open_index

    return open_index(path) if is_sharded(path) else Index.open(path, mode="rw")


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


def likenesses(
    found: Index,
    metrics: Sequence[Metric],
    *,
    threads: int | None,
    backend: str,
    say: Callable[[str], None],
) -> dict[Metric, Likeness | None]:
    """What the distances of an index opened for reading say, by metric; what had to be learnt is
    kept in it where that can be. Of more than `UNASKED` items it is not learnt here: it would
    take far longer than the search."""
    learn = len(found) <= UNASKED
    result = {
        name: found.likeness(name, learn=learn, threads=threads, backend=backend)
        for name in metrics
    }
    if (
        not learn
        and None in result.values()
        and {learning.ITEM, learning.CATEGORY} & set(found.columns())
    ):
        say(
            f"Matches are not called same item or similar: {found.path} has {len(found):,} items, "
            f"and what its distances say is learnt unasked of at most {UNASKED:,}. "
            f"`vsearch calibrate {found.path}` learns it, once."
        )
    known = any(each and (each.same or each.similar) for each in result.values())
    try:
        if found.save_learnt() and known:
            say(f"What distances say was learnt from {found.path} and is kept there.")
    except StoreError as error:
        if known:
            say(
                f"What distances say was learnt for this search alone: {error.cause}. "
                "`vsearch calibrate`, by who may write there, keeps it."
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
