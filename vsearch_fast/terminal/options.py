"""What several commands take, and how their values are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from ..checks import PixelBox
from ..models.shipped import model_path
from ..words import LEAST

Command = TypeVar("Command", bound=Callable[..., Any])


def box(ctx: click.Context, parameter: click.Parameter, value: str | None) -> PixelBox | None:
    if value is None:
        return None
    try:
        x1, y1, x2, y2 = (int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not x1,y1,x2,y2 in pixels") from None
    return x1, y1, x2, y2


def distance(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> float | Literal["auto"] | None:
    if value is None or value == "auto":
        return value  # type: ignore[return-value]
    least = LEAST.get(ctx.params.get("metric", ""), 0.0)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not number >= least:
        what = "a distance from 0 on" if math.isfinite(least) else "a number"
        raise click.BadParameter(f"{value!r} is neither {what} nor auto")
    return number


def size(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, int]:
    width, _, height = value.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise click.BadParameter(f"{value!r} is not WIDTHxHEIGHT in pixels")
    return int(width), int(height)


def pairs(
    ctx: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> list[tuple[str, str]]:
    for value in values:
        if "=" not in value[1:]:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE")
    return [(name, text) for name, _, text in (value.partition("=") for value in values)]


def model_file(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """A model's file: a path, or that of a shipped network by its name."""
    return None if value is None else model_path(value)


def model(text: str) -> Callable[[Command], Command]:
    """``--model FILE|NAME``; `text` is its help."""
    names = "vsearch models lists the names of those that come with the package."
    return click.option("--model", callback=model_file, metavar="FILE|NAME", help=f"{text} {names}")


def data_set(
    name: str,
    *,
    csv: str = "",
    columns: str = "The CSV's own name of a column, as for vsearch index. Repeat for several.",
) -> Callable[[Command], Command]:
    """What a data set is and how its CSV is read: ``layout``, ``csv_file``, ``columns``.

    ``name`` is what the help calls the data set, ``csv`` and ``columns`` other texts than usual.
    """
    options = (
        click.option(
            "--format",
            "layout",
            type=click.Choice(["auto", "folder", "csv", "deepfashion"]),
            default="auto",
            show_default=True,
            help=f"What {name} is.",
        ),
        click.option(
            "--csv",
            "csv_file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=csv or f"List of the pictures in {name}.",
        ),
        click.option(
            "--column",
            "columns",
            multiple=True,
            callback=pairs,
            metavar="ROLE=NAME",
            help=columns,
        ),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):  # the first decorator is the last in the help
            command = option(command)
        return command

    return decorate


def on_error(default: Literal["skip", "raise"], what: str) -> Callable[[Command], Command]:
    """What is done about `what` that cannot be read."""
    return click.option(
        "--on-error",
        type=click.Choice(["skip", "raise"]),
        default=default,
        show_default=True,
        help=f"{what} that cannot be read: report it and go on, or stop.",
    )


photos = click.option(
    "--photos",
    "photos_root",
    type=click.Path(path_type=Path),
    metavar="ROOT",
    help="Where the folder that INDEX was made of is now, if it was moved or mounted elsewhere.",
)
titles = click.option(
    "--title",
    "titles",
    multiple=True,
    callback=pairs,
    metavar="ROLE=COLUMN",
    help="Which metadata column leads where pictures are shown: title, price or link, or "
    "columns=A,B for the others that are to be shown, in this order. Repeat for several. [default: "
    "those with such names]",
)
exclude = click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Leave out files and folders of this name, such as '*-small.jpg' or drafts; with a slash, "
    "of this path below the folder. Repeat for several.",
)
backend = click.option(
    "--backend",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="What searches. auto: a GPU where one is there and the work is worth sending the index "
    "to it; matches are the same.",
)
json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
provider = click.option(
    "--provider",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
    default="auto",
    show_default=True,
    help="What runs the network. auto: TensorRT (not for fp32) or CUDA where they work, else the "
    "CPU; one that is named is used or is an error.",
)
decoder = click.option(
    "--decoder",
    type=click.Choice(
        [
            *("auto", "libjpeg-turbo", "libjpeg-turbo+srgb", "libjpeg-turbo+reduced"),
            *("libjpeg-turbo+srgb+reduced", "nvimgcodec"),
        ]
    ),
    default="auto",
    show_default=True,
    help="What decodes JPEG files. auto: what the index records, for a new one libjpeg-turbo. "
    "+srgb turns the colours of all pictures by their ICC profiles; +reduced reads large JPEGs at "
    "a half to an eighth of their size. nvimgcodec needs an NVIDIA GPU, also to search.",
)
threads = click.option(
    "--threads", type=click.IntRange(1), help="Processors to use; all by default."
)
max_pixels = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    help="Largest picture that is decoded; by default 178,956,970 pixels.",
)
