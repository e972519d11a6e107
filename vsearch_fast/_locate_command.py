"""`vsearch locate`: boxes of photos, a sheet with them drawn in, and how good they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import _options

if TYPE_CHECKING:
    from .datasets.detect import Layout
    from .datasets.records import Record
    from .embedder import Embedder
    from .locate import PixelBox

# Of a sheet: photos at most and in a row, pixels between them, the colour of true boxes.
_SHOWN, _COLUMNS, _GAP = 60, 10, 8
_TRUE = (30, 150, 80)


@click.command(context_settings={"max_content_width": 100})
@click.argument(
    "sources", metavar="PHOTO...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="ONNX file made by vsearch export --locate. [default: the network for clothing that comes "
    "with the package]",
)
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.jpg",
    help="Draw the boxes into one picture of all photos (of the first 60).",
)
@_options.json_flag
@click.option(
    "--measure",
    is_flag=True,
    help="PHOTO is a data set: compare with its true boxes; without any, say whether cutting "
    "pictures to their boxes makes the nearest one more often of the right category.",
)
@_options.data_set("the data set")
@click.option(
    "--leave-out",
    multiple=True,
    metavar="CATEGORY",
    help="A category that is none, such as Other. Repeat for several.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Pictures of the data set at most, evenly spaced."
)
@_options.threads
@_options.max_pixels
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
    threads: int | None,
    max_pixels: int | None,
) -> None:
    """Find the item's box in each PHOTO (or each in a folder), without any training.

    The box is where the network's own activations stand out, as x1,y1,x2,y2 in pixels of the
    upright picture.

    \b
    vsearch locate shirt.jpg
    vsearch locate new/ --model vgg16-fc1.onnx --sheet boxes.jpg
    vsearch locate garments/garments.csv --measure
    """
    from .embedder import Embedder
    from .errors import ArgumentError
    from .images import find_images
    from .listing import shown

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
    embedder = Embedder(model, "cpu", threads=threads, max_pixels=max_pixels)
    if measure:
        from .datasets import detect

        records, _ = detect.read(sources[0], layout, csv=csv_file, columns=dict(columns))
        if limit is not None and limit < len(records):
            records = [records[i * len(records) // limit] for i in range(limit)]
        _measure(records, embedder, leave_out, as_json, sheet)
        return
    paths: list[Path] = []
    for source in sources:
        paths += find_images(source) if source.is_dir() else [source]
    found = [embedder.locate(path) for path in paths]
    if as_json:
        listed = [{"photo": str(path), "box": box} for path, box in zip(paths, found, strict=True)]
        click.echo(json.dumps(listed, indent=1, ensure_ascii=False))
    else:
        for path, box in zip(paths, found, strict=True):
            click.echo(f"{','.join(map(str, box))}  {shown(str(path))}")
    if sheet is not None:
        _draw(sheet, paths, found)


def _measure(
    records: Sequence[Record],
    embedder: Embedder,
    leave_out: Sequence[str],
    as_json: bool,
    sheet: Path | None,
) -> None:
    from .evaluate import boxes

    boxed = [(each, each.box) for each in records if each.box is not None]
    if not boxed:
        found = boxes.cropping(
            records, embedder, leave_out=leave_out, progress=True,
            say=lambda line: click.echo(line, err=True),
        )  # fmt: skip
        if as_json:
            fields = ("metric", "queries", "groups", "whole", "gains")
            listed = [{name: getattr(each, name) for name in fields} for each in found]
            click.echo(json.dumps(listed, indent=1))
            return
        click.echo(
            f"P@1 of {found[0].queries:,} pictures in {found[0].groups:,} groups, own group "
            "forbidden; what cutting adds, with its 95% interval (paired, over groups)"
        )
        for each in found:
            gains = "".join(
                f"   {name} {gain:+.3f} ({low:+.3f} to {high:+.3f})"
                for name, (gain, low, high) in each.gains.items()
            )
            click.echo(f"{each.metric:8} whole {each.whole:.3f}{gains}")
        return
    located = [embedder.locate(record.path) for record, _ in boxed]
    sizes = [boxes.size_of(record, embedder.max_pixels) for record, _ in boxed]
    ways = boxes.overlaps([box for _, box in boxed], located, sizes)
    if as_json:
        listed = [
            {"box": way.name, "median": way.median, "right": way.right, "n": len(boxed)}
            for way in ways
        ]
        click.echo(json.dumps(listed, indent=1))
    else:
        click.echo(f"Intersection over union with {len(boxed):,} true boxes")
        click.echo(f"{'box':30} median   {boxes.RIGHT} or more")
        for way in ways:
            click.echo(f"{way.name:30} {way.median:6.3f}   {way.right:7.1%}")
    if sheet is not None:
        _draw(sheet, [record.path for record, _ in boxed], located, [box for _, box in boxed])


def _draw(
    file: Path, paths: Sequence[Path], found: Sequence[PixelBox], true: Sequence[PixelBox] = ()
) -> None:
    """One JPEG of the first photos with their boxes drawn in: found ones red, true ones green."""
    from PIL import Image, ImageDraw

    from .images import decode
    from .web.page import THUMBNAIL, thumbnail

    shown, step = list(paths)[:_SHOWN], THUMBNAIL + _GAP
    rows, columns = -(-len(shown) // _COLUMNS), min(_COLUMNS, len(shown))
    canvas = Image.new("RGB", (_GAP + columns * step, _GAP + rows * step), "white")
    for number, path in enumerate(shown):
        small = thumbnail(path, found[number])
        if true:
            width = decode(path).width
            edges = [edge * small.width / width for edge in true[number]]
            ImageDraw.Draw(small).rectangle(edges, outline=_TRUE, width=2)
        row, column = divmod(number, _COLUMNS)
        canvas.paste(small, (_GAP + column * step, _GAP + row * step))
    canvas.save(file, "JPEG", quality=88)
    click.echo(f"Sheet: {file}", err=True)
