"""`vsearch compact`: an index without the rows that were removed."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..terminal import options
from ..terminal.progress import bar


@click.command("compact")
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@options.json_flag
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(index_path: Path, as_json: bool, quiet: bool) -> None:
    """Give back the disk space of pictures that were removed from INDEX or replaced.

    Results stay the same. Searches go on meanwhile; a stop at any moment leaves the index as it
    was, or compacted. It takes the space of what is left once more while it runs.

    \b
    vsearch compact photos.index
    """
    from ..index.index import Index

    with Index.open(index_path, mode="rw") as found:
        before = found.info()["bytes"]
        with bar("Compacting", unit="row", quiet=quiet or as_json) as progress:
            dropped = found.compact(progress)
        facts = found.info()
    if as_json:
        result = {"dropped": dropped, "rows": facts["rows"], "bytes": facts["bytes"]}
        click.echo(json.dumps({**result, "bytes_before": before}))
    else:
        click.echo(
            f"{dropped:,} removed rows dropped, {facts['rows']:,} left: {before:,} bytes before, "
            f"{facts['bytes']:,} now"
        )
