"""`vsearch shard`: an index cut into several, which are searched as one."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..terminal import options
from ..terminal.progress import bar
from ..words import plural


@click.command("shard")
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@click.option(
    "--into", type=click.IntRange(1), required=True, metavar="N", help="How many shards to make."
)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="The sharded index, a folder that is new or empty.",
)
@options.json_flag
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(index_path: Path, into: int, target: Path, as_json: bool, quiet: bool) -> None:
    """Cut INDEX into shards: indexes of their own, in a folder that is searched as one index.

    Matches stay the same, to the last bit and in the same order. Nothing is embedded again; removed
    pictures are left out, and INDEX stays as it is. Each shard can be searched, verified, backed
    up, moved and changed by itself; vsearch search, serve, info and verify take the folder.
    A stop leaves nothing at DIR.

    \b
    vsearch shard photos.index --into 8 -o photos.shards
    vsearch search photos.shards lamp.jpg
    """
    from ..shards.splitting import split

    with bar("Copying", unit="picture", quiet=quiet or as_json) as progress:
        sizes = split(index_path, into, target, progress)
    if as_json:
        click.echo(json.dumps({"path": str(target), "shards": sizes}, ensure_ascii=False))
    else:
        click.echo(
            f"{target} holds the {plural(sum(sizes), 'picture')} of {index_path} in "
            f"{plural(len(sizes), 'shard')}."
        )
