"""`vsearch index`: a catalogue, indexed or brought up to date."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ..errors import ImageError
from ..terminal import options
from ..terminal.console import tell
from ..words import plural

if TYPE_CHECKING:
    from ..datasets.deepfashion import Partition
    from ..datasets.detect import Layout
    from ..indexing.sync import Plan


@click.command("index")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "index_path",
    required=True,
    type=click.Path(path_type=Path),
    metavar="INDEX",
    help="Folder of the index; made, or brought up to date.",
)
@options.model(
    "ONNX file made by vsearch export. An existing index knows its own; a new one takes the "
    "network of the package, for anything."
)
@options.data_set(
    "SOURCE",
    csv="List of the pictures in SOURCE, with ids and metadata.",
    columns="The CSV's own name of a column: path, id, item, category, group, "
    "partition, x1, y1, x2 or y2. Repeat for several.",
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
@options.provider
@options.decoder
@options.threads
@options.max_pixels
@options.json_flag
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(
    source: Path,
    index_path: Path,
    model: Path | None,
    layout: Layout,
    csv_file: Path | None,
    columns: list[tuple[str, str]],
    lists: list[tuple[str, str]],
    partition: Partition | None,
    keep_missing: bool,
    on_error: Literal["skip", "raise"],
    exclude: tuple[str, ...],
    batch_size: int | None,
    dtype: str | None,
    views: str | None,
    provider: str,
    decoder: str,
    threads: int | None,
    max_pixels: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Index the pictures of SOURCE, or bring an index up to date with them.

    SOURCE is a folder of pictures (its first level of sub-folders are categories), a CSV
    file, or a DeepFashion data set. Pictures are known by their content, whatever their
    ending. What is left out is counted: what is no picture, files and folders whose name
    begins with a dot, folders of systems and network drives (@eaDir, #recycle, __MACOSX,
    lost+found), links to folders. Run again after a stop, it goes on where it ended; run
    again later, it applies what is new, changed or gone; a renamed picture is recognised.

    \b
    vsearch index photos/ -o photos.index
    vsearch index shop/ --csv shop/items.csv -o shop.index
    vsearch index shop/ --csv shop/list.csv --column path=image --column category=label \\
        -o shop.index
    vsearch index lamps/ -o lamps.index --model vgg16-fc1.onnx
    vsearch index photos/ -o photos.index --views whole,box
    """
    import numpy as np

    from ..datasets import detect
    from ..datasets.lists import split_lists
    from ..datasets.notes import Notes
    from ..embedder.embedder import ImageSkippedWarning
    from ..indexing.columns import own_names
    from ..indexing.recorded import embedder_for, model_file, running
    from ..indexing.sync import adopt, apply, open_index, plan
    from ..results.text import shown, skipped_text

    # Where broken pictures are skipped, so are those that a list names and that are not there.
    notes = Notes()
    records, origin = detect.read(
        source, layout, csv=csv_file, columns=dict(columns), partition=partition,
        missing="keep" if on_error == "skip" else "raise", exclude=exclude, on_error=on_error,
        notes=notes,
    )  # fmt: skip
    records = split_lists(records, dict(lists))
    root, named = source if source.is_dir() else source.parent, own_names(dict(columns))
    model = model or model_file(index_path)
    embedder = embedder_for(
        index_path, model, decoder=decoder, writing=True, say=tell, providers=provider,
        batch_size=batch_size, threads=threads, max_pixels=max_pixels,
    )  # fmt: skip
    tell(running(embedder))
    if views == "whole,box" and any(record.box is None for record in records):
        embedder.locate(np.zeros((8, 8, 3), np.uint8))  # refused before an index is made
    with open_index(
        index_path, embedder, model, origin, dtype,
        views=None if views is None else views.split(","), root=root, columns=named,
    ) as target:  # fmt: skip
        unlisted = [folder for folder, _ in notes.left_out.unlisted]
        todo = plan(target, records, keep_missing=keep_missing, unlisted=unlisted)
        if not keep_missing:
            adopt(target, todo, origin, model, root=root, columns=named)
        _tell_plan(todo, index_path)
        done = 0

        def committed(count: int) -> None:
            nonlocal done
            done = count

        # What is skipped is listed below: a warning for each would say it twice.
        warnings.simplefilter("ignore", ImageSkippedWarning)
        try:
            outcome = apply(
                target, embedder, todo, on_error=on_error, progress=not quiet, committed=committed
            )
        except KeyboardInterrupt:
            click.echo(
                f"\nStopped after {plural(done, 'picture')} of this run, which {index_path} holds; "
                "the same command goes on from there.",
                err=True,
            )
            raise
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
        skipped_in_all = len(outcome.skipped) + len(notes.lines)
        if as_json:
            named_reasons = [{"name": each.name, "reason": each.reason} for each in outcome.skipped]
            facts = {
                "index": str(index_path), **counts, "skipped": named_reasons,
                "left_out": notes.facts(), "pictures": len(target),
            }  # fmt: skip
            click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
            for line in notes.told():
                tell(shown(line))
        else:
            again = f", {outcome.recognised} recognised" if outcome.recognised else ""
            click.echo(
                f"{outcome.added} added, {outcome.replaced} replaced, {outcome.described} "
                f"described anew{again}, {outcome.removed} removed, {todo.unchanged} unchanged, "
                f"{skipped_in_all} skipped: {plural(len(target), 'picture')} in {index_path}"
            )
            for line in notes.told():
                click.echo(shown(line))
        if outcome.skipped and not len(target):
            raise ImageError(
                "no picture could be read", f"{index_path} is empty", "See the reasons above"
            )


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
