"""`vsearch ...`: parses, calls, prints. The work is done elsewhere."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from . import __version__, _options
from ._console import run
from .errors import ArgumentError, ImageError

if TYPE_CHECKING:
    from .datasets.deepfashion import Partition
    from .datasets.detect import Layout
    from .embedder import Embedder, Skipped
    from .index import Threshold
    from .search import Metric
    from .sync import Plan
    from .web.page import Result

METRICS = _options.METRICS


@click.group(
    cls=_options.Commands,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="vsearch")
def vsearch() -> None:
    """Exact visual item search: find the same or most similar pictures of a catalogue.

    \b
    vsearch demo                                                 all of it, on drawn garments
    vsearch index photos/ -o photos.index                        a catalogue of yours
    vsearch search photos.index dress.jpg --html matches.html    the matches of a photo

    The network in the package knows clothing. For other things, one that knows more of the world:

    \b
    vsearch export --weights imagenet --output vgg16-fc1.onnx    once
    vsearch index lamps/ -o lamps.index --model vgg16-fc1.onnx

    Every command explains itself: vsearch COMMAND --help. Exit codes: 0 done, 1 an error,
    2 a wrong command line, 130 interrupted.
    """


# index ------------------------------------------------------------------------------------


@vsearch.command()
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
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="ONNX file made by vsearch export. An existing index knows its own; a new one takes the "
    "small network for clothing that comes with the package.",
)
@_options.data_set(
    "SOURCE",
    csv="List of the pictures in SOURCE, with ids and metadata.",
    columns="The CSV's own name of a column: path, id, item, category, group, "
    "partition, x1, y1, x2 or y2. Repeat for several.",
)
@click.option(
    "--partition",
    type=click.Choice(["train", "val", "test"]),
    help="Only this part of a DeepFashion data set.",
)
@click.option(
    "--keep-missing", is_flag=True, help="Leave pictures in the index that SOURCE no longer lists."
)
@click.option(
    "--on-error",
    type=click.Choice(["skip", "raise"]),
    default="skip",
    show_default=True,
    help="A picture that cannot be read: report it and go on, or stop.",
)
@click.option("--batch-size", type=click.IntRange(1), help="Pictures the network takes at once.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    help="How a new index stores features; float16 takes half the disk space and rounds them. "
    "[default: float32]",
)
@_options.provider
@_options.decoder
@_options.threads
@_options.max_pixels
@click.option("--quiet", is_flag=True, help="No progress bar.")
def index(
    source: Path,
    index_path: Path,
    model: Path | None,
    layout: Layout,
    csv_file: Path | None,
    columns: list[tuple[str, str]],
    partition: Partition | None,
    keep_missing: bool,
    on_error: Literal["skip", "raise"],
    batch_size: int | None,
    dtype: str | None,
    provider: str,
    decoder: str,
    threads: int | None,
    max_pixels: int | None,
    quiet: bool,
) -> None:
    """Index the pictures of SOURCE, or bring an index up to date with them.

    SOURCE is a folder of pictures (its first level of sub-folders are categories), a CSV
    file, or a DeepFashion data set. Files and folders whose name begins with a dot, and links
    to folders, are left out. Run again after a stop, it goes on where it ended; run
    again later, it applies what is new, changed or gone, and reads nothing else.

    \b
    vsearch index photos/ -o photos.index
    vsearch index shop/ --csv shop/items.csv -o shop.index
    vsearch index shop/ --csv shop/list.csv --column path=image --column category=label \\
        -o shop.index
    vsearch index lamps/ -o lamps.index --model vgg16-fc1.onnx
    """
    from ._recorded import embedder_for, model_file, running
    from .datasets import detect
    from .embedder import ImageSkippedWarning
    from .sync import adopt, apply, open_index, plan

    # Where broken pictures are skipped, so are those that a list names and that are not there.
    records, origin = detect.read(
        source, layout, csv=csv_file, columns=dict(columns), partition=partition,
        missing="keep" if on_error == "skip" else "raise",
    )  # fmt: skip
    model = model or model_file(index_path)
    embedder = embedder_for(
        index_path, model, decoder=decoder, writing=True, say=_tell, providers=provider,
        batch_size=batch_size, threads=threads, max_pixels=max_pixels,
    )  # fmt: skip
    _tell(running(embedder))
    with open_index(index_path, embedder, model, origin, dtype) as target:
        todo = plan(target, records, keep_missing=keep_missing)
        if not keep_missing:
            adopt(target, todo, origin, model)
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
                f"\nStopped. {done} pictures of this run are in {index_path}; the same command "
                "goes on from there.",
                err=True,
            )
            raise
        for skipped in outcome.skipped:
            _tell_skipped(skipped)
        click.echo(
            f"{outcome.added} added, {outcome.replaced} replaced, {outcome.described} described "
            f"anew, {outcome.removed} removed, {todo.unchanged} unchanged, "
            f"{len(outcome.skipped)} skipped: {len(target)} pictures in {index_path}"
        )
        if outcome.skipped and not len(target):
            raise ImageError(
                "no picture could be read", f"{index_path} is empty", "See the reasons above"
            )


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _tell_skipped(skipped: Skipped) -> None:
    from .listing import skipped_text

    _tell(skipped_text(skipped))


def _tell_plan(todo: Plan, index_path: Path) -> None:
    if todo.nothing:
        click.echo(f"{index_path} is up to date.", err=True)
        return
    click.echo(
        f"{len(todo.new)} new, {len(todo.changed)} changed, {len(todo.described)} with other "
        f"metadata, {len(todo.moved)} moved, {len(todo.vanished)} vanished, {todo.unchanged} "
        "unchanged",
        err=True,
    )


# search -----------------------------------------------------------------------------------


@vsearch.command()
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@click.argument(
    "photos", metavar="PHOTO...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--metric",
    type=click.Choice([*METRICS, "all"]),
    default="l2",
    show_default=True,
    help="Distance; hamming compares packed sign bits. all: one after the other.",
)
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Matches a photo.")
@click.option(
    "--box",
    callback=_options.box,
    metavar="x1,y1,x2,y2",
    help="Search for this part of the photo, in pixels.",
)
@click.option(
    "--auto-box",
    is_flag=True,
    help="Find the item's box in each photo and search for that part (vsearch locate says more).",
)
@click.option(
    "--where",
    multiple=True,
    callback=_options.pairs,
    metavar="COLUMN=VALUE",
    help="Only pictures with this metadata. Repeat a column for any of its values, "
    "name several for all of them.",
)
@click.option(
    "--max-distance",
    callback=_options.distance,
    metavar="DISTANCE|auto",
    help="Leave out what is farther; auto is --no-match.",
)
@click.option(
    "--no-match",
    is_flag=True,
    help="Leave out what is farther than the pictures of INDEX are from each other (vsearch "
    "calibrate says how that is meant), and say of a photo without a match that it has none.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The model, if it was moved since the index was made.",
)
@click.option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the matches as a page that needs no other file.",
)
@_options.json_flag
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option(
    "--on-error",
    type=click.Choice(["skip", "raise"]),
    default="raise",
    show_default=True,
    help="A photo that cannot be read: report it and go on, or stop.",
)
@click.option("--explain", is_flag=True, help="Say how the matches were proved the nearest.")
@_options.provider
@_options.backend
@_options.decoder
@_options.threads
@_options.max_pixels
def search(
    index_path: Path,
    photos: tuple[Path, ...],
    metric: Metric | Literal["all"],
    k: int,
    box: _options.Box | None,
    auto_box: bool,
    where: list[tuple[str, str]],
    max_distance: float | Literal["auto"] | None,
    no_match: bool,
    model: Path | None,
    html_file: Path | None,
    as_json: bool,
    as_csv: bool,
    on_error: Literal["skip", "raise"],
    explain: bool,
    provider: str,
    backend: str,
    decoder: str,
    threads: int | None,
    max_pixels: int | None,
) -> None:
    """Find the pictures of INDEX that look most like each PHOTO (or each in a folder).

    \b
    vsearch search photos.index lamp.jpg
    vsearch search photos.index lamp.jpg --box 40,60,300,420 --metric hamming -k 20
    vsearch search photos.index lamp.jpg --auto-box
    vsearch search photos.index new/ --where category=lamp --html matches.html
    vsearch search photos.index new/ --no-match
    """
    from . import listing
    from ._calibrate import thresholds
    from ._recorded import embedder_for, model_file, running
    from .embedder import ImageSkippedWarning
    from .images import find_images
    from .index import Index
    from .web.page import Result, write_page

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    if no_match and max_distance not in (None, "auto"):
        raise click.UsageError("--no-match and a --max-distance exclude each other")
    if no_match:
        max_distance = "auto"
    if html_file is not None and not html_file.absolute().parent.is_dir():
        raise ArgumentError(
            f"the folder of {html_file} does not exist", "Nothing was searched", "Make it first"
        )
    queries: list[Path] = []
    for photo in photos:
        queries += find_images(photo) if photo.is_dir() else [photo]
    if not queries:
        raise ArgumentError(
            f"there is no picture in {', '.join(map(str, photos))}",
            "Nothing was searched",
            "Name a photo or a folder that holds some",
        )
    if box is not None and len(queries) > 1:
        raise click.UsageError("--box is for one photo: it would be another part of each")
    if box is not None and auto_box:
        raise click.UsageError("--box and --auto-box exclude each other")
    model = model or model_file(index_path)
    embedder = embedder_for(
        index_path, model, decoder=decoder, writing=False, say=_tell, providers=provider,
        threads=threads, max_pixels=max_pixels,
    )  # fmt: skip
    if explain or provider != "auto" or embedder.provider != "CPUExecutionProvider":
        _tell(running(embedder))
    warnings.simplefilter("ignore", ImageSkippedWarning)  # they are listed
    with Index.open(index_path, model_id=embedder.model_id) as found:
        boxes = [box] * len(queries)
        if auto_box:
            boxes = [_located(embedder, query, on_error) for query in queries]
        features = embedder.embed(queries, boxes, on_error=on_error, progress=len(queries) > 16)
        for skipped in embedder.skipped:
            _tell_skipped(skipped)
        left_out = {skipped.position for skipped in embedder.skipped}
        searched = [
            pair for n, pair in enumerate(zip(queries, boxes, strict=True)) if n not in left_out
        ]
        if not searched:
            raise ImageError("no photo could be read", "Nothing was searched", "See the reasons")
        results: list[Result] = []
        metrics = METRICS if metric == "all" else (metric,)
        limits: dict[Metric, Threshold | None] = {}
        asked_distance = None if max_distance == "auto" else max_distance
        asked_where = _options.where_in_words(where)
        if max_distance == "auto":
            limits = thresholds(found, metrics, threads=threads, backend=backend, say=_tell)
        for name in metrics:
            limit = limits.get(name)
            answers, proof = found.search(
                features, k, name, _options.where(where), limit.distance if limit else max_distance,
                threads, backend=backend, explain=True,
            )  # fmt: skip
            if explain:
                click.echo(f"Proof: {proof}", err=True)
            results += [
                Result(
                    str(query),
                    name,
                    hits,
                    part,
                    only_matches=max_distance == "auto",
                    threshold=limit,
                    max_distance=asked_distance,
                    where=asked_where,
                )
                for (query, part), hits in zip(searched, answers, strict=True)
            ]
        if metric == "all":  # a query's metrics beside each other
            results = [r for q in range(len(searched)) for r in results[q :: len(searched)]]
        if html_file is not None:
            facts = [
                ("index", str(index_path)),
                ("pictures", f"{len(found):,}"),
                ("model", str(found.model.get("layer", ""))),
            ]
            facts += [("match within", str(limit)) for limit in limits.values() if limit]
            if found.model.get("trained") == "no":
                facts.append(("warning", "untrained network"))
            write_page(html_file, results, title="Matches", facts=facts)
    if as_json:
        click.echo(listing.as_json(results))
    elif as_csv:
        click.echo(listing.as_csv(results), nl=False)
    else:
        click.echo(listing.as_text(results))
    if html_file is not None:
        click.echo(f"Page: {html_file}", err=True)


def _located(
    embedder: Embedder, photo: Path, on_error: Literal["skip", "raise"]
) -> _options.Box | None:
    """The item's box; None for a photo that cannot be read where such are skipped later."""
    try:
        return embedder.locate(photo)
    except ImageError:
        if on_error == "raise":
            raise
        return None


# info, demo ---------------------------------------------------------------------------------


@vsearch.command()
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@_options.json_flag
def info(index_path: Path, as_json: bool) -> None:
    """What INDEX holds: pictures, model, metadata columns, size, distances of a match."""
    from ._calibrate import told
    from .index import Index

    with Index.open(index_path) as found:
        facts = found.info()
    if as_json:
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    model = facts.pop("model")
    limits = told(facts.pop("thresholds")) or ["none taken yet (vsearch calibrate)"]
    for name, value in facts.items():
        if name == "bytes":
            value = f"{value:,}"
        elif name == "columns":
            value = ", ".join(value) or "none"
        click.echo(f"{name:13} {value}")
    for limit in limits:
        click.echo(f"{'match within':13} {limit}")
    for name, value in model.items():
        click.echo(f"model {name:7} {value}")


@vsearch.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("vsearch-demo"),
    show_default=True,
    help="Folder for all it makes.",
)
@click.option(
    "--items",
    type=click.IntRange(1),
    default=120,
    show_default=True,
    help="Garments to draw, three pictures each.",
)
@click.option(
    "--weights",
    default="default",
    show_default=True,
    metavar="default|imagenet|random:SEED|FILE",
    help="default: the small network for clothing that comes with the package; others as for "
    "vsearch export.",
)
@_options.provider
def demo(output: Path, items: int, weights: str, provider: str) -> None:
    """Run the whole line on a drawn catalogue: model, export, index, searches, a page.

    Two pictures of each garment are indexed; the third, in another pose, light and place,
    is what is searched for. What was made before is used again.
    """
    from .demo import run

    run(output, items=items, weights=weights, provider=provider, say=click.echo)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `vsearch` command."""
    run(vsearch, "vsearch", arguments)


if __name__ == "__main__":
    main()
