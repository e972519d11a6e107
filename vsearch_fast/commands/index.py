"""`vsearch index`: a catalogue, indexed or brought up to date."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ..errors import ArgumentError, ImageError, StoreError
from ..index.titles import Titles, chosen
from ..terminal import options
from ..terminal.console import tell
from ..words import plural
from .titles import show_as

if TYPE_CHECKING:
    from ..datasets.deepfashion import Partition
    from ..datasets.detect import Layout
    from ..datasets.notes import Notes
    from ..datasets.records import Record
    from ..embedder.embedder import Embedder
    from ..indexing.plans import Outcome, Plan


@click.command("index")
@click.argument("source", required=False)
@click.option(
    "-o",
    "--output",
    "index_path",
    required=True,
    type=click.Path(path_type=Path),
    metavar="INDEX",
    help="Folder of the index; made, or brought up to date.",
)
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    metavar="FILE.npy|.parquet",
    help="Index vectors made elsewhere, in place of the pictures of SOURCE: an array of "
    "numpy.save, or Parquet with a column of lists (the extra parquet). --model names the model "
    "file that they are of, where there is one; without, no photo can be searched for.",
)
@click.option(
    "--ids",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="What the rows of --vectors are: a line a row in their order, with the column id; path "
    "and the others are kept. Parquet may have these columns itself.",
)
@options.model(
    "ONNX file made by vsearch export. An existing index knows its own; a new one takes the "
    "network of the package, for anything."
)
@options.data_set(
    "SOURCE",
    csv="List of the pictures in SOURCE, with ids and metadata.",
    columns="The CSV's own name of a column: path, id, item, category, group, "
    "partition, x1, y1, x2 or y2; with --vectors id, path and vector. Repeat for several.",
)
@click.option(
    "--list",
    "lists",
    multiple=True,
    callback=options.pairs,
    metavar="COLUMN=SEPARATOR",
    help="A column whose cells hold several values, such as attributes=; for gingham;belted. A "
    "filter is met by any of them. Repeat for several.",
)
@click.option(
    "--partition",
    type=click.Choice(["train", "val", "test"]),
    help="Only this part of a DeepFashion data set.",
)
@click.option(
    "--keep-missing", is_flag=True, help="Leave pictures in the index that SOURCE no longer lists."
)
@options.titles
@options.on_error("skip", "A picture, a folder or a line of a list")
@options.exclude
@click.option("--batch-size", type=click.IntRange(1), help="Pictures the network takes at once.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    help="How a new index stores features; float16 takes half the disk space and rounds them. "
    "[default: float32]",
)
@click.option(
    "--views",
    type=click.Choice(["whole", "whole,box"]),
    help="What a new index holds of a picture. whole: the whole of it, or the list's box alone "
    "where there is one. whole,box: both the whole and the box, the list's, else located; a search "
    "takes the nearer. [default: whole]",
)
@click.option(
    "--ray",
    "address",
    metavar="ADDRESS",
    help="Embed on the Ray cluster at ADDRESS (auto: the one that this machine belongs to; local: "
    "one of this machine alone) into a sharded index; SOURCE may be an address, such as "
    "s3://bucket/photos.",
)
@click.option(
    "--shards", type=click.IntRange(1), help="With --ray: shards of a new index. [default: 1]"
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="With --ray: workers that embed, at most. [default: as many as fit]",
)
@click.option(
    "--worker-cpus",
    type=click.FloatRange(1),
    help="With --ray: processors a worker. [default: 1]",
)
@click.option(
    "--worker-gpus",
    type=click.FloatRange(0),
    help="With --ray: GPUs a worker, or a part of one. [default: 0]",
)
@options.provider
@options.decoder
@options.threads
@options.max_pixels
@options.json_flag
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def command(
    context: click.Context,
    source: str | None,
    index_path: Path,
    vectors: Path | None,
    ids: Path | None,
    model: Path | None,
    layout: Layout,
    csv_file: Path | None,
    columns: list[tuple[str, str]],
    lists: list[tuple[str, str]],
    titles: list[tuple[str, str]],
    partition: Partition | None,
    keep_missing: bool,
    on_error: Literal["skip", "raise"],
    exclude: tuple[str, ...],
    batch_size: int | None,
    dtype: str | None,
    views: str | None,
    address: str | None,
    shards: int | None,
    workers: int | None,
    worker_cpus: float | None,
    worker_gpus: float | None,
    provider: str,
    decoder: str,
    threads: int | None,
    max_pixels: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Index the pictures of SOURCE, or bring an index up to date with them.

    SOURCE is a folder of pictures (its first level of sub-folders are categories), a CSV or
    Parquet file, or a DeepFashion data set. Pictures are known by their content, whatever their
    ending. What is left out is counted: what is no picture, files and folders whose name
    begins with a dot, folders of systems and network drives (@eaDir, #recycle, __MACOSX,
    lost+found), links to folders. Run again after a stop, it goes on where it ended; run
    again later, it applies what is new, changed or gone; a renamed picture is recognised.

    \b
    vsearch index photos/ -o photos.index
    vsearch index shop/ --csv shop/items.csv -o shop.index
    vsearch index shop/ --csv shop/list.csv --column path=image --column category=label \\
        -o shop.index
    vsearch index shop/ --csv shop/items.csv --title title=name --title price=price -o shop.index
    vsearch index lamps/ -o lamps.index --model vgg16-fc1.onnx
    vsearch index photos/ -o photos.index --views whole,box
    vsearch index photos/ -o photos.shards --ray auto --shards 8
    vsearch index --vectors features.npy --ids ids.csv -o features.index
    """
    shown = chosen(titles, "Nothing was indexed")
    if vectors is not None or ids is not None:
        from .index_vectors import index_vectors, refuse_others

        refuse_others(context)
        index_vectors(
            vectors, ids, index_path, model, dict(columns), dtype, shown,
            keep_missing=keep_missing, as_json=as_json, quiet=quiet,
        )  # fmt: skip
        return
    if source is None:
        raise click.UsageError("SOURCE is missing: a folder, a CSV file, or --vectors")
    import numpy as np

    from ..datasets.lists import split_lists
    from ..datasets.notes import Notes
    from ..embedder.embedder import ImageSkippedWarning
    from ..indexing.columns import own_names
    from ..indexing.recorded import embedder_for, model_file, running

    cluster = (shards, workers, worker_cpus, worker_gpus)
    if address is None and any(value is not None for value in cluster):
        raise click.UsageError(
            "--shards, --workers, --worker-cpus, --worker-gpus need a cluster: name it with --ray"
        )
    # Where broken pictures are skipped, so are those that a list names and that are not there.
    notes = Notes()
    records, origin, root = _read(
        source, layout, csv_file, dict(columns), partition, exclude, on_error, notes,
        elsewhere=address is not None,
    )  # fmt: skip
    records = split_lists(records, dict(lists))
    named = own_names(dict(columns))
    model = model or model_file(index_path)
    embedder = embedder_for(
        index_path, model, decoder=decoder, writing=True, say=tell,
        providers=provider if address is None else "cpu",  # this process embeds nothing then
        batch_size=None if address else batch_size, threads=threads, max_pixels=max_pixels,
    )  # fmt: skip
    if address is None:
        tell(running(embedder))
    if views == "whole,box" and any(record.box is None for record in records):
        embedder.locate(np.zeros((8, 8, 3), np.uint8))  # refused before an index is made
    held = None if views is None else views.split(",")
    unlisted = [folder for folder, _ in notes.left_out.unlisted]
    progress = _Progress(index_path)
    # What is skipped is listed below: a warning for each would say it twice.
    warnings.simplefilter("ignore", ImageSkippedWarning)
    try:
        if address is None:
            todo, outcome, count = _here(
                index_path, records, embedder, model, origin, root, named, dtype, held,
                unlisted, shown, on_error=on_error, keep_missing=keep_missing, quiet=quiet,
                told=progress,
            )  # fmt: skip
        else:
            from ..cluster.aside import aside
            from ..cluster.embedding import Source, Told, index_pictures
            from ..cluster.embedding_pipeline import Workers
            from ..shards.index import ShardedIndex

            with aside():
                todo, outcome = index_pictures(
                    records, index_path, embedder, source=Source(origin, root, named),
                    shards=shards or 1, address=address,
                    workers=Workers(workers, worker_cpus or 1, worker_gpus or 0),
                    provider=provider, dtype=dtype, views=held, keep_missing=keep_missing,
                    unlisted=unlisted, on_error=on_error, batch_size=batch_size,
                    told=Told(progress.plan, progress.committed, not quiet),
                )  # fmt: skip
            with ShardedIndex.open(index_path) as made:
                count = len(made)
                show_as(made, shown)
    except KeyboardInterrupt:
        progress.stopped()
        raise
    _report(todo, outcome, notes, index_path, count, as_json=as_json)
    if outcome.skipped and not count:
        raise ImageError(
            "no picture could be read", f"{index_path} is empty", "See the reasons above"
        )


def _read(
    source: str,
    layout: Layout,
    csv_file: Path | None,
    columns: dict[str, str],
    partition: Partition | None,
    exclude: tuple[str, ...],
    on_error: Literal["skip", "raise"],
    notes: Notes,
    *,
    elsewhere: bool,
) -> tuple[list[Record], str, Path | None]:
    """The pictures, what they were read from, and the folder, where that is on this machine."""
    from ..datasets import detect

    missing: Literal["keep", "raise"] = "keep" if on_error == "skip" else "raise"
    if elsewhere and "://" in source:
        from ..cluster import lists

        listed = None if csv_file is None else str(csv_file)
        records, origin = lists.read(
            source, csv=listed, columns=columns, exclude=exclude, on_error=on_error, notes=notes
        )
        return records, origin, None
    if "://" in source:
        raise ArgumentError(
            f"{source} is an address, and pictures there are read by a cluster alone",
            "Nothing was indexed",
            "Add --ray local (or the address of a cluster), or name a folder or list on a disk",
        )
    folder = Path(source)
    records, origin = detect.read(
        folder, layout, csv=csv_file, columns=columns, partition=partition, missing=missing,
        exclude=exclude, on_error=on_error, notes=notes,
    )  # fmt: skip
    return records, origin, folder if folder.is_dir() else folder.parent


class _Progress:
    """What is told of a run while it goes on."""

    def __init__(self, index_path: Path) -> None:
        self._path = index_path
        self._done = 0

    def plan(self, todo: Plan) -> None:
        _tell_plan(todo, self._path)

    def committed(self, count: int) -> None:
        self._done = count

    def stopped(self) -> None:
        click.echo(
            f"\nStopped after {plural(self._done, 'picture')} of this run, which {self._path} "
            "holds; the same command goes on from there.",
            err=True,
        )


def _here(
    index_path: Path,
    records: list[Record],
    embedder: Embedder,
    model: Path,
    origin: str,
    root: Path | None,
    columns: dict[str, str],
    dtype: str | None,
    views: list[str] | None,
    unlisted: list[str],
    titles: Titles,
    *,
    on_error: Literal["skip", "raise"],
    keep_missing: bool,
    quiet: bool,
    told: _Progress,
) -> tuple[Plan, Outcome, int]:
    """On this machine; what was to be done, what was done, and the pictures that there are."""
    from ..indexing.sync import adopt, apply, open_index, plan
    from ..shards.manifest import is_sharded

    if is_sharded(index_path):
        raise StoreError(
            f"{index_path} is a sharded index, which a cluster brings up to date",
            "Nothing was indexed",
            "Add --ray local (or the address of a cluster), or name another folder",
        )
    with open_index(
        index_path, embedder, model, origin, dtype, views=views, root=root, columns=columns
    ) as target:
        todo = plan(target, records, keep_missing=keep_missing, unlisted=unlisted)
        if not keep_missing:
            adopt(target, todo, origin, model, root=root, columns=columns)
        told.plan(todo)
        outcome = apply(
            target, embedder, todo, on_error=on_error, progress=not quiet,
            committed=told.committed,
        )  # fmt: skip
        show_as(target, titles)
        return todo, outcome, len(target)


def _report(
    todo: Plan, outcome: Outcome, notes: Notes, index_path: Path, count: int, *, as_json: bool
) -> None:
    from ..results.text import shown, skipped_text

    for skipped in outcome.skipped:
        tell(skipped_text(skipped))
    counts = {
        "added": outcome.added,
        "replaced": outcome.replaced,
        "described": outcome.described,
        "recognised": outcome.recognised,
        "removed": outcome.removed,
        "unchanged": todo.unchanged,
    }
    if outcome.bits:
        tell(f"Warning: {outcome.bits}.")
    if as_json:
        named_reasons = [{"name": each.name, "reason": each.reason} for each in outcome.skipped]
        facts = {
            "index": str(index_path), **counts, "skipped": named_reasons,
            "left_out": notes.facts(), "pictures": count,
        }  # fmt: skip
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        for line in notes.told():
            tell(shown(line))
        return
    again = f", {outcome.recognised} recognised" if outcome.recognised else ""
    skipped_in_all = len(outcome.skipped) + len(notes.lines)
    click.echo(
        f"{outcome.added} added, {outcome.replaced} replaced, {outcome.described} "
        f"described anew{again}, {outcome.removed} removed, {todo.unchanged} unchanged, "
        f"{skipped_in_all} skipped: {plural(count, 'picture')} in {index_path}"
    )
    for line in notes.told():
        click.echo(shown(line))


def _tell_plan(todo: Plan, index_path: Path) -> None:
    if todo.nothing:
        click.echo(f"{index_path} is up to date.", err=True)
        return
    again = f"{len(todo.recognised)} recognised, " if todo.recognised else ""
    click.echo(
        f"{len(todo.new)} new, {len(todo.changed)} changed, {len(todo.described)} with other "
        f"metadata, {len(todo.moved)} moved, {again}{len(todo.vanished)} vanished, "
        f"{todo.unchanged} "
        "unchanged",
        err=True,
    )
