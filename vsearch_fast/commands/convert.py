"""`vsearch convert`: an index as a file of another program, and such a file as an index."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import click

from ..terminal import options
from ..terminal.console import tell
from ..terminal.progress import bar
from ..words import plural


@click.command("convert")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--id", "id_column", default="id", metavar="COLUMN", show_default=True,
    help="Of a file: the column of ids. Without one rows are numbered.",
)  # fmt: skip
@click.option(
    "--vector", metavar="COLUMN",
    help="Of a file: the column of vectors. [default: the only one that holds lists of numbers]",
)  # fmt: skip
@click.option(
    "--dtype", type=click.Choice(["float32", "float16"]),
    help="Of an index that is made: how it stores vectors. [default: as the file says, or float32]",
)  # fmt: skip
@options.json_flag
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(
    source: Path,
    target: Path,
    id_column: str,
    vector: str | None,
    dtype: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the index SOURCE as the file TARGET, or make the index TARGET of the file SOURCE.

    The ending says what kind of file: .parquet, .arrow and .lance (extras parquet and lance) hold
    everything; .npy and .faiss hold vectors, and ids, paths, boxes and metadata are in a CSV
    beside them. A table of pandas, Polars or Hugging Face is taken as it is: its columns of plain
    values become metadata. A stop leaves nothing at TARGET.

    \b
    vsearch convert photos.index photos.parquet
    vsearch convert photos.parquet again.index
    vsearch convert embeddings.parquet mine.index --id name --vector embedding
    vsearch convert photos.shards photos.faiss
    """
    from ..exchange import formats
    from ..index.index import Index
    from ..shards.copying import unfinished
    from ..shards.opening import file_of, open_index

    done = 0
    with bar("Converting", unit="row", quiet=quiet or as_json) as progress:
        if file_of(source).is_file():
            with open_index(source) as index, index.snapshot() as moment:
                total = len(moment)

                def written(rows: int) -> None:
                    nonlocal done
                    done += rows
                    progress(done, total)

                formats.write(moment.to_arrow(), target, written)
        else:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                table = formats.read(source)
                with (
                    unfinished(target, "The index was not made") as place,
                    Index.from_arrow(
                        place, table, id=id_column, vector=vector,
                        **({} if dtype is None else {"dtype": dtype}),
                    ) as made,
                ):  # fmt: skip
                    done = len(made)
            for warning in caught:
                tell(str(warning.message))
    if as_json:
        click.echo(json.dumps({"path": str(target), "rows": done}, ensure_ascii=False))
    else:
        click.echo(f"{target} holds the {plural(done, 'row')} of {source}.")
