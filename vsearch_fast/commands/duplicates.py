"""`vsearch duplicates`: copies among the pictures of an index, and new pictures that it has."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ..errors import ArgumentError, ImageError
from ..index.conditions import all_of
from ..index.duplicates import LINKAGES, DuplicateGroup, Linkage, Look
from ..index.filter_language import read_filter
from ..index.where import read_where, where_in_words
from ..terminal import options
from ..terminal.console import tell
from ..terminal.progress import bar
from ..words import METRICS, Metric, plural

if TYPE_CHECKING:
    from ..checks import PixelBox
    from ..embedder.embedder import Skipped
    from ..index.duplicates import Arrival
    from ..index.index import Index
    from ..indexing.photos import Photos


def _within(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    number = options.distance(ctx, parameter, value)
    if number == "auto":
        raise click.BadParameter("a distance is a number here: pictures of one kind are not copies")
    return number


@click.command("duplicates")
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    default="cosine",
    show_default=True,
    is_eager=True,  # it says which numbers --within takes
    help="Distance of features; hamming compares packed sign bits.",
)
@click.option(
    "--within",
    callback=_within,
    metavar="DISTANCE",
    help="Two pictures at this distance or nearer are near-duplicates.",
)
@click.option(
    "--similar",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Instead of a distance. For cosine: the cosine of the angle of two pictures' features is "
    "this or more, so that 0.99 is --within 0.01. For hamming: this share of the bits is the same, "
    "so that 0.99 of 4096 is --within 40. By default 0.98 and 0.94.",
)
@click.option(
    "--across",
    "other_path",
    type=click.Path(path_type=Path),
    metavar="INDEX",
    help="Pairs of a picture of INDEX and one of this other index of the same model, and none "
    "within an index.",
)
@click.option(
    "--new",
    "new_folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Which pictures of FOLDER are in INDEX already. They are embedded by its model, and not "
    "compared with each other.",
)
@click.option(
    "--linkage",
    type=click.Choice(LINKAGES),
    default="connected",
    show_default=True,
    help="connected: a chain of near pictures is a group. complete: every two of a group are near.",
)
@click.option(
    "--where",
    multiple=True,
    callback=options.pairs,
    metavar="COLUMN=VALUE",
    help="Only pictures with this metadata, as for vsearch search.",
)
@click.option(
    "--filter",
    "filter_text",
    metavar="FILTER",
    help="Only pictures with metadata as this text says, as for vsearch search.",
)
@options.model("With --new: the model, if it was moved since the index was made.")
@click.option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the groups as a page that needs no other file.",
)
@options.photos
@options.exclude
@options.json_flag
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a line a picture.")
@options.on_error("skip", "With --new: a picture or a folder")
@options.threads
@options.max_pixels
@click.option("--quiet", is_flag=True, help="No progress bars.")
def command(
    index_path: Path,
    metric: Metric,
    within: float | None,
    similar: float | None,
    other_path: Path | None,
    new_folder: Path | None,
    linkage: Linkage,
    where: list[tuple[str, str]],
    filter_text: str | None,
    model: Path | None,
    html_file: Path | None,
    photos_root: Path | None,
    exclude: tuple[str, ...],
    as_json: bool,
    as_csv: bool,
    on_error: Literal["skip", "raise"],
    threads: int | None,
    max_pixels: int | None,
    quiet: bool,
) -> None:
    """Find copies among the pictures of INDEX, and propose the best of each group.

    Identical files are known by the hashes that the index holds of them; near-duplicates by their
    features, every pair compared exactly; identical pixels by decoding the pictures of groups. The
    best copy has the most pixels, then the sharpest, then the most bytes. Nothing is deleted. Where
    pictures are gone, hashes and features tell what they can.

    \b
    vsearch duplicates photos.index
    vsearch duplicates photos.index --similar 0.99 --html duplicates.html
    vsearch duplicates photos.index --metric hamming --within 200 --json
    vsearch duplicates photos.index --across archive.index --csv
    vsearch duplicates photos.index --new incoming/
    """
    from ..indexing.columns import column_named
    from ..indexing.photos import Photos
    from ..results import duplicates as results
    from ..shards.opening import open_index

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    if within is not None and similar is not None:
        raise click.UsageError("--within and --similar exclude each other")
    limited = where or filter_text or linkage != "connected"
    if new_folder is not None and (other_path is not None or limited):
        raise click.UsageError("--new excludes --across, --where, --filter and --linkage")
    if new_folder is None and (exclude or model is not None):
        raise click.UsageError("--exclude and --model are for --new")
    if html_file is not None and not html_file.absolute().parent.is_dir():
        raise ArgumentError(
            f"the folder of {html_file} does not exist", "Nothing was compared", "Make it first"
        )
    asked = None if filter_text is None else read_filter(filter_text, "Nothing was compared")
    with open_index(index_path) as found:
        look = _Look([Photos(found, photos_root)], max_pixels)
        facts = [("index", str(index_path)), ("pictures", f"{len(found):,}")]
        if new_folder is not None:
            arrivals, skipped = _new(
                found, index_path, new_folder, metric, within, similar, model, look,
                exclude=exclude, on_error=on_error, threads=threads, max_pixels=max_pixels,
                quiet=quiet or as_json,
            )  # fmt: skip
            if html_file is not None:
                facts.append(("new", str(new_folder)))
                results.write_arrivals(html_file, arrivals, facts=facts)
            if as_json:
                click.echo(results.arrivals_json(arrivals, skipped))
            elif as_csv:
                click.echo(results.arrivals_csv(arrivals), nl=False)
            else:
                click.echo(results.arrivals_text(arrivals))
            groups = [arrival.there for arrival in arrivals if arrival.there is not None]
        else:

            def named(column: str) -> str:
                return column_named(found, column)

            wanted = all_of(
                read_where([(named(column), value) for column, value in where]),
                None if asked is None else asked.renamed(named),
            )
            other = None if other_path is None else open_index(other_path)
            try:
                if other is not None:
                    look.places.append(Photos(other))
                    facts.append(("across", str(other_path)))
                with (
                    bar("Comparing", unit="row", quiet=quiet or as_json) as progress,
                    bar("Looking", unit="picture", quiet=quiet or as_json) as looked,
                ):
                    groups = found.duplicates(
                        metric=metric, within=within, similar=similar, across=other,
                        linkage=linkage, where=wanted, look=look, threads=threads,
                        progress=progress, looked=looked,
                    )  # fmt: skip
            finally:
                if other is not None:
                    other.close()
            groups = [look.placed(group, str(found.path)) for group in groups]
            asked_where = ", and ".join(filter(None, (where_in_words(where), filter_text)))
            if asked_where:
                facts.append(("filter", asked_where))
            if html_file is not None:
                results.write_groups(html_file, groups, facts=facts)
            if as_json:
                click.echo(results.groups_json(groups))
            elif as_csv:
                click.echo(results.groups_csv(groups), nl=False)
            else:
                click.echo(results.groups_text(groups))
    _tell_unseen(groups, photos_root)
    if html_file is not None:
        click.echo(f"Page: {html_file}", err=True)


class _Look:
    """Looks at pictures where they are now.

    Attributes:
        places: where the pictures of INDEX, and then those of the other one, are.
    """

    def __init__(self, places: list[Photos], max_pixels: int | None) -> None:
        from ..images.refusals import MAX_PIXELS

        self.places, self._max_pixels = places, max_pixels or MAX_PIXELS

    def __call__(self, path: str, box: PixelBox | None) -> Look:
        # An index does not say whose path it is: the first place where a file is.
        places = [str(place(path)) for place in self.places]
        there = next((place for place in places if os.path.isfile(place)), places[0])
        return self.at(there, box)

    def at(self, path: str, box: PixelBox | None = None) -> Look:
        """Look at the picture of this very path."""
        from ..images.looks import look

        return look(path, box, max_pixels=self._max_pixels)

    def placed(self, group: DuplicateGroup, first: str) -> DuplicateGroup:
        """The group with the paths where its pictures are now."""
        items = tuple(
            replace(copy, path=self.places[0 if copy.index in (None, first) else -1](copy.path))
            for copy in group.items
        )
        return replace(group, items=items)


def _new(
    found: Index,
    index_path: Path,
    folder: Path,
    metric: Metric,
    within: float | None,
    similar: float | None,
    model: Path | None,
    look: _Look,
    *,
    exclude: Sequence[str],
    on_error: Literal["skip", "raise"],
    threads: int | None,
    max_pixels: int | None,
    quiet: bool,
) -> tuple[list[Arrival], list[Skipped]]:
    """The pictures of a folder, and what the index has of each; what is left out is told."""
    from ..embedder.embedder import ImageSkippedWarning
    from ..images.finding import LeftOut, find_images
    from ..index.duplicating import copies_within
    from ..indexing.arrivals import Arrivals
    from ..indexing.recorded import embedder_for, model_file
    from ..results import text
    from ..shards.opening import open_index

    radius = copies_within(metric, within, similar, found.bits)
    left_out = LeftOut()
    photos = find_images(folder, exclude=exclude, on_error=on_error, left_out=left_out)
    for line in left_out.lines():
        tell(text.shown(line))
    if not photos:
        raise ArgumentError(
            f"there is no picture in {folder}", "Nothing was compared", "Name a folder of pictures"
        )
    embedder = embedder_for(
        index_path, model or model_file(index_path), decoder="auto", writing=False, say=tell,
        threads=threads, max_pixels=max_pixels,
    )  # fmt: skip
    open_index(index_path, model_id=embedder.model_id).close()  # refuses another model
    arriving = Arrivals(
        found, embedder, metric=metric, radius=radius, look=look,
        own=look.at, on_error=on_error, threads=threads,
    )  # fmt: skip
    with (
        warnings.catch_warnings(),
        bar("Looking up", unit="picture", quiet=quiet) as progress,
    ):
        warnings.simplefilter("ignore", ImageSkippedWarning)  # they are listed
        arrivals = list(arriving.look_for(photos, progress))
    for skipped in arriving.skipped:
        tell(text.skipped_text(skipped))
    if not arrivals:
        raise ImageError("no picture could be read", "Nothing was compared", "See the reasons")
    placed = [
        arrival
        if arrival.there is None
        else replace(arrival, there=look.placed(arrival.there, str(found.path)))
        for arrival in arrivals
    ]
    return placed, arriving.skipped


def _tell_unseen(groups: Sequence[DuplicateGroup], root: Path | None) -> None:
    """Say how many pictures of groups are gone, and what that means."""
    paths = {copy.path for group in groups for copy in group.items}
    gone = {copy.path for group in groups for copy in group.items if not copy.seen}
    if gone:
        where = "where the index says" if root is None else f"below {root}"
        tell(
            f"{plural(len(gone), 'picture')} of {len(paths):,} could not be looked at "
            f"({'it is' if len(gone) == 1 else 'they are'} not {where}, or broken): stored hashes "
            "and features speak for them. --photos ROOT names the folder where they are now."
        )
