"""`vsearch merge`: one index of several."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..terminal import options
from ..terminal.progress import bar
from ..words import plural


@click.command("merge")
@click.argument(
    "index_paths", metavar="INDEX...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="The index, a folder that is new or empty.",
)
@options.json_flag
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(index_paths: tuple[Path, ...], target: Path, as_json: bool, quiet: bool) -> None:
    """Make one index of the pictures of all INDEXes, sharded ones among them, in their order.

    Nothing is embedded again; removed pictures are left out, and each INDEX stays as it is. All
    must be of one model, and no id in two of them. What the first has learnt of distances (vsearch
    calibrate) is kept, and learnt again, by the same options, where many pictures have come to it.
    A stop leaves nothing at DIR.

    \b
    vsearch merge lamps.index chairs.index -o all.index
    vsearch merge photos.shards -o photos.index
    """
    from ..shards.merging import merge

    with bar("Copying", unit="picture", quiet=quiet or as_json) as progress:
        count = merge(index_paths, target, progress)
    if as_json:
        click.echo(json.dumps({"path": str(target), "pictures": count}, ensure_ascii=False))
    else:
        click.echo(f"{target} holds {plural(count, 'picture')}.")
