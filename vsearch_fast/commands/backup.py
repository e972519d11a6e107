"""`vsearch backup`: a verified copy of an index, made while it is written to."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..terminal import options
from ..terminal.progress import bar


@click.command("backup")
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@click.argument("target", metavar="TARGET", type=click.Path(path_type=Path))
@click.option(
    "--copy",
    is_flag=True,
    help="Copy all bytes. By default full segment files are shared with INDEX (reflinks or hard "
    "links) where the file system can: quick and small, and no help against a bad disk.",
)
@options.json_flag
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(index_path: Path, target: Path, copy: bool, as_json: bool, quiet: bool) -> None:
    """Copy INDEX as it is at this moment to the new folder TARGET, and verify the copy.

    It may be written to and searched meanwhile. To restore, stop what uses the index and move
    TARGET to its place. (Copying the folder by hand is safe only while nothing writes to it; what
    does not fit together is refused when it is searched.)

    \b
    vsearch backup photos.index backups/photos-monday.index
    """
    from ..index.index import Index

    with (
        Index.open(index_path) as found,
        bar("Copying", unit="file", quiet=quiet or as_json) as progress,
    ):
        made = found.backup(target, copy=copy, progress=progress)
    if as_json:
        click.echo(json.dumps({**made.as_dict(), "path": str(target)}, ensure_ascii=False))
    else:
        click.echo(f"{target} holds {made.rows:,} rows ({made.bytes:,} bytes), and is verified.")
