"""`vsearch optimize`: rows reduced anew, and in few files, so that searches read less."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..terminal import options
from ..terminal.progress import bar

if TYPE_CHECKING:
    from ..index.optimizing import Optimized


@click.command("optimize")
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@click.option(
    "--segment-rows",
    type=click.IntRange(min=1),
    metavar="N",
    help="Rows a segment file, more or fewer than now. By default small files are joined, where"
    " there are more than four times as many as a new index would have, of about 256 MiB of"
    " vectors each.",
)
@options.json_flag
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(index_path: Path, segment_rows: int | None, as_json: bool, quiet: bool) -> None:
    """Reduce the rows of INDEX anew, by what is learnt from all of them: L1, L2 and Hamming
    searches then read a few bytes of most rows, where the features allow it.

    Many small segment files become few large ones, without the pictures that were removed; that
    takes the space of what is left once more while it runs. Numbers of metadata, by which ranges
    are found, are kept from now on where they were not.

    Results stay the same. An index does this itself as it grows; it helps one that has grown many
    times since, or that an older version made: it brings that to this version's format first.
    Searches go on meanwhile; a stop at any moment leaves the index as it was, or with its format
    alone made new, or optimised.

    \b
    vsearch optimize photos.index
    """
    from ..index.index import Index

    with Index.open(index_path, mode="rw") as found:
        before = found.info()
        with bar("Optimising", unit="row", quiet=quiet or as_json) as progress:
            upgraded = found.add_checksums()
            made = found.optimize(progress, segment_rows=segment_rows)
        facts, index_bits = found.info(), found.bits
    joined = facts["segment_rows"] != before["segment_rows"]
    if as_json:
        result = {
            "path": str(index_path), "upgraded": upgraded,
            "metrics": [each.as_dict() for each in made],
            **{name: facts[name] for name in ("segments", "segment_rows")},
            "segments_before": before["segments"],
            "dropped": before["removed"] if joined else 0,
        }  # fmt: skip
        click.echo(json.dumps(result))
        return
    if upgraded:
        click.echo("Its format was 1, and is this version's now, with checksums")
    if joined:
        dropped = f"; {before['removed']:,} removed rows dropped" if before["removed"] else ""
        click.echo(
            f"Segments: {before['segments']:,} of {before['segment_rows']:,} rows were rewritten as"
            f" {facts['segments']:,} of {facts['segment_rows']:,}{dropped}"
        )
    for each in made:
        click.echo(told(each, facts["dim"], index_bits))
    if not (made or joined):
        click.echo(
            f"Nothing to do: rows of {facts['dim']:,} numbers, {facts['rows']:,} of them, are too "
            "short or too few to be reduced"
        )


def told(made: Optimized, dim: int, bits: int) -> str:
    """What was done for a metric, in words."""
    codes = made.metric == "hamming"
    name = "Hamming" if codes else made.metric.upper()
    if made.left is None:
        return f"{name}: not reduced, since its rows are all alike, too few or too large"
    left = f"{made.left[-1]:.1%} of a sample's rows"
    if not made.pays:
        gone = f"; the {made.before:,} reduced rows are gone" if made.before else ""
        return f"{name}: it would not pay, because {left} would remain to be compared{gone}"
    whole, rest = f"sketch has {dim:,}", "compared by sketches"
    if codes:
        whole, rest = f"code has {-(-bits // 8):,}", "read whole"
    return (
        f"{name}: {made.reduced:,} of {made.rows:,} rows reduced to {made.bytes:,} bytes each"
        f" (a {whole}); {left} remain to be {rest}"
    )
