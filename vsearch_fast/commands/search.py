"""`vsearch search`: the matches of photos, as text, JSON, CSV or a page."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ..checks import PixelBox
from ..errors import ArgumentError, ImageError
from ..index.conditions import all_of
from ..index.filter_language import read_filter
from ..index.where import read_where, where_in_words
from ..terminal import options
from ..terminal.console import tell
from ..words import JUDGED, METRICS, Metric, plural
from . import on_ray

if TYPE_CHECKING:
    from ..embedder.embedder import Embedder
    from ..index.thresholds import Threshold
    from ..results.result import Result


@click.command("search")
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@click.argument(
    "photos", metavar="PHOTO...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--metric",
    type=click.Choice([*METRICS, "all"]),
    default="l2",
    show_default=True,
    is_eager=True,  # it says which numbers --max-distance takes
    help="Distance; hamming compares packed sign bits, ip is the inner product, negated. all: l2, "
    "l1 and hamming, one after the other.",
)
@click.option(
    "-k", type=click.IntRange(1), help="Matches a photo: 10 by default, with --within all."
)
@click.option(
    "--box",
    callback=options.box,
    metavar="x1,y1,x2,y2",
    help="Search for this part of the photo, in pixels (in an index of both views for the whole "
    "photo, too).",
)
@click.option(
    "--auto-box",
    is_flag=True,
    help="Find the item's box in each photo and search for that part (vsearch locate says more).",
)
@click.option(
    "--where",
    multiple=True,
    callback=options.pairs,
    metavar="COLUMN=VALUE",
    help="Only pictures with this metadata; COLUMN is the index's name or your list's own. Repeat "
    "a column for any of its values, "
    "name several for all of them.",
)
@click.option(
    "--filter",
    "filter_text",
    metavar="FILTER",
    help="Only pictures with metadata as this text says: 'price < 50 and not colour = red'; also "
    "!= <= > >=, in (a, b), contains, is null, or, brackets. Beside --where both hold.",
)
@click.option(
    "--group-by",
    metavar="COLUMN",
    help="One match a thing: of the pictures with the same value in this column, such as item, the "
    "nearest alone. -k counts things.",
)
@click.option(
    "--max-distance",
    callback=options.distance,
    metavar="DISTANCE|auto",
    help="Leave out what is farther; auto is --no-match.",
)
@click.option(
    "--within",
    callback=options.distance,
    metavar="DISTANCE|auto",
    help="All pictures at this distance or nearer, or the -k nearest of them; auto is the distance "
    "of --no-match.",
)
@click.option(
    "--no-match",
    is_flag=True,
    help="Leave out what is farther than the pictures of INDEX are from each other (vsearch "
    "calibrate says how that is meant), and say of a photo without a match that it has none.",
)
@options.model("The model, if it was moved since the index was made.")
@click.option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the matches as a page that needs no other file.",
)
@options.photos
@options.exclude
@on_ray.option
@options.json_flag
@click.option(
    "--csv",
    "as_csv",
    is_flag=True,
    help="Print CSV; metadata columns are called metadata.NAME.",
)
@options.on_error("raise", "A photo or a folder")
@click.option("--explain", is_flag=True, help="Say how the matches were proved the nearest.")
@options.provider
@options.backend
@options.decoder
@options.threads
@options.max_pixels
def command(
    index_path: Path,
    photos: tuple[Path, ...],
    metric: Metric | Literal["all"],
    k: int | None,
    box: PixelBox | None,
    auto_box: bool,
    where: list[tuple[str, str]],
    filter_text: str | None,
    group_by: str | None,
    max_distance: float | Literal["auto"] | None,
    within: float | Literal["auto"] | None,
    no_match: bool,
    model: Path | None,
    html_file: Path | None,
    photos_root: Path | None,
    exclude: tuple[str, ...],
    ray_address: str | None,
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
    vsearch search photos.index lamp.jpg --filter 'price < 50 and brand is not null' --group-by item
    vsearch search photos.index new/ --no-match
    vsearch search photos.index lamp.jpg --within 0.3
    """
    from ..commands.calibrate import likenesses, thresholds
    from ..embedder.embedder import ImageSkippedWarning
    from ..images.finding import LeftOut, find_images
    from ..indexing.columns import column_named
    from ..indexing.embedding import embedded_queries
    from ..indexing.photos import Photos
    from ..indexing.recorded import embedder_for, model_file, running
    from ..results import text
    from ..results.page import write_page
    from ..results.result import Result
    from ..shards.opening import open_index

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    if no_match and max_distance not in (None, "auto"):
        raise click.UsageError("--no-match and a --max-distance exclude each other")
    if within is not None and (no_match or max_distance is not None):
        raise click.UsageError("--within excludes --max-distance and --no-match")
    if no_match:
        max_distance = "auto"
    metrics = JUDGED if metric == "all" else (metric,)
    if max_distance == "auto" and metric not in (*JUDGED, "all"):
        raise ArgumentError(
            f"thresholds are kept for {', '.join(JUDGED)}, and --metric is {metric}",
            "Nothing was searched",
            "Use one of those, or name a --max-distance",
        )
    asked = None if filter_text is None else read_filter(filter_text, "Nothing was searched")
    everything = k is None and within is not None
    max_distance = within if within is not None else max_distance
    if html_file is not None and not html_file.absolute().parent.is_dir():
        raise ArgumentError(
            f"the folder of {html_file} does not exist", "Nothing was searched", "Make it first"
        )
    queries: list[Path] = []
    left_out = LeftOut()
    for photo in photos:
        if photo.is_dir():
            queries += find_images(photo, exclude=exclude, on_error=on_error, left_out=left_out)
        else:
            queries.append(photo)
    for line in left_out.lines():
        tell(text.shown(line))
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
    if box is not None:
        box = _within(queries[0], box, max_pixels)
    connected = None if ray_address is None else on_ray.opened(
        index_path, ray_address, threads=threads, backend=backend
    )  # fmt: skip
    model = model or model_file(index_path, connected)
    embedder = embedder_for(
        index_path, model, decoder=decoder, writing=False, say=tell, index=connected,
        providers=provider, threads=threads, max_pixels=max_pixels,
    )  # fmt: skip
    if explain or provider != "auto" or embedder.provider != "CPUExecutionProvider":
        tell(running(embedder))
    warnings.simplefilter("ignore", ImageSkippedWarning)  # they are listed
    with contextlib.ExitStack() as closing:
        found = connected
        if found is None:
            found = open_index(index_path, model_id=embedder.model_id)
        closing.enter_context(found)
        on_ray.refuse_another(index_path, found, embedder.model_id)
        pictures = Photos(found, photos_root)
        columns = found.columns()

        def named(column: str) -> str:
            return column_named(found, column)

        filtered = all_of(
            read_where([(named(column), value) for column, value in where]),
            None if asked is None else asked.renamed(named),
        )
        group_by = None if group_by is None else named(group_by)
        boxes = [box] * len(queries)
        if auto_box:
            boxes = [_located(embedder, query, on_error) for query in queries]
        features, codes = embedded_queries(
            found, embedder, queries, boxes, on_error=on_error, progress=len(queries) > 16
        )
        for skipped in embedder.skipped:
            tell(text.skipped_text(skipped))
        skipped_photos = list(embedder.skipped)
        unread = {skipped.position for skipped in skipped_photos}
        searched = [
            pair for n, pair in enumerate(zip(queries, boxes, strict=True)) if n not in unread
        ]
        if not searched:
            raise ImageError("no photo could be read", "Nothing was searched", "See the reasons")
        results: list[Result] = []
        limits: dict[Metric, Threshold | None] = {}
        asked_distance = None if max_distance == "auto" else max_distance
        asked_where = ", and ".join(filter(None, (where_in_words(where), filter_text)))
        if max_distance == "auto":
            limits = thresholds(found, metrics, threads=threads, backend=backend, say=tell)
        judged = [name for name in metrics if name in JUDGED]
        known = likenesses(found, judged, threads=threads, backend=backend, say=tell)
        for name in metrics:
            limit = limits.get(name)
            distance = limit.distance if limit else max_distance
            answers, proof = found.search(
                codes if name == "hamming" else features, k, name, filtered,
                None if everything else distance, threads,
                within=distance if everything else None, group_by=group_by, backend=backend,
                explain=True,
            )  # fmt: skip
            if explain:
                click.echo(f"Proof: {proof}", err=True)
            results += [
                Result(
                    str(query),
                    name,
                    pictures.of(hits),
                    part,
                    only_matches=max_distance == "auto",
                    threshold=limit,
                    max_distance=asked_distance,
                    where=asked_where,
                    likeness=known.get(name),
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
            if asked_where:
                facts.append(("filter", asked_where))
            if asked_distance is not None:
                facts.append(("within", f"{asked_distance:g}"))
            facts += [("match within", str(limit)) for limit in limits.values() if limit]
            if found.model.get("trained") == "no":
                facts.append(("warning", "untrained network"))
            write_page(html_file, results, title="Matches", facts=facts)
            _tell_gone(results, photos_root)
    if as_json:
        click.echo(text.as_json(results, skipped_photos))
    elif as_csv:
        click.echo(text.as_csv(results, columns), nl=False)
    else:
        click.echo(text.as_text(results))
    if html_file is not None:
        click.echo(f"Page: {html_file}", err=True)


def _within(photo: Path, box: PixelBox, max_pixels: int | None) -> PixelBox:
    """The box cut to the photo, as it is searched for; as it is where the photo is broken."""
    from ..images.boxes import pixel_box
    from ..images.decoding import upright_size
    from ..images.refusals import MAX_PIXELS

    try:
        size = upright_size(photo, max_pixels=max_pixels or MAX_PIXELS)
    except ImageError:
        return box  # told when it is read
    inside = pixel_box(box, size, str(photo))
    if inside != box:
        shown = ",".join(map(str, inside))
        tell(f"The box reaches beyond {photo}: it is cut to {shown}.")
    return inside


def _tell_gone(results: Sequence[Result], root: Path | None) -> None:
    """Say how many matches have no picture on the page, and what would find them."""
    paths = {hit.path for result in results for hit in result.hits if hit.path is not None}
    gone = sum(not os.path.isfile(path) for path in paths)
    if gone:
        where = "where the index says" if root is None else f"below {root}"
        tell(
            f"{plural(gone, 'picture')} of {len(paths):,} {'is' if gone == 1 else 'are'} not "
            f"{where}: --photos ROOT names the folder where they are now."
        )


def _located(
    embedder: Embedder, photo: Path, on_error: Literal["skip", "raise"]
) -> PixelBox | None:
    """The item's box; None for a photo that cannot be read where such are skipped later."""
    try:
        return embedder.locate(photo)
    except ImageError:
        if on_error == "raise":
            raise
        return None
