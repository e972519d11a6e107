"""``vsearch garments``: a drawn catalogue on disk."""

from __future__ import annotations

from pathlib import Path

import click

from ..terminal.options import size


@click.command("garments", short_help="Draw a catalogue of garments.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
)
@click.option("--items", type=click.IntRange(1), default=100, show_default=True)
@click.option(
    "--views",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Photographs of each, in another pose, light and place.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Another seed is another catalogue.",
)
@click.option(
    "--size",
    callback=size,
    default="240x300",
    show_default=True,
    metavar="WIDTHxHEIGHT",
    help="Of the pictures, pixels.",
)
def command(output: Path, items: int, views: int, seed: int, size: tuple[int, int]) -> None:
    """Draw garments with categories, patterns, colours and true boxes: pictures to try things
    on, and to train and measure with. Stopped, the same command goes on.

    \b
    vsearch garments -o garments/ --items 300
    vsearch index garments/ -o garments.index
    """
    from ..datasets.garments.catalogue import read, render_catalogue
    from ..words import plural

    records = render_catalogue(output, items, views, seed, size, progress=True)
    told = f"{plural(len(records), 'picture')} of {plural(items, 'garment')}"
    click.echo(f"{told} in {output}, with garments.csv")
    there = read(output)
    if len(there) > len(records):
        held = plural(len({record.item for record in there}), "garment")
        click.echo(
            f"With those of earlier runs it holds {plural(len(there), 'picture')} of {held}."
        )
