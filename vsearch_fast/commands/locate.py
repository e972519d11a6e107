"""`vsearch locate`: boxes of photos, a sheet with them drawn in, and how good they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ..checks import PixelBox
from ..terminal import options
from ..terminal.console import tell
from ..words import plural

if TYPE_CHECKING:
    from ..datasets.detect import Layout
    from ..datasets.records import Record
    from ..embedder.embedder import Embedder, Skipped


# Of a sheet: photos at most and in a row, pixels between them, the colour of true boxes.
_SHOWN, _COLUMNS, _GAP = 60, 10, 8
_TRUE = (30, 150, 80)
_TYPES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WebP"}


def _sheet(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() not in _TYPES:
        raise click.BadParameter(f"{str(value)!r} does not end in {', '.join(_TYPES)}")
    return value


@click.command(context_settings={"max_content_width": 100})
@click.argument(
    "sources", metavar="PHOTO...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@options.model("ONNX file made by vsearch export --locate; by default the network of the package.")
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_sheet,
    metavar="FILE.jpg|png|webp",
    help="Draw the boxes into one picture of all photos (of the first 60).",
)
@options.json_flag
@click.option(
    "--measure",
    is_flag=True,
    help="PHOTO is a data set: compare with its true boxes; without any, say whether cutting "
    "pictures to their boxes makes the nearest one more often of the right category.",
)
@options.data_set("the data set")
@click.option(
    "--leave-out",
    multiple=True,
    metavar="CATEGORY",
    help="A category that is none, such as Other. Repeat for several.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Pictures of the data set at most, evenly spaced."
)
@options.on_error("skip", "A photo, a folder or a line of a list")
@options.exclude
@options.threads
@options.max_pixels
def command(
    sources: tuple[Path, ...],
    model: Path | None,
    sheet: Path | None,
    as_json: bool,
    measure: bool,
    layout: Layout,
    csv_file: Path | None,
    columns: list[tuple[str, str]],
    leave_out: tuple[str, ...],
    limit: int | None,
    on_error: Literal["skip", "raise"],
    exclude: tuple[str, ...],
    threads: int | None,
    max_pixels: int | None,
) -> None:
    """Find the item's box in each PHOTO (or each in a folder), without any training.

    The box is where the network's own activations stand out, as x1,y1,x2,y2 in pixels of the
    upright picture. A photo that cannot be read is named and skipped.

    \b
    vsearch locate shirt.jpg
    vsearch locate new/ --model vgg16-fc1.onnx --sheet boxes.jpg
    vsearch locate garments/garments.csv --measure
    """
    from ..datasets.notes import Notes
    from ..embedder.embedder import Embedder
    from ..errors import ArgumentError
    from ..images.finding import find_images
    from ..results.text import shown

    if sheet is not None and not sheet.absolute().parent.is_dir():
        raise ArgumentError(
            f"the folder of {sheet} does not exist", "No box was looked for", "Make it first"
        )
    if not measure and (csv_file or columns or leave_out or layout != "auto" or limit):
        raise click.UsageError(
            "--format, --csv, --column, --leave-out and --limit are for --measure"
        )
    if measure and len(sources) > 1:
        raise click.UsageError("--measure takes one data set")
    paths: list[Path] = []
    notes = Notes()
    for source in () if measure else sources:
        if source.is_dir():
            paths += find_images(
                source, exclude=exclude, on_error=on_error, left_out=notes.left_out
            )
        else:
            paths.append(source)
    if not measure and not paths:
        raise ArgumentError(
            f"there is no picture in {', '.join(map(str, sources))}",
            "No box was looked for",
            "Name a photo or a folder that holds some",
        )
    if sheet is not None and any(path.absolute() == sheet.absolute() for path in paths):
        raise ArgumentError(
            f"the sheet {sheet} is one of the photos", "No box was looked for", "Name another file"
        )
    embedder = Embedder(model, "cpu", threads=threads, max_pixels=max_pixels)
    located = _Located(embedder, on_error)
    if measure:
        from ..datasets import detect

        # Where broken pictures are skipped, so are those that a list names and that are not there.
        records, _ = detect.read(
            sources[0], layout, csv=csv_file, columns=dict(columns),
            missing="keep" if on_error == "skip" else "raise", exclude=exclude,
            on_error=on_error, notes=notes,
        )  # fmt: skip
        for line in notes.told():
            tell(shown(line))
        if limit is not None and limit < len(records):
            records = [records[i * len(records) // limit] for i in range(limit)]
        true = _measure(records, located, leave_out, as_json)
    else:
        true = []
        for line in notes.told():
            tell(shown(line))
        _list(paths, located, as_json)
    if sheet is not None:
        _draw(sheet, located.found, true)


class _Located:
    """Photos with their boxes, in the order in which they were found; tells what is skipped."""

    def __init__(self, embedder: Embedder, on_error: Literal["skip", "raise"]) -> None:
        self.embedder, self.on_error = embedder, on_error
        self.found: list[tuple[Path, PixelBox]] = []
        self.skipped: list[Skipped] = []

    def __call__(self, path: Path) -> PixelBox | None:
        from ..embedder.embedder import Skipped
        from ..errors import ImageError
        from ..results.text import skipped_text

        try:
            box = self.embedder.locate(path)
        except ImageError as error:
            if self.on_error == "raise":
                raise
            self.skipped.append(Skipped(len(self.found), str(path), error.cause))
            tell(skipped_text(self.skipped[-1]))
            return None
        self.found.append((path, box))
        return box

    def check(self) -> None:
        """ImageError where no box was found at all."""
        from ..errors import ImageError

        if not self.found:
            raise ImageError("no photo could be read", "No box was found", "See the reasons above")


def _list(paths: Sequence[Path], locate: _Located, as_json: bool) -> None:
    """Print each photo's box as it is found; as JSON in the end."""
    from ..results.text import shown

    for path in paths:
        box = locate(path)
        if box is not None and not as_json:
            click.echo(f"{','.join(map(str, box))}  {shown(str(path))}")
    locate.check()
    if as_json:
        listed: list[dict[str, object]] = [
            {"photo": str(path), "box": box} for path, box in locate.found
        ]
        listed += [
            {"photo": each.name, "box": None, "error": each.reason} for each in locate.skipped
        ]
        click.echo(json.dumps(listed, indent=1, ensure_ascii=False))


def _measure(
    records: Sequence[Record], locate: _Located, leave_out: Sequence[str], as_json: bool
) -> list[PixelBox]:
    """Print how good the boxes are; the true ones of those that were found."""
    from ..evaluate import boxes
    from ..evaluate.protocol import FEW

    embedder = locate.embedder
    boxed = [(each, each.box) for each in records if each.box is not None]
    if not boxed:
        found = boxes.cropping(
            records, embedder, locate=locate, leave_out=leave_out, progress=True,
            say=tell,
        )  # fmt: skip
        if as_json:
            fields = ("metric", "queries", "groups", "whole", "between", "gains")
            listed = [{name: getattr(each, name) for name in fields} for each in found]
            click.echo(json.dumps(listed, indent=1))
            return []
        click.echo(
            f"P@1 of {plural(found[0].queries, 'picture')} in {plural(found[0].groups, 'group')}, "
            "own group "
            "forbidden; what cutting adds, with its 95% interval (paired, over groups)"
        )
        for each in found:
            gains = "".join(
                f"   {name} {gain:+.3f} ({low:+.3f} to {high:+.3f})"
                for name, (gain, low, high) in each.gains.items()
            )
            low, high = each.between
            click.echo(f"{each.metric:8} whole {each.whole:.3f} ({low:.3f} to {high:.3f}){gains}")
        if found[0].groups < FEW:
            tell(
                f"Warning: {plural(found[0].groups, 'group')} are few: intervals of what cutting "
                "adds are too narrow, and other pictures may say the contrary"
            )
        return []
    boxed = [(record, box) for record, box in boxed if locate(record.path) is not None]
    locate.check()
    true = [box for _, box in boxed]
    sizes = [boxes.size_of(record, embedder.max_pixels) for record, _ in boxed]
    ways = boxes.overlaps(true, [box for _, box in locate.found], sizes)
    if as_json:
        listed = [
            {
                "box": way.name,
                "median": way.median,
                "right": way.right,
                "between": way.between,
                "n": len(boxed),
            }
            for way in ways
        ]
        click.echo(json.dumps(listed, indent=1))
    else:
        click.echo(f"Intersection over union with {plural(len(boxed), 'true box', 'true boxes')}")
        click.echo(f"{'box':30} median   {boxes.RIGHT} or more, 95% interval")
        for way in ways:
            low, high = way.between
            click.echo(
                f"{way.name:30} {way.median:6.3f}   {way.right:7.1%} ({low:.0%} to {high:.0%})"
            )
    return true


def _draw(file: Path, found: Sequence[tuple[Path, PixelBox]], true: Sequence[PixelBox]) -> None:
    """One picture of the first photos with their boxes drawn in: found ones red, true ones green.

    Its type is that of the file's suffix.
    """
    from PIL import Image, ImageDraw

    from ..images.decoding import decode
    from ..results.picture import THUMBNAIL, thumbnail

    shown, step = found[:_SHOWN], THUMBNAIL + _GAP
    rows, columns = -(-len(shown) // _COLUMNS), min(_COLUMNS, len(shown))
    canvas = Image.new("RGB", (_GAP + columns * step, _GAP + rows * step), "white")
    for number, (path, box) in enumerate(shown):
        small = thumbnail(path, box)
        if true:
            width = decode(path).width
            edges = [edge * small.width / width for edge in true[number]]
            ImageDraw.Draw(small).rectangle(edges, outline=_TRUE, width=2)
        row, column = divmod(number, _COLUMNS)
        canvas.paste(small, (_GAP + column * step, _GAP + row * step))
    canvas.save(file, _TYPES[file.suffix.lower()], quality=88)
    click.echo(f"Sheet: {file}", err=True)
