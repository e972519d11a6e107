"""`vsearch warm`: compile what searches need, before the first of them."""

from __future__ import annotations

import click

from ..errors import VsearchError
from ..terminal.console import tell
from ..words import JUDGED, METRICS, Metric, plural


@click.command("warm")
@click.option(
    "--metric",
    type=click.Choice([*METRICS, "all"]),
    default="all",
    show_default=True,
    help="What searches with this distance need.",
)
@click.option(
    "--dim",
    type=click.IntRange(1),
    default=4096,
    show_default=True,
    help="Numbers a row: 4096 for VGG-16's fc1 and fc2.",
)
def command(metric: Metric | str, dim: int) -> None:
    """Compile the kernels of searches, which the first search would otherwise wait for.

    \b
    vsearch warm
    vsearch warm --metric hamming --dim 512

    It is done once for a user, a processor and a version; environment variable VSEARCH_CACHE_DIR
    says where else to keep it, for instance in an image of a container.
    """
    from ..search.warming import warm

    names = JUDGED if metric == "all" else (metric,)
    kernels, folder = warm([name for name in METRICS if name in names], dim)
    if folder is None:
        raise VsearchError(
            "there is no folder that compiled kernels can be kept in",
            "Every process compiles its own",
            "Set VSEARCH_CACHE_DIR to a folder that can be written",
        )
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    tell(f"{plural(kernels, 'kernel')} ready.")
    click.echo(f"{folder}: {size / 1e6:,.1f} MB")
